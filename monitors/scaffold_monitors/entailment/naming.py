"""Checks that named things are not mixed up: identifiers of one shape, full names, values given in pairs.

The wrong value need not be made up: "resize srv-1" done to srv-2, which was read; "A to 5 and B to 7" with B to 5.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.lexicon import SUPERLATIVES, THINGS
from scaffold_monitors.entailment.quantities import number, numbers, undated
from scaffold_monitors.entailment.stated import asked_for
from scaffold_monitors.entailment.substitutes import shape_of, shaped, unused_addresses
from scaffold_monitors.entailment.tables import records_of
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import live, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation
    from scaffold_monitors.entailment.tools import Role

_NAMING: tuple[Role, ...] = ("record", "principal", "place", "thing")
# With one of these words, another thing than the named one is wanted.
_INSTEAD = frozenset("equivalent replacement alternative instead another other next similar successor copy new".split())  # noqa: SIM905 - a list of words
_LEAST_NAME = 2


def misnamed(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find values of a call that replace something that the request names."""
    if not _names(situation.request):
        return
    yield from _mispaired(call, situation)
    yield from _readdressed(call, situation)
    text = " ; ".join(clause.text for clause in dictating)
    for leaf in call.leaves:
        if leaf.pending or asked_for(leaf, situation.request):
            continue
        said = _told_beside(leaf, call, situation) if leaf.text.isalnum() else ""
        if leaf.role not in _NAMING and not said:
            continue
        said = said or _of_its_shape(leaf, text, situation) or _named_in_full(leaf, text, situation)
        if said:
            why = f"{leaf.path} is {leaf.text!r}, but the request says {said!r}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return


@lru_cache(maxsize=256)
def _names(request: str) -> bool:
    """Whether a request contains any identifier, address, full name, list or number."""
    return bool(shaped(request) or live(request) or _full_names(request) or "," in request or numbers(request))


def _of_its_shape(leaf: Leaf, text: str, situation: Situation) -> str:
    """Return an identifier of the same shape from these clauses, unless a record links it with the value.

    In a plan without reads, the whole request is searched.
    """
    if " " in leaf.text or (_INSTEAD | SUPERLATIVES.keys()) & set(words(text)):
        return ""
    if situation.effects == len(situation.calls):
        text = situation.request
    said = [each for each in shaped(text) if _is_of_a_kind(each, leaf.text)]
    return "" if any(_belongs(leaf, each, situation) for each in said) else "".join(said[:1])


def _is_of_a_kind(one: str, other: str) -> bool:
    """Whether two identifiers have the same shape and the same first letters: `srv-1` and `srv-2`."""
    begins = [re.split(r"\d", plain(each), maxsplit=1)[0] for each in (one, other)]
    return begins[0] == begins[1] and shape_of(one) == shape_of(other)


def _belongs(leaf: Leaf, said: str, situation: Situation) -> bool:
    """Whether a record that holds a value also holds what the request says."""
    reads = [situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id]
    if any(each.seen is None for each in reads):
        return True  # not known yet
    return any(said in map(plain, record.values()) for record in records_of(leaf, situation))


def _told_beside(leaf: Leaf, call: Call, situation: Situation) -> str:
    """Return the unused word next to an argument's name in a list: "name status, value 7"."""
    for name in split(leaf.path)[-1:]:
        for word in _listed(name, situation.request):
            if not any(word in words(each.text) for each in call.leaves):
                return word
    return ""


@lru_cache(maxsize=1024)
def _listed(name: str, text: str) -> tuple[str, ...]:
    flat = plain(text)
    return tuple(re.findall(rf"(?:[,:;(]|\bwith|\band) ?(?:the )?{re.escape(name)} ([a-z][\w-]*)(?=[,;)]|$)", flat))


def _named_in_full(leaf: Leaf, text: str, situation: Situation) -> str:
    """Return a full name of the request that no call uses, if the value is another one: "with Halloran Plumbing"."""
    if len(re.findall(r"\b[A-Z]\w+", leaf.text)) < _LEAST_NAME:
        return ""
    lost = (each for each in _full_names(text) if not situation.said.intersection(words(each)))
    return next(lost, "")


@lru_cache(maxsize=512)
def _full_names(text: str) -> tuple[str, ...]:
    """Return the names of several words, none of them a kind of thing or the first word of its sentence."""
    found: list[str] = []
    for tokens in sentences(text):
        run: list[str] = []
        for token in [*tokens[1:], None]:
            if token is not None and token.named and not token.norm.endswith("day"):
                run.append(token.norm)
                continue
            if len(run) >= _LEAST_NAME and not any(stem(word) in THINGS for word in run):
                found.append(" ".join(run))
            run = []
    return tuple(found)


def _readdressed(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find an address in the plan's only effect that is not the request's, while one of the request's is unused."""
    if situation.effects != 1:
        return
    for leaf in call.leaves:
        for each in live(leaf.text) if leaf.role != "text" and not leaf.pending else ():
            if stands_in(each, situation.request):
                continue
            unused = (said for said in unused_addresses(situation) if ("@" in said) == ("@" in each))
            lost = next((said for said in unused if not said.endswith(f".{each}")), "")
            if lost:
                why = f"{leaf.path} contains {each!r}, but no call uses the request's {lost!r}"
                yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
                return


def _mispaired(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find amounts given to the wrong name: with "A to 5 and B to 7", the 7 belongs to B."""
    amounts = [leaf for leaf in call.with_role("amount") if not leaf.pending and asked_for(leaf, situation.request)]
    named = [leaf for leaf in call.with_role(*_NAMING) if leaf.text in situation.dictated.get(leaf.path, ())]
    for leaf in amounts:
        for name in named:
            alike = frozenset(map(plain, situation.dictated[name.path]))
            told = _pairs(situation.request, alike).get(plain(name.text))
            if told and told != number(leaf.value):
                why = f"{leaf.path} is {leaf.text}, but the request says {told} for {name.text!r}"
                yield against(call, "revise", why, f"{leaf.path} is what the request says for another name", leaf)
                return


@lru_cache(maxsize=512)
def _pairs(request: str, names: frozenset[str]) -> dict[str, object]:
    """Return the number that belongs to each name, where a sentence gives each exactly one, in order."""
    for tokens in sentences(request):
        flat = plain(request[tokens[0].start : tokens[-1].end])
        places = {name: found.start() for name in names if (found := _standing(name, flat))}
        if len(places) < _LEAST_NAME or len(places) < len(names):
            continue
        rest = flat
        for name, at in places.items():
            rest = rest[:at] + "#" * len(name) + rest[at + len(name) :]
        pieces = re.split("#+", undated(rest))
        order = sorted(places, key=lambda name: places[name])
        counts = [len(numbers(piece)) for piece in pieces]
        if counts == [0, *[1] * len(order)]:
            return {name: min(numbers(piece)) for name, piece in zip(order, pieces[1:], strict=True)}
        if counts == [*[1] * len(order), 0]:
            return {name: min(numbers(piece)) for name, piece in zip(order, pieces[:-1], strict=True)}
    return {}


def _standing(name: str, flat: str) -> re.Match[str] | None:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", flat)

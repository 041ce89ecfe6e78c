"""Which of what the request names is whose: identifiers of one shape, names in full, values told in pairs.

Nothing need be made up here: "resize srv-1" with srv-2, which was read, or "A to 5 and B to 7" with B to 5.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.evidence import asked_for
from scaffold_monitors.entailment.lexicon import SUPERLATIVES, THINGS
from scaffold_monitors.entailment.quantities import number, numbers, undated
from scaffold_monitors.entailment.substitutes import shape_of, shaped, unused_addresses
from scaffold_monitors.entailment.tables import records_of
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import live, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf, Situation
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.tools import Role

_NAMING: tuple[Role, ...] = ("record", "principal", "place", "thing")
# With one of these another thing is wanted than the one that is named.
_INSTEAD = frozenset("equivalent replacement alternative instead another other next similar successor copy new".split())  # noqa: SIM905 - a list of words
_LEAST_NAME = 2


def misnamed(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """What a call has in the place of something that the request names."""
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
            why = f"{leaf.path} is {leaf.text!r}, and the request says {said!r}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return


@lru_cache(maxsize=256)
def _names(request: str) -> bool:
    """Whether a request names anything by an identifier, an address, a full name or in a list, or tells numbers."""
    return bool(shaped(request) or live(request) or _full_names(request) or "," in request or numbers(request))


def _of_its_shape(leaf: Leaf, text: str, situation: Situation) -> str:
    """An identifier of the same shape that the request names here, where no record says that both belong together.

    What no lookup can have given may be named anywhere in the request.
    """
    if " " in leaf.text or (_INSTEAD | SUPERLATIVES.keys()) & set(words(text)):
        return ""
    if situation.effects == len(situation.calls):
        text = situation.request
    said = [each for each in shaped(text) if _is_of_a_kind(each, leaf.text)]
    return "" if any(_belongs(leaf, each, situation) for each in said) else "".join(said[:1])


def _is_of_a_kind(one: str, other: str) -> bool:
    """Whether two identifiers have one shape and begin with the same letters: `srv-1` and `srv-2`."""
    begins = [re.split(r"\d", plain(each), maxsplit=1)[0] for each in (one, other)]
    return begins[0] == begins[1] and shape_of(one) == shape_of(other)


def _belongs(leaf: Leaf, said: str, situation: Situation) -> bool:
    """Whether a record that a value was read in has some word of the request's too."""
    reads = [situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id]
    if any(each.seen is None for each in reads):
        return True  # nobody knows yet
    return any(said in map(plain, record.values()) for record in records_of(leaf, situation))


def _told_beside(leaf: Leaf, call: Call, situation: Situation) -> str:
    """The word that stands beside an argument's name in a list of such: "name status, value 7"."""
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
    """A name of several words that no call uses, where another such name stands: "with Halloran Plumbing"."""
    if len(re.findall(r"\b[A-Z]\w+", leaf.text)) < _LEAST_NAME:
        return ""
    lost = (each for each in _full_names(text) if not situation.said.intersection(words(each)))
    return next(lost, "")


@lru_cache(maxsize=512)
def _full_names(text: str) -> tuple[str, ...]:
    """The names of a text that have several words, none of which is a kind of thing or begins its sentence."""
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
    """Where one effect is asked for, an address that the request says is not left unused for another one."""
    if situation.effects != 1:
        return
    for leaf in call.leaves:
        for each in live(leaf.text) if leaf.role != "text" and not leaf.pending else ():
            if stands_in(each, situation.request):
                continue
            unused = (said for said in unused_addresses(situation) if ("@" in said) == ("@" in each))
            lost = next((said for said in unused if not said.endswith(f".{each}")), "")
            if lost:
                why = f"{leaf.path} has {each!r}, and no call uses the request's {lost!r}"
                yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
                return


def _mispaired(call: Call, situation: Situation) -> Iterator[Finding]:
    """Of "A to 5 and B to 7" the seven is B's."""
    amounts = [leaf for leaf in call.with_role("amount") if not leaf.pending and asked_for(leaf, situation.request)]
    named = [leaf for leaf in call.with_role(*_NAMING) if not leaf.pending and asked_for(leaf, situation.request)]
    for leaf in amounts:
        for name in named:
            alike = frozenset(map(plain, situation.dictated[name.path]))
            told = _pairs(situation.request, alike).get(plain(name.text))
            if told and told != number(leaf.value):
                why = f"{leaf.path} is {leaf.text}, and the request says {told} for {name.text!r}"
                yield against(call, "revise", why, f"{leaf.path} is what the request says for another", leaf)
                return


@lru_cache(maxsize=512)
def _pairs(request: str, names: frozenset[str]) -> dict[str, object]:
    """The number that a request tells with each of some names, where it tells one with each, in turn."""
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

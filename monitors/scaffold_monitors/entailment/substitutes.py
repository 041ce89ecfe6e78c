"""Finds substitutions: a value of the request is unused, and the plan has a made-up value of the same kind instead.

Either alone is common: requests contain more than a call needs, and calls have details that nobody gave. Both together,
for the same kind (an address, a sum, a day), are a substitution.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.lexicon import (
    DETERMINERS,
    PREPOSITIONS,
    SKIPPED,
    SUPERLATIVES,
)
from scaffold_monitors.entailment.measures import as_long, computes, relative
from scaffold_monitors.entailment.quantities import accounts, clocks, dates, number, numbers, ranges, undated
from scaffold_monitors.entailment.situation import LEAST_SUM
from scaffold_monitors.entailment.tables import records_of
from scaffold_monitors.entailment.telling import mistold
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import live, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf, Weight
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation

_SHOWN = 80
_MADE_UP = ", which is in neither the request nor any result"
_NUMBERED = re.compile(r"(?<!\w)([a-z]{3,}) (?:no\.? |number |#)?(\d{1,6}[a-z]?)(?![\w:@/%-]|[.,]\d)")
_SLIPS = frozenset(Decimal(10) ** power for power in (-3, -2, -1, 1, 2, 3))
# Units of which a hundred make the main unit.
_MINOR = frozenset({"cents", "cent", "pence", "minor", "ore"})
_PLAINLY = DETERMINERS | PREPOSITIONS | SKIPPED | SUPERLATIVES.keys()
_CHOSEN = ("place", "thing", "record", "principal")


def substituted(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find made-up values of a call that replace values of the request."""
    made_up = [
        leaf
        for leaf in call.leaves
        if not (leaf.origin.known or leaf.pending or isinstance(leaf.value, bool))
        if support(leaf, situation) == Support.MADE_UP
    ]
    if not made_up:
        return
    request, roles = situation.request, {leaf.role for leaf in made_up}
    if _said(request):
        yield from _addresses(call, made_up, situation)
    if shaped(request):
        yield from _identifiers(call, made_up, situation)
    if "amount" in roles:
        yield from _sums(call, made_up, situation)
        yield from _slipped(call, made_up, situation)
    if "time" in roles:
        yield from _days(call, made_up, situation)
        yield from _hours(call, made_up, situation)
    if not roles.isdisjoint(_CHOSEN):
        yield from _renumbered(call, made_up, situation)
        yield from _modified(call, made_up, situation)
    if "text" in roles and all(each.seen is not None for each in situation.calls if not each.tool.effect):
        yield from mistold(call, [leaf for leaf in made_up if leaf.role == "text"], dictating, situation)


def _replaced(call: Call, leaf: Leaf, strange: str, lost: str, weight: Weight = "revise") -> Finding:
    why = f"{leaf.path} contains {strange!r}{_MADE_UP}; no call uses the request's {lost!r}"
    return against(call, weight, why, f"{leaf.path} is not what the request says", leaf, lost)


def _addresses(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up addresses or accounts where one of the request is unused."""
    for leaf in made_up:
        for each in live(leaf.text):
            if stands_in(each, situation.request) or situation.was_read(each):
                continue
            lost = next(
                (said for said in _said(situation.request) if _alike(said, each) and _unused(said, situation)), ""
            )
            if lost:
                yield _replaced(call, leaf, each, lost, "block")
                return


@lru_cache(maxsize=256)
def _said(request: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(live(request)))


def unused_addresses(situation: Situation) -> list[str]:
    """Return the addresses and accounts of the request that no call uses."""
    return [each for each in _said(situation.request) if _unused(each, situation)]


def _alike(one: str, other: str) -> bool:
    return ("@" in one) == ("@" in other) and bool(accounts(one)) == bool(accounts(other))


def _unused(said: str, situation: Situation) -> bool:
    found = accounts(said.upper())
    return not stands_in(said, situation.values) and not (found and found & situation.accounts)


def _identifiers(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up identifiers where one of the request with the same shape is unused."""
    for leaf in made_up:
        if leaf.role in ("text", "amount", "time") or " " in leaf.text or situation.was_read(leaf.text):
            continue
        mine = shape_of(leaf.text)
        said = shaped(situation.request)
        lost = next((each for each in said if shape_of(each) == mine and _unused(each, situation)), "")
        if lost:
            yield _replaced(call, leaf, leaf.text, lost)
            return


@lru_cache(maxsize=256)
def shaped(request: str) -> tuple[str, ...]:
    """Return the identifiers and file names of a request that contain digits."""
    found = (token.norm for tokens in sentences(request) for token in tokens if token.kind in ("identifier", "file"))
    return tuple(each for each in found if "9" in shape_of(each))


@lru_cache(maxsize=4096)
def shape_of(text: str) -> str:
    """Replace runs of letters by `a` and of digits by `9`: `a-9` for `M-411`, `9.9.9` for a version."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", plain(text)))


def _sums(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up sums where one of the request is unused."""
    if computes(situation.request):
        return
    for leaf in made_up:
        value = number(leaf.value) if leaf.role == "amount" else None
        if value is None or abs(value) < LEAST_SUM or as_long(leaf, situation.request):
            continue
        if lost := situation.unused_sums(situation.request):
            said = ", ".join(map(str, sorted(lost)))
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}{_MADE_UP}; no call uses the request's {said}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return


def _days(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up days where one of the request is unused."""
    named = dates(situation.request)
    if not named or relative(situation.request):
        return
    lost = [day for day in named if not any(day.fits(other) for other in situation.days)]
    for leaf in made_up if lost else ():
        mine = dates(leaf.text) if leaf.role == "time" else ()
        if mine and not any(day.fits(other) for day in mine for other in named):
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}{_MADE_UP}; no call uses a day of the request"
            yield against(call, "revise", why, f"{leaf.path} is not one of the days that the request names", leaf)
            return


def _hours(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up hours where the request gives a range: "from 10 to 12"."""
    timed = [leaf for leaf in call.with_role("time") if clocks(leaf.text)]
    used = {at % 720 for leaf in timed for at in clocks(leaf.text)}
    for bounds in ranges(situation.request) if len(timed) > 1 else ():
        strange = [
            leaf for leaf in made_up if leaf in timed and not {at % 720 for at in clocks(leaf.text)} & set(bounds)
        ]
        if strange and not set(bounds) <= used:
            leaf = strange[0]
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, but the request gives a start and an end"
            yield against(call, "revise", why, f"{leaf.path} is not one of the hours that the request names", leaf)
            return


def _modified(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up names where the request names the thing before its kind: "the search service"."""
    for leaf in made_up:
        if leaf.role not in _CHOSEN or "[" in leaf.path or not plain(leaf.text).replace(" ", "").isalpha():
            continue
        lost = [word for word in _before(leaf.path, situation.request) if stem(word) not in situation.stems]
        if lost:
            yield _replaced(call, leaf, leaf.text, lost[0])
            return


def _renumbered(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up numbers of things: "shelf 9" where the request says "shelf 2"."""
    said = _numbers_of(situation.request)
    used = _numbers_of(situation.values)
    for leaf in made_up if said else ():
        for word, mine in _numbers_of(leaf.text).items() if leaf.role in _CHOSEN else ():
            lost = said.get(word, frozenset()) - used.get(word, frozenset())
            if lost and not mine & said[word]:
                yield _replaced(call, leaf, f"{word} {min(mine)}", f"{word} {min(lost)}")
                return


@lru_cache(maxsize=256)
def _numbers_of(text: str) -> dict[str, frozenset[str]]:
    """Return the numbers that follow each word of a text: "shelf 2"."""
    found: dict[str, set[str]] = {}
    for word, digits in _NUMBERED.findall(plain(text)):
        found.setdefault(word, set()).add(digits)
    return {word: frozenset(each) for word, each in found.items() if word not in _PLAINLY}


@lru_cache(maxsize=1024)
def _before(path: str, request: str) -> tuple[str, ...]:
    """Return the words right before an argument's name in a request: "the search service"."""
    names = frozenset(map(stem, split(path)[-1:]))
    found = []
    for tokens in sentences(request):
        for first, one, noun in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if noun.stem in names and one.kind == "word" and one.norm not in _PLAINLY and first.norm in DETERMINERS:
                found.append(one.norm)
    return tuple(found)


def _slipped(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find made-up amounts that differ from a sum of the request, or of the target's record, by a power of ten."""
    if computes(situation.request):
        return
    said = situation.unused_sums(situation.request)
    records = (record for leaf in call.with_role("record") for record in records_of(leaf, situation))
    cells = {number(cell) for record in records for cell in record.values()}
    for leaf in made_up:
        value = number(leaf.value) if leaf.role == "amount" and not _MINOR & set(split(leaf.path)) else None
        if value is None or any(value in numbers(told) for told in situation.told) or _is_product(value, situation):
            continue
        slipped = [each for each in said | cells - {None} if each and value / each in _SLIPS]
        if slipped:
            why = f"{leaf.path} is {leaf.text}{_MADE_UP}; {min(slipped)} is"
            yield against(call, "revise", why, f"{leaf.path} is not the sum that the request or its record says", leaf)
            return


def _is_product(value: Decimal, situation: Situation) -> bool:
    """Whether it is the product of two numbers of the request: "five packs of ten"."""
    said = [each for each in numbers(undated(situation.request)) if each > 1]
    return any(one * other == value for one in said for other in said)

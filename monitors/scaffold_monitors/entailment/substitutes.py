"""Substitution: what the request says is used nowhere in the plan, and in its place stands what nobody said.

Either alone is common: a request tells more than a call needs, and a call has details that nobody gave. Both together,
of one kind (an address, a sum, a day, a number in a text), is one put in the place of the other.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.lexicon import (
    COPULAS,
    DETERMINERS,
    HOLLOW,
    MODALS,
    PREPOSITIONS,
    SKIPPED,
    SUBJECTS,
    SUPERLATIVES,
)
from scaffold_monitors.entailment.measures import as_long, computes, money, relative
from scaffold_monitors.entailment.quantities import accounts, clocks, dates, number, numbers, ranges, undated
from scaffold_monitors.entailment.tables import records_of
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import live, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem, stems, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf, Situation, Weight
    from scaffold_monitors.entailment.clauses import Clause

# What is counted, or left as it is, is put in nothing's place.
_LEAST = 2
_SHOWN = 80
_NUMBERED = re.compile(r"(?<!\w)([a-z]{3,}) (?:no\.? |number |#)?(\d{1,6}[a-z]?)(?![\w:@/%-]|[.,]\d)")
_LONG_NUMBER = re.compile(r"(?<![\w.,+])\d(?:[ -]?\d){7,}(?![\w.,]?\d)")
_SLIPS = frozenset(Decimal(10) ** power for power in (-3, -2, -1, 1, 2, 3))
# Sums in these are a hundred times as much.
_MINOR = frozenset({"cents", "cent", "pence", "minor", "ore"})
_REPORTING = re.compile(
    rf"\b(?:that(?= (?:{'|'.join(sorted(DETERMINERS | SUBJECTS))})\b)|whether|saying) (.+)$|: (.+)$"
)
_SAYING = stems("report write tell say reply answer comment inform ask remind announce notify warn mention")
# Fewer words can be put into others.
_TELLING = 3
_PLAINLY = DETERMINERS | PREPOSITIONS | SKIPPED | SUPERLATIVES.keys()
_CHOSEN = ("place", "thing", "record", "principal")


def substituted(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """What stands against the values of a call that stand nowhere."""
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
        yield from _told(call, made_up, dictating, situation)
        yield from _coded(call, made_up, situation)
        yield from _unsaid(call, made_up, dictating)


def _replaced(call: Call, leaf: Leaf, strange: str, lost: str, weight: Weight = "revise") -> Finding:
    why = f"{leaf.path} has {strange!r}, which stands nowhere, and no call uses the request's {lost!r}"
    return against(call, weight, why, f"{leaf.path} is not what the request says", leaf, lost)


def _addresses(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """An address or account that the request says does not give way to one that stands nowhere."""
    for leaf in made_up:
        for each in live(leaf.text):
            if stands_in(each, situation.request) or _was_read(each, situation):
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
    """The addresses and accounts of the request that no call is made with."""
    return [each for each in _said(situation.request) if _unused(each, situation)]


def _alike(one: str, other: str) -> bool:
    return ("@" in one) == ("@" in other) and bool(accounts(one)) == bool(accounts(other))


def _unused(said: str, situation: Situation) -> bool:
    found = accounts(said.upper())
    return not stands_in(said, situation.values) and not (found and found & situation.accounts)


def _identifiers(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """An identifier that the request says does not give way to one of its shape that stands nowhere."""
    for leaf in made_up:
        if leaf.role in ("text", "amount", "time") or " " in leaf.text or _was_read(leaf.text, situation):
            continue
        mine = shape_of(leaf.text)
        said = shaped(situation.request)
        lost = next((each for each in said if shape_of(each) == mine and _unused(each, situation)), "")
        if lost:
            yield _replaced(call, leaf, leaf.text, lost)
            return


@lru_cache(maxsize=256)
def shaped(request: str) -> tuple[str, ...]:
    """The identifiers of a request that have a shape of their own: digits in groups, or digits and more."""
    found = (token.norm for tokens in sentences(request) for token in tokens if token.kind in ("identifier", "file"))
    return tuple(each for each in found if "9" in shape_of(each))


@lru_cache(maxsize=4096)
def shape_of(text: str) -> str:
    """Letters and digits by their kind alone: `m-9` for `M-411`, `9.9.9` for a version."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", plain(text)))


def _was_read(text: str, situation: Situation) -> bool:
    return any(plain(text) in told for told in situation.told)


def _left(request: str, situation: Situation) -> frozenset[Decimal]:
    """The sums of a request that no call uses."""
    return frozenset(each for each in numbers(undated(request)) if each >= _LEAST and each not in situation.sums)


def _sums(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """A sum that the request says does not give way to one that stands nowhere."""
    if computes(situation.request):
        return
    known = numbers(undated(situation.request))
    for leaf in made_up:
        value = number(leaf.value) if leaf.role == "amount" else None
        if value is None or abs(value) < _LEAST or as_long(leaf, known, situation.request):
            continue
        if lost := _left(situation.request, situation):
            said = ", ".join(map(str, sorted(lost)))
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, which stands nowhere, and no call uses the request's {said}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return


def _days(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """A day that the request says does not give way to one that stands nowhere."""
    named = dates(situation.request)
    if not named or relative(situation.request):
        return
    lost = [day for day in named if not any(day.fits(other) for other in situation.days)]
    for leaf in made_up if lost else ():
        mine = dates(leaf.text) if leaf.role == "time" else ()
        if mine and not any(day.fits(other) for day in mine for other in named):
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, which stands nowhere, and a day of the request is not used"
            yield against(call, "revise", why, f"{leaf.path} is none of the days that the request names", leaf)
            return


def _hours(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """What is to be "from 10 to 12" begins and ends then."""
    timed = [leaf for leaf in call.with_role("time") if clocks(leaf.text)]
    used = {at % 720 for leaf in timed for at in clocks(leaf.text)}
    for bounds in ranges(situation.request) if len(timed) > 1 else ():
        strange = [
            leaf for leaf in made_up if leaf in timed and not {at % 720 for at in clocks(leaf.text)} & set(bounds)
        ]
        if strange and not set(bounds) <= used:
            leaf = strange[0]
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, and the request says from when to when"
            yield against(call, "revise", why, f"{leaf.path} is none of the hours that the request names", leaf)
            return


def _modified(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Of "the search service" the service is search, and nothing that stands nowhere."""
    for leaf in made_up:
        if leaf.role not in _CHOSEN or "[" in leaf.path or not plain(leaf.text).replace(" ", "").isalpha():
            continue
        lost = [word for word in _before(leaf.path, situation.request) if stem(word) not in situation.stems]
        if lost:
            yield _replaced(call, leaf, leaf.text, lost[0])
            return


def _renumbered(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """What goes to "shelf 2" goes to no shelf 9 that stands nowhere."""
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
    """The numbers that stand behind each word of a text: "shelf 2"."""
    found: dict[str, set[str]] = {}
    for word, digits in _NUMBERED.findall(plain(text)):
        found.setdefault(word, set()).add(digits)
    return {word: frozenset(each) for word, each in found.items() if word not in _PLAINLY}


@lru_cache(maxsize=1024)
def _before(path: str, request: str) -> tuple[str, ...]:
    """The words right before a word of an argument's name: "the search service"."""
    names = frozenset(map(stem, split(path)[-1:]))
    found = []
    for tokens in sentences(request):
        for first, one, noun in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if noun.stem in names and one.kind == "word" and one.norm not in _PLAINLY and first.norm in DETERMINERS:
                found.append(one.norm)
    return tuple(found)


def _told(call: Call, made_up: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """A number or day that is to be told does not give way to one that stands nowhere."""
    if len(dictating) != 1 or computes(situation.request):
        return
    yield from _told_days(call, made_up, dictating[0], situation)
    lost = _left(dictating[0].text, situation)
    known = numbers(situation.request)
    for leaf in made_up if lost else ():
        if leaf.role != "text":
            continue
        strange = [each for each in re.findall(r"\d+(?:[.,]\d+)*", leaf.text) if not _is_known(each, known, situation)]
        if strange and not dates(leaf.text):
            said = ", ".join(map(str, sorted(lost)))
            why = f"{leaf.path} tells {strange[0]}, which stands nowhere, and not {said}, which the request says"
            yield against(call, "revise", why, f"{leaf.path} does not tell what the request says", leaf, strange[0])
            return


def _told_days(call: Call, made_up: Sequence[Leaf], clause: Clause, situation: Situation) -> Iterator[Finding]:
    named = () if relative(situation.request) else dates(clause.text)
    for leaf in made_up if named else ():
        mine = dates(leaf.text) if leaf.role == "text" else ()
        if mine and not any(day.fits(other) for day in mine for other in (*dates(situation.request), *situation.days)):
            why = f"{leaf.path} tells of a day that stands nowhere, and not of the one that the request says"
            yield against(call, "revise", why, f"{leaf.path} does not tell what the request says", leaf)
            return


def _coded(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """A text tells no long number and promises no money that stands nowhere: nobody gave it to be told."""
    for leaf in made_up:
        for code in _LONG_NUMBER.findall(undated(leaf.text)) if leaf.role == "text" else ():
            digits = re.sub(r"\D", "", code)
            if not any(digits in re.sub(r"[ -]", "", told) for told in (plain(situation.request), *situation.told)):
                yield _given_by_nobody(call, leaf, code)
                return
        for value in money(leaf.text) if leaf.role == "text" and not computes(situation.request) else ():
            if not any(value in numbers(told) for told in (situation.request, *situation.told)):
                yield _given_by_nobody(call, leaf, str(value))
                return


def _given_by_nobody(call: Call, leaf: Leaf, told: str) -> Finding:
    why = f"{leaf.path} tells {told}, which stands in neither the request nor anything that was read"
    return against(call, "revise", why, f"{leaf.path} tells a number that nobody gave", leaf, told)


def _slipped(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """A sum is not ten or a hundred times what the request says, or what the record says that it is about."""
    if computes(situation.request):
        return
    said = {each for each in numbers(undated(situation.request)) if each >= _LEAST and each not in situation.sums}
    records = (record for leaf in call.with_role("record") for record in records_of(leaf, situation))
    cells = {number(cell) for record in records for cell in record.values()}
    for leaf in made_up:
        value = number(leaf.value) if leaf.role == "amount" and not _MINOR & set(split(leaf.path)) else None
        if value is None or any(value in numbers(told) for told in situation.told) or _is_product(value, situation):
            continue
        slipped = [each for each in said | cells - {None} if each and value / each in _SLIPS]
        if slipped:
            why = f"{leaf.path} is {leaf.text}, which stands nowhere, and {min(slipped)} does"
            yield against(call, "revise", why, f"{leaf.path} is not the sum that the request or its record says", leaf)
            return


def _is_product(value: Decimal, situation: Situation) -> bool:
    """Whether it is two numbers of the request multiplied: "five packs of ten"."""
    said = [each for each in numbers(undated(situation.request)) if each > 1]
    return any(one * other == value for one in said for other in said)


def _unsaid(call: Call, made_up: Sequence[Leaf], dictating: Sequence[Clause]) -> Iterator[Finding]:
    """A text that is to say something says some of it: "write that the technician comes at eight"."""
    if len(dictating) != 1 or dictating[0].verb not in _SAYING or not (reported := _reported(dictating[0].text)):
        return
    texts = [leaf for leaf in made_up if leaf.role == "text"]
    if not texts or len(texts) != len(list(call.with_role("text"))):
        return
    said = {stem(word) for leaf in texts for word in words(leaf.text)}
    # In another language nothing can be told.
    if (HOLLOW & said or len(said) < _TELLING) and not reported & said:
        leaf = max(texts, key=lambda each: len(each.text))
        why = f"{leaf.path} says nothing of what the request has it say: {', '.join(sorted(reported))}"
        yield against(call, "revise", why, f"{leaf.path} does not say what the request says", leaf)


@lru_cache(maxsize=256)
def _reported(clause: str) -> frozenset[str]:
    """The telling words, uninflected, of what is to be said; too few of them can be said otherwise."""
    said = _REPORTING.search(plain(clause))
    telling = {stem(word) for word in words(said[1] or said[2])} if said else set()
    telling -= {stem(word) for word in HOLLOW | MODALS | COPULAS | SUBJECTS | DETERMINERS | PREPOSITIONS | SKIPPED}
    return frozenset(telling) if len(telling) >= _TELLING else frozenset()


def _is_known(digits: str, known: frozenset[Decimal], situation: Situation) -> bool:
    return number(digits) in known or digits in words(situation.request) or _was_read(digits, situation)

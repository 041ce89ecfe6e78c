"""Substitution: what the request says is used nowhere in the plan, and in its place stands what nobody said.

Either alone is common: a request tells more than a call needs, and a call has details that nobody gave. Both together,
of one kind (an address, a sum, a day, a number in a text), is one put in the place of the other.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.lexicon import DETERMINERS, PREPOSITIONS, SKIPPED, SUPERLATIVES
from scaffold_monitors.entailment.measures import as_long, computes, relative
from scaffold_monitors.entailment.quantities import accounts, dates, number, numbers, undated
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import live, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf, Situation
    from scaffold_monitors.entailment.clauses import Clause

# What is counted, or left as it is, is put in nothing's place.
_LEAST = 2
_SHOWN = 80
_PLAINLY = DETERMINERS | PREPOSITIONS | SKIPPED | SUPERLATIVES.keys()
_CHOSEN = ("place", "thing", "record", "principal")


def substituted(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """What stands against the values of a call that stand nowhere."""
    made_up = [
        leaf
        for leaf in call.leaves
        if not (leaf.pending or isinstance(leaf.value, bool)) and support(leaf, situation) == Support.MADE_UP
    ]
    if not made_up:
        return
    yield from _addresses(call, made_up, situation)
    yield from _sums(call, made_up, situation)
    yield from _days(call, made_up, situation)
    yield from _modified(call, made_up, situation)
    if all(each.seen is not None for each in situation.calls if not each.tool.effect):
        yield from _told(call, made_up, dictating, situation)


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
                why = f"{leaf.path} has {each!r}, which stands nowhere, and no call uses the request's {lost!r}"
                yield against(call, "block", why, f"{leaf.path} is not what the request says", leaf, lost)
                return


@lru_cache(maxsize=256)
def _said(request: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(live(request)))


def _alike(one: str, other: str) -> bool:
    return ("@" in one) == ("@" in other) and bool(accounts(one)) == bool(accounts(other))


def _unused(said: str, situation: Situation) -> bool:
    found = accounts(said.upper())
    return plain(said) not in situation.values and not (found and found & situation.accounts)


def _was_read(text: str, situation: Situation) -> bool:
    return any(plain(text) in told for told in situation.told)


def _left(request: str, situation: Situation) -> frozenset[Decimal]:
    """The sums of a request that no call uses."""
    used = {number(leaf.value) for each in situation.calls for leaf in each.leaves} | numbers(situation.values)
    return frozenset(each for each in numbers(undated(request)) if each >= _LEAST and each not in used)


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
    used = [day for each in situation.calls for leaf in each.with_role("time") for day in dates(leaf.text)]
    lost = [day for day in named if not any(day.fits(other) for other in used)]
    for leaf in made_up if lost else ():
        mine = dates(leaf.text) if leaf.role == "time" else ()
        if mine and not any(day.fits(other) for day in mine for other in named):
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, which stands nowhere, and a day of the request is not used"
            yield against(call, "revise", why, f"{leaf.path} is none of the days that the request names", leaf)
            return


def _modified(call: Call, made_up: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Of "the search service" the service is search, and nothing that stands nowhere."""
    for leaf in made_up:
        if leaf.role not in _CHOSEN or "[" in leaf.path or not plain(leaf.text).isalpha():
            continue
        lost = [word for word in _before(leaf.path, situation.request) if stem(word) not in situation.stems]
        if lost:
            why = f"{leaf.path} is {leaf.text!r}, which stands nowhere, and no call uses the request's {lost[0]!r}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf, lost[0])
            return


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
    """A number that is to be told does not give way to one that stands nowhere."""
    if len(dictating) != 1 or computes(situation.request):
        return
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


def _is_known(digits: str, known: frozenset[Decimal], situation: Situation) -> bool:
    return number(digits) in known or digits in words(situation.request) or _was_read(digits, situation)

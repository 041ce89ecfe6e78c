"""Checks that composed texts say what the request wants said, without made-up figures.

A text may paraphrase the request, but must not change its numbers or days, nor contain a code or a sum of money that
nobody gave.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.lexicon import (
    COPULAS,
    DETERMINERS,
    HOLLOW,
    MODALS,
    PREPOSITIONS,
    SKIPPED,
    SUBJECTS,
    THINGS,
)
from scaffold_monitors.entailment.measures import computes, money, relative
from scaffold_monitors.entailment.quantities import dates, number, numbers, undated
from scaffold_monitors.entailment.wording import plain, stem, stems, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation

_LONG_NUMBER = re.compile(r"(?<![\w.,+])\d(?:[ -]?\d){7,}(?![\w.,]?\d)")
_REPORTING = re.compile(
    rf"\b(?:that(?= (?:{'|'.join(sorted(DETERMINERS | SUBJECTS))})\b)|whether|saying) (.+)$|: (.+)$"
)
_SAYING = stems("report write tell say reply answer comment inform ask remind announce notify warn mention")
# Fewer words may all be paraphrased.
_TELLING = 3


def mistold(call: Call, texts: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find composed texts of a call that do not say what they should, or contain made-up figures."""
    yield from _told(call, texts, dictating, situation)
    yield from _coded(call, texts, dictating, situation)
    yield from _unsaid(call, texts, dictating)


def _told(call: Call, texts: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find made-up numbers or days in texts where one that the clause wants told is missing."""
    if len(dictating) != 1 or computes(situation.request):
        return
    yield from _told_days(call, texts, dictating[0], situation)
    lost = situation.unused_sums(dictating[0].text)
    known = numbers(situation.request)
    for leaf in texts if lost else ():
        strange = [each for each in re.findall(r"\d+(?:[.,]\d+)*", leaf.text) if not _is_known(each, known, situation)]
        if strange and not dates(leaf.text):
            said = ", ".join(map(str, sorted(lost)))
            why = f"{leaf.path} says {strange[0]}, which is in neither the request nor any result, and not {said}"
            yield against(call, "revise", why, f"{leaf.path} does not say what the request says", leaf, strange[0])
            return


def _told_days(call: Call, texts: Sequence[Leaf], clause: Clause, situation: Situation) -> Iterator[Finding]:
    if relative(situation.request) or not dates(clause.text):
        return
    known = [*situation.days, *(day for told in (situation.request, *situation.told) for day in dates(told))]
    for leaf in texts:
        mine = dates(leaf.text)
        if mine and not any(day.fits(other) for day in mine for other in known):
            why = f"{leaf.path} says a day that is in neither the request nor any result; the request's is missing"
            yield against(call, "revise", why, f"{leaf.path} does not say what the request says", leaf)
            return


def _coded(call: Call, texts: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find long numbers and sums of money in texts that occur in nothing read.

    Where the request says what to tell and names no money, sums that were read count as well.
    """
    reported = _reported(dictating[0].text) if len(dictating) == 1 else frozenset()
    dictated = reported and not any("money" in THINGS.get(each, ()) for each in reported)
    read = () if dictated else situation.told
    for leaf in texts:
        for code in _LONG_NUMBER.findall(undated(leaf.text)):
            digits = re.sub(r"\D", "", code)
            if not any(digits in re.sub(r"[ -]", "", told) for told in (plain(situation.request), *situation.told)):
                yield _given_by_nobody(call, leaf, code)
                return
        for value in money(leaf.text) if not computes(situation.request) else ():
            if not any(value in numbers(told) for told in (situation.request, *read)):
                yield _given_by_nobody(call, leaf, str(value))
                return


def _given_by_nobody(call: Call, leaf: Leaf, told: str) -> Finding:
    why = f"{leaf.path} says {told}, which is in neither the request nor any result"
    return against(call, "revise", why, f"{leaf.path} has a number without a source", leaf, told)


def _unsaid(call: Call, texts: Sequence[Leaf], dictating: Sequence[Clause]) -> Iterator[Finding]:
    """Find texts with no word of what they should say: "write that the technician comes at eight"."""
    if len(dictating) != 1 or dictating[0].verb not in _SAYING or not (reported := _reported(dictating[0].text)):
        return
    if not texts or len(texts) != len(list(call.with_role("text"))):
        return
    said = {stem(word) for leaf in texts for word in words(leaf.text)}
    # A text without English function words may be in another language, where words cannot be compared.
    if (HOLLOW & said or len(said) < _TELLING) and not reported & said:
        leaf = max(texts, key=lambda each: len(each.text))
        why = f"{leaf.path} says nothing of what the request tells it to say: {', '.join(sorted(reported))}"
        yield against(call, "revise", why, f"{leaf.path} does not say what the request says", leaf)


@lru_cache(maxsize=256)
def _reported(clause: str) -> frozenset[str]:
    """Return the stems of the content words to be said; none if they are so few that all may be paraphrased."""
    said = _REPORTING.search(plain(clause))
    telling = {stem(word) for word in words(said[1] or said[2])} if said else set()
    telling -= {stem(word) for word in HOLLOW | MODALS | COPULAS | SUBJECTS | DETERMINERS | PREPOSITIONS | SKIPPED}
    return frozenset(telling) if len(telling) >= _TELLING else frozenset()


def _is_known(digits: str, known: frozenset[Decimal], situation: Situation) -> bool:
    return number(digits) in known or digits in words(situation.request) or situation.was_read(digits)

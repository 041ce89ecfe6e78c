"""Checks targets that the request describes ("the cheapest hotel", "Sam's mail about the lease") against records read.

A target taken from one of several similar records must be the best match for the description: no other record may match
all that it matches and more, or be more extreme where the words name an extreme.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import Finding
from scaffold_monitors.entailment.clauses import MANY, clauses
from scaffold_monitors.entailment.comparisons import bounding
from scaffold_monitors.entailment.facts import fields
from scaffold_monitors.entailment.lexicon import (
    ACTS,
    COLUMNS,
    COMPARING,
    DETERMINERS,
    HOLLOW,
    PREPOSITIONS,
    SKIPPED,
    SUPERLATIVES,
    THINGS,
    TITLES,
)
from scaffold_monitors.entailment.negation import spared
from scaffold_monitors.entailment.quantities import SMALL, clocks, dates, number, numbers, undated
from scaffold_monitors.entailment.stated import asked_for
from scaffold_monitors.entailment.tables import LONGEST, beside, tables
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import plain, stem, words

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from scaffold_monitors.entailment.calls import Call, Leaf
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation
    from scaffold_monitors.entailment.tables import Beside, Record
    from scaffold_monitors.entailment.tools import Role

# Smaller numbers occur in many records.
_TELLING = 10
# Comparisons only if a number follows.
_PARTICLES = frozenset({"over", "under", "above", "below"})
_WRITTEN = frozenset({"email", "message", "post", "web", "channel"})
# Most words of a name.
_LONGEST_NAME = 4


def judge(call: Call, dictating: Sequence[Clause], before: Sequence[Call], situation: Situation) -> Iterator[Finding]:
    """Find targets taken from records that do not match the request's description best."""
    if not dictating:
        return
    described: tuple[Role, ...] = ("record", "principal", "place", "thing")
    carried = {number(leaf.value) for leaf in call.with_role("amount", "thing")}  # "up to 80" is no count of records
    if any((clause.uncounted if clause.counted in carried else clause.most) > 1 for clause in dictating):
        yield from _not_among(call, dictating, situation)
        # "Room 509, from 12 June" licenses several calls by its numbers; the only one there is has to fit all the same.
        alone = sum(each.tool is call.tool for each in situation.calls) == 1
        numbered = alone and all(clause.most < MANY for clause in dictating)
        if not numbered and not all(clause.one for clause in dictating):
            return
        described = ("record",)  # "send the draft to the members": one draft
    read = [table.records for each in before for table in tables(each.seen)]
    named = _by_name(before)
    for leaf in call.leaves:
        if leaf.role not in described or asked_for(leaf, situation.request):
            continue
        if leaf.role == "thing" and leaf.argument != call.tool.main and not _is_a_column(leaf, read):
            continue
        beside = [each for each in call.leaves if each.path != leaf.path and each.role == leaf.role]
        for table in [*read, *([list(named.values())] if named else [])]:
            mine = [record for record in table if _holds(record, leaf)]
            others = [record for record in table if not _holds(record, leaf)]
            if mine and others and (reason := _misdescribed(mine, others, call, dictating, situation, beside)):
                yield Finding(
                    call.id,
                    "revise",
                    f"{leaf.path} = {leaf.text!r}: {reason}",
                    f"{leaf.path} is not the one that the request describes",
                    leaf.path,
                    leaf.text,
                )
                return


def _not_among(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find targets without the name or sum that the request says ("all of Dietz's bookings"), where others have it."""
    counted, hours = {clause.counted for clause in dictating}, {at // 60 for at in clocks(situation.request)}
    sums = {each for clause in dictating for each in numbers(undated(clause.text)) if each >= _TELLING}
    sums -= hours | counted | bounding(situation.request)
    names = (_names(situation.request) | set(map(str, sums))) - spared(situation.request)
    for leaf in call.leaves if names else ():
        main = leaf.role in ("place", "thing") and leaf.argument == call.tool.main
        if not (main or leaf.role in ("record", "principal")) or leaf.pending or asked_for(leaf, situation.request):
            continue
        for each in leaf.origin.reads:
            told: Beside = beside(situation.by_id[each].seen if each in situation.by_id else None)
            mine, lost = told.cell.get(leaf.text), told.anywhere & names
            if lost and mine is not None and not mine & names:
                why = f"{leaf.path} = {leaf.text!r}: other records have {', '.join(sorted(lost))}, as the request says"
                advice = f"{leaf.path} is not one of those that the request describes"
                yield Finding(call.id, "revise", why, advice, leaf.path, leaf.text)
                return


def belongs(leaf: Leaf, read: Call, request: str) -> bool:
    """Whether each record that holds a value also has a cell with a name from the request.

    Mail, messages and the like do not count, since their writers choose what they say.
    """
    if read.tool.things & _WRITTEN:
        return False
    names = _names(request)
    holding = [record for table in tables(read.seen) for record in table.holding.get(leaf.text, ())] if names else []
    return bool(holding) and all(any(_is_name(cell, names) for cell in record.values()) for record in holding)


def _is_name(cell: str, names: AbstractSet[str]) -> bool:
    """Whether a cell holds only names."""
    said = [stem(word) for word in words(cell) if word not in TITLES]
    return 0 < len(said) <= _LONGEST_NAME and all(word in names for word in said)


@lru_cache(maxsize=256)
def _names(request: str) -> frozenset[str]:
    """Return the stems of the names in a request: words capitalised in the middle of a sentence."""
    return frozenset(
        name
        for tokens in sentences(request)
        for place, token in enumerate(tokens)
        for name in (token.stem, stem(token.norm.removesuffix("s")))  # "the Kowalskis"
        if token.named and (place or token.stem not in ACTS) and token.norm not in TITLES
        if token.stem not in THINGS and token.norm not in HOLLOW
        if not (token.norm.endswith("day") or dates(f"{token.norm} 1"))
    )


def _is_a_column(leaf: Leaf, read: Sequence[Sequence[Record]]) -> bool:
    """Whether a value was read, and records have a field with the name of its argument."""
    return bool(leaf.origin.reads) and any(leaf.path in table[0] for table in read)


def _by_name(before: Sequence[Call]) -> dict[str, Record]:
    """Merge results of several calls that are keyed by the same names: `{"Grand": "Rating: 4.2"}`."""
    found: dict[str, Record] = {}
    for call in before:
        if not isinstance(call.seen, Mapping):
            continue
        for name, told in call.seen.items():
            record = found.setdefault(str(name), {"name": str(name)})
            for path, value in fields(told):
                for line in str(value).split("\n"):
                    label, _, rest = line.partition(":")
                    column = label.strip().lower() if rest else path.strip("/") or " ".join(sorted(call.tool.stems))
                    record.setdefault(column, (rest or line).strip())
    return found if len(found) > 1 else {}


def _holds(record: Record, leaf: Leaf) -> bool:
    text, value = plain(leaf.text).strip(), number(leaf.value)
    return any(
        plain(cell).strip() == text or (value is not None and number(cell) == value and leaf.role == "record")
        for cell in record.values()
    )


def _misdescribed(
    mine: list[Record],
    others: list[Record],
    call: Call,
    dictating: Sequence[Clause],
    situation: Situation,
    beside: Sequence[Leaf],
) -> str:
    # "From the current account to savings": a record that another argument refers to is no candidate for this one.
    others = [record for record in others if not any(_holds(record, each) for each in beside)]
    if not others:
        return ""
    if reason := _not_extreme(mine, others, situation):
        return reason
    own = {word for leaf in call.leaves if leaf.role != "text" for word in words(leaf.text)}
    wanted = {
        word
        for clause in dictating
        for word in words(clause.text)
        if is_telling(word, situation.request) and word not in own and stem(word) not in call.tool.stems
    }
    if all(clause.most <= 1 for clause in dictating) and not any(
        _matches(record, wanted, set()) for record in (*mine, *others)
    ):
        # "The gym has raised its fee. Adjust the order": the description is outside the clause.
        wanted = {word for word in words(situation.request) if is_telling(word, situation.request) and word not in own}
        if not any(_matches(record, wanted, set()) for record in (*mine, *others)):
            wanted = _elsewhere(dictating, situation.request) - own - call.tool.stems
    hours = {Decimal(at // 60) for at in clocks(situation.request)}
    amounts = {value for clause in dictating for each in clause.literals for value in numbers(each.text)} - hours
    here = max((_matches(record, wanted, amounts) for record in mine), key=len)
    for record in others:
        there = _matches(record, wanted, amounts)
        if here < there:
            return f"another record also has {', '.join(sorted(there - here))}"
    return ""


def _elsewhere(dictating: Sequence[Clause], request: str) -> set[str]:
    """Return words for kinds of thing in a request outside some clauses: "my rent goes up. Adjust the order"."""
    here = {word for clause in dictating for word in words(clause.text)}
    return {word for word in words(request) if stem(word) in THINGS and word not in here}


def is_telling(word: str, request: str) -> bool:
    """Whether a word can tell records apart: no function word, verb of the request, kind of thing or number."""
    small = word.isdigit() or word in HOLLOW | SKIPPED | PREPOSITIONS | DETERMINERS
    return not (small or stem(word) in THINGS or word in _done(request))


@lru_cache(maxsize=256)
def _done(request: str) -> frozenset[str]:
    """Return the words that a request uses as verbs; in "the checkout service", "checkout" is a name."""
    done = {each.verb for each in clauses(request)}
    return frozenset(word for word in words(request) if stem(word) in done)


def _matches(record: Record, wanted: set[str], amounts: set[Decimal]) -> frozenset[str]:
    """Return the words and numbers of a description that a record contains."""
    said = {stem(word) for cell in record.values() if len(cell) < LONGEST for word in words(cell)}
    values = {number(cell) for cell in record.values()}
    return frozenset(word for word in wanted if stem(word) in said) | {str(each) for each in amounts if each in values}


def _not_extreme(mine: list[Record], others: list[Record], situation: Situation) -> str:
    said = words(situation.request)
    wanted = {SUPERLATIVES[word] for word in said if word in SUPERLATIVES}
    if len(wanted) != 1 or _compares(situation.request):
        return ""
    group, highest = next(iter(wanted))
    columns = COLUMNS[group] | {each for names in COLUMNS.values() if names & set(said) for each in names}
    for column in mine[0]:
        if not set(split(column)) & columns:
            continue
        here = [value for record in mine if (value := _measure(record.get(column, ""))) is not None]
        there = [value for record in others if (value := _measure(record.get(column, ""))) is not None]
        if here and there and ((highest and max(there) > max(here)) or (not highest and min(there) < min(here))):
            return f"another record has a {'higher' if highest else 'lower'} {column}"
    return ""


@lru_cache(maxsize=256)
def _compares(request: str) -> bool:
    """Whether a request restricts the records compared by an extreme, as by "over 50"; "over to them" does not."""
    said = words(request)
    return any(
        word not in _PARTICLES or any(each in SMALL or each[0].isdigit() for each in said[place + 1 : place + 4])
        for place, word in enumerate(said)
        if word in COMPARING
    )


def _measure(cell: str) -> Decimal | None:
    day = next(iter(dates(cell)), None)
    if day is not None:
        clock = re.search(r"(\d{1,2}):(\d{2})", cell)
        minutes = int(clock[1]) * 60 + int(clock[2]) if clock else 0
        return Decimal(((day.year * 12 + day.month) * 31 + day.day) * 1440 + minutes)
    value = number(cell)
    return value if value is not None else min(numbers(cell), default=None)

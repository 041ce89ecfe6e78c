"""Checks that chosen records meet the request's conditions: "older than 2024", "over 100 euros", "the unpaid ones".

A condition is compared with a record's fields: days, numbers, booleans, and words that fill a whole cell. A target from
a record that breaks a condition is an objection.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.comparisons import Bound, bounds_of
from scaffold_monitors.entailment.lexicon import COLUMNS
from scaffold_monitors.entailment.negation import is_denied, is_negated, spared
from scaffold_monitors.entailment.quantities import Date, dates, number
from scaffold_monitors.entailment.records import is_telling
from scaffold_monitors.entailment.stated import asked_for
from scaffold_monitors.entailment.tables import tables
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import plain, runs_in, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation
    from scaffold_monitors.entailment.tables import Record, Table
_YES, _NO = frozenset({"yes", "true"}), frozenset({"no", "false"})
# Words of a column's name that carry no meaning.
_PLAINLY = frozenset({"is", "was", "has", "been", "be"})
_REVERSING = ("un", "non", "in", "dis")


def unmet(call: Call, dictating: Sequence[Clause], before: Sequence[Call], situation: Situation) -> Iterator[Finding]:
    """Find targets of a call whose records break a condition of the request."""
    for leaf in call.leaves:
        main = leaf.role in ("place", "thing") and leaf.argument == call.tool.main
        if not (main or leaf.role in ("record", "principal")) or leaf.pending or asked_for(leaf, situation.request):
            continue
        for table in (table for each in before for table in tables(each.seen)):
            mine = table.holding.get(leaf.text, ())
            reasons = [_broken(mine, table, leaf, call, clause, situation.request) for clause in dictating if mine]
            if reasons and all(reasons):
                why = f"{leaf.path} = {leaf.text!r}: {reasons[0]}"
                advice = f"{leaf.path} is not one of those that the request describes"
                yield against(call, "revise", why, advice, leaf)
                return


def _broken(mine: Sequence[Record], table: Table, leaf: Leaf, call: Call, clause: Clause, request: str) -> str:
    """Describe the condition of a clause that the records break; empty if some record meets all of them."""
    found = ""
    for record in mine:
        found = (
            _beyond(record, table, leaf, call, clause)
            or _flagged(record, clause)
            or _of_another_kind(record, table, leaf, call, clause, request)
        )
        if not found:
            return ""
    return found


def _beyond(record: Record, table: Table, leaf: Leaf, call: Call, clause: Clause) -> str:
    """Describe a day or number of a record that lies outside the clause's bounds."""
    for said in bounds_of(clause.about):
        bound = _in_a_year(said, table.latest)
        if _is_taken(bound, call):
            continue
        compared = {
            column: value
            for column, cell in record.items()
            if cell != leaf.text and (value := _measured(cell, bound)) is not None
        }
        named = {column for column in compared if set(map(stem, split(column))) & clause.stems}
        if bound.money:
            named = {column for column in compared if set(split(column)) & COLUMNS["price"]}
        judged = [value for column, value in compared.items() if column in named or not (named or bound.money)]
        if judged and not any(bound.fits(value) for value in judged):
            return f"the request says {bound.said!r}, but its record has {', '.join(map(_shown, judged))}"
    return ""


def _is_taken(bound: Bound, call: Call) -> bool:
    """Whether an argument of the call uses the bound's value, so that it is no condition on records."""
    if isinstance(bound.value, Decimal):
        return any(number(leaf.value) == bound.value for leaf in call.leaves)
    return any(day.fits(bound.value) for leaf in call.with_role("time") for day in dates(leaf.text))


def _measured(cell: str, bound: Bound) -> Date | Decimal | None:
    if isinstance(bound.value, Decimal):
        return number(cell)
    day = next(iter(dates(cell)), None)
    return day if day is not None and day.year else None


def _in_a_year(bound: Bound, latest: int) -> Bound:
    """Complete a bound without a year, such as "before May", with the latest year in the records."""
    if isinstance(bound.value, Decimal) or bound.value.year:
        return bound
    return replace(bound, value=bound.value._replace(year=latest))


def _shown(value: Date | Decimal) -> str:
    return f"{value.year}-{value.month:02}-{value.day:02}" if isinstance(value, Date) else str(value)


def _flagged(record: Record, clause: Clause) -> str:
    """Describe a boolean of a record that contradicts the clause: "the expired samples", "those not paid"."""
    said = words(clause.about)
    for column, cell in record.items():
        mine = plain(cell)
        if mine not in _YES | _NO:
            continue
        about = [part for part in split(column) if part not in _PLAINLY]
        if len(about) != 1 or stem(about[0]) == clause.verb:
            continue
        wanted = {
            (not is_negated(said, place)) == (word == about[0])
            for place, word in enumerate(said)
            if word == about[0] or word in [f"{prefix}{about[0]}" for prefix in _REVERSING]
        }
        if wanted == {mine in _NO}:
            return f"its record has {column} = {cell}, which contradicts the request"
    return ""


def _of_another_kind(record: Record, table: Table, leaf: Leaf, call: Call, clause: Clause, request: str) -> str:
    """Describe a column where other records have the clause's word and this one has another: "all unpaid bills"."""
    for column, cell in record.items():
        meant, denied = _said_of(table.kinds.get(column, frozenset()), clause.about, request)
        if not (meant or denied):
            continue
        mine = plain(cell)
        if mine in denied:
            return f"its record has {column} = {cell}, which the request excludes"
        others = meant - _of_others(column, meant, table, leaf, call) if mine else None
        if others and not runs_in(words(mine), words(clause.about)):
            return f"its record has {column} = {cell}, but the request says {', '.join(sorted(others))}"
    return ""


def _of_others(column: str, meant: frozenset[str], table: Table, leaf: Leaf, call: Call) -> frozenset[str]:
    """Return the kinds that belong to other arguments of the call, not to this one: "from current to savings"."""
    others = [each for each in call.leaves if each.path != leaf.path]
    own = {word for each in others for word in words(each.text)}
    beside = (each.text for each in others if each.argument != leaf.argument)
    taken = {plain(record.get(column, "")) for text in beside for record in table.holding.get(text, ())}
    return frozenset(kind for kind in meant if kind in taken or own.intersection(words(kind)))


@lru_cache(maxsize=256)
def _said_of(kinds: frozenset[str], clause: str, request: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the cells of a column that a clause asks for, and those that it excludes."""
    run = words(clause)
    said = {kind for kind in kinds if words(kind) and runs_in(words(kind), run) and _is_a_kind(kind, request)}
    denied = frozenset(kind for kind in said if _is_denied(kind, run, request))
    return frozenset(said - denied), denied


def _is_a_kind(cell: str, request: str) -> bool:
    return number(cell) is None and not dates(cell) and all(is_telling(word, request) for word in words(cell))


def _is_denied(kind: str, said: tuple[str, ...], request: str) -> bool:
    """Whether a kind is only ever mentioned as excluded."""
    return set(map(stem, words(kind))) <= spared(request) or is_denied(kind, said)

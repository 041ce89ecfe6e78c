"""Views results of calls as tables: lists of similar records, indexed by their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaffold_monitors.entailment.facts import fields
from scaffold_monitors.entailment.kept import Kept
from scaffold_monitors.entailment.quantities import dates
from scaffold_monitors.entailment.wording import plain, stem, words

if TYPE_CHECKING:
    from scaffold_monitors.entailment.calls import Leaf
    from scaffold_monitors.entailment.situation import Situation

Record = dict[str, str]
_MOST_RECORDS = 2_000
# Longer cells are prose.
LONGEST = 80


def records_of(leaf: Leaf, situation: Situation) -> Iterator[Record]:
    """Return the records that contain a value, from the results it was read in; none if they are not known yet."""
    reads = (situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id)
    return (record for read in reads for table in tables(read.seen) for record in table.holding.get(leaf.text, ()))


def _tables_in(seen: Any) -> Iterator[list[Record]]:
    stack: list[Any] = [seen]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack += item.values()
        elif isinstance(item, (list, tuple)):
            records = [_flat(each) for each in item[:_MOST_RECORDS] if isinstance(each, Mapping)]
            if len(records) > 1:
                yield records
            else:
                stack += item


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A list of similar records, indexed.

    Attributes:
        records: the records, flattened.
        holding: for each cell, the records that contain it.
        kinds: for each column, its distinct cells, normalised.
        latest: the latest year in any cell; 0 if there is none.
    """

    records: Sequence[Record]
    holding: Mapping[str, Sequence[Record]]
    kinds: Mapping[str, frozenset[str]]
    latest: int


def _tables(seen: Any) -> list[Table]:
    found = []
    for records in _tables_in(seen):
        holding: dict[str, list[Record]] = {}
        kinds: dict[str, set[str]] = {}
        for record in records:
            for cell in dict.fromkeys(record.values()):
                holding.setdefault(cell, []).append(record)
            for column, cell in record.items():
                if len(cell) < LONGEST:
                    kinds.setdefault(column, set()).add(plain(cell))
        latest = max((day.year for cells in kinds.values() for cell in cells for day in dates(cell)), default=0)
        found.append(Table(records, holding, {name: frozenset(cells) for name, cells in kinds.items()}, latest))
    return found


# Returns the tables of a result.
tables = Kept(_tables)


@dataclass(frozen=True, slots=True)
class Beside:
    """The stems in a result's records: for each cell those of its record, and all of them."""

    cell: Mapping[str, frozenset[str]]
    anywhere: frozenset[str]


def _beside(seen: Any) -> Beside:
    found: dict[str, frozenset[str]] = {}
    anywhere: set[str] = set()
    stack: list[Any] = [seen]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            own = [str(each) for each in item.values() if not isinstance(each, (Mapping, list, tuple))]
            said = frozenset(stem(word) for cell in own if len(cell) < LONGEST for word in words(cell))
            found |= {cell: found.get(cell, said) | said for cell in own if len(cell) < LONGEST}
            anywhere |= said
            stack += item.values()
        elif isinstance(item, (list, tuple)):
            stack += item[:_MOST_RECORDS]
    return Beside(found, frozenset(anywhere))


# Returns the `Beside` of a result.
beside = Kept(_beside)


def _flat(record: Mapping[str, Any]) -> Record:
    return {path.strip("/"): str(value) for path, value in fields(record)}

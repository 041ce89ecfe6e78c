"""Looks values up in records, tables and trusted facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scaffold_monitors.entailment.kept import Kept
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import plain, stem

if TYPE_CHECKING:
    from scaffold_monitors.entailment.calls import Leaf

_MOST_FIELDS = 20_000


def fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a value with their paths, up to a limit."""
    stack: list[tuple[str, Any]] = [(path, value)]
    count = 0
    while stack and count < _MOST_FIELDS:
        here, item = stack.pop()
        if isinstance(item, Mapping):
            stack += [(f"{here}/{name}", each) for name, each in reversed(list(item.items()))]
        elif isinstance(item, (list, tuple)):
            stack += [(f"{here}/{place}", item[place]) for place in reversed(range(len(item)))]
        else:
            count += 1
            yield here, item


def _cells(value: Any) -> frozenset[str]:
    return frozenset(plain(str(cell)).strip() for _, cell in fields(value))


def _columns(value: Any) -> dict[str, frozenset[str]]:
    """Return the columns of a table, by field name."""
    rows = value.values() if isinstance(value, Mapping) else value
    found: dict[str, set[str]] = {}
    if isinstance(rows, (list, tuple)) or isinstance(value, Mapping):
        for row in rows:
            if isinstance(row, Mapping):
                for path, cell in fields(row):
                    found.setdefault(path.rpartition("/")[2], set()).add(plain(str(cell)).strip())
    return {name: frozenset(values) for name, values in found.items()}


# The fields of a record or table, normalised.
cells = Kept(_cells)
columns = Kept(_columns)


def stands_in_facts(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether a value is a whole field of a trusted fact."""
    return any(plain(text).strip() in cells(value) for value in facts.values())


def directory(leaf: Leaf, facts: Mapping[str, Any]) -> tuple[str, str, frozenset[str]] | None:
    """Return the trusted fact that lists values of an argument's kind: its name, the column, and the values."""
    if leaf.pending:
        return None
    wanted = frozenset(map(stem, split(leaf.path.partition("[")[0])))
    for name, fact in facts.items():
        for column, values in columns(fact).items():
            if frozenset(map(stem, split(column))) & wanted:
                return name, column, values
    return None

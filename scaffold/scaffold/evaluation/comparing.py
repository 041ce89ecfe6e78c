"""Compares two evaluations of the same cases: which cases flip, whether that may be chance, and the costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaffold.errors import BadInput, nearest
from scaffold.evaluation.statistics import Interval, mcnemar, paired_difference
from scaffold.evaluation.summary import Summary, name_of, scored_rows


@dataclass
class Comparison:
    """One cell of each of two evaluations, case by case.

    Attributes:
        first: the first cell's runs of the cases both have.
        second: the second cell's.
        names: what the two are called.
        flips: cases that are right in only one, with both marks.
        both: number of cases that are right in both.
        lacking: number of cases that only one of them has.
    """

    names: tuple[str, str]
    first: Summary = field(default_factory=Summary)
    second: Summary = field(default_factory=Summary)
    flips: list[tuple[str, str, str]] = field(default_factory=list)
    both: int = 0
    lacking: int = 0

    @property
    def lost(self) -> int:
        """The number of cases that are right only in the first."""
        return sum(before == "right" for _, before, _ in self.flips)

    @property
    def won(self) -> int:
        """The number of cases that are right only in the second."""
        return len(self.flips) - self.lost

    @property
    def p(self) -> float:
        """The probability of flips at least as one-sided as these if neither were better."""
        return mcnemar(self.lost, self.won)

    @property
    def difference(self) -> Interval:
        """The interval of how much more often the second is right."""
        return paired_difference(self.lost, self.won, self.first.runs)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "first": {"name": self.names[0], **self.first.plain()},
            "second": {"name": self.names[1], **self.second.plain()},
            "cases": self.first.runs,
            "both_right": self.both,
            "only_first": self.lost,
            "only_second": self.won,
            "difference": [(self.won - self.lost) / max(1, self.first.runs), *self.difference],
            "p": self.p,
            "flips": [{"case": case, "first": one, "second": two} for case, one, two in self.flips],
            "lacking": self.lacking,
        }

    def lines(self, most: int = 40) -> list[str]:
        """Render it as lines of text, with at most `most` flips."""
        from scaffold.evaluation.summary import table

        cases, difference = self.first.runs, self.difference
        unlike = self.names if self.names[0] != self.names[1] else (f"A: {self.names[0]}", f"B: {self.names[1]}")
        said = table({unlike[0]: self.first, unlike[1]: self.second})
        said.append("")
        said.append(
            f"{cases} cases in both: {self.both} right in both, {self.lost} only in the first, {self.won} only in the "
            f"second"
        )
        more = (self.won - self.lost) / max(1, cases)
        said.append(
            f"the second is right {more:+.1%} more often (95 %: {difference.low:+.1%} to {difference.high:+.1%}); "
            f"by chance alone p = {self.p:.3g} (McNemar, exact)"
        )
        if self.lacking:
            said.append(f"{self.lacking} cases are in only one of them and are left out")
        said += [f"  {case}: {one} -> {two}" for case, one, two in self.flips[:most]]
        if len(self.flips) > most:
            said.append(f"  and {len(self.flips) - most} more flips")
        return said


def compare(first: Path, second: Path, cells: tuple[str, str] = ("", "")) -> list[Comparison]:
    """Compare two evaluations: cells of the same name, or the two named.

    Args:
        first: results of one evaluation.
        second: results of another, or the same.
        cells: name of a cell in each; empty for all that both have, or the only one.

    Raises:
        BadInput: there is nothing to compare.
    """
    one, two = _by_cell(first), _by_cell(second)
    if any(cells):
        pairs = [(_named(one, cells[0], first), _named(two, cells[1] or cells[0], second))]
    elif len(one) == len(two) == 1:
        pairs = [(next(iter(one)), next(iter(two)))]
    else:
        pairs = [(name, name) for name in sorted(one) if name in two]
    if not pairs:
        raise BadInput(
            f"{first} has {', '.join(one)}; {second} has {', '.join(two)}: choose which to compare with --cell "
            "and --with"
        )
    made = [_compared(one[left], two[right], (left, right)) for left, right in pairs]
    if not any(each.first.runs for each in made):
        raise BadInput(f"{first} and {second} have no case in common")
    return made


def _by_cell(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return each cell's rows by case and repeat, without those that are not compared."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    kept = ("outcome", "usage", "actions_usd", "seconds", "saved")
    for row in scored_rows(path):
        name = row["case"] if row["repeat"] == 1 else f"{row['case']}#{row['repeat']}"
        found.setdefault(name_of(row), {})[name] = {key: row[key] for key in kept}
    if not found:
        raise BadInput(f"{path} has no results yet")
    return found


def _named(cells: dict[str, Any], name: str, path: Path) -> str:
    if name and name not in cells:
        raise BadInput(f"{path} has no {name!r}{nearest(name, cells) or '; it has ' + ', '.join(cells)}")
    if not name and len(cells) > 1:
        raise BadInput(f"{path} has {', '.join(cells)}: choose one of them")
    return name or next(iter(cells))


def _compared(one: dict[str, Any], two: dict[str, Any], names: tuple[str, str]) -> Comparison:
    made = Comparison(names)
    for case, row in one.items():
        other = two.get(case)
        if other is None:
            continue
        made.first.add(row)
        made.second.add(other)
        before, after = row["outcome"], other["outcome"]
        made.both += before == after == "right"
        if (before == "right") != (after == "right"):
            made.flips.append((case, before, after))
    made.lacking = len(one.keys() ^ two.keys())
    return made

"""Summarises an evaluation by cell and axis: rates of right, wrong, unsolved and stopped runs, and their costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold.batch.results import read_rows
from scaffold.errors import BadInput
from scaffold.evaluation.scoring import MARKS
from scaffold.evaluation.statistics import Interval, wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass
class Summary:
    """The runs of one cell, or of all cells that share a label.

    A run that says `unsolved` has cost its price; a wrong answer given as if it were right costs more. So the two
    are counted apart, and `right_of_answered` is the rate among runs that answered at all.

    Attributes:
        marks: how many runs came to what.
        tokens: of the work and of oversight, in all.
        usd: of the work, of oversight and of the actions performed, in all; None where a price is not known.
        seconds: active time, in all.
        saved: declared cost of the actions that were refused, in all, in dollars.
        guessed: whether some tokens are guesses.
    """

    marks: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, int] = field(default_factory=lambda: {"model": 0, "oversight": 0})
    usd: dict[str, float | None] = field(default_factory=lambda: {"model": 0.0, "oversight": 0.0, "actions": 0.0})
    seconds: float = 0.0
    saved: float = 0.0
    guessed: bool = False

    def add(self, row: dict[str, Any]) -> None:
        """Count one run."""
        self.marks[row["outcome"]] += 1
        for ledger in ("model", "oversight"):
            usage = row["usage"][ledger]
            self.tokens[ledger] += usage["input"] + usage["output"]
            self.usd[ledger] = _sum(self.usd[ledger], usage["usd"])
            self.guessed = self.guessed or usage["guessed"]
        self.usd["actions"] = _sum(self.usd["actions"], row["actions_usd"])
        self.seconds += row["seconds"]
        self.saved += row["saved"].get("usd", 0.0)

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return self.marks.total()

    def rate(self, mark: str) -> Interval:
        """Interval of how often runs come to something."""
        return wilson(self.marks[mark], self.runs)

    @property
    def answered(self) -> int:
        """Runs that gave an answer, right or wrong."""
        return self.marks["right"] + self.marks["wrong"]

    @property
    def total_usd(self) -> float | None:
        """What everything cost: work, oversight, actions."""
        total: float | None = 0.0
        for each in self.usd.values():
            total = _sum(total, each)
        return total

    def plain(self) -> dict[str, Any]:
        """As JSON values: counts, rates with their intervals, sums of what it cost."""
        rates = {mark: [self.marks[mark] / max(1, self.runs), *self.rate(mark)] for mark in MARKS}
        of_answered = wilson(self.marks["right"], self.answered)
        return {
            "runs": self.runs,
            "counts": {mark: self.marks[mark] for mark in MARKS},
            "rates": rates,
            "right_of_answered": [self.marks["right"] / self.answered, *of_answered] if self.answered else None,
            "tokens": self.tokens,
            "usd": {**self.usd, "total": self.total_usd},
            "saved_usd": self.saved,
            "seconds": self.seconds,
            "guessed": self.guessed,
        }


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def scored_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The scored rows of an evaluation's results.

    Raises:
        BadInput: it is no file of results, or of results that are not scored.
    """
    for row in read_rows(path):
        if row.get("outcome") not in MARKS or "cell" not in row:
            raise BadInput(f"{path}: the result {row['id']!r} is not scored: it is of a batch, not of an evaluation")
        yield row


def name_of(row: dict[str, Any]) -> str:
    """The name of a row's cell."""
    return " ".join(row["cell"].values()) or "as is"


def by_cell(rows: Iterable[dict[str, Any]], order: Iterable[str] = ()) -> dict[str, Summary]:
    """One summary for each cell that has rows: first those of `order`, then in the order they first occur."""
    found: dict[str, Summary] = {name: Summary() for name in order}
    for row in rows:
        found.setdefault(name_of(row), Summary()).add(row)
    return {name: each for name, each in found.items() if each.runs}


def by_axis(rows: Iterable[dict[str, Any]], order: Iterable[dict[str, str]] = ()) -> dict[str, dict[str, Summary]]:
    """For each axis of the matrix that has several labels, one summary for each of these, over all else.

    Args:
        rows: scored rows.
        order: labels of cells by axis, in the order they are to come.
    """
    found: dict[str, dict[str, Summary]] = {}
    for labels in order:
        for axis, label in labels.items():
            found.setdefault(axis, {}).setdefault(label, Summary())
    for row in rows:
        for axis, label in row["cell"].items():
            found.setdefault(axis, {}).setdefault(label, Summary()).add(row)
    kept = {axis: {label: each for label, each in labels.items() if each.runs} for axis, labels in found.items()}
    return {axis: labels for axis, labels in kept.items() if len(labels) > 1}


HEADER = (
    "",
    "runs",
    "right (95 %)",
    "wrong",
    "unsolved",
    "stopped",
    "right of answered",
    "tokens: work",
    "oversight",
    "$: work",
    "oversight",
    "actions",
    "s a run",
)


def table(summaries: dict[str, Summary]) -> list[str]:
    """The summaries as lines of text in columns; tokens and dollars are means a run."""
    rows = [HEADER, *(_cells(name, each) for name, each in summaries.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cells(name: str, of: Summary) -> tuple[str, ...]:
    runs, low, high = max(1, of.runs), *of.rate("right")
    answered = f"{of.marks['right'] / of.answered:.0%} of {of.answered}" if of.answered else "-"
    about = "~" if of.guessed else ""
    return (
        name,
        str(of.runs),
        f"{of.marks['right'] / runs:.0%} ({low:.0%} to {high:.0%})",
        *(str(of.marks[mark]) for mark in MARKS[1:]),
        answered,
        *(f"{about}{tokens / runs:,.0f}" for tokens in of.tokens.values()),
        *("?" if usd is None else f"{usd / runs:.4f}" for usd in of.usd.values()),
        f"{of.seconds / runs:.1f}",
    )

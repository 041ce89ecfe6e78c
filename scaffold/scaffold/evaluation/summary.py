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

    A wrong answer does more harm than none, so wrong and unsolved runs are counted separately, and `right_of_answered`
    is the rate among runs that gave an answer.

    Attributes:
        marks: number of runs by mark.
        tokens: total tokens of the work and of oversight.
        usd: total cost of the work, of oversight and of the actions performed; None if a price is not known.
        seconds: total active time.
        saved: total declared cost of the refused actions, in US dollars.
        guessed: whether some token counts are guesses.
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
        """The number of runs."""
        return self.marks.total()

    def rate(self, mark: str) -> Interval:
        """Return the interval of a mark's rate."""
        return wilson(self.marks[mark], self.runs)

    @property
    def answered(self) -> int:
        """The number of runs that gave an answer, right or wrong."""
        return self.marks["right"] + self.marks["wrong"]

    @property
    def total_usd(self) -> float | None:
        """The total cost of work, oversight and actions."""
        total: float | None = 0.0
        for each in self.usd.values():
            total = _sum(total, each)
        return total

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values: counts, rates with intervals, total costs."""
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
    """Yield the scored rows of an evaluation's results.

    Raises:
        BadInput: it is not a file of scored results.
    """
    for row in read_rows(path):
        if row.get("outcome") not in MARKS or "cell" not in row:
            raise BadInput(f"{path}: the result {row['id']!r} has no score: it is from a batch, not from an evaluation")
        yield row


def name_of(row: dict[str, Any]) -> str:
    """Return the name of a row's cell."""
    return " ".join(row["cell"].values()) or "as is"


def by_cell(rows: Iterable[dict[str, Any]], order: Iterable[str] = ()) -> dict[str, Summary]:
    """Summarise each cell that has rows: first those of `order`, then in the order they first occur."""
    found: dict[str, Summary] = {name: Summary() for name in order}
    for row in rows:
        found.setdefault(name_of(row), Summary()).add(row)
    return {name: each for name, each in found.items() if each.runs}


def by_axis(rows: Iterable[dict[str, Any]], order: Iterable[dict[str, str]] = ()) -> dict[str, dict[str, Summary]]:
    """For each axis with several labels, summarise each label over all other axes.

    Args:
        rows: scored rows.
        order: labels of cells by axis, in the wanted order.
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
    """Render summaries as a text table; tokens and dollars are means per run."""
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

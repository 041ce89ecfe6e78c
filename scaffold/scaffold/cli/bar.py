"""The live view of many runs in a terminal: a progress bar with the cost so far; unsolved runs scroll by above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scaffold.cli.rows import spent, told
from scaffold.cli.speech import line

if TYPE_CHECKING:
    from scaffold.batch.items import Item
    from scaffold.batch.runner import Tally


class Bar:
    """Shows a batch; `rich` draws it again a few times a second."""

    def __init__(self, total: int | None) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        self._progress = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        )
        self._bar = self._progress.add_task("", total=total)
        self._progress.start()

    def preparing(self, what: str, fraction: float) -> None:
        self._progress.update(self._bar, description=f"{line(what)} {fraction:.0%}")

    def began(self, item: Item) -> None:
        """Do nothing: the bar counts runs that have ended."""

    def ended(self, item: Item, row: dict[str, Any], tally: Tally) -> None:
        if row["status"] != "solved" or row.get("outcome") == "wrong":
            self.say(told(row))
        self._draw(tally)

    def passed(self, tally: Tally) -> None:
        self._draw(tally)

    def fault(self, message: str, tally: Tally) -> None:
        self.say(f"error: {line(message)}")
        self._draw(tally)

    def say(self, text: str) -> None:
        self._console.print(text)

    def close(self) -> None:
        self._progress.stop()

    def _draw(self, tally: Tally) -> None:
        statuses = [f"{number:,} {status}" for status, number in tally.statuses.most_common()]
        cost = spent(tally)
        self._progress.update(
            self._bar, completed=tally.done, description=", ".join([*statuses, *([cost] if cost else [])])
        )

"""Many runs in the foreground: their display, their interruption, and the exit status."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from scaffold.cli import ending
from scaffold.cli.aside import aside
from scaffold.cli.foreground import Foreground
from scaffold.cli.rows import spent, told
from scaffold.cli.speech import line
from scaffold.errors import count

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from scaffold.batch.items import Item
    from scaffold.batch.results import Results
    from scaffold.batch.runner import Runner, Tally
    from scaffold.cli.bar import Bar
    from scaffold.cli.options import Signing
    from scaffold.interfaces import Journal

# The status of a batch whose tasks ended in several ways: the first of these that occurred.
GRAVEST = ("stopped", "failed", "unavailable", "exhausted", "waiting", "interrupted", "")


class Lines:
    """One line for each run that has ended."""

    def __init__(self, total: int | None) -> None:
        self._total = "?" if total is None else total
        self._started = time.monotonic()
        self._preparing = ""

    def preparing(self, what: str, fraction: float) -> None:
        if what != self._preparing:
            self._preparing = what
            self.say(line(what))

    def began(self, item: Item) -> None:
        """Nothing to say."""

    def ended(self, item: Item, row: dict[str, Any], tally: Tally) -> None:
        self.say(f"{tally.done}/{self._total} {told(row)}")

    def passed(self, tally: Tally) -> None:
        """Nothing to say."""

    def fault(self, message: str, tally: Tally) -> None:
        self.say(f"error: {line(message)}")

    def say(self, text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - self._started:7.1f} s] {text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.flush()


def display(total: int | None) -> Lines | Bar:
    """Return the display of a batch, of so many tasks if that is known: a bar if stderr is a terminal, else lines."""
    if not sys.stderr.isatty():
        return Lines(total)
    from scaffold.cli.bar import Bar

    return Bar(total)


class ManyRuns(Foreground["Lines | Bar"]):
    """Runs a batch to its end."""

    def drive(self, runner: Runner, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work`; at a signal `runner` stops, or if it is not running yet, the work is cancelled."""
        with aside():
            asyncio.run(self._drive(runner, work))

    async def _drive(self, runner: Runner, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        working = asyncio.create_task(work())
        self.on_signals(partial(self._interrupt, runner, working))
        try:
            await working
        except asyncio.CancelledError:
            if not self.signals:
                raise
            runner.stop("interrupted")

    def _interrupt(self, runner: Runner, working: asyncio.Task[None]) -> None:
        if runner.begun:
            runner.stop("interrupted")
        else:
            working.cancel()
        self.shown.say("pausing; press Ctrl-C once more to leave at once")

    def tell(self, runner: Runner, results: Results) -> int:
        """Print a summary, and return the exit status."""
        self.shown.close()
        lines = summary(results.statuses(), runner.tally)
        if results.repaired:
            lines.append(
                f"repaired on opening: removed {results.repaired} bytes of an incomplete line in {results.path}"
            )
        sys.stderr.write("\n".join([*lines, f"results: {results.path}"]) + "\n")
        return exit_status(results.statuses(), runner.tally)


def outside_of(journal: Journal, runner: Runner, key: Signing | None) -> dict[str, Any]:
    """Return what agents get from the command rather than from a task file; nobody is asked at the terminal."""
    given: dict[str, Any] = {"journal": journal, "on_event": runner.hear}
    if key is not None:
        given |= key.outside()
    return given


def exit_status(statuses: Iterable[str], tally: Tally) -> int:
    """Return the exit status of many runs: 0 if all are solved, else that of the gravest."""
    if tally.stopped_early == "interrupted":
        return ending.INTERRUPTED
    if tally.faults:
        return ending.BAD_INPUT
    found = set(statuses)
    gravest = next((each for each in GRAVEST if each in found), None)
    if gravest is None:
        return 0
    return ending.STATUSES[gravest or "interrupted"]


def summary(statuses: Iterable[str], tally: Tally) -> list[str]:
    """Return the lines for stderr at the end: the tasks' statuses, and the cost of this session."""
    counted: dict[str, int] = {}
    for each in statuses:
        counted[each or "open"] = counted.get(each or "open", 0) + 1
    parts = [f"{number:,} {status}" for status, number in sorted(counted.items(), key=lambda each: -each[1])]
    if tally.faults:
        parts.append(count(tally.faults, "fault"))
    lines = [", ".join(parts) or "nothing to do"]
    if tally.passed:
        lines[0] += f" ({tally.passed:,} done before)"
    cost = spent(tally)
    lines += [cost] if cost else []
    if tally.stopped_early:
        lines.append(f"stopped early: {line(tally.stopped_early)}; run it again to continue")
    return lines

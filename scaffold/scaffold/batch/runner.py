"""Runs the tasks of a batch, a few at a time, and records how each ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from scaffold.batch.items import Fault, Item, Ready
from scaffold.batch.rows import fields_of
from scaffold.errors import BadInput, PlannerError, RunHeld, TraceDamaged, UnknownRun
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.models import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scaffold.batch.items import Solver
    from scaffold.batch.results import Results
    from scaffold.interfaces import Journal
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.outcome import Outcome

_KEY = "batch"
_FEWEST_GONE = 3
_decode = msgspec.json.Decoder().decode


class Watcher(Protocol):
    """Is notified of a batch's progress."""

    def preparing(self, what: str, fraction: float) -> None:
        """A backend is being prepared."""
        ...

    def began(self, item: Item) -> None:
        """A run begins, or is resumed."""
        ...

    def ended(self, item: Item, row: dict[str, Any], tally: Tally) -> None:
        """A run has ended, or is paused."""
        ...

    def passed(self, tally: Tally) -> None:
        """A task was done already."""
        ...

    def fault(self, message: str, tally: Tally) -> None:
        """An item is not a valid task."""
        ...

    def say(self, text: str) -> None:
        """Show one line."""
        ...


@dataclass
class Tally:
    """The results of a batch in this session so far.

    Attributes:
        passed: number of tasks that were done already.
        faults: number of invalid items.
        statuses: number of runs by status.
        decisions: number of verdicts other than `allow`, by decision.
        model: usage of the work.
        oversight: usage of oversight.
        stopped_early: why the batch did not finish; empty if it did.
    """

    passed: int = 0
    faults: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    model: Usage = NO_USAGE
    oversight: Usage = NO_USAGE
    stopped_early: str = ""

    @property
    def done(self) -> int:
        """The number of tasks whose end is known."""
        return self.passed + self.faults + self.statuses.total()

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self.statuses[outcome.status] += 1
        self.decisions.update(each.decision for each in outcome.verdicts)
        self.model = self.model + outcome.usage["model"]
        self.oversight = self.oversight + outcome.usage["oversight"]


class Runner:
    """Solves items, a bounded number at a time; skips those that are done, and resumes paused ones.

    Its agents must be made with `on_event=runner.hear`, and closed by the caller.

    Args:
        journal: the journal of the agents' runs.
        watcher: notified of progress.
        at_once: most runs at a time.
        retry: whether to begin anew tasks that failed, or whose run is gone.
        fail_fast: whether to stop at the first task that is not solved, or not valid.
        budget: raised limits for runs that have spent theirs, as totals for each; see `Scaffold.resume`.
        by: who raised them, for the record.
        finish: returns what a row says besides the outcome and the item.
    """

    def __init__(
        self,
        journal: Journal,
        watcher: Watcher,
        *,
        at_once: int = 8,
        retry: bool = False,
        fail_fast: bool = False,
        budget: Mapping[str, float] | None = None,
        by: str = "",
        finish: Callable[[Item, Outcome], dict[str, Any]] | None = None,
    ) -> None:
        self.tally = Tally()
        self._journal = journal
        self._watcher = watcher
        self._at_once = at_once
        self._retry = retry
        self._fail_fast = fail_fast
        self._budget = budget
        self._by = by
        self._finish = finish
        self._results: Results
        self._agents: Counter[Solver] = Counter()
        self._preparing = asyncio.Lock()
        self._gone = 0
        self._under_way = 0
        self._working: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether it runs, or has run."""
        return self._working is not None

    async def run(self, items: Iterator[Item | Fault], results: Results) -> Tally:
        """Run until no item is left, or the batch is stopped.

        Args:
            items: the items.
            results: the results, which also say what is done already.

        Raises:
            BadInput: the inputs cannot be read.
            JournalFailed: the results cannot be written.
            ScaffoldError: a fault that concerns all runs, such as a model that cannot be loaded.
        """
        self._results = results
        self._working = asyncio.create_task(self._spread(items))
        try:
            await self._working
        except asyncio.CancelledError:
            if not self.tally.stopped_early:
                raise
        except BaseExceptionGroup as failed:
            first = _first(failed)
            raise first from first.__cause__
        return self.tally

    def stop(self, why: str) -> None:
        """Take no more tasks, and pause those under way, which are resumed the next time."""
        self.tally.stopped_early = self.tally.stopped_early or why
        for agent in list(self._agents):
            agent.interrupt()
        if not self._under_way and self._working is not None:
            self._working.cancel()  # nothing has begun that must end in order

    def hear(self, event: Event, body: bytes) -> None:
        """Listen to the agents: note each run as it begins, and pause runs that begin after a stop."""
        match event:
            case ev.RunStarted():
                mark = _decode(body)["config"][_KEY]
                self._results.begin(mark["id"], event.run, mark["asked"])
            case ev.RunResumed():
                pass
            case _:
                return
        if self.tally.stopped_early:
            for agent in list(self._agents):
                agent.interrupt()

    async def _spread(self, items: Iterator[Item | Fault]) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._work(items))

    async def _work(self, items: Iterator[Item | Fault]) -> None:
        for item in items:
            if self.tally.stopped_early:
                return
            if isinstance(item, Fault):
                self._fault(item.message)
            else:
                await self._one(item)
            await asyncio.sleep(0)  # skipping items never waits otherwise

    async def _one(self, item: Item) -> None:
        known = self._results.known(item.id)
        if known is not None and known.asked != item.asked:
            holds = f"{self._results.path} has the id {item.id!r} with other inputs: give this item another id"
            self._fault(f"{item.where}: {holds}")
            return
        if known is not None and known.status in ev.ENDED and not (self._retry and known.status == "failed"):
            self.tally.passed += 1
            self._watcher.passed(self.tally)
            return
        run = known.run if known is not None and known.status not in ev.ENDED else ""
        try:
            ready = item.make()
            outcome = await self._solve(item, ready, run, "" if known is None else known.status)
        except (BadInput, PlannerError, RunHeld, TraceDamaged) as error:
            said = str(error) if str(error).startswith(item.where) else f"{item.where}: {error}"
            self._fault(f"{said} (--retry starts it again)" if isinstance(error, UnknownRun) else said)
            return
        if outcome is not None:
            self._end(item, outcome)

    async def _solve(self, item: Item, ready: Ready, run: str, status: str) -> Outcome | None:
        agent = ready.agent
        async with self._preparing:
            await agent.prepare(self._watcher.preparing)
        if self.tally.stopped_early:
            return None
        self._watcher.began(item)
        self._agents[agent] += 1
        self._under_way += 1
        try:
            if run and not ((not status or self._retry) and await self._is_empty(run)):
                return await agent.resume(run, budget=self._budget if status == "exhausted" else None, by=self._by)
            mark = {"id": item.id, "asked": item.asked}
            return await agent.solve(ready.task, config={**ready.config, _KEY: mark})
        finally:
            self._under_way -= 1
            self._agents[agent] -= 1
            self._agents = +self._agents

    async def _is_empty(self, run: str) -> bool:
        """Whether a noted run never wrote anything, so that nothing of it has happened."""
        records: Any = self._journal.read(run)
        try:
            async for _ in records:
                return False
        except UnknownRun:
            pass
        finally:
            with contextlib.suppress(AttributeError):  # generators have it
                await records.aclose()
        return True

    def _end(self, item: Item, outcome: Outcome) -> None:
        if outcome.status == "interrupted" and self.tally.stopped_early:
            return  # the task has not ended, so it stays noted as open
        self.tally.add(outcome)
        said = {} if self._finish is None else self._finish(item, outcome)
        row = {"id": item.id, **item.shown, **said, **fields_of(outcome)}
        row |= {"reason": outcome.reason, "seconds": outcome.seconds, "batch": self._results.batch, "asked": item.asked}
        self._results.end(row)
        self._watcher.ended(item, row, self.tally)
        self._gone = self._gone + 1 if outcome.status == "unavailable" else 0
        if self._gone >= max(_FEWEST_GONE, self._at_once):
            self.stop(f"{self._gone} runs in a row found their backend unavailable: {outcome.reason}")
        elif self._fail_fast and outcome.status != "solved":
            self.stop(f"{item.id} is {outcome.status}, and the batch stops at the first task that is not solved")

    def _fault(self, message: str) -> None:
        self.tally.faults += 1
        self._watcher.fault(message, self.tally)
        if self._fail_fast:
            self.stop("the batch stops at the first fault")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

"""Solves by workers: begins a run here, hands it to an engine, and waits for its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from scaffold.errors import BadInput, JournalFailed
from scaffold.trace.postgres import PostgresJournal
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.models import NO_USAGE
from scaffold.vocabulary.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.agent import Scaffold
    from scaffold.assembly import Say
    from scaffold.interfaces import KeptRuns
    from scaffold.vocabulary.task import Task
    from scaffold.workers.engines import Engine

_LOOK_S = 0.25
_GATHER_S = 0.02
# A leaving worker pauses its runs, and another continues them.
_GOES_ON = frozenset({"", "interrupted"})


class Delivery:
    """Passes runs to an engine in groups, and polls for their end.

    Args:
        engine: a connected engine.
        journal: the journal of the runs, which workers must be able to reach.

    Raises:
        BadInput: the journal is local to this machine.
    """

    def __init__(self, engine: Engine, journal: KeptRuns) -> None:
        if not isinstance(journal, PostgresJournal):
            raise BadInput(f"workers cannot reach runs in {journal.name}: give --runs postgresql://...")
        self._engine = engine
        self._journal = journal
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._going: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def over(self, run: str) -> str:
        """Have a run delivered, and wait; return its status when it has ended or is paused."""
        self._going.append(run)
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[run] = waiter
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._mind())
        try:
            return await waiter
        finally:
            self._waiting.pop(run, None)

    async def _mind(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_GATHER_S if self._going else _LOOK_S)
                going, self._going = self._going, []
                if going:
                    await self._engine.deliver(going)
                    continue
                with contextlib.suppress(JournalFailed):  # it may become reachable again
                    await self._look()
        except Exception as error:  # noqa: BLE001 - raised in all that wait
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_exception(error)

    async def _look(self) -> None:
        found = await asyncio.to_thread(self._journal.archive.over, list(self._waiting))
        for run, status in found.items():
            waiter = self._waiting.get(run)
            if waiter is not None and not waiter.done() and status not in _GOES_ON:
                waiter.set_result(status)


class Remote:
    """Has workers solve an agent's runs; replaces the agent in a batch.

    Args:
        agent: checks the tasks, and begins the runs.
        delivery: passes them to the engine.
    """

    def __init__(self, agent: Scaffold, delivery: Delivery) -> None:
        self._agent = agent
        self._delivery = delivery
        self._under_way: set[asyncio.Task[str]] = set()

    async def prepare(self, say: Say | None = None) -> None:
        """Do nothing: models are loaded by the workers."""

    async def solve(self, task: Task, *, config: Mapping[str, Any] | None = None) -> Outcome:
        """Begin a run, and wait until workers have finished it."""
        return await self._carried(await self._agent.submit(task, config=config))

    async def resume(self, run: str, *, budget: Mapping[str, float] | None = None, by: str = "") -> Outcome:
        """Have a run delivered again unless it is over, with limits that somebody raised, and wait for it."""
        stands = await self._agent.outcome_of(run)
        if stands.status in ev.ENDED:
            return stands
        if budget:
            await self._agent.raise_budget(run, budget, by=by)
        return await self._carried(run)

    async def _carried(self, run: str) -> Outcome:
        waiting = asyncio.ensure_future(self._delivery.over(run))
        self._under_way.add(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():
                raise
            nothing = {"model": NO_USAGE, "oversight": NO_USAGE}
            return Outcome(
                run=run, status="interrupted", usage=nothing, steps=0, actions=[], verdicts=[], saved={}, trace=""
            )
        finally:
            waiting.cancel()
            self._under_way.discard(waiting)
        return await self._agent.outcome_of(run)

    def interrupt(self) -> bool:
        """Stop waiting; delivered runs go on without us."""
        for waiting in self._under_way:
            waiting.cancel()
        return bool(self._under_way)

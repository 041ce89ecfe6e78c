"""A worker's handling of a run that an engine delivers: continue it, or say when to deliver it again.

A run may be delivered twice, or to two workers: the journal lets only one write, and a finished run stays finished. So
an engine only has to deliver at least once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from scaffold import taskfile
from scaffold.approvals.queue import waiting
from scaffold.assembly import read_start
from scaffold.errors import JournalFailed, RunHeld, ScaffoldError, UnknownRun
from scaffold.interfaces import Surroundings
from scaffold.trace.folders import last_event
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical

if TYPE_CHECKING:
    from scaffold.agent import Scaffold
    from scaffold.interfaces import Clock, KeptRuns

Carry = Callable[[str, int], Awaitable[float | None]]
"""Goes on with a run, which was put off so often already; gives in how many seconds to hand it out again, or None."""
_log = logging.getLogger(__name__)
_MOST_AGENTS = 32
_LOOK_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_ELSEWHERE_S = 30.0
_SETTLE_S = 0.2
# Config that does not affect how an agent is built: which task of a batch it is.
_NOT_BUILT_FROM = ("batch", "traceparent")


class Carrier:
    """Continues runs that were begun from task files.

    Args:
        journal: the journal of the runs.
        held: seconds after which to try again a run that another process holds.
        outside: arguments of Scaffold that a file cannot give.
    """

    def __init__(self, journal: KeptRuns, *, held: float, **outside: Any) -> None:
        self._journal = journal
        self._held = held
        self._outside = outside
        self._clock: Clock = outside.get("surroundings", Surroundings()).clock
        self._shared = taskfile.Shared()
        self._agents: OrderedDict[bytes, Scaffold] = OrderedDict()
        self._used: dict[int, int] = {}
        self._leaving = False
        self._under_way = 0
        self._none = asyncio.Event()
        self._none.set()

    def leave(self) -> None:
        """Pause all runs under way, so that other workers continue them, and begin no more."""
        self._leaving = True
        for agent in self._agents.values():
            agent.interrupt()

    async def left(self) -> None:
        """Wait until no run is under way."""
        await self._none.wait()
        await asyncio.sleep(_SETTLE_S)  # the engine records what it was told

    async def close(self) -> None:
        """Close what the agents share."""
        await self._shared.close()

    async def carry(self, run: str, attempt: int = 0) -> float | None:
        """Continue a run.

        Args:
            run: its id.
            attempt: how often it was postponed already.

        Returns:
            Seconds after which to deliver it again; None if there is nothing more to do.

        Raises:
            UnknownRun: there is no such run.
        """
        if self._leaving:
            return _SETTLE_S
        self._under_way += 1
        self._none.clear()
        try:
            return await self._carry(run, attempt)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none.set()

    async def _carry(self, run: str, attempt: int) -> float | None:
        pause = min(_FIRST_PAUSE_S * 2.0 ** min(attempt, 10), _LONGEST_PAUSE_S)
        try:
            last = await asyncio.to_thread(self._last, run)
            if isinstance(last, ev.Paused):
                if _is_spent(last):
                    return None
                if last.status == "waiting" and not await asyncio.to_thread(self._can_go_on, run):
                    return _LOOK_S
            return await self._go_on(run, pause)
        except UnknownRun:
            raise
        except RunHeld:
            return self._held
        except JournalFailed as error:
            _log.warning("run %s: %s", run, error)
            return pause
        except Exception as error:  # noqa: BLE001 - an engine that saw it would never deliver the run again
            # The cause may be this worker: other plug-ins, another version, a missing folder, a full disk.
            ours = not isinstance(error, (ScaffoldError, OSError, MemoryError))
            _log.error("run %s cannot go on here: %s: %s", run, type(error).__name__, error, exc_info=ours)
            return max(pause, _ELSEWHERE_S)

    def _last(self, run: str) -> ev.Event | None:
        return last_event(self._journal.folder(run, brief=True))

    def _can_go_on(self, run: str) -> bool:
        """Whether one of the questions that a run waits for is settled, or can no longer be; a stopped run has none."""
        open_ones, now = waiting(self._journal, run), self._clock.now()
        return not open_ones or any(each.settled or each.question.expires <= now for each in open_ones)

    async def _go_on(self, run: str, pause: float) -> float | None:
        agent = await self._agent_of(run)
        self._used[id(agent)] = self._used.get(id(agent), 0) + 1
        try:
            # Another worker may have paused it meanwhile.
            outcome = await agent.resume(run, unless=lambda: _is_spent(self._last(run)))
        finally:
            self._used[id(agent)] -= 1
        match outcome.status:
            case "waiting":
                return _LOOK_S
            case "interrupted":
                return 0.0
            case "unavailable":
                _log.warning("run %s: %s", run, outcome.reason)
                return pause
            case _:
                return None

    async def _agent_of(self, run: str) -> Scaffold:
        """Return the agent that a run was begun with; runs with the same configuration share one."""
        _, config = await read_start(self._journal, run)
        told = {name: value for name, value in config.items() if name not in _NOT_BUILT_FROM}
        key = canonical(told)
        agent = self._agents.get(key)
        if agent is None:
            agent = taskfile.rebuild(config, shared=self._shared, journal=self._journal, **self._outside)
            self._agents[key] = agent
        self._agents.move_to_end(key)
        for old_key, old in list(self._agents.items())[:-_MOST_AGENTS]:
            if not self._used.get(id(old)):
                del self._agents[old_key]
                self._used.pop(id(old), None)
        return agent


def _is_spent(last: ev.Event | None) -> bool:
    """Whether a run is paused with its budget spent; the trace says so, so another try would not help."""
    return isinstance(last, ev.Paused) and last.status == "exhausted"

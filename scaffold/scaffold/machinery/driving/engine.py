"""The engine: drives a planner within its limits, several moves at a time.

Up to `task.concurrency` workers take moves from the interpreter and carry them out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from scaffold import errors
from scaffold.machinery.cancelling import is_from_within, to_its_end
from scaffold.machinery.driving.replay import Replay, deliver
from scaffold.machinery.driving.run import Run
from scaffold.machinery.gating.gate import PlanOnly
from scaffold.machinery.gating.people import Parked
from scaffold.machinery.interpreter import Interpreter
from scaffold.machinery.watchdog import watching
from scaffold.vocabulary.canonical import TOO_DEEP
from scaffold.vocabulary.moves import Think

if TYPE_CHECKING:
    from scaffold.interfaces import Claim
    from scaffold.machinery.driving.setting import Setting
    from scaffold.machinery.interpreter import Pending
    from scaffold.vocabulary.moves import Planning
    from scaffold.vocabulary.outcome import Outcome
    from scaffold.vocabulary.task import Task

_MOVES_BETWEEN_BREATHS = 64


class Engine:
    """One run, from its first event or from the end of its trace.

    Args:
        setting: the parts it is made of.
        claim: the right to write it.
        planner: returns the planner's generator for a task.
    """

    def __init__(self, setting: Setting, claim: Claim, planner: Callable[[Task], Planning[Any]]) -> None:
        self._run = run = Run(setting, claim, self._aside)
        self._task, self._recorder, self._people = run.task, run.recorder, run.people
        self._interpreter = Interpreter(planner(run.task), tainted=bool(run.task.untrusted))
        self._queue: deque[Pending] = deque()
        self._parked: list[Pending] = []
        self._working = 0
        self._moves = 0
        self._interrupted = False
        self._cut_at = ""
        self._faulty_at = ""  # words with the key of a move that could not be recorded
        self._driving: asyncio.Task[None] | None = None
        self._deadline: asyncio.Timeout | None = None

    # --- from outside

    def interrupt(self) -> None:
        """Pause the run once effects under way have finished; it can be resumed."""
        self._interrupted = True
        if self._driving is not None:
            self._driving.cancel()

    async def start(self) -> Outcome:
        """Solve the task from the beginning."""
        await self._run.begin()
        return await self._live()

    async def resume(self) -> Outcome:
        """Continue from the end of the trace; a run that has ended returns its outcome again.

        Raises:
            PlanChanged: the planner no longer fits its trace.
            TraceDamaged: the trace was altered.
        """
        replay = Replay(self._interpreter, self._run.state)
        ended = await self._run.read_back(replay.takers)
        if ended is not None:
            return ended
        if self._run.state.insists:
            return await self._run.end("stopped", reason=self._run.state.insists)
        self._queue.extend(replay.waiting.values())
        return await self._live()

    # --- the run

    async def _live(self) -> Outcome:
        """Drive until the planner is done or nothing can go on; in every case the trace records how it ended."""
        try:
            self._recorder.when_lost(self.interrupt)
            self._driving = asyncio.create_task(self._drive())
            if self._interrupted:
                self._driving.cancel()
            await self._driving
            return await self._ended_by_planner()
        except asyncio.CancelledError:
            outcome = await to_its_end(self._run.pause("interrupted", "interrupted"))
            if not self._interrupted:
                raise
            return outcome
        except BaseExceptionGroup as group:
            return await self._run.ended_by(_passing(_gravest(group)), where=self._faulty_at)
        except Exception as error:  # noqa: BLE001 - every way a run can end is written down
            return await self._run.ended_by(_passing(error))
        finally:
            self._interpreter.close()

    async def _drive(self) -> None:
        seconds = self._run.state.bounds.get("seconds")
        left = None if seconds is None else max(0.0, seconds - self._recorder.active())
        with watching(self._interpreter, left):
            await self._drive_within(seconds, left)

    async def _drive_within(self, seconds: float | None, left: float | None) -> None:
        try:
            async with asyncio.timeout(left) as self._deadline:
                while not self._interpreter.done:
                    heard = self._people.heard()
                    self._queue.extend(self._parked)
                    self._parked = []
                    async with asyncio.TaskGroup() as self._group:
                        self._spawn()
                    if self._parked and self._people.heard() == heard:
                        raise Parked
                    if not (self._parked or self._interpreter.has_ready() or self._interpreter.done):
                        said = "a plug-in that ran there, or just before, cancelled its own task"
                        raise errors.Unavailable(
                            f"the move at {self._cut_at} was cancelled by the code it called: {said}"
                        )
        except TimeoutError:
            if isinstance(self._interpreter.error, errors.PlannerStuck):
                return  # the planner's own error says more
            used = self._recorder.active()
            last = self._interpreter.latest
            raise errors.BudgetSpent("seconds", limit=seconds or 0.0, spent=used, wanted=0.0, key=last) from None

    def _spawn(self) -> None:
        work = self._work()
        try:
            self._group.create_task(work)
        except RuntimeError:
            work.close()  # the group is shutting down, and the run with it
        else:
            self._working += 1

    async def _work(self) -> None:
        """Carry out moves until none is left, starting more workers while there is more to do concurrently."""
        run, interpreter, queue = self._run, self._interpreter, self._queue
        try:
            while True:
                pending = queue.popleft() if queue else interpreter.next()
                if pending is None:
                    return
                if (queue or interpreter.has_ready()) and self._working < self._task.concurrency:
                    self._spawn()
                try:
                    move = pending.move
                    step = run.think(pending, move) if type(move) is Think else run.carry_out(pending)
                    outcome = await step
                except Parked:
                    self._parked.append(pending)
                    continue
                except errors.ScaffoldError:
                    raise
                except Exception as error:  # the move cannot be recorded: unlike our errors, this does not say where
                    deep = f": {TOO_DEEP}" if isinstance(error, RecursionError) else ""
                    self._faulty_at = self._faulty_at or f"in its move at {pending.key}{deep}"
                    raise
                except asyncio.CancelledError:
                    if is_from_within():
                        raise errors.Unavailable(
                            f"the move at {pending.key} was cancelled by the code it called"
                        ) from None
                    self._cut_at = pending.key
                    raise
                deliver(interpreter, pending, outcome)
                self._moves += 1
                if self._moves % _MOVES_BETWEEN_BREATHS == 0:
                    await asyncio.sleep(0)
        finally:
            self._working -= 1

    @contextlib.asynccontextmanager
    async def _aside(self) -> AsyncIterator[None]:
        """Free this worker's slot while a person is asked; when all workers wait, the run's seconds stop counting."""
        self._working -= 1
        if (self._queue or self._interpreter.has_ready()) and self._working < self._task.concurrency:
            self._spawn()
        if self._working == 0:
            self._recorder.stand_still()
            if self._deadline is not None:
                self._deadline.reschedule(None)
        try:
            yield
        finally:
            self._working += 1
            self._recorder.move_on()
            seconds = self._run.state.bounds.get("seconds")
            if self._deadline is not None and seconds is not None and not self._deadline.expired():
                left = max(0.0, seconds - self._recorder.active())
                self._deadline.reschedule(asyncio.get_running_loop().time() + left)

    # --- the end

    async def _ended_by_planner(self) -> Outcome:
        error, key = self._interpreter.error, self._interpreter.failed_at
        if error is None:
            return await self._run.answered(self._interpreter.result)
        where = f"after its move at {key}" if key else "before its first move"
        return await self._run.ended_by(error, where=where)


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the most serious of the errors that ended a run at once: oversight first, then what cannot go on."""
    leaves = list(_leaves(group))
    for kind in (errors.Stopped, errors.TraceError, errors.Unavailable, errors.BudgetSpent, PlanOnly):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def _passing(error: BaseException) -> BaseException:
    """Return what pauses the run, if the system has no more of something: that may pass, and is no planner's fault."""
    lack = errors.exhausted(error)
    return errors.Unavailable(f"the system lets this process have no more {lack}") if lack else error


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]

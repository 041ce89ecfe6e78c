"""A deterministic event loop without I/O, threads or waiting: time is a number, and a seed decides what runs next."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from scaffold.testing.simulated_process import PROCESS, Process

_EPOCH = 1_700_000_000.0
_MOST_CALLBACKS = 1_000_000


class Stalled(Exception):
    """The code under test waits for something that cannot come, or loops forever."""


class SeededTask(asyncio.Task[Any]):
    """A task hashed by its number, so that the order in sets does not depend on memory addresses."""

    number = 0

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__


class SeededLoop(asyncio.BaseEventLoop):
    """Runs one random ready callback at a time; if none is ready, time jumps to the next timer.

    Work that asyncio would give to a thread runs in the loop, after a while.

    Attributes:
        elapsed: virtual seconds since the loop was made.
        halted: an error to raise out of the loop after the present callback, for sudden death.
        steps: callbacks until `trouble`; 0 or less means never.
        trouble: called then, between two callbacks.
        processes: the processes started in it.
    """

    _ready: Any
    _scheduled: list[Any]

    def __init__(self, source: random.Random, *, elapsed: float = 0.0) -> None:
        super().__init__()
        self.elapsed = elapsed
        self.halted: BaseException | None = None
        self.steps = 0
        self.trouble: Callable[[], None] = lambda: None
        self.processes: list[Process] = []
        self._draining = False
        self._source = source
        self._tasks_made = 0
        self._left = _MOST_CALLBACKS
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # it takes any coroutine
        self.set_exception_handler(lambda _loop, _context: None)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.elapsed

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any) -> SeededTask:
        self._tasks_made += 1
        SeededTask.number = self._tasks_made  # for hashing while the constructor registers the task
        task = SeededTask(coro, loop=loop, **more)
        task.number = self._tasks_made
        return task

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False  # noqa: SLF001 - this is an event loop
        if not ready and not self._stopping:  # type: ignore[attr-defined]  # BaseEventLoop sets it
            if not scheduled:
                raise Stalled("every task waits, and nothing will wake one")
            self.elapsed = max(self.elapsed, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self.elapsed:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # noqa: SLF001 - as above
            ready.append(handle)
        if ready:
            place = self._source.randrange(len(ready)) if len(ready) > 1 else 0
            handle = ready[place]
            del ready[place]
            self._step(handle)
        self._left -= 1
        if not self._left:
            raise Stalled("it runs in an endless loop")
        if self.halted is not None:
            raise self.halted

    def _step(self, handle: Any) -> None:
        """Run a callback, unless its process is killed or frozen before."""
        self.steps -= 1
        if not self.steps and not self._draining:
            self.trouble()
        if self.halted is not None:
            self._ready.append(handle)  # for who cleans up
            return
        process = handle._context.get(PROCESS)  # noqa: SLF001 - as above
        if not handle.cancelled() and (process is None or self._draining or process.lets(handle)):
            handle._run()  # noqa: SLF001 - as above

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # gives the same kind of future
        """Run a function in the loop, a random moment later."""
        done = self.create_future()

        def run() -> None:
            if not done.cancelled():
                try:
                    done.set_result(func(*args))
                except Exception as error:  # noqa: BLE001 - raised in the caller
                    done.set_exception(error)

        self.call_later(self._source.random() * 0.01, run)
        return done

    def _process_events(self, event_list: Any) -> None:
        """Do nothing, since there is no I/O."""

    def _write_to_self(self) -> None:
        """Do nothing, since there is no thread to wake."""

    def drain(self) -> None:
        """Cancel all remaining tasks, also of dead processes, let them end, and close."""
        self.halted = None
        self._draining = True
        for process in self.processes:
            self._ready.extend(process.parked)
        # An abandoned generator is closed by a callback, which may be the last one to run.
        while (tasks := sorted(asyncio.all_tasks(self), key=hash)) or self._ready:
            for task in tasks:
                task.cancel()
            self._complete(self.create_task(_ended(tasks)))
        self._complete(self.create_task(self.shutdown_asyncgens()))
        self.close()

    def _complete(self, future: asyncio.Future[Any]) -> None:
        while not future.done():
            # A `stop` from an earlier, halted call may be among the ready callbacks.
            with contextlib.suppress(RuntimeError):
                self.run_until_complete(future)


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class SeededClock:
    """The clock of the running loop, with the offset of the process that asks."""

    def __init__(self) -> None:
        self.loop: SeededLoop | None = None

    def now(self) -> float:
        """Seconds since the epoch."""
        process = PROCESS.get()
        return _EPOCH + self.monotonic() + (0.0 if process is None else process.offset)

    def monotonic(self) -> float:
        """Seconds since the first loop was made."""
        return self.loop.elapsed if self.loop is not None else 0.0

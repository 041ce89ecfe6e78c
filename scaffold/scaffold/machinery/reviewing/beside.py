"""Reviews that run concurrently with a run: those of observing monitors, once they have to wait."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scaffold.vocabulary.review import Verdict


class _Reading:
    """One review under way.

    Attributes:
        key: key of the subject.
        monitor: name of the monitor.
        late: the run has gone on without its verdict.
    """

    __slots__ = ("key", "late", "monitor")

    def __init__(self, key: str, monitor: str) -> None:
        self.key = key
        self.monitor = monitor
        self.late = False


class Beside:
    """Reviews whose verdicts do not bind, so that a run need not wait for them.

    Args:
        most: how many may run at once; starting another waits for the first of them to end.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: dict[asyncio.Task[Verdict], _Reading] = {}
        self._failed: BaseException | None = None

    def reading(self, key: str) -> tuple[str, ...]:
        """Return the monitors that are still reading the subject at a key."""
        return tuple(each.monitor for each in self._under_way.values() if each.key == key)

    async def begin(
        self,
        key: str,
        monitor: str,
        review: Callable[[Callable[[], None]], Coroutine[Any, Any, Verdict]],
        late: Callable[[Verdict], None],
    ) -> Verdict | None:
        """Start a review; return its verdict, or None as soon as it has to wait for something.

        The review sees its subject and the run as they were when it began.

        Args:
            key: key of the subject.
            monitor: name of the monitor.
            review: makes the review's coroutine, given a function that it calls when it has to wait.
            late: called with a verdict that comes later.
        """
        while len(self._under_way) >= self._most:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        waits = asyncio.get_running_loop().create_future()

        def has_to_wait() -> None:
            if not waits.done():
                waits.set_result(None)

        reading = _Reading(key, monitor)
        task = asyncio.ensure_future(self._read(reading, partial(review, has_to_wait), late))
        self._under_way[task] = reading
        task.add_done_callback(self._ended)
        await asyncio.wait((task, waits), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        reading.late = True
        return None

    @staticmethod
    async def _read(
        reading: _Reading, review: Callable[[], Coroutine[Any, Any, Verdict]], late: Callable[[Verdict], None]
    ) -> Verdict:
        verdict = await review()  # made here: a task cancelled before its first step would leave it unawaited
        if reading.late:
            late(verdict)
        return verdict

    def _ended(self, task: asyncio.Task[Verdict]) -> None:
        reading = self._under_way.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None and reading.late:
            self._failed = self._failed or error

    async def join(self, seconds: float | None = None) -> None:
        """Wait for the reviews under way now, at most so many seconds.

        Raises:
            Exception: an error for the whole run that ended one of them; a monitor's own fault is a verdict instead.
        """
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        if self._failed is not None:
            raise self._failed

    async def give_up(self) -> None:
        """Cancel the reviews under way; steps they have asked are recorded as cut off."""
        while self._under_way:
            for task in self._under_way:
                task.cancel()
            await asyncio.wait(self._under_way)

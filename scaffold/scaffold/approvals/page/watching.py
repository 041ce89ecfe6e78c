"""Keeps the page's queue current: reads it twice a second while somebody is looking, and not otherwise."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaffold.approvals.queue import Queue, Waiting

_LOOK_S = 0.5
_STILL_THERE_S = 15.0


class Watch:
    """The queue as last read, and notifications of its changes.

    Attributes:
        version: counts the changes.
        faults: runs with damaged traces.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: list[Waiting] = []
        self._reading = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._lookers = 0
        self._looking: asyncio.Task[None] | None = None
        self._over = False
        self._is_known = False
        self.version = 0
        self.faults: dict[str, str] = {}

    async def waiting(self) -> list[Waiting]:
        """Return the current queue.

        Raises:
            JournalFailed: it cannot be read now.
        """
        if self._looking is None or not self._is_known:
            await self.refresh()
        return self._waiting

    async def refresh(self) -> None:
        """Read the queue, and notify listeners if it has changed, or can be read no more.

        Raises:
            JournalFailed: it cannot be read now.
        """
        async with self._reading:
            was_known = self._is_known
            try:
                waiting = await asyncio.to_thread(self._queue.waiting)
            except Exception:
                self._is_known = False
                if was_known:
                    await self._tell()
                raise
            faults = dict(self._queue.faults)
            self._is_known = True
            if (waiting, faults) != (self._waiting, self.faults) or not was_known:
                self._waiting, self.faults = waiting, faults
                await self._tell()

    async def news(self) -> AsyncIterator[bytes]:
        """Yield a server-sent event for each change, as long as the client listens."""
        self._lookers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        told = -1
        try:
            while not self._over:
                if told == self.version:
                    await self._wait_for_change()
                if told == self.version:
                    yield b": still there\n\n"
                else:
                    told = self.version
                    yield b"event: change\ndata: %d\n\n" % told
        finally:
            self._lookers -= 1
            if self._lookers == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def close(self) -> None:
        """End all streams of events; clients do not hang up by themselves."""
        self._over = True
        async with self._changed:
            self._changed.notify_all()

    async def _tell(self) -> None:
        self.version += 1
        async with self._changed:
            self._changed.notify_all()

    async def _wait_for_change(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STILL_THERE_S), self._changed:
                await self._changed.wait()

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # whoever loads the queue is told
                await self.refresh()
            await asyncio.sleep(_LOOK_S)

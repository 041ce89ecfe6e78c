"""Passes results from a worker thread to the event loop that waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Say = Callable[[str, float], None]


async def in_a_thread(work: Callable[[Say], object], say: Say) -> None:
    """Run work in a thread, and pass its progress reports to `say` on this event loop."""
    loop = asyncio.get_running_loop()

    def say_there(message: str, fraction: float) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(say, message, fraction)

    await asyncio.to_thread(work, say_there)


class Crossing(Generic[Item]):
    """A queue from one thread to the event loop on which it was created.

    Attributes:
        stopped: whether the reader has stopped; the thread checks it wherever it can stop.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._arriving: asyncio.Queue[Item | Exception | None] = asyncio.Queue()

    async def next(self) -> Item | None:
        """Return the next item; None after the last. Raise an error that was put."""
        arrived = await self._arriving.get()
        if isinstance(arrived, Exception):
            raise arrived
        return arrived

    def put(self, item: Item | Exception | None) -> bool:
        """Add an item from the thread, or None for the end; return False if the reader has gone."""
        try:
            self._loop.call_soon_threadsafe(self._arriving.put_nowait, item)
        except RuntimeError:  # the loop is closed
            return False
        return True

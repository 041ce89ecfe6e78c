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
    """Wait for work in a thread that tells how far it is; what it tells is said on this event loop."""
    loop = asyncio.get_running_loop()

    def say_there(message: str, fraction: float) -> None:
        with contextlib.suppress(RuntimeError):  # nobody listens any more: the loop is closed
            loop.call_soon_threadsafe(say, message, fraction)

    await asyncio.to_thread(work, say_there)


class Crossing(Generic[Item]):
    """What one thread makes, read on the event loop on which this was made.

    Attributes:
        stopped: nobody wants more; the thread looks at it wherever it can stop.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._arriving: asyncio.Queue[Item | Exception | None] = asyncio.Queue()

    async def next(self) -> Item | None:
        """Give what comes next; None after the last. An error that was put is raised."""
        arrived = await self._arriving.get()
        if isinstance(arrived, Exception):
            raise arrived
        return arrived

    def put(self, item: Item | Exception | None) -> bool:
        """Hand over, from the thread; None is the end. False when nobody listens any more."""
        try:
            self._loop.call_soon_threadsafe(self._arriving.put_nowait, item)
        except RuntimeError:  # the loop is closed
            return False
        return True

"""A queue for a limited number of slots that needs neither an event loop nor a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Slots:
    """A counting semaphore for tasks of any event loop, first come, first served.

    A request that needs several slots holds up those behind it, since it would otherwise never get them.

    Attributes:
        free: number of free slots at the moment.
    """

    def __init__(self, count: int) -> None:
        self.free = count
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    async def take(self, count: int) -> None:
        """Wait until this many are free, and take them; a cancelled wait takes none."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.append((count, turn))
        self._serve()
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            # Cancelled just after our turn came: the slots are ours, so return them.
            if turn.cancel():
                self._serve()
            else:
                self.give(count)
            raise

    def give(self, count: int) -> None:
        """Return slots; from any thread."""
        with self._lock:
            self.free += count
        self._serve()

    def _serve(self) -> None:
        served = []
        with self._lock:
            while self._waiting:
                count, turn = self._waiting[0]
                if not turn.cancelled() and count > self.free:
                    break
                self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    self.free -= count
                    served.append(turn)
        for turn in served:
            turn.set_result(None)

"""A sliding-window limit on usage per minute, shared by all event loops and threads of a process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Amount = tuple[int, int]  # of requests, of tokens
Limits = tuple[float, float]


@dataclass(eq=False)
class Entry:
    """One request's usage.

    Attributes:
        at: when it was admitted, in seconds.
        calls: requests to the API.
        tokens: tokens reserved, later those used.
        running: whether it is under way; then it counts however long it takes.
    """

    at: float
    calls: int
    tokens: int
    running: bool = True


@dataclass(eq=False)
class _Ticket:
    amount: Amount
    limits: Limits
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Event = field(default_factory=asyncio.Event)

    def call(self) -> None:
        """Wake it to check whether its turn has come; from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self.loop.call_soon_threadsafe(self.turn.set)


class Minute:
    """A log of the last minute's usage, and a queue whose first request is admitted as soon as its limits allow.

    Unlike a token bucket, a log ensures that no minute, wherever it begins, exceeds the limit.

    Args:
        seconds: how long a minute is.
        clock: returns monotonic seconds.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._log: deque[Entry] = deque()
        self._line: deque[_Ticket] = deque()

    async def take(self, amount: Amount, *, limits: Limits) -> Entry:
        """Wait in line until this amount fits within the limits.

        Args:
            amount: requests and tokens wanted.
            limits: most requests and tokens in any minute; callers may have different limits.
        """
        ticket = _Ticket(amount, limits, asyncio.get_running_loop())
        with self._lock:
            self._line.append(ticket)
        try:
            while True:
                with self._lock:
                    ticket.turn.clear()
                    wait = self._wait(ticket)
                    if wait == 0:
                        entry = Entry(self._clock(), *amount)
                        self._log.append(entry)
                        return entry
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await ticket.turn.wait()
        finally:
            with self._lock:
                with contextlib.suppress(ValueError):  # removed already, since this loop was closed meanwhile
                    self._line.remove(ticket)
                self._call_next()

    def settle(self, entry: Entry, tokens: int) -> None:
        """Record a request's final usage; from any thread."""
        with self._lock:
            entry.tokens = tokens
            entry.running = False
            self._call_next()

    def _head(self) -> _Ticket | None:
        while self._line and self._line[0].loop.is_closed():
            self._line.popleft()  # its loop has ended, so nobody waits there
        return self._line[0] if self._line else None

    def _call_next(self) -> None:
        head = self._head()
        if head is not None:
            head.call()

    def _wait(self, ticket: _Ticket) -> float | None:
        """Return seconds until a ticket's turn, 0 for now; None if it depends on the end of another request."""
        if self._head() is not ticket:
            return None
        now = self._clock()
        self._log = deque(entry for entry in self._log if entry.running or entry.at > now - self._seconds)
        calls, tokens = (sum(each) for each in zip(*((e.calls, e.tokens) for e in self._log), (0, 0), strict=True))
        wanted, limits = ticket.amount, ticket.limits
        # A request larger than the limit is admitted when nothing else is under way.
        over = [calls + wanted[0] - max(limits[0], wanted[0]), tokens + wanted[1] - max(limits[1], wanted[1])]
        if max(over) <= 0:
            return 0
        for entry in self._log:
            if entry.running:
                continue
            over[0] -= entry.calls
            over[1] -= entry.tokens
            if max(over) <= 0:
                return max(entry.at + self._seconds - now, 0.001)
        return None


_minutes: dict[str, Minute] = {}
_making = threading.Lock()


def minute_of(name: str) -> Minute:
    """Return the log with this name, which is shared in this process."""
    with _making:
        return _minutes.setdefault(name, Minute())

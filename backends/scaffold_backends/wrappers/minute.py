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
    """What one request has taken.

    Attributes:
        at: when it was let in, in seconds.
        calls: requests to the API.
        tokens: reserved, then used.
        running: it is under way; it counts however long that takes.
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
        """Have it look whether its turn has come; from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self.loop.call_soon_threadsafe(self.turn.set)


class Minute:
    """A log of the last minute, from which the next in line is let in as soon as its own limits allow.

    A log rather than a bucket that refills: in no minute, wherever it begins, is more let in than the limit.

    Args:
        seconds: how long a minute is.
        clock: tells seconds that never go back.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._log: deque[Entry] = deque()
        self._line: deque[_Ticket] = deque()

    async def take(self, amount: Amount, *, limits: Limits) -> Entry:
        """Wait until so much more may be used within the limits, in the order of asking.

        Args:
            amount: requests and tokens that are wanted.
            limits: most requests and tokens in any minute; each who asks may have their own.
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
                with contextlib.suppress(ValueError):  # taken out already: this loop was closed meanwhile
                    self._line.remove(ticket)
                self._call_next()

    def settle(self, entry: Entry, tokens: int) -> None:
        """Say what a request has used in the end; from any thread."""
        with self._lock:
            entry.tokens = tokens
            entry.running = False
            self._call_next()

    def _head(self) -> _Ticket | None:
        while self._line and self._line[0].loop.is_closed():
            self._line.popleft()  # its loop ended without it; nobody waits there any more
        return self._line[0] if self._line else None

    def _call_next(self) -> None:
        head = self._head()
        if head is not None:
            head.call()

    def _wait(self, ticket: _Ticket) -> float | None:
        """Seconds until a ticket's turn may come, 0 when it has come; None when only somebody else's end can tell."""
        if self._head() is not ticket:
            return None
        now = self._clock()
        self._log = deque(entry for entry in self._log if entry.running or entry.at > now - self._seconds)
        calls, tokens = (sum(each) for each in zip(*((e.calls, e.tokens) for e in self._log), (0, 0), strict=True))
        wanted, limits = ticket.amount, ticket.limits
        # What is larger than the limit by itself is let in once there is nothing else.
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
    """Give the minute that all who are limited by one name share in this process."""
    with _making:
        return _minutes.setdefault(name, Minute())

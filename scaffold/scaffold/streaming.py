"""A run's events as they happen, for live interfaces.

A slow reader never holds up the run. The buffer in memory is bounded, and events that no longer fit are read back from
the journal, which has every event anyway. So nothing is lost or out of order.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.machinery.asking.showing import Piece
from scaffold.machinery.cancelling import to_its_end
from scaffold.trace.chain import Chain, body_of
from scaffold.vocabulary.canonical import decode
from scaffold.vocabulary.events import Event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from scaffold.interfaces import Journal
    from scaffold.vocabulary.outcome import Outcome

_MOST = 1_000
_MOST_BYTES = 4_000_000


class Happened(msgspec.Struct, frozen=True):
    """One event of a run; `event.seq` numbers events without gaps.

    Attributes:
        run: the run.
        event: one of the types in `scaffold.vocabulary.events`.
        content: the event's content, such as texts and arguments.
    """

    run: str
    event: Event
    content: dict[str, Any]


class Feed:
    """A buffer of one run's events, between the run and one reader.

    Args:
        journal: where events can be read back.
        run: the run.
        most: most events kept in memory.
        most_bytes: most bytes of content kept in memory.
    """

    def __init__(self, journal: Journal, run: str, *, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._journal = journal
        self._run = run
        self._most, self._most_bytes = most, most_bytes
        self._recent: deque[tuple[Event, bytes]] = deque()
        self._bytes = 0
        self._told = self._last = -1
        self._over = False
        self._news = asyncio.Event()

    def take(self, event: Event, body: bytes) -> None:
        """Take in one event; called by the run, and never blocks."""
        if self._told < 0:
            self._told = event.seq - 1
        self._last = event.seq
        self._recent.append((event, body))
        self._bytes += len(body)
        while len(self._recent) > self._most or (self._bytes > self._most_bytes and self._recent):
            self._bytes -= len(self._recent.popleft()[1])
        self._news.set()

    @property
    def held(self) -> tuple[int, int]:
        """Return the number of events in memory, and the bytes of their content."""
        return len(self._recent), self._bytes

    def close(self) -> None:
        """Note that the run is over or paused: there will be no more events."""
        self._over = True
        self._news.set()

    async def happenings(self) -> AsyncGenerator[Happened]:
        """Yield each event in order, until there will be no more."""
        while True:
            self._news.clear()
            while self._recent and self._recent[0][0].seq <= self._told + 1:
                event, body = self._recent.popleft()
                self._bytes -= len(body)
                if event.seq > self._told:
                    self._told = event.seq
                    yield Happened(self._run, copy.copy(event), decode(body) if body else {})
            before = self._told
            if before < self._last:
                async with aclosing(self._read_back()) as missed:
                    async for each in missed:
                        yield each
            if self._told > before:
                continue  # the next event is in memory
            if self._over:
                return
            await self._news.wait()

    async def _read_back(self) -> AsyncGenerator[Happened]:
        """Read back events that were dropped, up to those still in memory, or to the end of the journal."""
        chain = Chain()
        async for record in self._journal.read(self._run):
            link = chain.follow(record)
            if link.event.seq <= self._told:
                continue
            self._told = link.event.seq
            yield Happened(self._run, link.event, body_of(link.content))
            if self._recent and self._recent[0][0].seq <= self._told + 1:
                return


async def streamed(feed: Feed, solve: Callable[[], Coroutine[Any, Any, Outcome]]) -> AsyncGenerator[Happened | Outcome]:
    """Solve, and yield each event, then the outcome.

    If the reader stops early or is cancelled, the run is paused.
    """
    solving = asyncio.create_task(solve())
    solving.add_done_callback(lambda _: feed.close())
    try:
        async with aclosing(feed.happenings()) as happenings:
            async for each in happenings:
                yield each
        yield await solving
    finally:
        if not solving.done():
            solving.cancel()
            await to_its_end(asyncio.wait({solving}))
        if not solving.cancelled():
            solving.exception()  # retrieved, so that asyncio does not warn


__all__ = ["Feed", "Happened", "Piece", "streamed"]

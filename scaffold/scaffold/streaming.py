"""What happens in a run, as it happens, for live interfaces.

Whoever watches may be slow, and never holds up the run: what has gathered in memory is bounded, and what no longer fits
is read back from the journal, where every event is anyway. So nothing is lost, and nothing comes out of order.
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
    from scaffold.machinery.driving.run import Outcome

_MOST = 1_000
_MOST_BYTES = 4_000_000


class Happened(msgspec.Struct, frozen=True):
    """One event of a run; `event.seq` numbers them without gaps.

    Attributes:
        run: which run.
        event: what happened; one of the types in `scaffold.vocabulary.events`.
        content: what the spine of the trace does not hold, such as texts and arguments.
    """

    run: str
    event: Event
    content: dict[str, Any]


class Feed:
    """The events of one run, between the run and one who watches.

    Args:
        journal: where they can be read back.
        run: which run.
        most: how many are kept in memory.
        most_bytes: how much content is.
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
        """Take in one event; the run calls this, and never waits for it."""
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
        """How many events are in memory, and the bytes of their content."""
        return len(self._recent), self._bytes

    def close(self) -> None:
        """The run is over, or stands still: there will be no more."""
        self._over = True
        self._news.set()

    async def happenings(self) -> AsyncGenerator[Happened]:
        """Give each event in its order, until there will be no more."""
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
                continue  # what comes next is in memory
            if self._over:
                return
            await self._news.wait()

    async def _read_back(self) -> AsyncGenerator[Happened]:
        """Read what was let go of; up to what is in memory still, or to what is on record now."""
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
    """Solve, and give what happens, then the outcome.

    Whoever stops watching before that, or is cancelled, pauses the run.
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
            solving.exception()  # taken note of, when nobody has waited for it


__all__ = ["Feed", "Happened", "Piece", "streamed"]

"""What a page that is open is told: each change, as long as somebody looks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

import pytest

from scaffold.approvals.page.watching import Watch
from scaffold.approvals.queue import Queue

if TYPE_CHECKING:
    from tests.approvals.conftest import Office

    from scaffold.approvals.queue import Waiting
    from scaffold.interfaces import KeptRuns

_PATIENCE_S = 30.0


class Looked(Queue):
    """A queue that knows how often it was read.

    Attributes:
        looks: how often.
        open: cleared to hold up all reading.
    """

    looks = 0

    def __init__(self, journal: KeptRuns) -> None:
        super().__init__(journal)
        self.open = threading.Event()
        self.open.set()

    def waiting(self) -> list[Waiting]:
        """Read it."""
        self.looks += 1
        self.open.wait(_PATIENCE_S)
        return super().waiting()


@pytest.fixture
def queue(office: Office, monkeypatch: pytest.MonkeyPatch) -> Looked:
    """The office's queue, looked at more often than usual."""
    monkeypatch.setattr("scaffold.approvals.page.watching._LOOK_S", 0.01)
    return Looked(office.journal)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(_PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.005)


class Listener:
    """Somebody who has the page open.

    Attributes:
        heard: what they were sent.
    """

    def __init__(self, watch: Watch) -> None:
        self.heard: list[bytes] = []
        self._news = watch.news()
        self.task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for each in self._news:
            self.heard.append(each)

    async def leave(self) -> None:
        """Close the page."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert isinstance(self._news, AsyncGenerator)
        await self._news.aclose()


def test_whoever_looks_is_told_of_each_change(office: Office, queue: Looked) -> None:
    """And of nothing else; the list is as it was then, and when the last has left nobody reads it any more."""

    async def story() -> None:
        watch = Watch(queue)
        one, other = Listener(watch), Listener(watch)
        await until(lambda: watch.version == 1)
        asked = await asyncio.to_thread(office.wait)
        await until(lambda: watch.version == 2)
        looks = queue.looks
        await until(lambda: queue.looks > looks + 3)
        assert [each.question.run for each in await watch.waiting()] == [asked.run]
        assert one.heard[-2:] == other.heard[-2:] == [b"event: change\ndata: %d\n\n" % number for number in (1, 2)]
        await one.leave()
        await asyncio.to_thread(office.wait)
        await until(lambda: other.heard[-1] == b"event: change\ndata: 3\n\n")
        assert len(await watch.waiting()) == 2
        await other.leave()
        looks = queue.looks
        await asyncio.sleep(0.1)
        assert queue.looks == looks
        await asyncio.to_thread(office.wait)
        assert len(await watch.waiting()) == 3  # read for this alone
        assert queue.looks == looks + 1

    asyncio.run(story())


def test_a_list_is_never_shown_before_it_was_read(office: Office, queue: Looked) -> None:
    """Also to whoever asks while the first look is under way."""
    office.wait()

    async def story() -> None:
        watch = Watch(queue)
        queue.open.clear()
        listener = Listener(watch)
        await until(lambda: queue.looks == 1)
        asking = asyncio.ensure_future(watch.waiting())
        await asyncio.sleep(0.02)
        assert not asking.done()
        queue.open.set()
        assert len(await asking) == 1
        await listener.leave()

    asyncio.run(story())


def test_a_run_that_is_damaged_meanwhile_is_told_of(office: Office, queue: Looked) -> None:
    """Also if it asked nothing, so that the list stays as it was."""

    async def story() -> None:
        watch = Watch(queue)
        listener = Listener(watch)
        await until(lambda: watch.version == 1)
        folder = office.runs / "20260101-000000-aaaa"
        folder.mkdir(parents=True)
        (folder / "trace.jsonl").write_bytes(b"no event\n" * 2)
        await until(lambda: listener.heard[-1] == b"event: change\ndata: 2\n\n")
        assert list(watch.faults) == [folder.name]
        await listener.leave()

    asyncio.run(story())


def test_where_nothing_changes_a_word_is_sent_all_the_same(queue: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whatever lies between would take the connection for dead."""
    monkeypatch.setattr("scaffold.approvals.page.watching._STILL_THERE_S", 0.02)

    async def story() -> None:
        listener = Listener(Watch(queue))
        await until(lambda: listener.heard[-3:] == [b": still there\n\n"] * 3)
        await listener.leave()

    asyncio.run(story())


def test_a_page_that_closes_sends_its_listeners_away(queue: Looked) -> None:
    """They would stay for ever, and with them the server."""

    async def story() -> None:
        watch = Watch(queue)
        listeners = [Listener(watch), Listener(watch)]
        await until(lambda: watch.version == 1)
        await watch.close()
        async with asyncio.timeout(_PATIENCE_S / 3):  # sooner than anybody is told that we are still there
            await asyncio.gather(*(listener.task for listener in listeners))

    asyncio.run(story())

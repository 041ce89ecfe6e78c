"""What runs want durable at one time goes to the disk together; nobody is told before, and each fails for itself."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scaffold.errors import JournalFailed
from scaffold.interfaces import Claim
from scaffold.testing.journal_conformance import Writing
from scaffold.trace.files import SPINE, FileJournal
from scaffold.trace.syncing import Syncing

_PATIENCE_S = 60.0


class Disk:
    """Syncs as a test says, and knows what is on disk: how much of each file, and who synced it.

    Attributes:
        broken: files, by inode, whose next sync fails.
        open: cleared to hold up all syncs.
    """

    def __init__(self, pause: Callable[[], float] = lambda: 0.0) -> None:
        self.safe: dict[int, int] = {}
        self.syncs = 0
        self.at_once = self.most_at_once = 0
        self.threads: set[int] = set()
        self.broken: set[int] = set()
        self.open = threading.Event()
        self.open.set()
        self._pause = pause
        self._lock = threading.Condition()

    def fsync(self, descriptor: int) -> None:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.threads.add(threading.get_ident())
            self._lock.notify_all()
            pause = self._pause()
        try:
            said = os.fstat(descriptor)
            self.open.wait(_PATIENCE_S)
            if pause:
                time.sleep(pause)
            with self._lock:
                self.syncs += 1
                if said.st_ino in self.broken:
                    self.broken.discard(said.st_ino)  # the kernel says it once, and has dropped what it could not write
                    raise OSError(errno.EIO, "Input/output error")
                self.safe[said.st_ino] = said.st_size
        finally:
            with self._lock:
                self.at_once -= 1

    async def reached(self, number: int) -> None:
        """Wait until so many files are before the disk."""

        def wait() -> bool:
            with self._lock:
                return self._lock.wait_for(lambda: self.at_once >= number, _PATIENCE_S)

        assert await asyncio.to_thread(wait)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that the journals of the test sync to."""
    made = Disk()
    monkeypatch.setattr("scaffold.trace.files.Syncing", lambda: Syncing(made.fsync))
    return made


async def begun(journal: FileJournal, number: int) -> list[Claim]:
    """So many runs."""
    return [await journal.claim(f"r{place}", "test", create=True) for place in range(number)]


def size_of(journal: FileJournal, run: str) -> os.stat_result:
    """What the run's spine is now."""
    return (journal.root / run / SPINE).stat()


def test_runs_that_wait_at_one_time_are_synced_beside_one_another(disk: Disk, tmp_path: Path) -> None:
    """Sixteen runs on a disk that holds up every sync: all are before it at once, in a few threads more than two."""

    async def work() -> None:
        journal = FileJournal(tmp_path)
        claims = await begun(journal, 16)
        disk.open.clear()
        waiting = [asyncio.ensure_future(journal.append(claim, Writing().notes(1), durable=True)) for claim in claims]
        await disk.reached(16)
        assert not any(each.done() for each in waiting)
        disk.open.set()
        await asyncio.gather(*waiting)

    asyncio.run(work())
    assert disk.most_at_once == 16


def test_a_run_does_not_wait_for_the_slow_sync_of_another(disk: Disk, tmp_path: Path) -> None:
    """What comes while a sync takes long is before the disk beside it, and not after it."""

    async def work() -> None:
        journal = FileJournal(tmp_path)
        claims = await begun(journal, 2)
        disk.open.clear()
        waiting = []
        for number, claim in enumerate(claims, 1):
            waiting.append(asyncio.ensure_future(journal.append(claim, Writing().notes(1), durable=True)))
            await disk.reached(number)
        disk.open.set()
        await asyncio.gather(*waiting)

    asyncio.run(work())


def test_nobody_is_told_before_it_is_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the disk takes for each file, and whoever else appends meanwhile, durably or not."""
    source = random.Random(9)
    disk = Disk(lambda: source.choice((0.0, 0.0, 0.001, 0.004)))
    monkeypatch.setattr("scaffold.trace.files.Syncing", lambda: Syncing(disk.fsync))

    async def work() -> None:
        journal = FileJournal(tmp_path)
        claims = await begun(journal, 12)

        async def write(claim: Claim) -> None:
            writing = Writing()
            for number in range(15):
                durable = number % 3 != 1
                await journal.append(claim, writing.notes(2), durable=durable)
                said = size_of(journal, claim.run)
                assert not durable or disk.safe.get(said.st_ino, 0) >= said.st_size

        await asyncio.gather(*map(write, claims))
        for claim in claims:
            await journal.release(claim)

    asyncio.run(work())


def test_a_sync_that_fails_ends_its_own_run_alone(disk: Disk, tmp_path: Path) -> None:
    """The others of the round are told that they are on disk; the one is told once and for all that it is not."""

    async def work() -> None:
        journal = FileJournal(tmp_path)
        claims = await begun(journal, 8)
        disk.broken.add(size_of(journal, "r3").st_ino)
        writing = [Writing() for _ in claims]
        said = await asyncio.gather(
            *(journal.append(claim, each.notes(1), durable=True) for claim, each in zip(claims, writing, strict=True)),
            return_exceptions=True,
        )
        assert [type(each) for each in said] == [type(None)] * 3 + [JournalFailed] + [type(None)] * 4
        for claim, each in zip(claims, writing, strict=True):
            if claim.run == "r3":
                with pytest.raises(JournalFailed, match=r"cannot sync .*r3: Input/output error"):
                    await journal.append(claim, each.notes(1), durable=True)
            else:
                await journal.append(claim, each.notes(1), durable=True)

    asyncio.run(work())


def test_a_failure_that_nobody_waits_for_any_more_is_not_forgotten(disk: Disk, tmp_path: Path) -> None:
    """The kernel tells of it once: the next sync would succeed, and what was dropped be taken to be on disk."""

    async def work() -> None:
        journal, writing = FileJournal(tmp_path), Writing()
        (claim,) = await begun(journal, 1)
        disk.broken.add(size_of(journal, "r0").st_ino)
        disk.open.clear()
        waiting = asyncio.ensure_future(journal.append(claim, writing.notes(1), durable=True))
        await disk.reached(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        disk.open.set()
        with pytest.raises(JournalFailed, match="Input/output error"):
            await journal.append(claim, writing.notes(1), durable=True)

    asyncio.run(work())


def test_what_is_given_back_is_no_longer_on_its_way_to_the_disk(disk: Disk, tmp_path: Path) -> None:
    """Who waited for a sync has given up, and the run is released: its files stay open until the sync is over."""

    async def work() -> None:
        journal, other = FileJournal(tmp_path), FileJournal(tmp_path)
        (claim,) = await begun(journal, 1)
        disk.open.clear()
        waiting = asyncio.ensure_future(journal.append(claim, Writing().notes(1), durable=True))
        await disk.reached(1)
        waiting.cancel()
        releasing = asyncio.ensure_future(journal.release(claim))
        await asyncio.sleep(0.05)
        assert not releasing.done()
        disk.open.set()
        async with asyncio.timeout(_PATIENCE_S):
            await releasing
        said = size_of(journal, "r0")
        assert disk.safe[said.st_ino] == said.st_size
        await other.release(await other.claim("r0", "another"))

    asyncio.run(work())


def test_a_quick_disk_is_not_handed_to_a_thread_and_a_slow_one_does_not_hold_up_the_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One run alone, many syncs: by the loop itself while they take next to no time, by threads while they do."""

    async def syncs(disk: Disk, folder: Path) -> set[int]:
        monkeypatch.setattr("scaffold.trace.files.Syncing", lambda: Syncing(disk.fsync))
        journal, writing = FileJournal(folder), Writing()
        (claim,) = await begun(journal, 1)
        for _ in range(30):
            await journal.append(claim, writing.notes(1), durable=True)
        await journal.release(claim)
        return disk.threads

    loop = threading.get_ident()
    assert loop not in asyncio.run(syncs(Disk(lambda: 0.002), tmp_path / "slow"))
    # On a busy machine even nothing may seem slow; so it is asked until it was quick.
    assert any(loop in asyncio.run(syncs(Disk(), tmp_path / f"quick{number}")) for number in range(50))


class NoMore(threading.Thread):
    """A thread that the system refuses to start if it is to sync."""

    def start(self) -> None:
        """Start it, or say why not."""
        if self.name == "scaffold-sync":
            raise RuntimeError("can't start new thread")
        super().start()


def test_where_the_system_has_no_thread_left_the_loop_syncs_and_later_threads_do_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container with few processes: nothing waits for a thread that was never started."""
    disk = Disk(lambda: 0.001)
    monkeypatch.setattr("scaffold.trace.files.Syncing", lambda: Syncing(disk.fsync))
    monkeypatch.setattr("scaffold.trace.syncing._threads", [])  # as in a new process

    async def work() -> None:
        journal, writing = FileJournal(tmp_path), Writing()
        with monkeypatch.context() as few:
            few.setattr(threading, "Thread", NoMore)
            (claim,) = await begun(journal, 1)
            for _ in range(40):  # more than there ever are threads
                await journal.append(claim, writing.notes(1), durable=True)
        assert disk.threads == {threading.get_ident()}
        said = size_of(journal, "r0")
        assert disk.safe[said.st_ino] == said.st_size
        async with asyncio.timeout(_PATIENCE_S):
            await journal.append(claim, writing.notes(1), durable=True)
        assert len(disk.threads) == 2
        await journal.release(claim)

    asyncio.run(work())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for open files in /proc")
def test_a_sync_that_is_over_after_its_loop_closes_its_files(disk: Disk, tmp_path: Path) -> None:
    """Else a program that runs one loop after another, on a disk that hangs, would keep a run's files and its lock."""

    def are_open() -> bool:
        spine = str(tmp_path / "r0" / SPINE)
        return any(os.path.realpath(each) == spine for each in Path("/proc/self/fd").iterdir())

    async def work() -> None:
        journal = FileJournal(tmp_path)
        (claim,) = await begun(journal, 1)
        disk.open.clear()
        waiting = asyncio.ensure_future(journal.append(claim, Writing().notes(1), durable=True))
        await disk.reached(1)
        releasing = asyncio.ensure_future(journal.release(claim))
        await asyncio.sleep(0)
        for each in (waiting, releasing):
            each.cancel()
        await asyncio.gather(waiting, releasing, return_exceptions=True)

    asyncio.run(work())
    assert are_open()
    disk.open.set()
    until = time.monotonic() + _PATIENCE_S
    while are_open() and time.monotonic() < until:
        time.sleep(0.01)
    assert not are_open()

"""The file journal does what every journal has to."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from tests.powerless import powerless

from scaffold.batch.results import Results
from scaffold.errors import BadInput, JournalFailed
from scaffold.interfaces import Answer, Journal, Record
from scaffold.testing.journal_conformance import JournalConformance, Writing
from scaffold.trace.files import CONTENT, HEADS, INBOX, SPINE, FileJournal
from scaffold.trace.mending import CUT
from scaffold.trace.pruning import prune_content, prune_run
from scaffold.vocabulary import events as ev


class TestFiles(JournalConformance):
    """Two journals on one folder are as two processes: each has files and locks of its own."""

    @asynccontextmanager
    async def opening(self, place: Path) -> AsyncIterator[Journal]:
        yield FileJournal(place / "runs")


class TestFilesInParts(TestFiles):
    """The same where every content that is on disk is a full part, set aside and compressed."""

    @asynccontextmanager
    async def opening(self, place: Path) -> AsyncIterator[Journal]:
        yield FileJournal(place / "runs", part=1)


def thought(writing: Writing, number: int) -> list[Record]:
    """Some notes, each with content."""
    return [writing.event(ev.Noted(key=str(place)), b'{"text":"%d"}' % place) for place in range(number)]


def test_thoughts_whose_content_a_loss_of_power_has_taken_are_thought_again(tmp_path: Path) -> None:
    """Nobody has waited for them: the trace goes on before the first of them, says so, and keeps what was cut off."""

    async def work() -> None:
        journal, writing = FileJournal(tmp_path), Writing()
        claim = await journal.claim("r", "a", create=True)
        await journal.append(claim, thought(writing, 3), durable=True)
        await journal.append(claim, thought(writing, 5), durable=False)
        await journal.append(claim, [writing.event(ev.Noted(key="bare"))], durable=False)
        await journal.release(claim)
        content, spine = tmp_path / "r" / CONTENT, tmp_path / "r" / SPINE
        whole = spine.read_bytes()
        content.write_bytes(b"".join(content.read_bytes().splitlines(keepends=True)[:5]))
        claim = await journal.claim("r", "b")
        assert claim.repaired == "cut off 4 events whose content never reached the disk (kept in trace.jsonl.cut)"
        assert [record.seq async for record in journal.read("r")] == [1, 2, 3, 4, 5]
        assert spine.read_bytes() + (tmp_path / "r" / CUT).read_bytes() == whole
        await journal.release(claim)

    asyncio.run(work())


def test_content_that_somebody_took_away_costs_no_event(tmp_path: Path) -> None:
    """An intent has all before it on disk: what is missing then was not lost with the power, and nothing is cut off."""

    async def work() -> None:
        journal, writing = FileJournal(tmp_path), Writing()
        claim = await journal.claim("r", "a", create=True)
        await journal.append(claim, [*thought(writing, 3), *writing.acting("0", "it")], durable=True)
        await journal.append(claim, thought(writing, 2), durable=False)
        await journal.release(claim)
        content, spine = tmp_path / "r" / CONTENT, tmp_path / "r" / SPINE
        whole = spine.read_bytes()
        content.write_bytes(content.read_bytes().splitlines(keepends=True)[0])
        claim = await journal.claim("r", "b")
        await journal.release(claim)
        assert (claim.repaired, spine.read_bytes()) == ("", whole)

    asyncio.run(work())


def test_a_run_that_cannot_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    """On a full disk, or one that has no room for another file, there is no run that could neither end nor go on."""

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def begin(**given: Any) -> None:
        journal = FileJournal(tmp_path / "runs", **given)
        claim = await journal.claim("r", "a", create=True)
        try:
            await journal.append(claim, thought(Writing(), 1), durable=False)
        finally:
            await journal.release(claim)

    with pytest.raises(JournalFailed, match="No space left on device"):
        asyncio.run(begin(write=full))
    assert not list((tmp_path / "runs").iterdir())
    with pytest.raises(JournalFailed, match="No space left on device"):
        asyncio.run(begin(fsync=lambda descriptor: full(descriptor, b"")))  # of the names in folders
    assert not list((tmp_path / "runs").iterdir())


def test_a_place_where_files_cannot_be_locked_is_named_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network file systems: no run begins there, goes on or is pruned, and no batch writes its results."""
    journal, says = FileJournal(tmp_path / "runs"), "cannot lock .*{}: No locks available: keep it on a local disk, or"

    async def begin(run: str) -> None:
        claim = await journal.claim(run, "a", create=True)
        await journal.append(claim, thought(Writing(), 1), durable=False)
        await journal.release(claim)

    def unable(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    asyncio.run(begin("r"))
    monkeypatch.setattr("fcntl.flock", unable)
    with pytest.raises(JournalFailed, match=says.format("trace.jsonl")):
        asyncio.run(begin("another"))
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["r"]
    with pytest.raises(JournalFailed, match=says.format("trace.jsonl")):
        asyncio.run(journal.claim("r", "b"))
    with pytest.raises(JournalFailed, match=says.format("trace.jsonl")):
        prune_run(journal.folder("r"))
    with pytest.raises(JournalFailed, match=says.format("results.jsonl")):
        Results(tmp_path / "results.jsonl", "b")


def test_a_run_that_has_begun_stays_where_no_more_of_it_can_be_written(tmp_path: Path) -> None:
    """What was stored is kept, to be gone on with."""
    room = [2]

    def filling(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        return os.write(descriptor, data)

    async def work() -> None:
        journal = FileJournal(tmp_path / "runs", write=filling)
        claim, writing = await journal.claim("r", "a", create=True), Writing()
        await journal.append(claim, thought(writing, 1), durable=False)
        with pytest.raises(JournalFailed):
            await journal.append(claim, thought(writing, 1), durable=False)
        await journal.release(claim)
        assert [record.seq async for record in journal.read("r")] == [1]

    asyncio.run(work())


def test_a_fork_has_no_part_in_the_lock_of_a_run(tmp_path: Path) -> None:
    """A pool's process may outlive the run, or its parent: the run can be resumed, and the fork cannot write it."""

    async def at_once(_descriptor: int) -> None:
        return None

    def write(to: Connection, attempt: Coroutine[Any, Any, None]) -> None:
        try:
            attempt.send(None)
        except JournalFailed as error:
            to.send(str(error))
        to.recv()

    async def work() -> None:
        here, there = fork.Pipe()
        journal, writing = FileJournal(tmp_path, fsync=at_once), Writing()
        claim = await journal.claim("r", "a", create=True)
        await journal.append(claim, thought(writing, 1), durable=True)
        attempt = journal.append(claim, thought(writing, 1), durable=False)
        child = fork.Process(target=write, args=(there, attempt))
        child.start()
        attempt.close()
        assert here.recv() == f"cannot write to {tmp_path / 'r'}: Bad file descriptor"
        await journal.release(claim)
        claim = await journal.claim("r", "b")
        await journal.release(claim)
        here.send("done")
        child.join()
        assert [record.seq async for record in journal.read("r")] == [1]

    fork = multiprocessing.get_context("fork")
    asyncio.run(work())


def test_what_is_not_ours_to_use_is_said_in_one_line(tmp_path: Path) -> None:
    """Whoever may not read or write a folder of runs is told which, and that its owner can change that."""

    async def work() -> None:
        journal = FileJournal(tmp_path / "runs")
        await journal.release(await journal.claim("r", "a", create=True))
        (tmp_path / "runs").chmod(0o000)
        with powerless():
            with pytest.raises(JournalFailed, match=r"this user may not use .*runs: Permission denied; its owner can"):
                journal.runs()
            with pytest.raises(JournalFailed, match="this user may not use"):
                await journal.claim("r", "b")
            with pytest.raises(JournalFailed, match="this user may not use"):
                await anext(aiter(journal.read("r")))
            with pytest.raises(JournalFailed, match="this user may not use"):
                await journal.post("r", Answer(id="q", digest="d"))
            with pytest.raises(JournalFailed, match=r"cannot make the run's folder .*Permission denied"):
                await journal.claim("s", "b", create=True)
        (tmp_path / "runs").chmod(0o700)

    asyncio.run(work())


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "..", "", "a\0b"])
def test_an_answer_stays_in_its_inbox(tmp_path: Path, name: str) -> None:
    """Whoever wrote into a trace names its questions; no name has a file written anywhere else."""
    run = tmp_path / "runs" / "r"
    run.mkdir(parents=True)
    with pytest.raises(BadInput, match="cannot be trusted"):
        asyncio.run(FileJournal(tmp_path / "runs").post("r", Answer(id=name, digest="", granted=True)))
    assert [*tmp_path.rglob("*.json")] == []


def test_what_is_no_answer_in_an_inbox_is_passed_over(tmp_path: Path) -> None:
    """Whoever can write to the inbox can keep no run from reading the answers in it."""
    journal, answer = FileJournal(tmp_path), Answer(id="q", digest="d", granted=True)
    inbox = tmp_path / "r" / INBOX
    inbox.mkdir(parents=True)
    deep = b'{"id":"x","digest":"y","more":' + b"[" * 5000 + b"]" * 5000 + b"}"
    for number, said in enumerate((deep, b'{"id":"\xff","digest":"y"}', b"5", b"")):
        (inbox / f"{number}.json").write_bytes(said)
    asyncio.run(journal.post("r", answer))
    assert list(journal.inbox("r")) == [answer]


@pytest.mark.parametrize("name", [CONTENT, SPINE, HEADS])
def test_no_link_leads_a_run_to_another_file(name: str, tmp_path: Path) -> None:
    """Whoever can write to a run's folder does not choose which other file its next events are written to."""
    outside = tmp_path / "outside"
    journal, writing = FileJournal(tmp_path / "runs"), Writing()

    async def begin() -> None:
        claim = await journal.claim("r", "a", create=True)
        await journal.append(claim, thought(writing, 3), durable=True)
        await journal.sign(claim, "a head")
        await journal.release(claim)

    async def go_on() -> None:
        claim = await journal.claim("r", "b")
        try:
            await journal.append(claim, thought(writing, 1), durable=True)
            await journal.sign(claim, "another head")
        finally:
            await journal.release(claim)

    asyncio.run(begin())
    planted = tmp_path / "runs" / "r" / name
    outside.write_bytes(planted.read_bytes())
    planted.unlink()
    planted.symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(JournalFailed, match=f"{name}: Too many levels of symbolic links"):
        asyncio.run(go_on())
    assert outside.read_bytes() == before


def test_no_link_leads_pruning_to_another_file(tmp_path: Path) -> None:
    """What stands where a new content is drafted is replaced, and reviews that lie elsewhere are another run's."""
    journal, writing = FileJournal(tmp_path / "runs"), Writing()

    async def begin(run: str) -> None:
        claim = await journal.claim(run, "a", create=True)
        await journal.append(claim, thought(writing, 3), durable=True)
        await journal.release(claim)

    for run in ("r", "other"):
        asyncio.run(begin(run))
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "runs" / "r"
    (folder / f"{CONTENT}.draft").symlink_to(outside)
    (folder / "reviews").mkdir()
    (folder / "reviews" / "x").symlink_to(tmp_path / "runs" / "other")
    other = (tmp_path / "runs" / "other" / CONTENT).read_bytes()
    prune_content(folder)
    assert outside.read_text() == "mine"
    assert (tmp_path / "runs" / "other" / CONTENT).read_bytes() == other

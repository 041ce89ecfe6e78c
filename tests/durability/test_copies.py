"""Copies of runs in PostgreSQL, for whoever only looks: they fill no disk, whatever becomes of who made them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from scaffold.approvals.queue import Queue, standing
from scaffold.testing.cluster import Cluster
from scaffold.testing.journal_conformance import Writing
from scaffold.trace.folders import last_event, open_runs
from scaffold.trace.postgres import PostgresJournal
from scaffold.vocabulary import events as ev

LOOKS = """
import sys
from scaffold.trace.postgres import PostgresJournal
journal = PostgresJournal(sys.argv[1])
print(journal.folder("20300101-000000-000").parents[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def url(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with many short runs; temporary folders are made in the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = cluster.fresh(f"copies_{os.getpid()}_{time.monotonic_ns()}")

    async def begin() -> None:
        async with PostgresJournal(made) as journal:
            for number in range(250):
                claim = await journal.claim(f"20300101-000000-{number:03}", "a", create=True)
                await journal.append(claim, Writing().notes(1), durable=True)
                await journal.release(claim)

    asyncio.run(begin())
    return made


def looking(url: str) -> subprocess.Popen[str]:
    """A process that has looked at a run, says where its copies lie, and ends when its input does."""
    command = [sys.executable, "-c", LOOKS, url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_copied_goes_with_the_next_that_looks(url: str) -> None:
    """And what one that lives has copied stays until its end."""
    with looking(url) as first, looking(url) as second:
        killed, living = (Path(each.stdout.readline().strip()) for each in (first, second) if each.stdout is not None)
        first.kill()
        first.wait()
        assert killed.is_dir()
        assert last_event(PostgresJournal(url).folder("20300101-000000-001")) is not None
        assert not killed.exists()
        assert living.is_dir()
    assert not living.exists()


@pytest.mark.parametrize("brief", [True, False])
def test_of_many_runs_only_the_latest_copies_are_kept(
    url: str, monkeypatch: pytest.MonkeyPatch, *, brief: bool
) -> None:
    """Who works, or serves a page, for months looks at any number of them; each can be looked at again."""
    most = 1 << 20
    monkeypatch.setattr("scaffold.trace.postgres.archive._MOST_BYTES", most)
    journal = PostgresJournal(url)
    runs = journal.runs()
    for run in [*runs, runs[0]]:
        assert last_event(journal.folder(run, brief=brief)) is not None
    kept = list(journal.folder(runs[0], brief=brief).parent.iterdir())
    assert 2 < len(kept) < len(runs)
    assert sum(path.stat().st_blocks * 512 for path in kept[0].parent.rglob("*")) <= most


def test_what_has_not_changed_is_not_copied_again(url: str) -> None:
    """The page of approvals looks at all runs twice a second."""
    journal = PostgresJournal(url)

    def written() -> list[int]:
        return [(journal.folder(run) / "trace.jsonl").stat().st_mtime_ns for run in journal.runs()]

    assert written() == written()


def test_who_asks_which_runs_are_open_copies_none_that_has_ended(url: str) -> None:
    """`stop --all` asks in a hurry, the page twice a second, and most runs of a database have ended."""
    waits, *ended = (f"20300102-000000-{number:03}" for number in range(4))

    async def write() -> None:
        async with PostgresJournal(url) as journal:
            for run in (waits, *ended):
                claim, events = await journal.claim(run, "a", create=True), Writing()
                last = ev.Paused(status="waiting") if run == waits else ev.Ended(status="solved")
                await journal.append(claim, [*events.notes(1), events.event(last)], durable=True)
                await journal.release(claim)

    asyncio.run(write())
    journal = PostgresJournal(url)
    found = open_runs(journal)
    assert waits in found
    assert len(found) == len(journal.runs()) - len(ended)
    assert Queue(journal).waiting() == []
    copies = journal.folder(waits).parent
    assert {path.name for path in copies.iterdir()} == set(found)


def test_several_threads_look_at_a_run_while_it_is_written(url: str) -> None:
    """As visitors of a page do, beside the page itself: each finds it whole."""
    run, reader, over = "20300101-000000-new", PostgresJournal(url), threading.Event()

    def look() -> int:
        looks = 0
        while not over.is_set():
            last_event(reader.folder(run, brief=True))
            if looks % 10 == 0:
                standing(reader, run)
            looks += 1
        return looks

    async def write() -> list[int]:
        async with PostgresJournal(url) as journal:
            claim, notes = await journal.claim(run, "a", create=True), Writing()
            await journal.append(claim, notes.notes(100), durable=True)
            looking = [asyncio.ensure_future(asyncio.to_thread(look)) for _ in range(6)]
            try:
                for _ in range(50):
                    await journal.append(claim, notes.notes(1), durable=True)
                    await asyncio.sleep(0.02)
            finally:
                over.set()
                looks = await asyncio.gather(*looking)
            await journal.release(claim)
            return looks

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # seconds: they come between each other often
    try:
        assert all(asyncio.run(write()))
    finally:
        sys.setswitchinterval(usual)

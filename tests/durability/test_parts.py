"""The content of a long run is in parts, compressed while it goes on; whoever reads sees one text."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
from typing import TYPE_CHECKING

import pytest

from scaffold.errors import JournalFailed, RunHeld
from scaffold.testing.journal_conformance import Writing
from scaffold.trace.chain import Chain
from scaffold.trace.files import CONTENT, SPINE, FileJournal
from scaffold.trace.folders import is_written
from scaffold.trace.parts import content_lines, parts_of
from scaffold.trace.pruning import prune_content, prune_mentions
from scaffold.trace.reading import followed
from scaffold.trace.records import read_files
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.interfaces import Record

PART = 1_000


def thoughts(writing: Writing, count: int) -> list[Record]:
    """Notes of about 150 bytes of content each."""
    return [writing.event(ev.Noted(key=str(place)), b'{"text":"%0100d"}' % place) for place in range(count)]


async def written(folder: Path, records: list[Record], *, run: str = "r", part: int = PART) -> None:
    """Write records one by one, as a long run does that nothing acts in."""
    journal = FileJournal(folder, part=part)
    claim = await journal.claim(run, "a", create=True)
    for record in records:
        await journal.append(claim, [record], durable=False)
    await journal.release(claim)


def test_a_long_run_is_in_parts_and_reads_as_one(tmp_path: Path) -> None:
    """Nothing is missing or there twice, no part is longer than it has to be, and all but the newest are compressed."""
    records = thoughts(Writing(), 60)
    asyncio.run(written(tmp_path, records))
    folder = tmp_path / "r"
    full = parts_of(folder)
    assert len(full) >= 6
    assert {part.suffix for part in full} == {".gz"}
    assert {part.stat().st_mode & 0o777 for part in full} == {0o600}
    assert max(len(gzip.decompress(part.read_bytes())) for part in full) < PART + 200
    assert (folder / CONTENT).stat().st_size < PART + 200
    assert list(read_files(folder)) == records
    assert b"".join(content_lines(folder)) == b"".join(record.content + b"\n" for record in records)


def test_the_parts_are_entered_at_any_line(tmp_path: Path) -> None:
    """A place counts bytes as if all were one file, whatever is compressed."""
    records = thoughts(Writing(), 30)
    asyncio.run(written(tmp_path, records))
    whole = [record.content + b"\n" for record in records]
    for number in range(31):
        at = sum(map(len, whole[:number]))
        assert list(content_lines(tmp_path / "r", at)) == whole[number:]


def test_what_a_crash_left_uncompressed_counts_and_is_compressed_later(tmp_path: Path) -> None:
    """Both forms of a part, or half of the compressed one: the plain one is read, and once, until it is compressed."""
    writing = Writing()
    records = thoughts(writing, 40)
    asyncio.run(written(tmp_path, records))
    folder = tmp_path / "r"
    first, second = parts_of(folder)[:2]
    for part in (first, second):
        part.with_suffix("").write_bytes(gzip.decompress(part.read_bytes()))
    second.rename(f"{second}.draft")
    assert list(read_files(folder)) == records
    more = thoughts(writing, 1)

    async def on() -> None:
        journal = FileJournal(tmp_path)
        claim = await journal.claim("r", "b")
        await journal.append(claim, more, durable=True)
        await journal.release(claim)

    asyncio.run(on())
    assert {part.suffix for part in parts_of(folder)} == {".gz"}
    assert not list(folder.glob("*.draft"))
    assert list(read_files(folder)) == [*records, *more]


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_pruned_is_in_no_leftover_either(tmp_path: Path, *, whole: bool) -> None:
    """Neither in a compressed form beside the plain one, nor in a draft."""
    writing = Writing()
    records = [*thoughts(writing, 20), writing.event(ev.Noted(key="x"), b'{"text":"Bob"}'), *thoughts(writing, 9)]
    asyncio.run(written(tmp_path, records))
    folder = tmp_path / "r"
    for part in parts_of(folder):
        part.with_suffix("").write_bytes(gzip.decompress(part.read_bytes()))
        part.with_name(f"{part.name}.draft").write_bytes(part.read_bytes())
    pruned = prune_content(folder) if whole else prune_mentions(folder, ["bob"])
    assert pruned.contents == (30 if whole else 1)
    left = [file.read_bytes() for file in folder.glob("content*")]
    assert b"Bob" not in b"".join(gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in left)
    assert sum(bool(record.content) for record in read_files(folder)) == 30 - pruned.contents


def test_a_reader_in_the_middle_loses_nothing_when_a_part_is_set_aside(tmp_path: Path) -> None:
    """What stood when it began to read it has whole, whatever becomes of the files."""
    writing = Writing()

    async def work() -> None:
        journal = FileJournal(tmp_path, part=PART)
        claim = await journal.claim("r", "a", create=True)
        for record in (records := thoughts(writing, 20)):
            await journal.append(claim, [record], durable=False)
        reading = read_files(tmp_path / "r")
        begun = [next(reading) for _ in range(3)]
        for record in thoughts(writing, 30):
            await journal.append(claim, [record], durable=False)
        await journal.release(claim)
        assert begun + list(reading) == records

    asyncio.run(work())


def test_a_follower_goes_from_part_to_part(tmp_path: Path) -> None:
    """It reads each line once, with its content, while parts come and are compressed."""
    chain = Chain()
    writing = Writing()
    loop = asyncio.new_event_loop()
    journal = FileJournal(tmp_path, part=PART)
    claim = loop.run_until_complete(journal.claim("r", "a", create=True))
    left = [thoughts(writing, 9) for _ in range(6)]
    records = [record for batch in left for record in batch]

    def more(_: float) -> None:
        if left:
            for record in left.pop(0):
                loop.run_until_complete(journal.append(claim, [record], durable=False))
        elif is_written(tmp_path / "r"):
            loop.run_until_complete(journal.release(claim))

    more(0)
    seen = [link.event for link in followed(lambda: tmp_path / "r", more)]
    assert seen == [chain.follow(record).event for record in records]
    assert len(parts_of(tmp_path / "r")) >= 4
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_a_loss_of_power_after_a_part_was_set_aside_costs_only_what_nobody_waited_for(tmp_path: Path) -> None:
    """The new part is empty: events up to the full ones have their content, and those after them are thought again."""
    records = thoughts(Writing(), 15)
    asyncio.run(written(tmp_path, records))
    folder = tmp_path / "r"
    full = int(parts_of(folder)[-1].name.split(".")[1])
    assert full < 15
    (folder / CONTENT).write_bytes(b"")

    async def on() -> str:
        journal = FileJournal(tmp_path, part=PART)
        claim = await journal.claim("r", "b")
        await journal.release(claim)
        return claim.repaired

    assert f"cut off {15 - full} events" in asyncio.run(on())
    assert list(read_files(folder)) == records[:full]


def test_many_tasks_of_one_run_fill_parts_together(tmp_path: Path) -> None:
    """A part is set aside when everything is on disk, also where somebody always writes."""
    records = thoughts(Writing(), 200)

    async def work() -> None:
        journal = FileJournal(tmp_path, part=PART)
        claim = await journal.claim("r", "a", create=True)
        turn = iter(records)

        async def writer() -> None:
            for record in turn:
                await journal.append(claim, [record], durable=False)

        await asyncio.gather(*(writer() for _ in range(8)))
        await journal.release(claim)

    asyncio.run(work())
    assert len(parts_of(tmp_path / "r")) > 10
    assert list(read_files(tmp_path / "r")) == records


def test_a_part_that_cannot_be_compressed_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on, one line says so, and nothing is lost."""

    def full(**_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("gzip.GzipFile", full)
    records = thoughts(Writing(), 20)
    with caplog.at_level(logging.WARNING):
        asyncio.run(written(tmp_path, records))
    assert "cannot compress" in caplog.text
    assert list(read_files(tmp_path / "r")) == records


def test_a_damaged_part_is_said_to_be(tmp_path: Path) -> None:
    """A cut archive is an error that names the run."""
    asyncio.run(written(tmp_path, thoughts(Writing(), 20)))
    part = parts_of(tmp_path / "r")[0]
    part.write_bytes(part.read_bytes()[:40])
    with pytest.raises(JournalFailed, match="the content of run r cannot be read"):
        list(read_files(tmp_path / "r"))


def test_nobody_else_writes_the_run_while_a_part_is_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held until then, also when the one who wrote it was cancelled while it gave the run back."""
    from scaffold.trace import writer

    async def work() -> None:
        loop, free = asyncio.get_running_loop(), asyncio.Event()
        going = asyncio.Event()

        def slow(_: Path) -> int:
            loop.call_soon_threadsafe(going.set)
            asyncio.run_coroutine_threadsafe(free.wait(), loop).result()
            return 0

        monkeypatch.setattr(writer, "compress_parts", slow)
        journal = FileJournal(tmp_path, part=PART)
        claim = await journal.claim("r", "a", create=True)
        await journal.append(claim, thoughts(Writing(), 20), durable=True)
        await going.wait()
        giving_back = asyncio.create_task(journal.release(claim))
        await asyncio.sleep(0.01)
        giving_back.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_back
        with pytest.raises(RunHeld):
            await FileJournal(tmp_path).claim("r", "b")
        free.set()

    asyncio.run(work())
    assert (tmp_path / "r" / SPINE).exists()

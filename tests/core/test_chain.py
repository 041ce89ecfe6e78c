"""The chain: each line's hash covers it and all before it; what is deleted leaves the rest checkable."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaffold import Planning, Task, note, think
from scaffold.errors import ClaimLost, NewerTrace, RunHeld, TraceDamaged, UnknownRun
from scaffold.interfaces import Record
from scaffold.trace.chain import GENESIS, Chain, body_of, content_line, read_content, seal
from scaffold.trace.files import FileJournal
from scaffold.trace.records import read_files
from scaffold.vocabulary import events

if TYPE_CHECKING:
    from tests.core.conftest import World


def lines(number: int) -> list[Record]:
    """A chain of notes, each with content."""
    records, previous = [], GENESIS
    for seq in range(1, number + 1):
        salt = bytes([seq % 256]) * 16
        body = b'{"text":"note %d"}' % seq
        event = events.Noted(seq=seq, at=1.5, key=str(seq), content=hashlib.sha256(salt + body).hexdigest())
        line, previous = seal(previous, events.encode(event))
        records += [Record(seq, line, content_line(seq, salt, body))]
    return records


def follow(records: list[Record]) -> Chain:
    """Check records from the first on."""
    chain = Chain()
    for record in records:
        chain.follow(record)
    return chain


@given(st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers()), min_size=1, max_size=5))
def test_the_hash_is_what_its_specification_says(bodies: list[dict[str, int]]) -> None:
    """SHA-256 over the previous hash and the line without its hash field, worked out apart from the code."""
    previous, expected = GENESIS, bytes(32)
    for body in bodies:
        text = json.dumps(body, ensure_ascii=False).encode() if body else b'{"a":1}'
        line, previous = seal(previous, text)
        expected = hashlib.sha256(expected + text).digest()
        assert previous == expected
        assert line == text[:-1] + b',"hash":"' + expected.hex().encode() + b'"}'
        assert json.loads(line)["hash"] == expected.hex()


def test_what_was_sealed_is_followed() -> None:
    """A chain gives back each event with its content, and ends at the last hash."""
    records = lines(5)
    chain = Chain()
    links = [chain.follow(record) for record in records]
    assert [link.event.seq for link in links] == [1, 2, 3, 4, 5]
    assert body_of(links[2].content) == {"text": "note 3"}
    assert chain.hash.hex() == json.loads(records[-1].line)["hash"]


@given(st.integers(0, 2), st.integers(0, 200) | st.integers(-80, -1), st.integers(1, 255))
def test_any_altered_byte_of_the_spine_is_found(number: int, place: int, change: int) -> None:
    """No bit of a line, nor of its hash and its brackets, can differ unnoticed."""
    records = lines(3)
    line = bytearray(records[number].line)
    line[place % len(line)] ^= change
    records[number] = Record(number + 1, bytes(line), records[number].content)
    with pytest.raises(TraceDamaged) as found:
        follow(records)
    assert found.value.line == number + 1


@given(st.integers(0, 2), st.integers(0, 10_000), st.integers(1, 255))
def test_any_altered_byte_of_a_content_is_found(number: int, place: int, change: int) -> None:
    """What a content says, and its salt, are held by the digest in the spine."""
    records = lines(3)
    content = bytearray(records[number].content)
    start = content.index(b'"salt":"')
    at = start + place % (len(content) - start)
    content[at] ^= change
    if content[at : at + 1].lower() == records[number].content[at : at + 1].lower():
        return  # a hex digit of the salt in the other case says the same
    records[number] = Record(number + 1, records[number].line, bytes(content))
    with pytest.raises(TraceDamaged):
        follow(records)


@pytest.mark.parametrize("how", ["dropped", "swapped", "doubled", "cut"])
def test_lines_that_are_missing_or_out_of_order_are_found(how: str) -> None:
    """Leaving a line out, exchanging two, repeating or truncating one breaks the chain there."""
    one, two, three = lines(3)
    records = {
        "dropped": [one, three],
        "swapped": [two, one, three],
        "doubled": [one, one],
        "cut": [one, Record(2, two.line[:40], two.content)],
    }[how]
    with pytest.raises(TraceDamaged):
        follow(records)


def test_a_sealed_line_that_is_no_event_is_of_a_newer_version_or_damaged() -> None:
    """A kind that is not known is not called damage; what is not JSON is."""
    line, _ = seal(GENESIS, b'{"kind":"dream","seq":1}')
    with pytest.raises(NewerTrace):
        Chain().follow(Record(1, line))
    line, _ = seal(GENESIS, b'{"kind":"noted","seq":}')
    with pytest.raises(TraceDamaged):
        Chain().follow(Record(1, line))


def test_a_line_that_counts_itself_wrong_is_found_in_a_whole_chain() -> None:
    """Whoever seals lines anew has to number them as they stand: what points at a number would point elsewhere."""
    chain = Chain()
    line, last = seal(GENESIS, b'{"kind":"noted","seq":1,"at":0.0,"t":0.0,"key":"0"}')
    chain.follow(Record(1, line))
    line, _ = seal(last, b'{"kind":"noted","seq":3,"at":0.0,"t":0.0,"key":"1"}')
    with pytest.raises(TraceDamaged, match="line 2 of the trace has the number 3"):
        chain.follow(Record(2, line))


def test_contents_can_be_deleted_and_the_spine_stays_whole() -> None:
    """Withheld content is None, and nothing else changes; content where none was is damage."""
    records = lines(3)
    bare = [Record(record.seq, record.line) for record in records]
    assert follow(bare).hash == follow(records).hash
    assert Chain().follow(bare[0]).content is None
    with pytest.raises(TraceDamaged):
        Chain().follow(Record(1, bare[0].line, records[1].content))


def test_digests_are_salted(world: World) -> None:
    """The same words twice have different digests, so that few possible contents cannot be guessed from the spine."""

    def planner(_: Task) -> Planning[str]:
        yield from note("yes")
        yield from note("yes")
        for _time in range(2):
            yield from think("solve", "x")
        return "done"

    outcome = world.solve(planner)
    story = world.story(outcome)
    notes = [event["content"] for event in story.of("noted")]
    assert notes[0] != notes[1]
    assert len({event["content"] for event in story.of("step.asked")}) == 2
    folder = world.folder / "runs" / outcome.run
    salts = [read_content(line).salt for line in (folder / "content.jsonl").read_bytes().splitlines()]
    assert len(set(salts)) == len(salts)


def test_rule_2_the_trace_is_the_only_source_of_truth(world: World) -> None:
    """A run with its content deleted still verifies; with it, a resumed run gives the outcome again, unasked."""

    def planner(task: Task) -> Planning[str]:
        thought = yield from think("solve", task.request)
        return str(thought.value)

    first = world.solve(planner, ["once"])
    again = world.agent(planner, []).resume_sync(first.run)
    assert (again.status, again.answer, again.steps) == (first.status, first.answer, first.steps)
    folder = world.folder / "runs" / first.run
    whole = follow(list(read_files(folder)))
    (folder / "content.jsonl").unlink()
    assert follow(list(read_files(folder))).hash == whole.hash
    with pytest.raises(TraceDamaged, match="does not contain the task"):
        world.agent(planner).resume_sync(first.run)


# --- the file journal


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 60),
    st.integers(0, 60),
)
def test_what_a_crash_leaves_half_written_is_mended(
    tmp_path: Path, batches: list[tuple[int, bool]], cut_spine: int, cut_content: int
) -> None:
    """Whatever tail is lost, opening gives a chain that is whole, and says what was cut off."""
    total = sum(size for size, _ in batches)
    records = iter(lines(total))

    async def write() -> str:
        journal = FileJournal(tmp_path / "runs")
        run = f"run{len(journal.runs())}"
        claim = await journal.claim(run, "test", create=True)
        for size, durable in batches:
            await journal.append(claim, [next(records) for _ in range(size)], durable=durable)
        await journal.release(claim)
        return run

    run = asyncio.run(write())
    folder = tmp_path / "runs" / run
    for name, cut in (("trace.jsonl", cut_spine), ("content.jsonl", cut_content)):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: max(0, len(data) - cut)])

    async def mend() -> tuple[str, int]:
        journal = FileJournal(tmp_path / "runs")
        claim = await journal.claim(run, "again")
        read = [record async for record in journal.read(run)]
        chain = follow(read)
        await journal.append(claim, lines(chain.seq + 1)[-1:], durable=True)
        await journal.release(claim)
        return claim.repaired, follow([record async for record in journal.read(run)]).seq

    whole = (folder / "trace.jsonl").read_bytes().count(b"\n")
    torn = not (folder / "trace.jsonl").read_bytes().endswith(b"\n") and (folder / "trace.jsonl").stat().st_size
    repaired, seq = asyncio.run(mend())
    assert seq == whole + 1
    assert bool(torn) <= ("trace.jsonl" in repaired)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"nonsense\n", b'{"kind":"noted","seq":1}\n', b"again"])
def test_a_spine_that_ends_in_what_was_never_sealed_costs_no_content(tmp_path: Path, end: bytes) -> None:
    """An editor's empty line, nonsense, a line twice: nobody can tell what content belongs there, so all stays."""
    journal = FileJournal(tmp_path / "runs")

    async def opened(*, create: bool) -> str:
        claim = await journal.claim("run", "test", create=create)
        if create:
            await journal.append(claim, lines(5), durable=True)
        await journal.release(claim)
        return claim.repaired

    asyncio.run(opened(create=True))
    spine, content = (tmp_path / "runs" / "run" / name for name in ("trace.jsonl", "content.jsonl"))
    stored, whole = content.read_bytes(), spine.read_bytes()
    spine.write_bytes(whole + (whole.splitlines(keepends=True)[1] if end == b"again" else end))
    assert asyncio.run(opened(create=False)) == ""
    assert content.read_bytes() == stored
    with pytest.raises(TraceDamaged, match="line 6"):
        follow(list(read_files(tmp_path / "runs" / "run")))


def test_one_process_writes_and_anybody_reads(tmp_path: Path) -> None:
    """A second claim is refused while the first holds; a reader sees whole lines, in order, at any time."""

    async def share() -> None:
        journal, other = FileJournal(tmp_path), FileJournal(tmp_path)
        claim = await journal.claim("r", "one", create=True)
        with pytest.raises(RunHeld, match="being written"):
            await other.claim("r", "two")
        written = lines(3)
        for number, record in enumerate(written, start=1):
            await journal.append(claim, [record], durable=False)
            assert [each.seq async for each in other.read("r")] == list(range(1, number + 1))
        with (tmp_path / "r" / "trace.jsonl").open("ab") as file:
            file.write(b'{"kind":"noted","se')
        assert [each async for each in other.read("r", 1)] == written[1:]
        await journal.release(claim)
        with pytest.raises(ClaimLost):
            await journal.append(claim, written, durable=False)
        again = await other.claim("r", "two")
        assert "incomplete line in trace.jsonl" in again.repaired
        await other.release(again)

    asyncio.run(share())


def test_syncs_are_grouped(tmp_path: Path) -> None:
    """Many who wait for the disk at once share syncs; each returns only when what it wrote is on disk."""
    synced = 0

    async def fsync(_: int) -> None:
        nonlocal synced
        synced += 1
        await asyncio.sleep(0.01)

    async def write() -> None:
        journal = FileJournal(tmp_path, fsync=fsync)
        claim = await journal.claim("r", "one", create=True)
        before = synced
        await asyncio.gather(*(journal.append(claim, [record], durable=True) for record in lines(50)))
        assert synced - before <= 6
        await journal.release(claim)
        assert follow([record async for record in journal.read("r")]).seq == 50

    asyncio.run(write())


def test_runs_are_found_by_what_is_said_of_them(tmp_path: Path) -> None:
    """An id, a unique part of its beginning or end, or `last`; anything else names what there is."""

    async def make() -> FileJournal:
        journal = FileJournal(tmp_path)
        for run in ("20250101-a", "20250102-b"):
            claim = await journal.claim(run, "x", create=True)
            await journal.append(claim, lines(1), durable=False)
            await journal.release(claim)
        return journal

    journal = asyncio.run(make())
    assert journal.find("20250101-a") == journal.find("20250101") == journal.find("-a") == "20250101-a"
    assert journal.find("last") == "20250102-b"
    for said, answer in (
        ("2025", "matches 2 runs"),
        ("20250103-b", "did you mean '20250102-b'"),
        ("", "matches 2 runs"),
    ):
        with pytest.raises(UnknownRun, match=answer):
            journal.find(said)
    with pytest.raises(UnknownRun, match="there are none"):
        FileJournal(tmp_path / "nowhere").find("last")

"""Whatever is done to a signed run shows; what only a head kept elsewhere can show, shows with that."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaffold.errors import BadInput
from scaffold.interfaces import Surroundings
from scaffold.machinery.recording.recorder import Recorder
from scaffold.testing.tampering import (
    ROWS,
    Evidence,
    checked,
    made_up_key,
    markdown,
    place_of,
    sealed_anew,
    signed_anew,
)
from scaffold.trace.files import CONTENT, HEADS, SPINE, FileJournal
from scaffold.trace.heads import Head, read_heads
from scaffold.trace.verify import verify_run
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[2] / "docs" / "audit.md"
KEY, BOTH = frozenset({"key"}), frozenset({"key", "heads"})

Lines = list[bytes]


# --- every manipulation of lines, as Hypothesis makes them up


@st.composite
def edits(draw: st.DrawFn) -> Callable[[Lines], Lines]:
    """Something done to the lines of a file: bytes, lines, their order, or where they end."""
    kind = draw(st.sampled_from(["flip", "drop", "copy", "swap", "cut", "tear", "insert", "reverse"]))
    first, second = draw(st.integers(0, 200)), draw(st.integers(0, 200))
    change, text = draw(st.integers(1, 255)), draw(st.binary(max_size=60))

    def edit(lines: Lines) -> Lines:  # noqa: PLR0911 - one for each thing that can be done
        if not lines:
            return [text]
        at, other = first % len(lines), second % len(lines)
        match kind:
            case "flip":
                line = bytearray(lines[at] or b"x")
                line[second % len(line)] ^= change
                return [*lines[:at], bytes(line), *lines[at + 1 :]]
            case "drop":
                return lines[:at] + lines[at + 1 + change % 3 :]
            case "copy":
                return [*lines[:at], lines[other], *lines[at:]]
            case "swap":
                lines = list(lines)
                lines[at], lines[other] = lines[other], lines[at]
                return lines
            case "cut":
                return lines[:at]
            case "tear":
                return [*lines[:at], lines[at][: second % (len(lines[at]) or 1)]]
            case "insert":
                return [*lines[:at], text + b"\n", *lines[at:]]
            case _:
                low, high = min(at, other), max(at, other) + 1
                return [*lines[:low], *reversed(lines[low:high]), *lines[high:]]

    return edit


@st.composite
def forgeries(draw: st.DrawFn) -> Callable[[list[Any]], list[Any]]:
    """Something done to events before the chain is computed anew."""
    kind = draw(st.sampled_from(["drop", "copy", "swap", "change", "cut"]))
    first, second, value = draw(st.integers(0, 200)), draw(st.integers(0, 200)), draw(st.integers(1, 10**6))

    def forge(events: list[Any]) -> list[Any]:
        if not events:  # those before have left nothing
            return events
        at, other = first % len(events), second % len(events)
        match kind:
            case "drop":
                return events[:at] + events[at + 1 :]
            case "copy":
                return [*events[:at], events[other], *events[at:]]
            case "swap":
                events[at], events[other] = events[other], events[at]
                return events
            case "change":
                return [*events[:at], {**events[at], "at": float(value)}, *events[at + 1 :]]
            case _:
                return events[: at + 1]

    return forge


def is_a_rollback(whole: Evidence, spine: Lines) -> bool:
    """Whether a spine is that of the run as it stood when it paused."""
    return spine == whole.spine[: place_of(whole.spine, "run.paused") + 1]


def assert_it_shows(whole: Evidence, changed: Evidence) -> None:
    """Only what was not changed verifies: with the key alone perhaps as it once was, with a head as it is."""
    spine = (changed.folder / SPINE).read_bytes().splitlines(keepends=True)
    content = changed.folder / CONTENT
    contents = content.read_bytes().splitlines(keepends=True) if content.exists() else []
    genuine = set((whole.folder / CONTENT).read_bytes().splitlines(keepends=True))
    by_key, by_both = checked(changed, KEY), checked(changed, BOTH)
    if by_key.ok:
        assert spine == whole.spine or is_a_rollback(whole, spine)
        assert {line for line in contents if line.endswith(b"\n")} <= genuine
    if by_both.ok:
        assert spine == whole.spine
    for found in (by_key, by_both):
        if not found.ok:
            assert found.findings
        if found.state in {"altered", "rolled back", "newer format"}:
            assert not any("resume` continues it" in each.said for each in found.findings)


REPEATED = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@REPEATED
@given(
    st.lists(st.tuples(st.sampled_from([SPINE, CONTENT, HEADS]), edits()), min_size=1, max_size=4),
    st.sampled_from(["kept", "deleted"]),
)
def test_no_edit_of_its_files_verifies(
    whole: Evidence, changes: list[tuple[str, Callable[[Lines], Lines]]], heads: str
) -> None:
    """Edits, deletions, insertions, reorderings and cuts of spine, content and heads, one or several, are found."""
    with tempfile.TemporaryDirectory() as place:
        changed = whole.copied(Path(place, "runs"))
        for name, change in changes:
            changed.write(name, change((changed.folder / name).read_bytes().splitlines(keepends=True)))
        if heads == "deleted":
            (changed.folder / HEADS).unlink(missing_ok=True)
        assert_it_shows(whole, changed)


@REPEATED
@given(st.lists(forgeries(), min_size=1, max_size=3), st.sampled_from(["kept", "deleted", "another's", "cut"]))
def test_no_chain_that_was_computed_anew_verifies(
    whole: Evidence, changes: list[Callable[[list[Any]], list[Any]]], heads: str
) -> None:
    """Whoever has no key cannot make another history, whatever they do with the heads."""
    with tempfile.TemporaryDirectory() as place:
        changed = whole.copied(Path(place, "runs"))
        spine = whole.spine
        for change in changes:
            spine = sealed_anew(spine, change)
        changed.write(SPINE, spine)
        (changed.folder / CONTENT).unlink()
        if heads == "deleted":
            (changed.folder / HEADS).unlink()
        elif heads == "another's":
            signed_anew(changed, made_up_key(2))
        elif heads == "cut":
            text = (changed.folder / HEADS).read_text()
            (changed.folder / HEADS).write_text(text[: text.index("\n\n", len(text) // 2) + 2])
        assert_it_shows(whole, changed)


@pytest.mark.parametrize("lines", range(1, 23))
def test_a_rollback_to_any_line_shows_against_a_head_kept_elsewhere(evidence: Evidence, lines: int) -> None:
    """Cut back to any of its lines, heads and content with it, a run does not reach the head that was kept."""
    spine = evidence.spine
    if lines == len(spine):
        assert checked(evidence, BOTH).ok
        return
    evidence.write(SPINE, spine[:lines])
    (evidence.folder / CONTENT).unlink()
    notes = read_heads((evidence.folder / HEADS).read_text())
    evidence.write(HEADS, [f"{note}\n".encode() for head, note in notes if head.seq <= lines])
    found = checked(evidence, BOTH)
    assert not found.ok
    assert found.state in {"rolled back", "torn tail"}
    assert f"the trace has {lines}" in " ".join(each.said for each in found.findings)


def test_a_rollback_that_looks_like_a_torn_line_shows_all_the_same(evidence: Evidence) -> None:
    """Whoever cuts a run back in the middle of a line does not have it taken for a crash by who kept a head."""
    spine = evidence.spine
    evidence.write(SPINE, [*spine[:12], spine[12][:30]])
    (evidence.folder / CONTENT).unlink()
    (evidence.folder / HEADS).unlink()
    found = checked(evidence, BOTH)
    assert found.state == "rolled back"
    assert {"torn tail", "rolled back"} <= {each.state for each in found.findings}


@pytest.mark.parametrize("lines", range(5), ids=["whose", "how many events", "hash", "nothing", "signature"])
@pytest.mark.parametrize("part", [0.0, 0.5], ids=["before", "within"])
def test_a_head_that_was_cut_while_it_was_written_is_told(evidence: Evidence, lines: int, part: float) -> None:
    """A crash leaves it so, at any byte of it; without it nobody has signed the run to its end."""
    *whole, (_, last) = read_heads((evidence.folder / HEADS).read_text())
    note = last.splitlines(keepends=True)
    cut = "".join(note[:lines]) + note[lines][: int(part * len(note[lines]))]
    evidence.write(HEADS, [f"{note}\n".encode() for _, note in whole] + [cut.encode()])
    found = checked(evidence, KEY)
    told = {each.state: each.file for each in found.findings}
    assert told == {**({"torn tail": HEADS} if cut else {}), "unsigned": SPINE}
    assert not cut or "its last signed head was cut off" in found.sentence()


def test_heads_of_many_runs_may_be_kept_in_one_place(evidence: Evidence) -> None:
    """A run is held against its own; where there are none of it, that is told rather than passed over."""
    others = [made_up_key(1).sign(Head(f"run-{number}", 3, bytes(32))) + "\n" for number in range(5)]
    assert verify_run(evidence.folder, key=evidence.key, against=[*others, evidence.kept]).ok
    with pytest.raises(BadInput, match=r"not of run \S+, but of run-0, run-1, run-2 and 2 more$"):
        verify_run(evidence.folder, key=evidence.key, against="".join(others))
    with pytest.raises(BadInput, match=r"not of run \S+, but of run-0$"):
        verify_run(evidence.folder, key=evidence.key, against=others[0])


@pytest.mark.parametrize(
    "added",
    [
        "not a head\n",
        "scaffold.trace/x\nmany\neA==\n\n\N{EM DASH} scaffold x\n",
        "scaffold.trace/x\n1\ne A==\n\n\N{EM DASH} scaffold x\n",
        "scaffold.trace/x\n1\neA==\n\nscaffold x\n",
        "scaffold.trace/x\n1\neA==\nmore\n\N{EM DASH} scaffold x\n",
    ],
    ids=["a line", "no number", "no hash", "no signature", "another line"],
)
def test_what_is_no_head_among_the_heads_is_altered(evidence: Evidence, added: str) -> None:
    """Nobody's crash leaves it there."""
    heads = (evidence.folder / HEADS).read_bytes()
    evidence.write(HEADS, [added.encode(), heads])
    found = checked(evidence, frozenset())
    assert (found.state, found.findings[0].file) == ("altered", HEADS)
    assert "its file of signed heads was altered" in found.sentence()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda events: events[1:], "line 1: the trace does not begin with the run's start"),
        (lambda events: [*events[:3], events[0], *events[3:]], "line 4: a second run begins there"),
    ],
    ids=["without its start", "with another"],
)
def test_a_trace_begins_once(evidence: Evidence, change: Callable[[list[Any]], list[Any]], said: str) -> None:
    """Its chain computed anew, one without its beginning, or with two, is altered all the same."""
    evidence.write(SPINE, sealed_anew(evidence.spine, change))
    for name in (CONTENT, HEADS):
        (evidence.folder / name).unlink()
    found = checked(evidence, frozenset())
    assert (found.state, said in found.sentence()) == ("altered", True)


@pytest.mark.parametrize(
    "change",
    [
        lambda name, number, public: [name, number, public[:-4]],
        lambda name, number, public: [name, number, public[:-1] + "!"],
        lambda name, number, public: [name, number, "B" + public[1:]],
        lambda name, number, public: [name, number[::-1], public],
        lambda name, number, public: [name + "x", number, public],
    ],
    ids=["too short", "no base64", "of another kind", "another number", "another name"],
)
def test_a_key_that_was_copied_badly_is_said_to_be_none(evidence: Evidence, change: Any) -> None:
    """It would fit no signature, and the run would be said to be forged."""
    with pytest.raises(BadInput, match="is not a verifier line"):
        verify_run(evidence.folder, key="+".join(change(*evidence.key.split("+", 2))))


def test_a_head_of_another_key_covers_nothing(evidence: Evidence) -> None:
    """It is told, does not count among those that fit, and leaves what it stands for unsigned."""
    signed_anew(evidence, made_up_key(2))
    found = checked(evidence, KEY)
    assert [(each.state, each.line) for each in found.findings] == [("wrong key", len(evidence.spine)), ("unsigned", 1)]
    assert (found.state, found.heads, found.signed_until, found.signed_by_key) == ("wrong key", 0, 0, False)


def test_content_of_no_event_is_altered(evidence: Evidence) -> None:
    """A second one for an event, one for an event that has none, and one for an event that never was."""
    contents = (evidence.folder / CONTENT).read_bytes().splitlines(keepends=True)
    numbers = {json.loads(line)["seq"] for line in contents}
    bare = next(number for number in range(1, len(evidence.spine)) if number not in numbers)
    for number in (json.loads(contents[1])["seq"], bare, 999):
        more = json.dumps({**json.loads(contents[1]), "seq": number}, separators=(",", ":")).encode() + b"\n"
        at = sum(json.loads(line)["seq"] <= number for line in contents)
        evidence.write(CONTENT, [*contents[:at], more, *contents[at:]])
        found = checked(evidence, BOTH)
        assert (found.state, found.content_altered, found.line) == ("content altered", 1, at + 1)
        assert f"line {at + 1} of {CONTENT} does not belong to any event" in found.sentence()


@pytest.mark.parametrize(("name", "state"), [(SPINE, "altered"), (CONTENT, "content altered")])
@pytest.mark.parametrize("place", [-2, -3], ids=["the last", "the one before"])
def test_the_last_bytes_of_a_line_count(evidence: Evidence, name: str, state: str, place: int) -> None:
    """Also those that only close it, after the hash or what was digested."""
    lines = (evidence.folder / name).read_bytes().splitlines(keepends=True)
    changed = bytearray(lines[3])
    changed[place] ^= 1
    evidence.write(name, [*lines[:3], bytes(changed), *lines[4:]])
    found = checked(evidence, KEY)
    assert (found.state, found.line) == (state, 4)


def test_a_trace_of_nothing_was_cut_off(evidence: Evidence) -> None:
    """Half a line of it is a torn one."""
    for name in (CONTENT, HEADS):
        (evidence.folder / name).unlink()
    first = evidence.spine[0]
    evidence.write(SPINE, [])
    assert (checked(evidence, frozenset()).state, checked(evidence, KEY).ok) == ("cut off", False)
    assert "the trace is empty" in checked(evidence, frozenset()).sentence()
    evidence.write(SPINE, [first[:30]])
    found = checked(evidence, frozenset())
    assert [each.state for each in found.findings] == ["torn tail"]


def test_of_what_follows_an_altered_line_nothing_is_said(evidence: Evidence) -> None:
    """It was not read: neither that the run was cut off there, nor that heads do not reach it."""
    spine = evidence.spine
    evidence.write(SPINE, [*spine[:6], spine[6].replace(b'"at":', b'"at":1', 1), *spine[7:]])
    found = checked(evidence, BOTH)
    assert [(each.state, each.line) for each in found.findings] == [("altered", 7)]


# --- the table


def test_the_table_in_the_documentation_is_what_verifying_says() -> None:
    """docs/audit.md shows what was done and what `audit verify` says, as it says it now."""
    assert markdown() in DOCS.read_text(encoding="utf-8")


def test_what_was_done_is_told_apart(whole: Evidence, tmp_path: Path) -> None:
    """Ended, paused, cut off, torn, altered, rolled back and wrong key have names of their own, also in JSON."""
    states = {}
    for number, row in enumerate(ROWS):
        evidence = whole.copied(tmp_path / str(number))
        row.do(evidence)
        found = checked(evidence, row.holds)
        states[row.done] = (found.state, found.standing)
    assert states["nothing"] == ("verified", "ended")
    assert states["rolled back to its pause, its heads too"] == ("verified", "paused")
    assert states["the same, against a head kept elsewhere"][0] == "rolled back"
    assert states["the process killed while it wrote a line"][0] == "torn tail"
    assert states["the process killed between intent and outcome"][0] == "cut off"
    assert states["a byte of line 7 changed"][0] == "altered"
    assert states["the same, signed with another key"][0] == "wrong key"
    assert states["an event of a newer version"][0] == "newer format"


def test_only_the_public_key_and_the_spine_are_needed(evidence: Evidence, tmp_path: Path) -> None:
    """On another machine, trace.jsonl and the heads alone verify; without the heads, those kept elsewhere do."""
    folder = tmp_path / "elsewhere" / evidence.folder.name
    folder.mkdir(parents=True)
    shutil.copy(evidence.folder / SPINE, folder)
    alone = Evidence(folder, evidence.key, evidence.kept)
    assert checked(alone, KEY).state == "unsigned"
    found = checked(alone, BOTH)
    assert (found.ok, found.signed_by_key, found.withheld > 0) == (True, True, True)


def test_a_review_in_which_nobody_said_anything_clears_nothing(evidence: Evidence) -> None:
    """Its verdicts left out and the chain computed anew, the review itself is misconduct."""

    def silenced(events: list[Any]) -> list[Any]:
        return [{**event, "verdicts": []} if event["kind"] == "reviewed" else event for event in events]

    evidence.write(SPINE, sealed_anew(evidence.spine, silenced))
    (evidence.folder / HEADS).unlink()
    (evidence.folder / CONTENT).unlink()
    found = checked(evidence, frozenset())
    assert (found.state, "without a verdict of any monitor" in found.sentence()) == ("misconduct", True)


def test_heads_out_of_order_are_altered(evidence: Evidence) -> None:
    """Each is signed for its place; exchanged, all of them still are, and the file is not as it was written."""
    first, second, *rest = [f"{note}\n".encode() for _, note in read_heads((evidence.folder / HEADS).read_text())]
    evidence.write(HEADS, [second, first, *rest])
    found = checked(evidence, KEY)
    assert (found.ok, found.state) == (False, "altered")
    assert "its signed heads are out of order" in found.sentence()


@pytest.mark.parametrize(
    ("kind", "change", "state", "said"),
    [
        ("run.started", {"format": 999}, "newer format", "it has format 999"),
        ("run.started", {"run": "another"}, "altered", "it is the trace of run another"),
        ("key.changed", {"before": "another"}, "altered", "it names another previous key than the one before"),
    ],
)
def test_a_first_event_or_a_key_that_says_otherwise_is_told(
    evidence: Evidence, kind: str, change: dict[str, Any], state: str, said: str
) -> None:
    """A format of another version, the name of another run, a key that never was: whole lines, and no word to go by."""

    def changed(events: list[Any]) -> list[Any]:
        return [{**event, **change} if event["kind"] == kind else event for event in events]

    evidence.write(SPINE, sealed_anew(evidence.spine, changed))
    (evidence.folder / HEADS).unlink()
    (evidence.folder / CONTENT).unlink()
    found = checked(evidence, frozenset())
    assert (found.ok, found.state) == (False, state)
    assert said in found.sentence()


def test_a_forged_budget_of_oversight_and_time_is_found(evidence: Evidence) -> None:
    """Steps, tokens and time beyond what the first event allows are misconduct."""
    events = [json.loads(line) for line in evidence.spine]
    last = {"kind": "step.asked", "at": 1.0, "t": 5000.0, "key": "9", "step": "solve", "tokens": 10}
    for bounds, said in (
        ({"seconds": 3600.0}, "after the time limit"),
        ({"tokens": 9}, "10 tokens would be used, but the budget is 9"),
        ({"steps": 0}, "1 steps would be used"),
    ):
        forged = [{**events[0], "bounds": bounds}, *events[1:-1], last, events[-1]]
        evidence.write(SPINE, sealed_anew([json.dumps(each).encode() for each in forged], lambda each: each))
        (evidence.folder / HEADS).unlink(missing_ok=True)
        (evidence.folder / CONTENT).unlink(missing_ok=True)
        found = checked(evidence, frozenset())
        assert found.state == "misconduct"
        assert said in found.sentence()


def test_memory_does_not_grow_with_the_trace(tmp_path: Path) -> None:
    """Five times the events, content and heads take no more memory to verify; benchmarks/audit.py does a gigabyte."""
    peaks = []
    for events in (1_000, 5_000):
        folder = asyncio.run(long_run(tmp_path / str(events), events))
        verify_run(folder, key=made_up_key(1).verifier())
        tracemalloc.start()
        try:
            found = verify_run(folder, key=made_up_key(1).verifier())
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert (found.ok, found.events, found.heads) == (True, events + 1, events // 100)
    assert peaks[1] < peaks[0] + 64_000


def test_verifiers_at_once_never_take_a_run_that_is_written_for_a_damaged_one(tmp_path: Path) -> None:
    """Two of them, again and again, while another process's writes go on: running or, before its next line, whole."""
    states: list[str] = []
    writing = threading.Event()

    def verify() -> None:
        folder = tmp_path / "long"
        while writing.is_set():
            if (folder / SPINE).exists():
                states.append(verify_run(folder, key=made_up_key(1).verifier(), running=True).state)

    writing.set()
    verifiers = [threading.Thread(target=verify) for _ in range(2)]
    for verifier in verifiers:
        verifier.start()
    folder = asyncio.run(long_run(tmp_path, 400, heads_every=5))
    writing.clear()
    for verifier in verifiers:
        verifier.join()
    assert states
    # A head is signed of what is on disk already: lines after it are not signed yet.
    assert set(states) <= {"running", "unsigned", "cut off", "verified"}, set(states)
    assert verify_run(folder, key=made_up_key(1).verifier()).ok


def test_content_that_a_killed_resume_left_is_torn_and_not_altered(evidence: Evidence) -> None:
    """Content stands before its line: of a run that paused, some may be there whose line never came."""
    lines = evidence.spine
    paused = place_of(lines, "run.paused") + 1
    contents = (evidence.folder / CONTENT).read_bytes().splitlines(keepends=True)
    for row in ROWS:
        if row.done == "rolled back to its pause, its heads too":
            row.do(evidence)
    left = next(line for line in contents if json.loads(line)["seq"] > paused)
    evidence.write(CONTENT, [*(line for line in contents if json.loads(line)["seq"] <= paused), left])
    found = checked(evidence, KEY)
    assert (found.ok, found.state, found.content_altered) == (False, "torn tail", 0)
    assert "it was never written, or was cut off" in found.sentence()
    assert verify_run(evidence.folder, key=evidence.key, running=True).ok  # whoever goes on is about to write its line
    journal = FileJournal(evidence.folder.parent)

    async def mend() -> str:
        claim = await journal.claim(evidence.folder.name, "test")
        await journal.release(claim)
        return claim.repaired

    assert "content.jsonl" in asyncio.run(mend())
    assert checked(evidence, KEY).ok


async def long_run(root: Path, events: int, heads_every: int = 100) -> Path:
    """A run of many notes, with a signed head for every hundred or so."""
    journal = FileJournal(root)
    claim = await journal.claim("long", "test", create=True)
    recorder = Recorder(journal, claim, Surroundings(), signer=made_up_key(1))
    recorder.record(ev.RunStarted(format=ev.FORMAT, run="long", scaffold="0", planner="p"), {"task": {}})
    for number in range(1, events):
        recorder.record(ev.Noted(key=str(number)), {"text": "x" * 500, "partial": None})
        if number % heads_every == 0:
            await recorder.flush(durable=True)
            await recorder.sign()
    recorder.record(ev.Ended(status="solved"), {"answer": 1})
    await recorder.flush(durable=True)
    await recorder.sign()
    await journal.release(claim)
    return root / "long"

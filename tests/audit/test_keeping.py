"""What traces keep, and how: encrypted, compressed, redacted, pruned; every reader goes on working."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import json
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Planning, Scaffold, Task, Verdict, act, action, majority, once, think
from scaffold.approvals.queue import Queue
from scaffold.errors import BadInput, JournalFailed, RunHeld, StepFailed, TraceDamaged
from scaffold.interfaces import Answer, Surroundings
from scaffold.machinery.reviewing.rereading import reread
from scaffold.odds.measured import Measured
from scaffold.testing import Scripted
from scaffold.testing.tampering import made_up_key
from scaffold.trace import sealing
from scaffold.trace.elsewhere import elsewhere
from scaffold.trace.files import CONTENT, FileJournal
from scaffold.trace.identities import acts_in
from scaffold.trace.parts import PART_BYTES, parts_of
from scaffold.trace.pruning import Pruned, prune_content, prune_mentions, prune_run
from scaffold.trace.reading import links
from scaffold.trace.records import read_files
from scaffold.trace.sealing import VARIABLE
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.models import FREE, Delta, Profile, ReasoningBlock, Usage
from scaffold.vocabulary.review import MonitorSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

KEY, OTHER = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@action(effect="irreversible", identity=("invoice",))
async def pay(invoice: str, to: str) -> dict[str, str]:
    """Pay an invoice."""
    return {"paid": invoice, "card": "4111 1111 1111 1111", "to": to}


class Careful:
    """Has a person see what goes to Zoe."""

    spec = MonitorSpec(name="careful", watches=frozenset({"action"}))

    async def review(self, subject: Any, view: Any, context: Any) -> Verdict:
        """Read one call."""
        escalates = subject.call.arguments["to"] == "Zoe"
        return Verdict(decision="escalate" if escalates else "allow", rationale="to Zoe" if escalates else "")


def paying(task: Task) -> Planning[Any]:
    """Think, and pay."""
    thought = yield from think("decide", task.request)
    paid = yield from act("pay", {"invoice": task.inputs.get("invoice", "A-1"), "to": str(thought.value)})
    return paid.value


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    """A journal."""
    return FileJournal(tmp_path / "runs")


@pytest.fixture
def agent(journal: FileJournal) -> Callable[..., Scaffold]:
    """Makes agents whose model says who is to be paid."""

    def make(to: str = "Bob", **more: Any) -> Scaffold:
        given = {"backends": {"default": Scripted(to)}, "actions": [pay], "monitors": [Careful()]}
        return Scaffold(paying, **{**given, "journal": journal, **more})

    return make


def answered(journal: FileJournal, run: str) -> None:
    """Say yes to what a run waits for."""
    (waiting,) = Queue(journal).waiting()
    said = Answer(id=waiting.question.id, digest=waiting.question.digest, granted=True, by="Ann")
    asyncio.run(journal.post(run, said))


# --- encryption


def test_encrypted_content_cannot_be_read_and_its_spine_verifies(
    journal: FileJournal, agent: Callable[..., Scaffold], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word of content is on disk; without the key the spine, verdicts and signatures verify; with it all does."""
    monkeypatch.setenv(VARIABLE, KEY)
    signer = made_up_key(1)
    outcome = agent(signer=signer).solve_sync(Task(prompt="Pay the plumber", inputs={"invoice": "A-77"}))
    folder = journal.folder(outcome.run)
    stored = b"".join(path.read_bytes() for path in journal.root.rglob("*") if path.is_file())
    for word in (b"plumber", b"A-77", b"4111 1111", b'"Bob"'):
        assert word not in stored
    with_key = verify_run(folder, key=signer.verifier())
    assert (with_key.ok, with_key.sealed, with_key.withheld) == (True, 0, 0)
    monkeypatch.delenv(VARIABLE)
    without = verify_run(folder, key=signer.verifier())
    assert (without.ok, without.withheld, without.sealed > 3) == (True, 0, True)
    assert "is encrypted" in without.sentence()
    monkeypatch.setenv(VARIABLE, OTHER)
    assert verify_run(folder).state == "content altered"


def test_an_encrypted_run_waits_resumes_and_is_measured(
    journal: FileJournal, agent: Callable[..., Scaffold], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approvals, resume, odds, other runs and identities read it with the key; a new key may seal from then on."""
    monkeypatch.setenv(VARIABLE, KEY)
    waiting = agent("Zoe").solve_sync(Task(prompt="Pay"))
    assert waiting.status == "waiting"
    answered(journal, waiting.run)
    monkeypatch.setenv(VARIABLE, f"{OTHER},{KEY}")
    outcome = agent("Zoe").resume_sync(waiting.run)
    assert (outcome.status, outcome.answer["paid"]) == ("solved", "A-1")
    assert len(Measured().read([journal.folder(outcome.run)]).groups) == 1
    (did,) = elsewhere(journal, 0.0)
    assert did.arguments == {"invoice": "A-1", "to": "Zoe"}
    assert b"Zoe" not in (journal.root / ".elsewhere.sqlite").read_bytes()
    again = agent("Bob").solve_sync(Task(prompt="Pay"))
    assert again.status == "stopped"  # the invoice is paid


def test_without_the_key_an_encrypted_run_is_not_resumed_and_not_guessed_about(
    journal: FileJournal, agent: Callable[..., Scaffold], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming names the variable; what other runs did cannot be told; a wrong one is told from none."""
    monkeypatch.setenv(VARIABLE, KEY)
    run = agent("Zoe").solve_sync(Task(prompt="Pay")).run
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(TraceDamaged, match=f"encrypted, and .{VARIABLE} is not set"):
        agent().resume_sync(run)
    with pytest.raises(BadInput, match="encrypted"):
        elsewhere(journal, 0.0)
    with pytest.raises(Exception, match="encrypted"):
        acts_in(read_files(journal.folder(run)))
    monkeypatch.setenv(VARIABLE, "hello")
    with pytest.raises(BadInput, match="openssl rand -base64 32"):
        agent()


def test_a_sealed_content_cannot_be_moved_to_another_event(
    journal: FileJournal, agent: Callable[..., Scaffold], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is authenticated together with its number, and no bit of it can differ."""
    monkeypatch.setenv(VARIABLE, KEY)
    folder = journal.folder(agent().solve_sync(Task(prompt="Pay")).run)
    lines = (folder / CONTENT).read_bytes().splitlines()
    first, second = (json.loads(line) for line in lines[:2])
    for seq, sealed in ((first["seq"], second["sealed"]), (first["seq"], first["sealed"][:-8] + "AAAAAAA=")):
        changed = [b'{"seq":%d,"sealed":"%s"}' % (seq, sealed.encode()), *lines[1:]]
        (folder / CONTENT).write_bytes(b"\n".join(changed) + b"\n")
        assert verify_run(folder).state == "content altered"


@pytest.mark.parametrize("line", [b'{"seq":%d,"sealed":"%s","x":1}', b'{"seq":%d,"sealed":"%s" }'])
def test_a_sealed_line_is_written_in_one_way(
    journal: FileJournal, agent: Callable[..., Scaffold], monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    """What else is written into it would be read by nobody, and be covered by nothing: it is altered."""
    monkeypatch.setenv(VARIABLE, KEY)
    folder = journal.folder(agent().solve_sync(Task(prompt="Pay")).run)
    first, *rest = (folder / CONTENT).read_bytes().splitlines(keepends=True)
    told = json.loads(first)
    (folder / CONTENT).write_bytes(b"".join([line % (told["seq"], told["sealed"].encode()), b"\n", *rest]))
    assert verify_run(folder).state == "content altered"


# --- compression


def test_a_derived_key_is_used_no_more_often_than_its_nonces_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then another is derived, and all that was sealed by either is opened."""
    monkeypatch.setattr(sealing, "_USES", 3)
    sealer = sealing.Sealer((bytes(32),))
    sealed = [sealer.seal(b"plain", b"%d" % seq) for seq in range(7)]
    salts, nonces = [each[:16] for each in sealed], [each[16:28] for each in sealed]
    assert [salts.index(each) for each in salts] == [0, 0, 0, 3, 3, 3, 6]
    assert len(set(nonces)) == len(sealed)
    assert {sealer.open(each, b"%d" % seq) for seq, each in enumerate(sealed)} == {b"plain"}


def test_an_ended_run_is_compressed_and_everything_reads_it(tmp_path: Path, agent: Callable[..., Scaffold]) -> None:
    """Resume, verify, odds, pruning, other runs and identities read it; one that waits is left as it is."""
    journal = FileJournal(tmp_path / "runs", compress=True)
    waiting = agent("Zoe", journal=journal).solve_sync(Task(prompt="Pay", inputs={"invoice": "B-1"}))
    assert (journal.folder(waiting.run) / CONTENT).exists()
    outcome = agent(journal=journal).solve_sync(Task(prompt="Pay " * 500))
    folder = journal.folder(outcome.run)
    (packed,) = parts_of(folder)
    assert not (folder / CONTENT).exists()
    assert (packed.suffix, packed.stat().st_mode & 0o777) == (".gz", 0o600)
    assert verify_run(folder).sentence().endswith("unsigned: this shows damage, not forgery")
    assert agent(journal=journal).resume_sync(outcome.run).answer == outcome.answer
    assert len(Measured().read([folder]).groups) == 1
    assert [each.arguments for each in elsewhere(journal, 0.0) if each.run == outcome.run] == [
        {"invoice": "A-1", "to": "Bob"}
    ]
    (journal.root / ".identities.sqlite").unlink()
    assert agent(journal=journal).solve_sync(Task(prompt="Pay")).status == "stopped"
    would, did = (prune_mentions(folder, ["bob"], dry=dry) for dry in (True, False))
    assert 0 < would.contents < len(list(read_files(folder)))
    assert (would, did.bytes > 0) == (did, True)


def test_a_damaged_compressed_file_is_found(tmp_path: Path, agent: Callable[..., Scaffold]) -> None:
    """A cut or altered archive is an alteration of content, and never a traceback."""
    journal = FileJournal(tmp_path / "runs", compress=True)
    folder = journal.folder(agent(journal=journal).solve_sync(Task(prompt="Pay")).run)
    (packed,) = parts_of(folder)
    whole = packed.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], b"no archive at all"):
        packed.write_bytes(damaged)
        assert verify_run(folder).state == "content altered"
        with pytest.raises((JournalFailed, TraceDamaged)):
            list(links(folder))


@pytest.mark.parametrize("name", [CONTENT, "content.000000000009.jsonl", "content.000000000009.jsonl.gz"])
def test_a_pipe_in_the_place_of_content_keeps_nobody_waiting(
    journal: FileJournal, agent: Callable[..., Scaffold], name: str
) -> None:
    """Whoever can write to the run's folder could stop all that read it: it is an alteration instead."""
    folder = journal.folder(agent().solve_sync(Task(prompt="Pay")).run)
    (folder / CONTENT).unlink()
    os.mkfifo(folder / name)
    found = verify_run(folder)
    assert found.state == "content altered"
    assert "not a regular file" in found.sentence()
    with pytest.raises(JournalFailed, match=r"cannot prune .*: not a regular file"):
        prune_mentions(folder, ["Zoe"])
    with pytest.raises((JournalFailed, OSError), match="not a regular file"):
        list(links(folder))


# --- redaction


def test_nothing_is_pruned_by_what_cannot_be_read(
    tmp_path: Path, agent: Callable[..., Scaffold], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key, or a damaged file: somebody's name may stand there, so it is no "nothing was found"."""
    monkeypatch.setenv(VARIABLE, KEY)
    run = agent("Zo").solve_sync(Task(prompt="Pay Zo")).run
    folder = tmp_path / "runs" / run
    monkeypatch.setenv(VARIABLE, OTHER)
    with pytest.raises(BadInput, match=r"cannot be decrypted with the key in [$]SCAFFOLD_CONTENT_KEY"):
        prune_mentions(folder, ["Zo"])
    with pytest.raises(TraceDamaged, match="the content of line 1 cannot be decrypted with the key"):
        list(links(folder))
    assert "line 1 of content.jsonl cannot be decrypted with the key" in verify_run(folder).sentence()
    monkeypatch.setenv(VARIABLE, f"{OTHER},{KEY}")
    content = (folder / CONTENT).read_bytes()
    (folder / CONTENT).unlink()
    for damaged in (gzip.compress(content)[:-20], gzip.compress(content)[:30] + b"nonsense", b"nonsense"):
        part = folder / "content.000000000009.jsonl.gz"
        part.write_bytes(damaged)
        with pytest.raises(JournalFailed, match="cannot prune"):
            prune_mentions(folder, ["Zo"])
        assert part.read_bytes() == damaged
        assert not list(folder.glob("*.draft"))


def test_what_is_redacted_is_on_no_disk_and_reaches_no_planner(journal: FileJournal) -> None:
    """Patterns and fields are left out of prompts, samples, results and answers; a resumed run is told the same."""
    told: list[Any] = []

    def planner(task: Task) -> Planning[Any]:
        told.append(task.prompt)
        thought = yield from think("decide", task.request, task.input("who"), returns=dict[str, Any])
        told.append(thought.value)
        paid = yield from act("pay", {"invoice": "A-1", "to": "Zoe"})
        told.append(paid.value)
        return paid.value

    redact = {"patterns": [r"\d{4}( \d{4}){3}", r"[\w.]+@[\w.]+"], "fields": ["SSN", "age"]}
    task = Task.model_validate(
        {"prompt": "Pay ann@example.org", "inputs": {"who": {"ssn": "123-45", "name": "Ann"}}, "redact": redact}
    )
    said = json.dumps({"ssn": "987-65", "mail": "zoe@example.org", "age": 41})

    def agent() -> Scaffold:
        return Scaffold(
            planner, backends={"default": Scripted(said)}, actions=[pay], monitors=[Careful()], journal=journal
        )

    waiting = agent().solve_sync(task)
    first, told[:] = list(told), []
    answered(journal, waiting.run)
    outcome = agent().resume_sync(waiting.run)
    assert outcome.status == "solved"
    assert told[:2] == first
    assert told[0] == "Pay [redacted]"
    assert told[1] == {"ssn": "[redacted]", "mail": "[redacted]", "age": 0}
    assert told[2]["card"] == "[redacted]"
    stored = b"".join(path.read_bytes() for path in journal.folder(outcome.run).rglob("*") if path.is_file())
    for word in (b"ann@", b"zoe@", b"123-45", b"987-65", b"4111 1111"):
        assert word not in stored
    assert verify_run(journal.folder(outcome.run)).ok


def test_what_is_said_of_samples_that_do_not_count_is_redacted_too(journal: FileJournal) -> None:
    """How votes fell and why a sample was discarded repeat what models said: on disk and for the planner."""
    said = [{"ssn": f"no-98{number}", "mail": f"ann{number}@example.org"} for number in range(12)]
    for long in said[3:6]:  # of which the votes hold a beginning
        long["note"] = "x" * 250

    def planner(_: Task) -> Planning[list[Any]]:
        told: list[Any] = []
        votes, calls = majority(3, cap=3), once(flags=(lambda value: f"nobody is called {value['mail']}",))
        for returns, sampling in ((Any, votes), (Any, votes), (Any, calls), (dict[str, int], None)):
            try:
                yield from think("decide", "who?", returns=returns, sampling=sampling)
            except StepFailed as error:
                told.append([error.message, error.data])
        return told

    redact = {"patterns": [r"[\w.]+@[\w.]+"], "fields": ["ssn"]}
    backends = {"default": Scripted([json.dumps(each) for each in said])}
    made = Scaffold(planner, backends=backends, monitors=[], journal=journal)
    outcome = made.solve_sync(Task.model_validate({"prompt": "Find them", "redact": redact}))
    assert outcome.answer[0][1]["votes"] == {'{"mail": "[redacted]", "ssn": "[redacted]"}': 3}
    assert outcome.answer[1][1]["votes"] == {"[redacted]": 3}
    assert outcome.answer[2][1]["flags"] == ["nobody is called [redacted]"] * 3
    stored = b"".join(path.read_bytes() for path in journal.folder(outcome.run).rglob("*") if path.is_file())
    assert b"@example" not in stored
    assert b"no-98" not in stored


def test_reasoning_is_redacted_in_every_form_it_comes_in(journal: FileJournal) -> None:
    """As text, and in the blocks that an API wants back, of which the encrypted ones stay what they are."""

    class Thinks:
        profile = Profile(backend="thinks", model="it", context=10_000, prices=FREE, reasoning="full")

        async def generate(self, _request: Any) -> AsyncGenerator[Delta]:
            """Think, and answer."""
            yield Delta(reasoning="ask ann@example.org", block=ReasoningBlock(kind="text", text="ask ann@example.org"))
            yield Delta(block=ReasoningBlock(kind="redacted", data="c2VhbGVk"))
            yield Delta(text="ok", finish="stop", usage=Usage(5, 1))

        async def close(self) -> None:
            """Nothing to free."""

    def planner(_: Task) -> Planning[str]:
        return (yield from think("decide", "who?")).value

    task = Task.model_validate({"prompt": "Find her", "redact": {"patterns": [r"[\w.]+@[\w.]+"]}})
    outcome = Scaffold(planner, backends={"default": Thinks()}, monitors=[], journal=journal).solve_sync(task)
    stored = (journal.folder(outcome.run) / CONTENT).read_text()
    assert "ann@" not in stored
    assert stored.count("ask [redacted]") == 2
    assert "c2VhbGVk" in stored


@pytest.mark.parametrize(
    ("gave", "left"),
    [
        (["987"], []),
        ({"number": "987"}, {}),
        (True, False),
        (9.87, 0),
        (None, None),
    ],
)
def test_a_field_is_emptied_as_its_kind(journal: FileJournal, gave: Any, left: Any) -> None:
    """A planner that goes through a result finds what it looks for, with nothing in it; also within lists."""

    @action(effect="read")
    async def look(at: str) -> Any:
        return {"found": [{"SSN": gave, "of": at}], "said": "[see] above"}

    def planner(_: Task) -> Planning[Any]:
        return (yield from act("look", {"at": "x"})).value

    task = Task.model_validate({"prompt": "Look", "redact": {"fields": ["ssn"]}})
    outcome = Scaffold(planner, backends={}, actions=[look], monitors=[], journal=journal).solve_sync(task)
    assert outcome.answer == {"found": [{"SSN": left, "of": "x"}], "said": "[see] above"}


def test_what_the_planner_itself_says_is_left_as_it_is(journal: FileJournal) -> None:
    """It is made of what was redacted already, and of its own code: a resumed run asks the same again."""

    def planner(_: Task) -> Planning[Any]:
        thought = yield from think("decide", "Write to desk@example.org?", returns=str)
        paid = yield from act("pay", {"invoice": "A-1", "to": "desk@example.org"})
        yield from act("pay", {"invoice": "A-2", "to": "Zoe"})
        return [thought.value, paid.value["to"]]

    def agent() -> Scaffold:
        backends = {"default": Scripted("ask ann@example.org")}
        return Scaffold(planner, backends=backends, actions=[pay], monitors=[Careful()], journal=journal)

    waiting = agent().solve_sync(Task.model_validate({"prompt": "Pay", "redact": {"patterns": [r"[\w.]+@[\w.]+"]}}))
    answered(journal, waiting.run)
    outcome = agent().resume_sync(waiting.run)
    assert (outcome.status, outcome.answer) == ("solved", ["ask [redacted]", "[redacted]"])


def test_a_field_named_like_the_traces_own_leaves_the_trace_whole(
    journal: FileJournal, agent: Callable[..., Scaffold]
) -> None:
    """Only what they hold of the world is left out; verdicts, samples and errors stay what they are."""
    fields = ["value", "text", "samples", "decision", "status", "monitor", "message", "to", "verdicts", "finish"]
    patterns = ["careful", "escalate", "allow", "ok"]
    task = Task.model_validate({"prompt": "Pay", "redact": {"fields": fields, "patterns": patterns}})
    waiting = agent("Zoe").solve_sync(task)
    answered(journal, waiting.run)
    outcome = agent("Zoe").resume_sync(waiting.run)
    assert (outcome.status, outcome.answer["to"]) == ("solved", "[redacted]")
    assert {each.decision for each in outcome.verdicts} == {"escalate"}
    assert verify_run(journal.folder(outcome.run)).ok


def test_compressing_that_fails_costs_no_outcome(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that cannot be written to is a warning, and the run is whole."""
    journal = FileJournal(tmp_path / "runs", compress=True)

    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def blocking(task: Task) -> Planning[str]:
        thought = yield from think("decide", task.request)
        monkeypatch.setattr("gzip.GzipFile", full)
        return str(thought.value)

    made = Scaffold(blocking, backends={"default": Scripted("ok")}, monitors=[], journal=journal)
    outcome = made.solve_sync(Task(prompt="Say ok"))
    assert (outcome.status, outcome.answer) == ("solved", "ok")
    assert "cannot compress" in caplog.text
    assert verify_run(journal.folder(outcome.run)).ok


def test_patterns_that_are_none_are_bad_input() -> None:
    """A pattern that cannot be read, or finds everything, is said when the task is read."""
    for pattern, said in (("(", "not a regular expression"), ("x*", "matches empty text")):
        with pytest.raises(ValueError, match=said):
            Task.model_validate({"prompt": "x", "redact": {"patterns": [pattern]}})


# --- pruning


@pytest.mark.parametrize("compressed", ["plain", "compressed", "in parts"])
def test_one_persons_content_goes_and_the_spine_verifies(
    tmp_path: Path, agent: Callable[..., Scaffold], compressed: str
) -> None:
    """Each content that mentions them is gone, and nothing else; also what they said, and what the index knew."""
    part = 1 if compressed == "in parts" else PART_BYTES
    journal = FileJournal(tmp_path / "runs", compress=compressed == "compressed", part=part)
    ran = [
        agent(name, journal=journal).solve_sync(Task(prompt="Pay", inputs={"invoice": name})) for name in ("Bob", "Eve")
    ]
    elsewhere(journal, 0.0)
    bob, eve = (journal.folder(each.run) for each in ran)
    whole = {folder: list(read_files(folder)) for folder in (bob, eve)}
    dry = prune_mentions(bob, ["bob"], dry=True)
    assert list(read_files(bob)) == whole[bob]
    pruned = prune_mentions(bob, ["bob"])
    assert (pruned.contents, dry.contents) == (dry.contents, pruned.contents)
    assert pruned.contents >= 4
    assert prune_mentions(eve, ["bob"]).contents == 0
    assert list(read_files(eve)) == whole[eve]
    left = b"".join(record.content for record in read_files(bob))
    assert b"Bob" not in left
    assert left
    found = verify_run(bob)
    assert (found.ok, found.withheld) == (True, pruned.contents)
    assert {each.arguments is None for each in elsewhere(journal, 0.0) if each.run == bob.name} == {True}


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("J\u00fcrgen", "Ju\u0308rgen"),
        ({"customer": 48_213}, "48213"),
        (json.dumps({"name": 'J\u00fcrgen "JJ" Wei\u00df'}), 'j\u00fcrgen "jj"'),
        (json.dumps({"mail": json.dumps({"name": 'J\u00fcrgen "JJ" Wei\u00df'})}), 'j\u00fcrgen "jj"'),
        ('the file C:\\Zoe "Z"', 'c:\\zoe "z"'),
    ],
    ids=["another normal form", "a number", "JSON within a text", "JSON within JSON within a text", "quotes"],
)
def test_somebody_is_found_however_it_is_written(
    journal: FileJournal, agent: Callable[..., Scaffold], said: Any, asked: str
) -> None:
    """Composed or not, as a number, escaped in what a tool gave as JSON: also in answers that nobody took in."""
    run = agent().solve_sync(Task(prompt="Pay", inputs={"invoice": "A", "who": said})).run
    asyncio.run(journal.post(run, Answer(id="q", digest="d", value=said, by="Ann")))
    asyncio.run(journal.post(run, Answer(id="r", digest="d", value="of somebody else", by="Ann")))
    pruned = prune_mentions(journal.folder(run), [asked])
    assert (pruned.contents >= 1, pruned.answers) == (True, 1)
    assert prune_mentions(journal.folder(run), [asked]).contents == 0
    assert verify_run(journal.folder(run)).ok


@pytest.mark.parametrize("body", [b'["Zoe"', b'"Zoe\xff"', b"[" * 20_000 + b'"Zoe"' + b"]" * 20_000])
def test_a_damaged_line_goes_with_what_it_says(
    journal: FileJournal, agent: Callable[..., Scaffold], body: bytes
) -> None:
    """Content that is no JSON any more, and an answer that was never wholly written, can be read by people."""
    folder = journal.folder(agent().solve_sync(Task(prompt="Pay")).run)
    with (folder / CONTENT).open("ab") as content:
        content.write(b'{"seq":99,"salt":"%b","body":%b}\n' % (b"0" * 32, body))
    (folder / "inbox").mkdir()
    (folder / "inbox" / ".q.json.17.draft").write_bytes(b'{"id":"q","by":"Zoe"')
    pruned = prune_mentions(folder, ["zoe"])
    assert (pruned.contents, pruned.answers) == (1, 1)
    assert verify_run(folder).ok
    assert b"Zoe" not in b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_all_content_goes_or_the_whole_run(
    journal: FileJournal, agent: Callable[..., Scaffold], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without content the run verifies; a run that is gone is gone; encrypted content is not looked into blindly."""
    folder = journal.folder(agent().solve_sync(Task(prompt="Pay")).run)
    assert prune_content(folder).contents > 3
    assert not (folder / CONTENT).exists()
    assert verify_run(folder).ok
    elsewhere(journal, 0.0)
    assert prune_run(folder).gone
    assert not folder.exists()
    assert elsewhere(journal, 0.0) == []
    monkeypatch.setenv(VARIABLE, KEY)
    folder = journal.folder(agent().solve_sync(Task(prompt="Pay", inputs={"invoice": "C"})).run)
    monkeypatch.delenv(VARIABLE)
    before = (folder / CONTENT).read_bytes()
    with pytest.raises(BadInput, match="encrypted"):
        prune_mentions(folder, ["bob"])
    assert (folder / CONTENT).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["content.jsonl", "trace.jsonl"]


class Quoting:
    """Says what it read."""

    spec = MonitorSpec(name="quoting", watches=frozenset({"action"}))

    async def review(self, subject: Any, view: Any, context: Any) -> Verdict:
        """Read one call."""
        return Verdict(decision="flag", rationale=f"it goes to {subject.call.arguments['to']}")


def test_what_quotes_a_run_is_pruned_with_it(journal: FileJournal, agent: Callable[..., Scaffold]) -> None:
    """Its reviews, and the answers to it; a dry run says the same, and leaves every file as it was."""
    run = agent("Zoe").solve_sync(Task(prompt="Pay")).run
    answered(journal, run)
    agent("Zoe").resume_sync(run)
    folder = journal.folder(run)
    reviews = FileJournal(folder / "reviews")
    asyncio.run(reread(journal, run, reviews, monitors=[Quoting()], backends={}, surroundings=Surroundings()))
    (review,) = (each.parent for each in folder.glob("reviews/*/trace.jsonl"))

    def stored() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def prunes(prune: Callable[..., Pruned]) -> Pruned:
        before = stored()
        dry = prune(folder, dry=True)
        assert stored() == before
        pruned = prune(folder)
        assert dry == pruned
        now = stored()
        assert set(now) <= set(before)
        freed = sum(len(data) - len(now.get(path, b"")) for path, data in before.items() if path.name == CONTENT)
        assert pruned.bytes == freed
        assert all(verify_run(each).ok for each in (folder, review))
        return pruned

    assert b"goes to Zoe" in (review / CONTENT).read_bytes()
    assert prunes(partial(prune_mentions, words=["zoe"])).answers == 0
    assert b"Zoe" not in b"".join(stored().values())
    assert {(each / CONTENT).stat().st_mode & 0o777 for each in (folder, review)} == {0o600}
    assert prunes(partial(prune_mentions, words=["nobody"])).contents == 0
    assert prunes(prune_content).answers == 1
    assert {path.name for path in stored()} == {"trace.jsonl"}
    before = stored()
    assert prune_run(folder, dry=True) == Pruned(run=run, gone=True, bytes=sum(map(len, before.values())))
    assert stored() == before


def test_a_run_that_is_written_is_not_pruned(journal: FileJournal, agent: Callable[..., Scaffold]) -> None:
    """Its writer holds it."""
    run = agent().solve_sync(Task(prompt="Pay")).run

    async def at_once() -> None:
        claim = await journal.claim(run, "me")
        with pytest.raises(RunHeld):
            prune_content(journal.folder(run))
        await journal.release(claim)

    asyncio.run(at_once())


# --- a full disk, a lost key, two at once


def test_a_full_disk_while_signing_leaves_whole_heads_and_nothing_done(
    tmp_path: Path, agent: Callable[..., Scaffold]
) -> None:
    """The head that did not fit is gone, the action was not begun, and the resumed run performs it."""
    import os

    room = [10_000_000]

    def write(descriptor: int, data: bytes) -> int:
        if b"scaffold.trace/" in data[:20]:
            if room[0] < len(data):
                os.write(descriptor, data[: room[0]])
                raise OSError(28, "No space left on device")
            room[0] -= len(data)
        return os.write(descriptor, data)

    signer = made_up_key(1)
    journal = FileJournal(tmp_path / "runs", write=write)
    room[0] = 60
    failed = agent(journal=journal, signer=signer).solve_sync(Task(prompt="Pay"))
    assert failed.status == "unavailable"
    assert "No space left" in failed.reason
    folder = journal.folder(failed.run)
    assert (folder / "heads").read_bytes() == b""
    assert not any("performed" in str(each.status) for each in failed.actions)
    room[0] = 10_000_000
    outcome = agent(journal=journal, signer=signer).resume_sync(failed.run)
    found = verify_run(folder, key=signer.verifier())
    assert outcome.status == "solved", outcome.reason
    assert [each.status for each in outcome.actions] == ["performed"]
    assert found.ok, found.sentence()


def test_after_a_lost_key_another_signs_and_both_are_asked_for(
    journal: FileJournal, agent: Callable[..., Scaffold]
) -> None:
    """With the old key alone the new one is a wrong key; with both the run is verified."""
    old, new = made_up_key(1), made_up_key(2)
    waiting = agent("Zoe", signer=old).solve_sync(Task(prompt="Pay"))
    answered(journal, waiting.run)
    agent("Zoe", signer=new).resume_sync(waiting.run)
    folder = journal.folder(waiting.run)
    found = verify_run(folder, key=old.verifier())
    assert found.state == "wrong key"
    assert found.keys == [old.verifier(), new.verifier()]
    assert verify_run(folder, key=[old.verifier(), new.verifier()]).ok


def test_two_verifiers_at_once_agree_while_the_run_is_written(
    tmp_path: Path, journal: FileJournal, agent: Callable[..., Scaffold]
) -> None:
    """They change nothing, so neither sees the other; a run that is being written is said to be."""
    outcome = agent().solve_sync(Task(prompt="Pay"))
    folder = journal.folder(outcome.run)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    async def both() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(verify_run, folder) for _ in range(2)))

    first, second = asyncio.run(both())
    assert first == second
    assert first.ok
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    copy = tmp_path / outcome.run
    shutil.copytree(folder, copy)
    spine = (copy / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "trace.jsonl").write_bytes(b"".join(spine[:-1]))
    assert verify_run(copy, running=True).state == "running"

"""The commands: what they print, what they refuse, and with which status they end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from scaffold.cli import main
from scaffold.testing.tampering import Evidence, place_of, sealed_anew
from scaffold.trace.chain import GENESIS, seal
from scaffold.trace.heads import Head, new_key, whole_notes
from scaffold.trace.reading import followed, links
from scaffold.trace.witnesses import FileWitness

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def audit(evidence: Evidence, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `scaffold audit` on a copy of the signed run."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["audit", *arguments, "--runs", str(evidence.folder.parent)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


# --- show


def test_a_trace_is_shown_in_part(audit: Command) -> None:
    """By kind, by key, by what it holds, from some number on."""
    _, whole, _ = audit("show", "last")
    _, kinds, _ = audit("show", "last", "--kind", "approval", "--kind", "run.")
    assert len(kinds.splitlines()) == 6
    assert set(kinds.splitlines()) < set(whole.splitlines())
    _, key, _ = audit("show", "last", "--at", "1")
    assert key
    assert all(line.split()[2] == "1" for line in key.splitlines())
    _, text, _ = audit("show", "last", "--with", "a-2")
    assert all("A-2" in line for line in text.splitlines() if "proposes" in line or "performed" in line)
    _, after, _ = audit("show", "last", "--after", "20")
    assert [line.split()[0] for line in after.splitlines()] == ["21", "22"]


def test_what_is_looked_for_is_found_as_it_was_said(solve: Command) -> None:
    """Quotes, line ends and accents, however the trace writes them; a piece of its JSON is found too."""
    said = 'Pay "Zo\u00eb"\nC:\\bank'
    Path("asked.yaml").write_text(f"prompt: {json.dumps(said)}\nplanner: tools:paying\nactions: [tools:pay]\n")
    assert solve("solve", "asked.yaml")[0] == 0
    for part in ('pay "zo\u00eb"', 'Zoe\u0308"\nC:', "c:\\bank", '"prompt":"Pay'):
        assert len(solve("audit", "show", "last", "--with", part)[1].splitlines()) == 1, part


def test_what_cannot_be_shown_is_told_with_what_to_do(audit: Command, evidence: Evidence, tmp_path: Path) -> None:
    """A kind that there is none of, a damaged trace, content that is no file: each is named."""
    status, _, err = audit("show", "last", "--kind", "bogus")
    assert (status, "no kind of event begins with 'bogus': run, budget, key, step" in err) == (2, True), err
    evidence.write("trace.jsonl", [b"nonsense\n", *evidence.spine[1:]])
    status, _, err = audit("show", "last")
    assert (status, "`scaffold audit verify` tells which part of it can still be trusted" in err) == (2, True), err
    evidence.write("trace.jsonl", evidence.spine)
    content = evidence.folder / "content.jsonl"
    content.unlink()
    content.mkdir()
    status, _, err = audit("report", "last", "-o", str(tmp_path / "run.html"))
    assert (status, err) == (1, f"error: {content}: not a regular file\n")
    assert not (tmp_path / "run.html").exists()


DEEP = b"[" * 9_000 + b"]" * 9_000


def forged(evidence: Evidence, kind: str, body: bytes = b"", **facts: object) -> int:
    """Change facts and content of the first event of a kind, and make the chain of the first part anew; its line."""
    lines = evidence.spine
    place = place_of(lines, kind)
    if body:
        facts["content"] = hashlib.sha256(bytes(16) + body).hexdigest()
    spine = sealed_anew(
        lines[: place_of(lines, "run.paused") + 1],
        lambda events: [{**each, **facts} if number == place else each for number, each in enumerate(events)],
    )
    evidence.write("trace.jsonl", spine)
    contents = {
        json.loads(line)["seq"]: line
        for line in (evidence.folder / "content.jsonl").read_bytes().splitlines(keepends=True)
    }
    if body:
        contents[place + 1] = b'{"seq":%d,"salt":"%b","body":%b}\n' % (place + 1, b"0" * 32, body)
    evidence.write("content.jsonl", [contents[seq] for seq in sorted(contents) if seq <= len(spine)])
    (evidence.folder / "heads").unlink()
    return place + 1


@pytest.mark.parametrize("body", [b"[1]", b'{"calls":["pay"]}', b'{"title":{},"calls":{"a":1}}', DEEP])
def test_what_is_written_in_no_event_is_told_in_a_line(solve: Command, evidence: Evidence, body: bytes) -> None:
    """Whoever makes an unsigned chain anew can write anything: readers name the line, and other runs still wait."""
    line = forged(evidence, "approval.asked", body)
    where = ("--runs", str(evidence.folder.parent))
    said = f"line {line} of the trace holds what is written with no approval.asked"
    for words in (("approvals", "list"), ("audit", "show", "last"), ("audit", "why", "last", "2")):
        _, _, err = solve(*words, *where)
        assert "a bug" not in err
        assert said in err or words[1] == "why"


@pytest.mark.parametrize("body", [b"[1]", b'{"task":{"budget":3}}', DEEP])
def test_every_reader_of_a_forged_beginning_names_its_line(solve: Command, evidence: Evidence, body: bytes) -> None:
    """Reviews, exports, what is shown as JSON, the page's and the commands' answers: one line, and no traceback."""
    forged(evidence, "run.started", body)
    where = ("--runs", str(evidence.folder.parent))
    said = "line 1 of the trace holds what is written with no run.started: somebody made its chain anew"
    for words in (
        ("audit", "review", "last", "--monitor", "rules"),
        ("resume", "last"),
        *((("audit", "export", "last"), ("audit", "show", "last", "--json")) if body == DEEP else ()),
    ):
        status, _, err = solve(*words, *where)
        assert (status, said in err) == (2, True), (words, err)


@pytest.mark.parametrize("kind", ["action.proposed", "action.outcome"])
@pytest.mark.parametrize(
    "body", [b"[1]", b'{"call":{"action":3,"arguments":{}}}', b'{"call":7,"identity":7}', b'"\xff\xfe"', DEEP]
)
def test_what_was_done_is_read_again_or_named(solve: Command, evidence: Evidence, kind: str, body: bytes) -> None:
    """A review of a forged run ends in a line, or tells what it could not read; so do its figures, and its settling."""
    forged(evidence, kind, body)
    where = ("--runs", str(evidence.folder.parent))
    key = json.loads(evidence.spine[place_of(evidence.spine, kind)])["key"]
    for words in (
        ("audit", "review", "last", "--monitor", "rules", "--monitor", "dataflow"),
        ("audit", "calibration"),
        ("audit", "calibration", "--answers", "last"),
        ("audit", "report", "last", "-o", str(evidence.folder.parent / "run.html")),
        ("audit", "prune", "last", "--mentioning", "nobody", "--unfinished"),
        ("settle", "last", key, "--happened"),
        ("settle",),
    ):
        status, _, err = solve(*words, *where)
        assert status in {0, 2}, (words, err)
        assert "a bug" not in err, (words, err)


@pytest.mark.parametrize("at", [1e18, -5.0])
def test_an_event_outside_of_all_times_is_not_exported(solve: Command, evidence: Evidence, at: float) -> None:
    """OTLP has 64 bits for a time: the line is named before anything of it is sent."""
    line = forged(evidence, "action.outcome", at=at)
    status, _, err = solve("audit", "export", "last", "--runs", str(evidence.folder.parent))
    said = f"line {line} of the trace holds what is written with no action.outcome"
    assert (status, said in err) == (2, True), err


def test_what_a_forged_run_says_of_an_action_is_short_and_plain(solve: Command, evidence: Evidence) -> None:
    """The reasons for it, and what waits: no control character, no endless line, no date that no calendar has."""
    evil = "\x1b]0;owned\x07"
    where = ("--runs", str(evidence.folder.parent))
    forged(evidence, "approval.asked", id=f"{evil}; rm -rf ~", digest=evil, expires=1e18)
    status, out, err = solve("audit", "why", "last", "2", *where)
    assert (status, "until 1e+18 s after 1970" in out) == (0, True), err
    status, waits, err = solve("approvals", "list", *where)
    assert (status, "\\x1b]0;owned\\x07; rm -rf ~" in waits) == (0, True), err
    _, shown, _ = solve("approvals", "show", "last", f"{evil}; rm -rf ~", *where)
    assert "open until 1e+18 s after 1970" in shown
    _, _, ended = solve("resume", "last", *where)
    assert not any(letter in text for letter in "\x1b\x07" for text in (out, waits, shown, ended))


@pytest.mark.parametrize("arguments", ["[1]", "3", "{}"])
def test_what_a_forged_run_did_is_listed_under_its_own_name(solve: Command, evidence: Evidence, arguments: str) -> None:
    """Not under that of another run, or of none; what it cannot have done is named, and a time that nobody knows."""
    where = ("--runs", str(evidence.folder.parent))
    forged(evidence, "run.started", run="\x1b]0;owned\x07")
    (evidence.folder / "heads").touch()
    forged(evidence, "action.intent", at=1e18)
    (evidence.folder / "heads").touch()
    line = forged(evidence, "action.proposed", b'{"call":{"arguments":%b}}' % arguments.encode())
    status, out, err = solve("audit", "actions", *where)
    assert "\x1b" not in out
    if arguments == "{}":
        assert (status, f"1e+18 s after 1970  {evidence.folder.name}  0" in out) == (0, True), (out, err)
    else:
        assert (status, f"line {line} of the trace holds what is written with no action.proposed" in err) == (1, True)


def test_reasons_that_are_none_are_told_in_a_line(solve: Command, evidence: Evidence) -> None:
    """Sources that are no texts, a number of five thousand digits, an argument's name that fills the screen."""
    where = ("--runs", str(evidence.folder.parent))
    call = {"id": "a", "action": "pay", "arguments": {"x" * 9_000: 1}, "control": {"sources": [None]}}
    line = forged(evidence, "action.proposed", json.dumps({"call": call}).encode())
    status, _, err = solve("audit", "why", "last", "0", *where)
    said = f"line {line} of the trace holds what is written with no action.proposed"
    assert (status, said in err) == (2, True), err
    call["control"] = {"sources": [f"history:@{'9' * 5_000}", "history:@\u00b2", "step:\u00b2/0"]}
    forged_again = json.dumps({"call": call}).encode()
    (evidence.folder / "heads").touch()
    forged(evidence, "action.proposed", forged_again)
    status, out, err = solve("audit", "why", "last", "0", *where)
    assert (status, max(map(len, out.splitlines())) < 2_100) == (0, True), err


def test_a_line_of_endless_depth_hides_no_other_run(solve: Command, evidence: Evidence, tmp_path: Path) -> None:
    """Nobody writes such an event; readers name it, and go on with the next run."""
    other = evidence.copied(tmp_path / "other")
    shutil.copytree(other.folder, evidence.folder.parent / "20200101-000000-aaaaaa")
    body = b'{"kind":"run.ended","seq":1,"status":"solved","x":' + DEEP * 9 + b"}"
    evidence.write("trace.jsonl", [seal(GENESIS, body)[0] + b"\n"])
    where = ("--runs", str(evidence.folder.parent))
    status, out, err = solve("audit", "list", *where)
    assert (status, "20200101-000000-aaaaaa" in out) == (0, True), err
    for words in (("audit", "verify"), ("audit", "show"), ("audit", "report"), ("resume",), ("stop",)):
        _, _, err = solve(*words, evidence.folder.name, *where)
        assert "a bug" not in err, words
    for words in (("approvals", "list"), ("settle",), ("audit", "monitorability"), ("audit", "calibration")):
        status, _, err = solve(*words, *where)
        assert status == 0, (words, err)


def test_a_line_without_end_hides_no_other_run(solve: Command, evidence: Evidence, tmp_path: Path) -> None:
    """A sparse file costs whoever makes it nothing: readers look at a bounded part of it, and name the line."""
    other = evidence.copied(tmp_path / "other")
    shutil.copytree(other.folder, evidence.folder.parent / "20200101-000000-aaaaaa")
    evidence.write("trace.jsonl", evidence.spine[:3])
    os.truncate(evidence.folder / "trace.jsonl", 300 << 20)
    where = ("--runs", str(evidence.folder.parent))
    status, out, err = solve("audit", "list", *where)
    assert (status, "20200101-000000-aaaaaa" in out) == (0, True), err
    said = "line 4 of the trace is not an event in the expected form"
    for words in (
        ("audit", "verify", evidence.folder.name),
        ("audit", "show", evidence.folder.name),
        ("approvals", "list"),
    ):
        _, out, err = solve(*words, *where)
        assert said in out + err, words


def test_a_trace_is_shown_as_a_tree(audit: Command) -> None:
    """Each key stands once, in the order of the planner's structure, with its events below it."""
    _, tree, _ = audit("show", "last", "--tree")
    headings = [line.strip() for line in tree.splitlines() if line.strip().isdigit()]
    assert headings == ["0", "1", "2"]
    assert audit("show", "last", "--tree", "--follow")[0] == 2


def test_a_live_run_is_followed_to_its_end(evidence: Evidence, tmp_path: Path) -> None:
    """Lines come as they are written, torn ones once they are whole, each with its content."""
    growing = tmp_path / "growing" / evidence.folder.name
    growing.mkdir(parents=True)
    spine = evidence.spine
    content = (evidence.folder / "content.jsonl").read_bytes()
    (growing / "trace.jsonl").write_bytes(spine[0])
    (growing / "content.jsonl").write_bytes(content)

    def write() -> None:
        with (growing / "trace.jsonl").open("ab", buffering=0) as file:
            for line in spine[1:]:
                for part in (line[:30], line[30:]):
                    file.write(part)
                    time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    seen = list(followed(lambda: growing, lambda _: time.sleep(0.01)))
    writer.join()
    assert [(each.event.seq, each.content) for each in seen] == [
        (each.event.seq, each.content) for each in links(evidence.folder)
    ]


def test_a_run_that_nobody_writes_is_not_followed_for_ever(evidence: Evidence) -> None:
    """One that was cut off ends the following."""
    evidence.write("trace.jsonl", evidence.spine[:9])
    assert len(list(followed(lambda: evidence.folder, lambda _: None))) == 9


# --- prune and compress


def test_prune_says_what_would_go_and_does_it_only_when_told(audit: Command, evidence: Evidence) -> None:
    """Without --yes nothing changes; with it the content is gone and the run verifies."""
    before = {path.name: path.read_bytes() for path in evidence.folder.iterdir() if path.is_file()}
    status, out, _ = audit("prune", "last", "--mentioning", "a-2")
    assert (status, "would remove the content of" in out, "add --yes to remove it" in out) == (0, True, True)
    assert {path.name: path.read_bytes() for path in evidence.folder.iterdir() if path.is_file()} == before
    status, out, _ = audit("prune", "last", "--mentioning", "a-2", "--yes", "--json")
    (row,) = json.loads(out)
    assert row["contents"] > 0
    status, out, _ = audit("verify", "last", "--key", evidence.key)
    assert (status, "is withheld" in out) == (0, True)
    assert audit("prune", "last", "--yes")[0] == 0
    assert not (evidence.folder / "content.jsonl").exists()


def test_prune_keeps_to_age_and_to_what_has_ended(audit: Command, evidence: Evidence) -> None:
    """A run of 2023 is older than a year; one that has not ended is passed over; without a word nothing goes."""
    assert audit("prune")[0] == 2
    assert audit("prune", "--mentioning", "", "--yes")[0] == 2
    assert audit("prune", "--older-than", "soon")[0] == 2
    assert "nothing to remove" in audit("prune", "--older-than", "900y")[1]
    assert "would remove the whole run" in audit("prune", "--older-than", "1y", "--whole")[1]
    evidence.write("trace.jsonl", evidence.spine[:9])
    assert "it has not ended" in audit("prune", "last")[1]
    assert "would remove" in audit("prune", "last", "--unfinished")[1]


def test_compress_makes_runs_smaller_that_verify(audit: Command, evidence: Evidence) -> None:
    """It says how many runs, and a second time there is none."""
    assert "compressed 1 run," in audit("compress")[1]
    assert len(list(evidence.folder.glob("content.*.jsonl.gz"))) == 1
    assert "compressed 0 runs" in audit("compress")[1]
    status, out, _ = audit("verify", "last", "--key", evidence.key)
    assert (status, "withheld" in out) == (0, False)
    assert "performed pay" in audit("show", "last")[1]


# --- keys


TASK = """
prompt: Pay
planner: tools:paying
actions: [tools:pay]
monitors: [rules]
"""
TOOLS = """
from scaffold import act, action

@action(effect="irreversible")
async def pay(cents: int) -> str:
    return f"paid {cents}"

def paying(task):
    yield from act("pay", {"cents": 5})
    return "done"
"""


@pytest.fixture
def solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run any command in a folder with a task."""
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "tools.py").write_text(TOOLS)
    monkeypatch.chdir(tmp_path)
    for name in ("SCAFFOLD_RUNS", "SCAFFOLD_SIGNING_KEY", "SCAFFOLD_HEADS_TO"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_key_comes_from_a_file_the_environment_or_a_command(
    solve: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three sign; the command's key never comes near the run."""
    line = solve("audit", "key", "key")[1].strip()
    monkeypatch.setenv("MY_KEY", (tmp_path / "key").read_text())
    asked = shlex.join([sys.executable, "-m", "scaffold.cli", "audit", "sign", str(tmp_path / "key")])
    for said in ("key", "env:MY_KEY", f"command:{asked}"):
        assert solve("solve", "task.yaml", "--key", said)[0] == 0
        assert solve("audit", "verify", "last", "--key", line)[0] == 0, said


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("env:NOT_THERE", "is not a signing key"),
        ("command:", "does not name a program"),
        ("command:/no/such/program", "cannot be run"),
        ("command:false", "ended with status 1"),
        ("command:echo hello", "is not a verifier line"),
        ("missing", "cannot read the signing key"),
    ],
)
def test_what_gives_no_key_is_bad_input_before_the_run(solve: Command, said: str, why: str) -> None:
    """Nothing is begun."""
    status, _, err = solve("solve", "task.yaml", "--key", said)
    assert (status, why in err) == (2, True), err
    assert not Path(".scaffold/runs").exists()


@pytest.mark.parametrize("byte", [b"\x00", b"\xfb"], ids=["plain", "with pluses, as in a verifier line"])
def test_a_key_given_in_place_of_its_file_is_not_shown(solve: Command, byte: bytes) -> None:
    """`--key "$(cat key)"` is a slip, and errors end up in logs."""
    secret = base64.b64encode(byte * 32).decode()
    assert solve("solve", "task.yaml")[0] == 0
    for command in (("solve", "task.yaml"), ("audit", "verify", "last")):
        status, _, err = solve(*command, "--key", secret)
        assert (status, "this is a private key itself" in err, secret in err) == (2, True, False), err


def test_a_command_that_stops_signing_leaves_the_action_undone(solve: Command, tmp_path: Path) -> None:
    """The run is unavailable, and says that the action was not begun."""
    solve("audit", "key", "key")
    sign = shlex.join([sys.executable, "-m", "scaffold.cli", "audit", "sign", str(tmp_path / "key")])
    script = tmp_path / "signer"
    script.write_text(f"#!/bin/sh\nif [ -e asked ]; then exit 3; fi\ntouch asked\nexec {sign}\n")
    script.chmod(0o755)
    status, _, err = solve("solve", "task.yaml", "--key", f"command:{script}")
    assert (status, "ended with status 3" in err) == (5, True), err
    _, out, _ = solve("audit", "show", "last")
    assert "it was not started" in out


def test_a_signed_run_that_goes_on_without_its_key_says_so(
    solve: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it does from there on is covered by no head; with the key there is nothing to say."""
    solve("audit", "key", "key")
    sign = shlex.join([sys.executable, "-m", "scaffold.cli", "audit", "sign", str(tmp_path / "key")])
    (tmp_path / "signer").write_text(f"#!/bin/sh\n[ -e asked ] && exit 3\ntouch asked\nexec {sign}\n")
    (tmp_path / "signer").chmod(0o755)
    assert solve("solve", "task.yaml", "--key", f"command:{tmp_path / 'signer'}")[0] == 5
    shutil.copytree(".scaffold/runs", "kept")
    assert solve("resume", "last", "--runs", "kept", "--key", "key")[0] == 0
    assert "was signed so far" not in caplog.text
    assert solve("resume", "last")[0] == 0
    assert "was signed so far; without a key the rest of it is not" in caplog.text


def test_heads_go_to_stdout_files_and_other_journals_and_verify_against_them(solve: Command, tmp_path: Path) -> None:
    """What was kept shows a rollback; a folder of another journal serves as well as a file."""
    solve("audit", "key", "key")
    where = [part for place in ("kept", "journal:elsewhere", "stdout") for part in ("--heads-to", place)]
    status, out, _ = solve("solve", "task.yaml", "--key", "key", *where)
    assert status == 0
    assert out.count("scaffold.trace/") == 2
    (tmp_path / "printed").write_text(f"other lines\n{out}")
    (run,) = (tmp_path / ".scaffold/runs").glob("*/")
    for kept in ("kept", "elsewhere", "journal:elsewhere", "printed"):
        assert solve("audit", "verify", "last", "--against", kept)[0] == 0
    spine = (run / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (run / "trace.jsonl").write_bytes(b"".join(spine[:-1]))
    (run / "heads").unlink()
    for kept in ("kept", "elsewhere", "printed"):
        status, out, _ = solve("audit", "verify", "last", "--against", kept, "--json")
        assert (status, json.loads(out)["state"]) == (1, "rolled back")
    assert solve("solve", "task.yaml", "--heads-to", "kept")[0] == 2
    assert solve("solve", "task.yaml", "--key", "key", "--heads-to", "no/such/folder/kept")[0] == 2


def test_heads_are_held_against_the_run_that_they_are_of(solve: Command) -> None:
    """Of many runs in one file its own count; heads of others, or none at all, are bad input and no finding."""
    solve("audit", "key", "key")
    for invoice, kept in (("A", "all"), ("B", "all"), ("C", "other")):
        solve("solve", "task.yaml", "--key", "key", "--heads-to", kept, "--input", f"invoice={invoice}")
    runs = sorted(each.name for each in Path(".scaffold/runs").glob("*/"))
    assert sorted(solve("audit", "verify", run, "--against", "all")[0] for run in runs) == [0, 0, 2]
    (alone,) = {head.run for head, _ in whole_notes(Path("other").read_text())}
    run = next(each for each in runs if each != alone)
    status, out, err = solve("audit", "verify", run, "--against", "other")
    assert (status, out, f"not of run {run}, but of {alone}" in err) == (2, "", True), err
    Path("empty").touch()
    assert "has no signed heads" in solve("audit", "verify", run, "--against", "empty")[2]
    assert solve("audit", "verify", run, "--against", "file:all")[0] == 0


@pytest.mark.parametrize("torn", ["scaffold.trace/r\n12\n", "scaffold.trace/r\nmany\nAAAA\n\nx\n", "a word"])
def test_a_kept_head_that_was_cut_off_takes_no_other_with_it(solve: Command, torn: str) -> None:
    """A full disk may have cut one: those before and after it show a rollback all the same."""
    solve("audit", "key", "key")
    Path("kept").write_text(torn)
    solve("solve", "task.yaml", "--key", "key", "--heads-to", "kept")
    with Path("kept").open("a") as kept:
        kept.write("scaffold.trace/r")
    assert solve("audit", "verify", "last", "--against", "kept")[0] == 0
    (run,) = Path(".scaffold/runs").glob("*/")
    spine = (run / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (run / "trace.jsonl").write_bytes(b"".join(spine[:-1]))
    (run / "heads").unlink()
    status, out, _ = solve("audit", "verify", "last", "--against", "kept", "--json")
    assert (status, json.loads(out)["state"]) == (1, "rolled back")


def test_a_head_that_was_kept_in_part_was_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may have room for the beginning of one: it is told, and the next begins a line of its own."""
    witness, write = FileWitness(tmp_path / "kept"), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, said: write(descriptor, said[:40]))
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(witness.keep("r", 1, _note(1)))
    monkeypatch.undo()
    asyncio.run(witness.keep("r", 2, _note(2)))
    assert [head.seq for head, _ in whole_notes((tmp_path / "kept").read_text())] == [2]


def _note(seq: int) -> str:
    return Head("r", seq, bytes(32)).text() + "\n\N{EM DASH} scaffold " + "A" * 92 + "\n"


class _Keeper(BaseHTTPRequestHandler):
    """A webhook that keeps what it is sent."""

    kept: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        """Keep a head."""
        note = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.kept.append((f"{self.headers['x-scaffold-run']}/{self.headers['x-scaffold-seq']}", note))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_heads_that_a_webhook_was_sent_show_a_rollback(solve: Command, tmp_path: Path) -> None:
    """What it was posted verifies the run as it is, and shows that its end was cut off with its heads."""
    line = solve("audit", "key", "key")[1].strip()
    _Keeper.kept.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Keeper) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        status = solve("solve", "task.yaml", "--key", "key", "--heads-to", f"http://127.0.0.1:{server.server_port}/")[0]
        server.shutdown()
        serving.join()
    assert status == 0
    (run,) = (tmp_path / ".scaffold/runs").glob("*/")
    spine = (run / "trace.jsonl").read_bytes().splitlines(keepends=True)
    assert [name for name, _ in _Keeper.kept][-1] == f"{run.name}/{len(spine)}"
    (tmp_path / "posted").write_text("\n".join(note for _, note in _Keeper.kept))
    assert solve("audit", "verify", "last", "--key", line, "--against", "posted")[0] == 0
    (run / "trace.jsonl").write_bytes(b"".join(spine[:-1]))
    (run / "heads").unlink()
    status, out, _ = solve("audit", "verify", "last", "--key", line, "--against", "posted", "--json")
    assert (status, json.loads(out)["state"]) == (1, "rolled back")


def test_a_place_that_takes_no_heads_does_not_stop_the_run(solve: Command, caplog: pytest.LogCaptureFixture) -> None:
    """A webhook that is not there is a warning."""
    solve("audit", "key", "key")
    assert solve("solve", "task.yaml", "--key", "key", "--heads-to", "http://127.0.0.1:9/heads")[0] == 0
    assert "was not kept by WebhookWitness" in caplog.text


def test_a_key_that_replaces_another_is_believed_by_whoever_believes_that_one(solve: Command) -> None:
    """The old key's line verifies what the new one signed after a resume; an unendorsed one's does not."""
    old = solve("audit", "key", "old")[1].strip()
    new = solve("audit", "key", "new", "--replaces", "old")[1].strip()
    assert solve("solve", "task.yaml", "--key", "new")[0] == 0
    assert solve("audit", "verify", "last", "--key", new)[0] == 0
    assert solve("audit", "verify", "last", "--key", old)[0] == 0
    stranger = solve("audit", "key", "stranger")[1].strip()
    assert solve("audit", "verify", "last", "--key", stranger, "--json")[0] == 1


def test_a_key_that_a_program_signs_with_brings_its_endorsement(solve: Command, tmp_path: Path) -> None:
    """The new key may stay on another machine too; a program endorses no keys itself, and leaves no half a key."""
    old = solve("audit", "key", "old")[1].strip()
    solve("audit", "key", "new", "--replaces", "old")
    signs = f"command:{shlex.join([sys.executable, '-m', 'scaffold.cli', 'audit', 'sign', str(tmp_path / 'new')])}"
    assert solve("solve", "task.yaml", "--key", signs)[0] == 0
    assert solve("audit", "verify", "last", "--key", old)[0] == 0
    status, _, err = solve("audit", "key", "third", "--replaces", signs)
    assert (status, "where the old key is kept" in err) == (2, True), err
    assert not Path("third").exists()


def test_only_heads_and_answers_are_signed_for_others(tmp_path: Path) -> None:
    """A signing program does not put the key to anything that it is given."""
    new_key(tmp_path / "key")
    command = [sys.executable, "-m", "scaffold.cli", "audit", "sign", str(tmp_path / "key")]
    done = subprocess.run(command, input=b"scaffold.key/\nevil\n", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"only these can be signed" in done.stderr


@pytest.mark.parametrize("group", ["audit", "approvals", "policy", "mcp", "models", "database"])
def test_help_has_each_commands_sentence_whole(solve: Command, group: str) -> None:
    """What a command does is said to the end, however long it is."""
    status, out, _ = solve(group, "--help")
    assert status == 0
    assert "..." not in out.partition("Commands:")[2]

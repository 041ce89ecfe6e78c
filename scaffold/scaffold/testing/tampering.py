"""Tampers with a stored run in many ways, and shows what verification says: makes the table in docs/audit.md.

python -m scaffold.testing.tampering
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold import Planning, Scaffold, Task, act, action
from scaffold.interfaces import Answer, Surroundings
from scaffold.testing.clock import ManualClock
from scaffold.trace.chain import GENESIS, seal
from scaffold.trace.files import CONTENT, HEADS, SPINE, FileJournal
from scaffold.trace.heads import Head, Signer, read_heads
from scaffold.trace.signing import Successor
from scaffold.trace.verify import Verification, verify_run
from scaffold.trace.witnesses import FileWitness
from scaffold.vocabulary.review import MonitorSpec, Verdict

if TYPE_CHECKING:
    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.review import Subject

Event = dict[str, Any]


@action(effect="irreversible", cost=1.0)
async def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    return f"paid {cents} for {invoice}"


def paying(_: Task) -> Planning[str]:
    """Pay three invoices, the last of which needs a person."""
    for number, cents in enumerate((100, 200, 90_000)):
        yield from act(pay.spec.name, {"invoice": f"A-{number}", "cents": cents})
    return "paid"


class Careful:
    """A monitor that escalates large payments."""

    spec = MonitorSpec(name="careful", watches=frozenset({"action"}))

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Read one call."""
        dear = subject.call is not None and subject.call.arguments["cents"] > 1_000  # noqa: PLR2004 - ten dollars
        return Verdict(decision="escalate" if dear else "allow", rationale="it is dear" if dear else "")


def made_up_key(number: int) -> Signer:
    """Make a key that anybody can reproduce, for tests only."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(Ed25519PrivateKey.from_private_bytes(random.Random(number).randbytes(32)))  # noqa: S311 - for tests


@dataclass(frozen=True)
class Evidence:
    """A stored run, and evidence about it from elsewhere.

    Attributes:
        folder: the run's folder.
        key: the public key that signed it, as a verifier line.
        kept: all its signed heads, as kept elsewhere.
    """

    folder: Path
    key: str
    kept: str

    @property
    def spine(self) -> list[bytes]:
        """Return the lines of the spine, with their newlines."""
        return (self.folder / SPINE).read_bytes().splitlines(keepends=True)

    def write(self, name: str, lines: Sequence[bytes]) -> None:
        """Write one of the run's files."""
        (self.folder / name).write_bytes(b"".join(lines))

    def copied(self, to: Path) -> Evidence:
        """Copy it, to be tampered with."""
        shutil.copytree(self.folder, to / self.folder.name)
        return replace(self, folder=to / self.folder.name)


def signed_run(root: Path, signers: Sequence[Signer] | None = None) -> Evidence:
    """Make a run that pays twice, pauses for a person, resumes, and pays again; each part has a signed head.

    Args:
        root: the folder for it.
        signers: the signers before and after the pause.
    """
    first, then = signers or (made_up_key(1),) * 2
    journal, clock, kept = FileJournal(root / "runs"), ManualClock(), root / "kept"
    source = random.Random(7)  # noqa: S311 - the same run every time

    def agent(signer: Signer) -> Scaffold:
        return Scaffold(
            paying,
            actions=[pay],
            monitors=[Careful()],
            journal=journal,
            signer=signer,
            witnesses=[FileWitness(kept)],
            surroundings=Surroundings(clock=clock, random=source),
        )

    waiting = agent(first).solve_sync(Task(prompt="Pay the invoices"))
    from scaffold.approvals.queue import waiting as open_questions

    (asked,) = open_questions(journal, waiting.run)
    said = Answer(id=asked.question.id, digest=asked.question.digest, granted=True, by="Ann")
    asyncio.run(journal.post(waiting.run, said))
    ended = agent(then).resume_sync(waiting.run)
    return Evidence(root / "runs" / ended.run, first.verifier(), kept.read_text(encoding="utf-8"))


# --- what can be done to it


def sealed_anew(lines: Sequence[bytes], change: Callable[[list[Event]], list[Event]]) -> list[bytes]:
    """Change events and rebuild the chain, as anybody who can write to the folder can."""
    previous, sealed = GENESIS, []
    for number, event in enumerate(change([json.loads(line) for line in lines]), start=1):
        plain = {**event, "seq": number}
        plain.pop("hash", None)
        line, previous = seal(previous, json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode())
        sealed.append(line + b"\n")
    return sealed


def place_of(lines: Sequence[bytes], kind: str, nth: int = 0) -> int:
    """Return the index of the nth event of a kind, from 0."""
    return [place for place, line in enumerate(lines) if json.loads(line)["kind"] == kind][nth]


def signed_anew(evidence: Evidence, signer: Signer) -> None:
    """Sign the present trace with a key."""
    lines = evidence.spine
    last = bytes.fromhex(json.loads(lines[-1])["hash"]) if lines else GENESIS
    (evidence.folder / HEADS).write_text(signer.sign(Head(evidence.folder.name, len(lines), last)) + "\n")


def _changed_byte(evidence: Evidence) -> None:
    lines = evidence.spine
    lines[6] = lines[6].replace(b'"at":', b'"at":1', 1)
    evidence.write(SPINE, lines)


def _without_line(evidence: Evidence) -> None:
    lines = evidence.spine
    evidence.write(SPINE, lines[:6] + lines[7:])


def _with_line(evidence: Evidence) -> None:
    lines = evidence.spine
    evidence.write(SPINE, [*lines[:6], lines[3], *lines[6:]])


def _exchanged(evidence: Evidence) -> None:
    lines = evidence.spine
    lines[5], lines[6] = lines[6], lines[5]
    evidence.write(SPINE, lines)


def _torn(evidence: Evidence) -> None:
    lines = evidence.spine
    evidence.write(SPINE, [*lines[:-1], lines[-1][:40]])
    _heads_until(evidence, len(lines) - 1)


def _killed(evidence: Evidence) -> None:
    lines = evidence.spine
    evidence.write(SPINE, lines[: place_of(lines, "action.intent", 1) + 1])
    _heads_until(evidence, place_of(lines, "action.intent", 1) + 1)


def _heads_until(evidence: Evidence, seq: int) -> None:
    notes = read_heads((evidence.folder / HEADS).read_text())
    evidence.write(HEADS, [(note + "\n").encode() for head, note in notes if head.seq <= seq])


def _end_cut(evidence: Evidence) -> None:
    evidence.write(SPINE, evidence.spine[:-1])


def _rolled_back(evidence: Evidence) -> None:
    lines = evidence.spine
    paused = place_of(lines, "run.paused") + 1
    evidence.write(SPINE, lines[:paused])
    contents = (evidence.folder / CONTENT).read_bytes().splitlines(keepends=True)
    evidence.write(CONTENT, [line for line in contents if json.loads(line)["seq"] <= paused])
    _heads_until(evidence, paused)


def _content_changed(evidence: Evidence) -> None:
    content = (evidence.folder / CONTENT).read_bytes()
    (evidence.folder / CONTENT).write_bytes(content.replace(b'"cents":100', b'"cents":900', 1))


def _content_deleted(evidence: Evidence) -> None:
    (evidence.folder / CONTENT).unlink()


def _forged(evidence: Evidence, change: Callable[[list[Event]], list[Event]]) -> None:
    evidence.write(SPINE, sealed_anew(evidence.spine, change))
    _content_deleted(evidence)


def _approver_renamed(events: list[Event]) -> list[Event]:
    return [{**event, "by": "Bob"} if event["kind"] == "approval.given" else event for event in events]


def _approval_dropped(events: list[Event]) -> list[Event]:
    return [event for event in events if event["kind"] != "approval.given"]


def _clearance_dropped(events: list[Event]) -> list[Event]:
    place = next(place for place, event in enumerate(events) if event["kind"] == "action.cleared")
    return events[:place] + events[place + 1 :]


def _review_dropped(events: list[Event]) -> list[Event]:
    return [event for event in events if event["kind"] != "reviewed"]


def _budget_lowered(events: list[Event]) -> list[Event]:
    return [{**events[0], "bounds": {**events[0]["bounds"], "actions": 2}}, *events[1:]]


def _late_approval(events: list[Event]) -> list[Event]:
    return [{**event, "expires": event["at"] - 60} if event["kind"] == "approval.asked" else event for event in events]


def _unknown_kind(events: list[Event]) -> list[Event]:
    return [{**event, "kind": "dream"} if event["kind"] == "run.paused" else event for event in events]


def _without_heads(evidence: Evidence) -> None:
    (evidence.folder / HEADS).unlink()


def _forged_without_heads(change: Callable[[list[Event]], list[Event]]) -> Callable[[Evidence], None]:
    def forge(evidence: Evidence) -> None:
        _forged(evidence, change)
        _without_heads(evidence)

    return forge


def _signed_by_thief(evidence: Evidence) -> None:
    _forged(evidence, _approver_renamed)
    signed_anew(evidence, made_up_key(2))


def _signature_changed(evidence: Evidence) -> None:
    text = (evidence.folder / HEADS).read_text()
    place = text.rindex(" ") + 20
    (evidence.folder / HEADS).write_text(text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :])


def _renamed(evidence: Evidence) -> None:
    evidence.folder.rename(evidence.folder.with_name("20200101-000000-aaaaaa"))


def _nothing(_: Evidence) -> None:
    return None


@dataclass(frozen=True)
class Row:
    """One way to tamper, and the evidence with which the run is then verified.

    Attributes:
        done: description of it.
        do: does it.
        holds: what the auditor has: the public key, heads kept elsewhere.
    """

    done: str
    do: Callable[[Evidence], None]
    holds: frozenset[str] = frozenset({"key"})


_NONE: frozenset[str] = frozenset()
_BOTH = frozenset({"key", "heads"})
ROWS = (
    Row("nothing", _nothing),
    Row("nothing; checked without the key", _nothing, _NONE),
    Row("a byte of line 7 changed", _changed_byte),
    Row("line 7 deleted", _without_line),
    Row("line 4 inserted once more before line 7", _with_line),
    Row("lines 6 and 7 exchanged", _exchanged),
    Row("an amount changed in the content", _content_changed),
    Row("all content deleted", _content_deleted),
    Row("the process killed while it wrote a line", _torn),
    Row("the process killed between intent and outcome", _killed),
    Row("the last line deleted", _end_cut),
    Row("an event of a newer version", _forged_without_heads(_unknown_kind), _NONE),
    Row("the approver renamed, the chain computed anew", lambda each: _forged(each, _approver_renamed), _NONE),
    Row("the same, the heads deleted", _forged_without_heads(_approver_renamed)),
    Row("the same, checked without the key", _forged_without_heads(_approver_renamed), _NONE),
    Row("the same, signed with another key", _signed_by_thief),
    Row("a signature changed", _signature_changed),
    Row("the folder renamed", _renamed),
    Row("a clearance left out, the chain computed anew", _forged_without_heads(_clearance_dropped), _NONE),
    Row("the approval left out, the chain computed anew", _forged_without_heads(_approval_dropped), _NONE),
    Row("an approval after its time, the chain computed anew", _forged_without_heads(_late_approval), _NONE),
    Row("the reviews left out, the chain computed anew", _forged_without_heads(_review_dropped), _NONE),
    Row("more actions than the budget, the chain computed anew", _forged_without_heads(_budget_lowered), _NONE),
    Row("rolled back to its pause, its heads too", _rolled_back),
    Row("the same, against a head kept elsewhere", _rolled_back, _BOTH),
)


def checked(evidence: Evidence, holds: frozenset[str] = _BOTH) -> Verification:
    """Verify a run with an auditor's evidence."""
    (folder,) = evidence.folder.parent.iterdir()
    against = evidence.kept if "heads" in holds else ""
    return verify_run(folder, key=evidence.key if "key" in holds else "", against=against)


def table() -> Iterator[tuple[str, bool, str]]:
    """Tamper with a fresh run in each way; yield the description, whether it verified, and the report."""
    with tempfile.TemporaryDirectory() as place:
        whole = signed_run(Path(place, "whole"))
        for number, row in enumerate(ROWS):
            evidence = whole.copied(Path(place, str(number)))
            row.do(evidence)
            found = checked(evidence, row.holds)
            yield row.done, found.ok, found.sentence()
        yield from _with_two_keys(Path(place))


def _with_two_keys(place: Path) -> Iterator[tuple[str, bool, str]]:
    old = made_up_key(1)
    endorsed, alone = made_up_key(3), made_up_key(4)
    endorsed.endorsement = old.sign(Successor(endorsed.verifier()))
    for done, new in (
        ("another key from the pause on, endorsed by the first", endorsed),
        ("another key from the pause on, which nobody endorses", alone),
    ):
        found = checked(signed_run(place / new.verifier()[:16], (old, new)), frozenset({"key"}))
        yield done, found.ok, found.sentence()


def markdown() -> str:
    """Render the table for the documentation."""
    lines = ["| what was done | exit | what `audit verify` says |", "|---|---|---|"]
    for done, ok, said in table():
        words = said.partition(" is ")[2]
        lines.append(f"| {done} | {0 if ok else 1} | {words} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())

"""Checks a stored run: is the chain whole, is the content right, do signed heads fit, did the gate hold?

What it says is about the record. A verified run was not changed since it was written (signed: not by anyone
without the key); that it was wise, it does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from scaffold.errors import BadInput, NewerTrace, TraceDamaged, UnknownRun
from scaffold.interfaces import Record
from scaffold.trace.chain import Chain, read_content
from scaffold.trace.conduct import Conduct
from scaffold.trace.files import CONTENT, HEADS, SPINE
from scaffold.trace.heads import ORIGIN, Head, check_verifier, is_signed_by, read_heads
from scaffold.vocabulary import events as ev

State = Literal[
    "verified",
    "running",  # no end event yet, and a process is still writing
    "cut off",
    "torn tail",
    "misconduct",
    "unsigned",
    "wrong key",
    "rolled back",
    "content altered",
    "altered",
    "newer format",
]
# The gravest is what a run is called; all that was found is kept.
_GRAVITY: tuple[State, ...] = State.__args__  # type: ignore[attr-defined]  # a Literal has its values


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it should be; `line` counts from 1, in the file named."""

    state: State
    said: str
    line: int = 0
    file: str = SPINE


class Verification(msgspec.Struct, kw_only=True):
    """What was found.

    Attributes:
        run: the run.
        state: the gravest finding, or `verified`.
        ended: the run's status, from its last event; empty when that is neither an end nor a pause.
        events: events whose chain is right.
        line: line of the gravest finding; 0 when it is about no line.
        findings: everything found.
        withheld: events whose content is absent. That is allowed: the spine stands without it.
        content_altered: events whose content is not what was digested.
        heads: signed heads that fit the chain.
        signed_by_key: whether a given key signed them; None when none was given.
        signed_until: number of the last event under a fitting head.
        actions: actions begun.
        unfinished: of these, how many have no outcome: they may have happened.
        unread: of these, how many that change something no monitor had read.
        observed: of these, how many were cleared while monitors were suspended.
        repaired: torn lines mended on resuming, in words.
    """

    run: str
    state: State = "verified"
    ended: str = ""
    events: int = 0
    line: int = 0
    findings: list[Finding] = []
    withheld: int = 0
    content_altered: int = 0
    heads: int = 0
    signed_by_key: bool | None = None
    signed_until: int = 0
    actions: int = 0
    unfinished: int = 0
    unread: int = 0
    observed: int = 0
    repaired: list[str] = []

    @property
    def ok(self) -> bool:
        """Verified, and ended or paused."""
        return self.state == "verified" and bool(self.ended)

    def find(self, state: State, said: str, line: int = 0, file: str = SPINE) -> None:
        """Add a finding; of one state the first is kept."""
        if all(finding.state != state for finding in self.findings):
            self.findings.append(Finding(state, said, line, file))
        if _GRAVITY.index(state) > _GRAVITY.index(self.state):
            self.state, self.line = state, line

    def sentence(self) -> str:
        """The outcome in one sentence."""
        said = "; ".join(finding.said for finding in self.findings if finding.state == self.state)
        if self.state != "verified":
            return f"run {self.run} is {_called(self.state)}: {said}"
        notes = [f"{self.ended}, {self.events} events"]
        if self.signed_by_key:
            notes.append("signed by the given key")
        elif self.heads:
            notes.append(f"{self.heads} signed heads fit, their signatures unchecked without --key")
        else:
            notes.append("unsigned")
        if self.withheld:
            notes.append(f"the content of {self.withheld} events is withheld")
        if self.unfinished:
            notes.append(f"{self.unfinished} actions were begun and have no outcome")
        if self.unread:
            notes.append(f"{self.unread} actions were read by no monitor")
        if self.observed:
            notes.append(f"{self.observed} actions were cleared while monitors only observed")
        return f"run {self.run} is verified: {', '.join(notes)}"


def _called(state: State) -> str:
    known = {
        "running": "still being written",
        "torn tail": "torn",
        "misconduct": "whole, but shows the gate passed",
        "unsigned": "not signed to its end",
        "wrong key": "not signed by the given key",
        "content altered": "altered in its content",
        "newer format": "of a newer format",
    }
    return known.get(state, state)


def verify_run(folder: Path, *, key: str = "", against: str = "", running: bool = False) -> Verification:
    """Verify a run's folder, in constant memory; nothing is changed.

    Args:
        folder: the run's.
        key: verifier line (`name+hash+base64`) of the key that has to have signed it.
        against: signed heads kept elsewhere, as text.
        running: a process is writing the run now.

    Raises:
        UnknownRun: it is no run's folder.
        BadInput: the key or the heads given cannot be read.
    """
    if not (folder / SPINE).is_file():
        raise UnknownRun(f"{folder} holds no run")
    heads = folder / HEADS
    check = Check(folder.name, key=key)
    check.expect(_own_heads(heads, check.result), "the run's own heads")
    check.expect(_given_heads(against), "the heads given")
    check.follow(_spine(folder / SPINE, check.result), _contents(folder / CONTENT))
    return check.finish(running=running)


def _own_heads(path: Path, result: Verification) -> list[tuple[Head, str]]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    for readable, said in (
        (text, ""),
        (text[: max(0, text.rfind("\n" + ORIGIN) + 1)], "its last signed head was cut off"),
    ):
        try:
            heads = read_heads(readable)
        except (ValueError, IndexError):
            continue
        if said:
            result.find("torn tail", said, file=HEADS)
        return heads
    result.find("altered", "its file of signed heads cannot be read", file=HEADS)
    return []


def _given_heads(text: str) -> list[tuple[Head, str]]:
    try:
        return read_heads(text)
    except (ValueError, IndexError):
        raise BadInput("the file given with --against holds no signed heads") from None


def _spine(path: Path, result: Verification) -> Iterator[bytes]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                result.find("torn tail", f"line {number} of {SPINE} ends in the middle", number)
                return
            yield line[:-1]


def _contents(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield number, line[:-1]


class Check:
    """One verification under way; for any journal, `follow` takes its lines."""

    def __init__(self, run: str, *, key: str = "") -> None:
        self.result = Verification(run=run)
        self._key = key
        self._heads: dict[int, list[tuple[Head, str]]] = {}
        self._chain = Chain()
        self._conduct = Conduct()
        if key:
            check_verifier(key)
            self.result.signed_by_key = False

    def expect(self, heads: Iterable[tuple[Head, str]], whose: str) -> None:
        """Compare these heads with the chain, and their signatures with the key."""
        for head, note in heads:
            if self._key and not _signed(note, self._key):
                self.result.find(
                    "wrong key",
                    f"{whose}: the one at event {head.seq} is not signed by the given key",
                    head.seq,
                    HEADS,
                )
            self._heads.setdefault(head.seq, []).append((head, whose))

    def follow(self, lines: Iterable[bytes], contents: Iterator[tuple[int, bytes]]) -> None:
        """Check the spine's lines in order, and the content's beside them."""
        result = self.result
        waiting = _Contents(contents, result)
        for line in lines:
            number = self._chain.seq + 1
            try:
                link = self._chain.follow(Record(number, line))
            except TraceDamaged as error:
                result.find("altered", str(error), error.line)
                return
            except NewerTrace as error:
                result.find("newer format", str(error), number)
                return
            self._event(link.event, number)
            waiting.match(number, link.event.content)
            self._compare(number)
        waiting.rest(ended=bool(result.ended))

    def _event(self, event: ev.Event, number: int) -> None:
        result = self.result
        result.events = number
        result.ended = event.status if isinstance(event, ev.Paused | ev.Ended) else ""
        if isinstance(event, ev.RunStarted) != (number == 1):
            said = (
                "the trace does not begin with the run's start"
                if number == 1
                else f"a second run begins on line {number}"
            )
            result.find("altered", said, number)
        if isinstance(event, ev.RunStarted) and event.run != result.run:
            result.find("altered", f"it is the trace of run {event.run}", number)
        if isinstance(event, ev.RunStarted) and event.format > ev.FORMAT:
            result.find(
                "newer format",
                f"it is of format {event.format}; this version reads up to {ev.FORMAT}",
                number,
            )
        if isinstance(event, ev.RunResumed) and event.repaired:
            result.repaired.append(event.repaired)
        broken = self._conduct.follow(event)
        if broken:
            result.find("misconduct", f"line {number}: {broken}", number)

    def _compare(self, number: int) -> None:
        for head, whose in self._heads.pop(number, ()):
            if head.run != self.result.run:
                self.result.find("altered", f"{whose}: one is of run {head.run}", file=HEADS)
            elif head.hash != self._chain.hash:
                self.result.find(
                    "altered",
                    f"{whose}: the one at event {number} is of another line {number} than stands there",
                    number,
                )
            else:
                self.result.heads += 1
                self.result.signed_until = number

    def finish(self, *, running: bool = False) -> Verification:
        """Say what it came to."""
        result, conduct = self.result, self._conduct
        if self._heads and result.state not in {"altered", "newer format"}:
            said = f"a signed head speaks of event {max(self._heads)}, and the trace has {result.events}"
            result.find("rolled back", said, result.events)
        if not result.events and not result.findings:
            result.find("cut off", "the trace is empty")
        if not result.ended and result.events:
            if running:
                result.find("running", f"a process is writing it; its {result.events} events so far are whole")
            else:
                result.find(
                    "cut off",
                    f"after event {result.events} it neither ended nor paused; `scaffold resume` goes on",
                    result.events,
                )
        if self._key and result.signed_until < result.events:
            result.find(
                "unsigned",
                f"no signed head covers the events after number {result.signed_until}",
                result.signed_until + 1,
            )
        elif self._key:
            result.signed_by_key = all(finding.state != "wrong key" for finding in result.findings)
        result.actions, result.unread, result.observed = conduct.intents, conduct.unread, conduct.observed
        result.unfinished = conduct.unfinished
        return result


class _Contents:
    """Content lines, matched with the events they belong to as both come by."""

    def __init__(self, lines: Iterator[tuple[int, bytes]], result: Verification) -> None:
        self._lines = lines
        self._result = result
        self._next = self._read()

    def _read(self) -> tuple[int, int, str] | None:
        """The next content line: its line number, its event's number, and its digest."""
        for line, text in self._lines:
            try:
                content = read_content(text)
                return line, content.seq, content.digest()
            except ValueError:  # which msgspec's errors are
                self._altered(line, f"line {line} of {CONTENT} is not the content of an event")
        return None

    def _altered(self, line: int, said: str) -> None:
        self._result.content_altered += 1
        self._result.find("content altered", said, line, CONTENT)

    def match(self, seq: int, digest: str) -> None:
        """Check the content of one event, whose digest of it is empty when it has none."""
        found = False
        while self._next is not None and self._next[1] <= seq:
            line, number, actual = self._next
            if number == seq and digest and not found:
                found = True
                if actual != digest:
                    self._altered(line, f"line {line} of {CONTENT} is not what event {seq} had")
            else:
                self._altered(line, f"line {line} of {CONTENT} belongs to no event")
            self._next = self._read()
        if digest and not found:
            self._result.withheld += 1

    def rest(self, *, ended: bool) -> None:
        """What is left over; a run that was cut off may have written content whose event was lost."""
        while self._next is not None:
            if ended:
                self._altered(self._next[0], f"line {self._next[0]} of {CONTENT} belongs to no event")
            self._next = self._read()


def _signed(note: str, key: str) -> bool:
    try:
        return is_signed_by(note, key)
    except ValueError:  # what stands for the signature is none
        return False


def describe(result: Verification) -> dict[str, Any]:
    """A verification as JSON values, with whether it is `ok` and the sentence."""
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return {"ok": result.ok, "sentence": result.sentence(), **plain}

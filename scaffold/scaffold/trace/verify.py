"""Verifies a stored run: is the chain intact, does the content match, do signed heads fit, did the gate hold?

The result is about the record. A verified run was not changed since it was written (if signed: not by anyone without
the key); it says nothing about whether the run was wise. `Check` takes one line after another, from any journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from scaffold.errors import BadInput, JournalFailed, NewerTrace, TraceDamaged, UnknownRun, count
from scaffold.trace.chain import Chain, Content, Sealed, read_content
from scaffold.trace.conduct import Conduct
from scaffold.trace.files import CONTENT, HEADS, SPINE
from scaffold.trace.heads import Head, TornNote, check_verifier, notes_in, signature_of, whole_notes
from scaffold.trace.mending import LONGEST
from scaffold.trace.parts import content_lines
from scaffold.trace.presence import is_there
from scaffold.trace.sealing import NotOpened
from scaffold.trace.signing import endorsed_by
from scaffold.vocabulary import events as ev

State = Literal[
    "verified",
    "foreign",  # imported: its origin cannot be checked
    "unsigned",
    "running",  # no end event yet, and a process is still writing
    "cut off",
    "torn tail",
    "misconduct",
    "wrong key",
    "rolled back",
    "content altered",
    "altered",
    "newer format",
]
# A run's state is its gravest finding; all findings are kept.
_GRAVITY: tuple[State, ...] = State.__args__  # type: ignore[attr-defined]  # a Literal has its values
# Nothing after such a line was read, so nothing is said of how the trace ends.
_UNREAD_AFTER: frozenset[State] = frozenset({"altered", "newer format"})

_TELLING = frozenset({ev.RunStarted, ev.RunResumed, ev.KeyChanged})
_NEVER = 1 << 62
_NAMED = 3

Note = tuple[Head, str]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault found; `line` counts from 1, in the file named."""

    state: State
    said: str
    line: int = 0
    file: str = SPINE


class Verification(msgspec.Struct, kw_only=True):
    """The result of verifying a run.

    Attributes:
        run: the run.
        state: the gravest finding, or `verified`.
        standing: `ended` or `paused`, by its last event; else empty.
        ended: the run's status, from its last event; empty if that is neither an end nor a pause.
        events: number of events whose chain is right.
        line: line of the gravest finding; 0 if it is about no line.
        findings: all findings.
        withheld: number of events whose content is absent. That is allowed: the spine stands without it.
        sealed: number of events whose content is encrypted and was not checked, as no key was given.
        content_altered: number of events whose content does not match its digest.
        heads: number of signed heads that fit the chain.
        keys: verifier lines of the keys that the trace names, in order.
        signed_by_key: whether a given key signed the heads; None if none was given.
        signed_until: number of the last event covered by a fitting head.
        actions: number of actions begun.
        unfinished: how many of these have no outcome: they may have happened.
        unread: how many of these change something and were read by no monitor.
        observed: how many of these were cleared while monitors were suspended.
        repaired: torn lines repaired on resuming, in words.
        foreign: what the trace was imported from; empty for a native run.
    """

    run: str
    state: State = "verified"
    standing: Literal["", "ended", "paused"] = ""
    ended: str = ""
    events: int = 0
    line: int = 0
    findings: list[Finding] = []
    withheld: int = 0
    sealed: int = 0
    content_altered: int = 0
    heads: int = 0
    keys: list[str] = []
    signed_by_key: bool | None = None
    signed_until: int = 0
    actions: int = 0
    unfinished: int = 0
    unread: int = 0
    observed: int = 0
    repaired: list[str] = []
    foreign: str = ""

    @property
    def ok(self) -> bool:
        """Verified, and ended or paused."""
        return self.state == "verified" and bool(self.standing)

    @property
    def unread_after(self) -> bool:
        """Whether a finding made the rest of the spine unreadable."""
        return any(finding.state in _UNREAD_AFTER and finding.file == SPINE for finding in self.findings)

    def find(self, state: State, said: str, line: int = 0, file: str = SPINE) -> None:
        """Add a finding; of several with the same state, the first is kept."""
        if all(finding.state != state for finding in self.findings):
            self.findings.append(Finding(state, said, line, file))
        if _GRAVITY.index(state) > _GRAVITY.index(self.state):
            self.state, self.line = state, line

    def sentence(self) -> str:
        """Return the result in one sentence."""
        said = "; ".join(finding.said for finding in self.findings if finding.state == self.state)
        if self.state != "verified":
            return f"run {self.run} is {self._called()}: {said}"
        notes = [f"{self.ended}, {count(self.events, 'event')}", self._signed()]
        if self.withheld:
            notes.append(f"the content of {count(self.withheld, 'event')} is withheld")
        if self.sealed:
            notes.append(f"the content of {count(self.sealed, 'event')} is encrypted, and unread without its key")
        if self.unfinished:
            notes.append(f"{count(self.unfinished, 'action')} started without an outcome")
        if self.unread:
            notes.append(f"{count(self.unread, 'action')} read by no monitor")
        if self.observed:
            notes.append(f"{count(self.observed, 'action')} cleared while monitors only observed")
        has = "has ended" if self.standing == "ended" else "is paused"
        return f"run {self.run} is verified and {has}: {', '.join(notes)}"

    def _signed(self) -> str:
        if self.signed_by_key:
            return "signed by the given key"
        if self.heads:
            several = f"{self.heads} signed heads fit, their signatures"
            fit = several if self.heads > 1 else "1 signed head fits, its signature"
            return f"{fit} not checked without --key: this shows damage, not forgery"
        return "unsigned: this shows damage, not forgery"

    def _called(self) -> str:
        if self.state == "altered":
            return f"altered at line {self.line}" if self.line else "altered"
        known = {
            "unsigned": "not signed to its end",
            "running": "still being written",
            "torn tail": "torn at its tail",
            "misconduct": "whole, but shows the gate passed",
            "wrong key": "signed by the wrong key",
            "content altered": "altered in its content",
            "newer format": "of a newer format",
        }
        return known.get(self.state, self.state)


def verify_run(
    folder: Path, *, key: str | Sequence[str] = (), against: str | Sequence[str] = (), running: bool = False
) -> Verification:
    """Verify a run's folder, in constant memory, without changing it.

    Args:
        folder: the run's folder; content and heads may be absent.
        key: verifier lines (`name+hash+base64`) of the keys that must have signed it; a key that the last of them
            endorses in the trace counts too.
        against: signed heads kept elsewhere, as text.
        running: a process is writing the run now.

    Raises:
        UnknownRun: the folder is not a run's.
        BadInput: a key or the given heads cannot be read.
    """
    if not is_there(folder / SPINE):
        raise UnknownRun(f"{folder} has no run")
    # A writer stores content, then its line, then the line's head. Reading in the opposite order gives a consistent
    # snapshot of a run that goes on: every head read has its line, and every line its content.
    heads = _own_heads(folder / HEADS, running=running)
    given = _given_heads(_several(against), folder.name)
    with (folder / SPINE).open("rb") as spine:
        lines = _until(spine, os.fstat(spine.fileno()).st_size)
        check = Check(folder.name, keys=_several(key), own=heads, given=given)
        check.follow(_spine(lines, check.result, running=running), _contents(folder, check.result), running=running)
    return check.finish(running=running)


def _several(said: str | Sequence[str]) -> Sequence[str]:
    return [said] if isinstance(said, str) and said else list(said)


def _own_heads(path: Path, *, running: bool) -> Iterator[Note]:
    """Return the heads that a run has now, without one still being written."""
    size = path.stat().st_size if is_there(path) else 0
    return _heads_until(path, size, running=running) if size else iter(())


def _heads_until(path: Path, size: int, *, running: bool) -> Iterator[Note]:
    with path.open("rb") as file:
        try:
            yield from notes_in((line.decode(errors="replace") for line in _until(file, size)), strict=True)
        except TornNote:
            if not running:
                raise


def _until(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the lines in the first bytes of a file; the last may be cut off, and one too long for an event is."""
    while size > 0 and (line := file.readline(LONGEST)):
        yield line[:size]
        size -= len(line)


def _given_heads(texts: Sequence[str], run: str) -> list[Note]:
    """Return a run's heads among those kept elsewhere, which may be of many runs.

    Raises:
        BadInput: there are none, so that nothing would be compared with the run.
    """
    found = [note for text in texts for note in whole_notes(text)]
    ours = [note for note in found if note[0].run == run]
    if found and not ours:
        others = sorted({head.run for head, _ in found})
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise BadInput(
            f"the heads given with --against are not of run {run}, but of {', '.join(others[:_NAMED])}{more}"
        )
    if texts and not found:
        raise BadInput("what was given with --against has no signed heads")
    return ours


def _spine(lines: Iterable[bytes], result: Verification, *, running: bool) -> Iterator[bytes]:
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n") and len(line) < LONGEST:
            if running:  # still being written
                return
            result.find("torn tail", f"line {number} of {SPINE} is incomplete; resuming removes it", number)
            return
        yield line[:-1]


def _contents(folder: Path, result: Verification) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        for number, line in enumerate(content_lines(folder), start=1):
            if line.endswith(b"\n"):
                yield number, line[:-1]
    except (OSError, JournalFailed) as error:  # damaged compressed data
        result.find("content altered", f"it cannot be read after line {number}: {error}", number, CONTENT)
        result.content_altered += 1


class Check:
    """One verification in progress.

    Args:
        run: the run's id.
        keys: verifier lines of the keys that must have signed it; if none are given, signatures are not checked.
        own: the run's own signed heads.
        given: its heads that were kept elsewhere.

    Raises:
        BadInput: a given key is invalid.
    """

    def __init__(
        self, run: str, *, keys: Sequence[str] = (), own: Iterable[Note] = (), given: Sequence[Note] = ()
    ) -> None:
        self.result = Verification(run=run)
        for each in keys:
            check_verifier(each)
        self._asks = bool(keys)
        self._trusted = list(keys)
        self._named = ""  # the key that signs from here on, according to the trace
        self._last: ev.Event | None = None
        self._own = iter(own)
        self._due = 0  # event number of the next head
        self._next = self._next_own()
        self._given: dict[int, list[Note]] = {}
        for head, note in given:
            self._given.setdefault(head.seq, []).append((head, note))
        self._chain = Chain()
        self._conduct = Conduct()

    def _next_own(self) -> Note | None:
        self._due = _NEVER
        try:
            found = next(self._own, None)
        except TornNote:
            self.result.find("torn tail", "its last signed head was cut off", file=HEADS)
        except ValueError as error:
            self.result.find("altered", f"its file of signed heads was altered: {error}", file=HEADS)
        else:
            self._due = found[0].seq if found is not None else _NEVER
            return found
        return None

    def follow(self, lines: Iterable[bytes], contents: Iterator[tuple[int, bytes]], *, running: bool = False) -> None:
        """Check the spine's lines in order, and the content's along with them, each with its number in its file."""
        waiting = _Contents(contents, self.result)
        for line in lines:
            event = self._line(line)
            if event is None:
                return
            waiting.match(event.seq, event.content)
        paused = isinstance(self._last, ev.Paused) and not running
        waiting.rest(ended=isinstance(self._last, ev.Ended), paused=paused)

    def _line(self, line: bytes) -> ev.Event | None:
        """Check one line of the spine; nothing after a faulty line can be trusted."""
        number = self._chain.seq + 1
        try:
            event = self._chain.step(line)
        except TraceDamaged as error:
            self.result.find("altered", str(error), error.line)
            return None
        except NewerTrace as error:
            self.result.find("newer format", str(error), number)
            return None
        self._event(event, number)
        if number >= self._due or number in self._given:
            self._compare(number)
        return event

    def _event(self, event: ev.Event, number: int) -> None:
        result, kind = self.result, type(event)
        result.events, self._last = number, event
        if (kind is ev.RunStarted) != (number == 1):
            self._misplaced(number)
        if kind in _TELLING:
            match event:
                case ev.RunStarted():
                    self._started(event, number)
                case ev.RunResumed(repaired=repaired) if repaired:
                    result.repaired.append(repaired)
                case ev.KeyChanged():
                    self._key_changed(event, number)
                case _:
                    pass
        broken = "" if result.foreign else self._conduct.follow(event)
        if broken:
            result.find("misconduct", f"line {number}: {broken}", number)

    def _misplaced(self, number: int) -> None:
        said = "the trace does not begin with the run's start" if number == 1 else "a second run begins there"
        self.result.find("altered", f"line {number}: {said}", number)

    def _started(self, event: ev.RunStarted, number: int) -> None:
        result = self.result
        result.foreign = event.foreign
        if event.run != result.run:
            result.find("altered", f"it is the trace of run {event.run}", number)
        if event.format > ev.FORMAT:
            said = f"it has format {event.format}, but this version reads formats up to {ev.FORMAT}"
            result.find("newer format", said, number)

    # --- heads and keys

    def _key_changed(self, event: ev.KeyChanged, number: int) -> None:
        """Take in that another key signs from here on; it is trusted if a trusted key endorses it."""
        result = self.result
        if event.before != self._named:
            result.find("altered", f"line {number}: it names another previous key than the one before", number)
        result.keys.append(event.verifier)
        self._named = event.verifier
        if event.verifier in self._trusted or not self._asks:
            return
        if any(endorsed_by(event.endorsement, event.verifier, each) for each in self._trusted):
            self._trusted.append(event.verifier)

    def _believed(self) -> list[str]:
        """Return the trusted keys that may sign here: only the one the trace names, once it names one."""
        return [each for each in self._trusted if each == self._named] if self._named else self._trusted

    def _fits_key(self, head: Head, note: str, whose: str) -> bool:
        """Whether a head counts: no key was asked for, or a trusted key signed it."""
        if not self._asks:
            return True
        said = {_signature(note, each) for each in self._believed()}
        if "right" in said:
            return True
        line = head.seq
        if "wrong" in said:
            text = f"{whose}: the one at event {head.seq} was altered: its signature does not fit"
            self.result.find("altered", text, line, HEADS)
        else:
            text = f"{whose}: the one at event {head.seq} is not signed by the given key"
            if self._named and self._named not in self._trusted:
                text += f"; the trace names {self._named}, which the given key does not endorse"
            self.result.find("wrong key", text, line, HEADS)
        return False

    def _compare(self, number: int) -> None:
        while self._next is not None and self._next[0].seq <= number:
            head, note = self._next
            if 0 < head.seq < number:
                self.result.find("altered", "its signed heads are out of order", head.seq, HEADS)
            elif head.seq:
                self._hold_against(head, note, "the run's own heads")
            self._next = self._next_own()
        for head, note in self._given.pop(number, ()):
            self._hold_against(head, note, "the heads given")

    def _hold_against(self, head: Head, note: str, whose: str) -> None:
        result, number = self.result, head.seq
        if not self._fits_key(head, note, whose):
            return
        if head.run != result.run:
            result.find("altered", f"{whose}: one is of run {head.run}", file=HEADS)
        elif head.hash != self._chain.hash:
            said = f"{whose}: the one at event {number} is for another line {number} than the one in the trace"
            result.find("altered", said, number)
        else:
            result.heads += 1
            result.signed_until = number

    def _left_over(self) -> int:
        """Return the number of the last event that heads cover but the trace lacks; 0 if there is none."""
        most = 0
        while self._next is not None:
            if self._fits_key(*self._next, "the run's own heads"):
                most = max(most, self._next[0].seq)
            self._next = self._next_own()
        for notes in self._given.values():
            most = max(most, *(head.seq for head, note in notes if self._fits_key(head, note, "the heads given")), 0)
        return most

    # --- the end

    def finish(self, *, running: bool = False) -> Verification:
        """Return the result."""
        result, conduct, last = self.result, self._conduct, self._last
        if isinstance(last, ev.Ended | ev.Paused):
            result.standing = "ended" if isinstance(last, ev.Ended) else "paused"
            result.ended = last.status
        if not result.unread_after:
            most = self._left_over()
            if most > result.events:
                said = f"there is a signed head for event {most}, but the trace has {result.events}"
                result.find("rolled back", said, result.events)
            else:
                self._say_how_it_ends(running=running)
            if self._asks and result.signed_until < result.events:
                said = f"no signed head covers the events after number {result.signed_until}"
                result.find("unsigned", said, result.signed_until + 1)
        if result.foreign:
            said = (
                f"imported from {result.foreign}, and unsigned: it says what another agent reported, not what was done"
            )
            result.find("foreign", said)
        if self._asks:
            against = {"wrong key", "unsigned", "altered", "rolled back", "newer format"}
            result.signed_by_key = all(finding.state not in against for finding in result.findings)
        result.actions, result.unread, result.observed = conduct.intents, conduct.unread, conduct.observed
        result.unfinished = conduct.unfinished
        return result

    def _say_how_it_ends(self, *, running: bool) -> None:
        result = self.result
        torn = any(finding.state == "torn tail" and finding.file == SPINE for finding in result.findings)
        if not result.events:
            if not torn:
                result.find("cut off", "the trace is empty")
        elif not result.standing and running:
            result.find("running", f"a process is writing it; its {result.events} events so far are intact")
        elif not result.standing and not torn:
            said = f"after event {result.events} the run neither ended nor paused"
            if result.state == "verified":
                said += "; `scaffold resume` continues it"
            result.find("cut off", said, result.events)


class _Contents:
    """Matches content lines with their events, as both are read."""

    def __init__(self, lines: Iterator[tuple[int, bytes]], result: Verification) -> None:
        self._lines = lines
        self._result = result
        self._next = self._read()

    def _read(self) -> tuple[int, int, Content | None] | None:
        """Read the next content line: its line number, event number and content; None as content if it is sealed."""
        for line, text in self._lines:
            try:
                content = read_content(text)
            except Sealed as sealed:
                return line, sealed.seq, None
            except NotOpened as error:
                self._altered(line, f"line {line} of {CONTENT} {error}")
            except ValueError:  # includes msgspec's errors
                self._altered(line, f"line {line} of {CONTENT} is not the content of an event")
            else:
                return line, content.seq, content
        return None

    def _altered(self, line: int, said: str) -> None:
        self._result.content_altered += 1
        self._result.find("content altered", said, line, CONTENT)

    def match(self, seq: int, digest: str) -> None:
        """Check one event's content against its digest, which is empty if it has none."""
        found = False
        while self._next is not None and self._next[1] <= seq:
            line, number, content = self._next
            if number == seq and digest and not found:
                found = True
                if content is None:
                    self._result.sealed += 1
                elif content.digest() != digest:
                    self._altered(line, f"line {line} of {CONTENT} is not what event {seq} had")
            else:
                self._altered(line, f"line {line} of {CONTENT} does not belong to any event")
            self._next = self._read()
        if digest and not found:
            self._result.withheld += 1

    def rest(self, *, ended: bool, paused: bool = False) -> None:
        """Check what is left over; if the run may go on, content may have been written before its line."""
        while self._next is not None:
            line, number, _ = self._next
            if ended:
                self._altered(line, f"line {line} of {CONTENT} does not belong to any event")
            elif paused:
                said = (
                    f"line {line} of {CONTENT} is for event {number}, which is missing: it was never written, or was "
                    "cut off"
                )
                self._result.find("torn tail", said, line, CONTENT)
            self._next = self._read()


def _signature(note: str, key: str) -> str:
    try:
        return signature_of(note, key)
    except ValueError:  # malformed signature
        return "of another"


def describe(result: Verification) -> dict[str, Any]:
    """Return a verification as JSON values, with `ok` and its sentence."""
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return {"ok": result.ok, "sentence": result.sentence(), **plain}

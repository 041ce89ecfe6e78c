"""The format of the trace's lines, and the hash chain over them.

A spine line is an event's JSON with `hash` as its last field, where

    hash = SHA-256(previous hash ‖ the line's bytes without the hash field)

The previous hash is 32 raw bytes, all zero before the first line. "Without the hash field" means with
`,"hash":"<64 hex digits>"` cut out, so that the last line is covered like any other. A content line is
`{"seq":N,"salt":"<32 hex digits>","body":{...}}`, and the event holds SHA-256(salt ‖ body's bytes). An encrypted
content line (`sealing.py`) holds salt and body under a key, and counts as withheld for readers without the key.
"""

from __future__ import annotations

import re
from binascii import hexlify, unhexlify
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import msgspec

from scaffold import errors
from scaffold.interfaces import Record
from scaffold.trace.sealing import MARK, VARIABLE, NotOpened, from_environment
from scaffold.vocabulary import events
from scaffold.vocabulary.events import Event

GENESIS = bytes(32)
_MARK = b',"hash":"'
_TAIL = len(_MARK) + 64 + len(b'"}')
_BEFORE_TAIL = slice(-_TAIL)  # made once: it is used for two lines per step
_SALT = 16
_BEFORE_MARK = 40
_begins = re.compile(rb'\{"seq":([1-9][0-9]*),"salt":"([0-9a-f]{32})","body":').match


def seal(previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return the line for an event's JSON, and the line's hash."""
    mark = sha256(previous + body).digest()
    return b"".join((body[:-1], _MARK, hexlify(mark), b'"}')), mark


def continues(line: bytes, before: bytes) -> bool:
    """Whether a spine line was sealed after the one given as before it, which is empty for the first line."""
    try:
        previous = unhexlify(before[len(_MARK) - _TAIL : -len(b'"}')]) if before else GENESIS
    except ValueError:
        return False
    return line == seal(previous, line[_BEFORE_TAIL] + b"}")[0]


def content_line(seq: int, salt: bytes, body: bytes) -> bytes:
    """Return the line that stores an event's content."""
    return b'{"seq":%d,"salt":"%b","body":%b}' % (seq, hexlify(salt), body)


class Content(msgspec.Struct, frozen=True, gc=False):
    """A content line, its body still as bytes."""

    seq: int
    salt: bytes
    body: bytes

    def digest(self) -> str:
        """Return what the event's `content` field must be."""
        return sha256(self.salt + self.body).hexdigest()


class Sealed(ValueError):
    """The content is encrypted, and there is no key.

    Attributes:
        seq: number of its event.
    """

    def __init__(self, seq: int) -> None:
        super().__init__(f"the content of event {seq} is encrypted")
        self.seq = seq


class _SealedLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    seq: int
    sealed: str


_sealed_line = msgspec.json.Decoder(_SealedLine)
_json = msgspec.json.Decoder()


def read_content(line: bytes) -> Content:
    """Parse a content line.

    Raises:
        Sealed: it is encrypted, and the environment holds no key.
        NotOpened: it is encrypted, and none of the environment's keys opens it.
        ValueError: it is not a content line in exactly the form in which they are written.
    """
    # Parsed by its fixed form: decoding JSON would take three times as long.
    begins = _begins(line)
    if begins is not None and line.endswith(b"}"):
        return Content(int(begins[1]), unhexlify(begins[2]), line[begins.end() : -1])
    if MARK in line[:_BEFORE_MARK]:
        return _opened(line)
    raise ValueError("not in the form of content")


def _opened(line: bytes) -> Content:
    import base64  # most runs encrypt nothing

    try:
        told = _sealed_line.decode(line)
    except msgspec.MsgspecError as error:  # not ValueErrors in msgspec 0.20
        raise ValueError("not in the form of encrypted content") from error
    sealer = from_environment()
    if sealer is None:
        raise Sealed(told.seq)
    raw = base64.b64decode(told.sealed, validate=True)
    if b'{"seq":%d%b%b"}' % (told.seq, MARK, base64.b64encode(raw)) != line:
        raise ValueError("not in the form of encrypted content")
    plain = sealer.open(raw, b"%d" % told.seq)
    return Content(told.seq, plain[:_SALT], plain[_SALT:])


def withheld(record: Record) -> str:
    """Say why a record's content is missing."""
    if record.content:
        return f"the content of line {record.seq} is encrypted, and ${VARIABLE} is not set"
    return f"the content of line {record.seq} is missing"


def body_of(content: Content | None) -> dict[str, Any]:
    """Return an event's content as JSON values; empty if there is none or it is withheld."""
    return _json.decode(content.body) if content is not None else {}


MISFIT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, msgspec.MsgspecError)
"""What is raised where an event or its content does not have the form in which its kind is written."""


@contextmanager
def as_written(event: Event) -> Iterator[None]:
    """Turn what fails in telling an event into damage: its chain fits, but this is not what is written in its kind.

    Raises:
        TraceDamaged: it failed.
    """
    try:
        yield
    except MISFIT as error:
        raise misfit(event) from error


def misfit(event: Event) -> errors.TraceDamaged:
    """Return the error for an event whose chain fits, although this is not what is written in its kind."""
    kind = event.__struct_config__.tag
    said = f"line {event.seq} of the trace holds what is written with no {kind}: somebody made its chain anew"
    return errors.TraceDamaged(said, event.seq)


class Link(msgspec.Struct, frozen=True, gc=False):
    """One checked line of a trace.

    Attributes:
        event: its event.
        content: the event's content; None if it has none, or it is withheld.
        hash: 32 bytes, over this line and all before it.
    """

    event: Event
    content: Content | None
    hash: bytes


class Chain:
    """Checks records one after another, as they come from a journal.

    Attributes:
        seq: number of the last correct record.
        hash: its hash.
    """

    __slots__ = ("_decode", "hash", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.hash = GENESIS
        self._decode = events.decoder().decode

    def follow(self, record: Record) -> Link:
        """Check that a record follows the last one and that its content matches its digest.

        Raises:
            TraceDamaged: it was altered or is out of order.
            NewerTrace: its kind is unknown to this version.
        """
        event, mark = self._next(record.line)
        content = _content_of(event, record.content) if record.content else None
        self.seq, self.hash = event.seq, mark
        return Link(event, content, mark)

    def step(self, line: bytes) -> Event:
        """Check that a spine line follows the last one.

        Raises:
            TraceDamaged: it was altered or is out of order.
            NewerTrace: its kind is unknown to this version.
        """
        event, mark = self._next(line)
        self.seq, self.hash = event.seq, mark
        return event

    def _next(self, line: bytes) -> tuple[Event, bytes]:
        mark = sha256(b"%b%b}" % (self.hash, line[_BEFORE_TAIL])).digest()
        if not line.endswith(b'%b%b"}' % (_MARK, hexlify(mark))):
            raise self._damage(
                ", or one before it, was altered" if _is_sealed(line) else " is not an event in the expected form"
            )
        try:
            event: Event = self._decode(line)  # the extra `hash` field is ignored
        except msgspec.ValidationError as error:
            raise errors.NewerTrace(
                f"line {self.seq + 1} of the trace has a kind that this version does not know: {error}"
            ) from None
        except (msgspec.DecodeError, RecursionError):
            raise self._damage(" is not an event") from None
        if event.seq != self.seq + 1:
            raise self._damage(f" has the number {event.seq}")
        return event, mark

    def _damage(self, what: str) -> errors.TraceDamaged:
        number = self.seq + 1
        return errors.TraceDamaged(f"line {number} of the trace{what}", number)


def _is_sealed(line: bytes) -> bool:
    return len(line) > _TAIL and line.startswith(_MARK, len(line) - _TAIL) and line.endswith(b'"}')


def _content_of(event: Event, line: bytes) -> Content | None:
    """Return an event's content if it matches the digest; None if it is encrypted and there is no key."""
    try:
        content = read_content(line)
    except Sealed:
        return None
    except NotOpened as error:
        raise errors.TraceDamaged(f"the content of line {event.seq} {error}", event.seq) from None
    except (msgspec.MsgspecError, ValueError):
        content = None
    if content is None or content.digest() != event.content:
        raise errors.TraceDamaged(f"the content of line {event.seq} was altered", event.seq)
    return content

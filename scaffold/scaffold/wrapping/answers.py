"""A file of recorded answers, which several processes may read and add to at once.

It is JSON lines: first whose answers they are, then one line a sample. Lines are appended whole, under a lock; a line
that was torn, by a process that died or a disk that was full, is passed over. Nothing of how a
backend was reached (keys, addresses) is in it.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadInput
from scaffold.vocabulary.models import Delta, Finish, Origin, Profile, ReasoningBlock, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMAT = 1
_LONGEST_HEADER = 64 * 1024


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Delta, without what the line says once."""

    text: str = ""
    reasoning: str = ""
    finish: Finish | None = None
    logprob: float | None = None
    block: ReasoningBlock | None = None
    signals: dict[str, float] | None = None
    origin: Origin | None = None

    @classmethod
    def of(cls, delta: Delta) -> Piece:
        """Take a Delta down."""
        return cls(delta.text, delta.reasoning, delta.finish, delta.logprob, delta.block, delta.signals, delta.origin)

    def delta(self, index: int) -> Delta:
        """Make a Delta of sample `index` of it again."""
        return Delta(
            index,
            self.text,
            self.reasoning,
            self.finish,
            logprob=self.logprob,
            block=self.block,
            signals=self.signals,
            origin=self.origin,
        )


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One recorded sample.

    Attributes:
        request: the request's name.
        sample: the sample's name within it.
        prompt: the end of the prompt, for people who look into the file.
        pieces: the sample.
        usage: of the whole request, on the first of its samples.
    """

    request: str
    sample: str
    prompt: str = ""
    pieces: tuple[Piece, ...] = ()
    usage: Usage | None = None


class _Header(msgspec.Struct, frozen=True):
    format: int
    profile: Profile


class _Name(msgspec.Struct, frozen=True):
    """Of a line, what has to be read to find it again."""

    request: str
    sample: str


_header = msgspec.json.Decoder(_Header)
_name = msgspec.json.Decoder(_Name)
_answer = msgspec.json.Decoder(Answer)
_Span = tuple[int, int]  # where a line begins, and its length, in bytes


class AnswerFile:
    """The recorded answers of one backend.

    Only names and places are kept in memory. What other processes append is seen at the next look.

    Args:
        path: of the file; it need not exist.
        profile: whose answers are added; None for who only reads.
        most_bytes: once the file is as large, nothing more is added; None for no bound.

    Raises:
        BadInput: the file is no such file, or holds the answers of another model.
    """

    def __init__(self, path: Path | str, profile: Profile | None = None, *, most_bytes: int | None = None) -> None:
        self.path = Path(path).expanduser()
        self._profile = profile
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._forget()
        with self._lock:
            self._look()

    def _forget(self) -> None:
        self._file: tuple[int, int] | None = None  # the device and inode that the places are of
        self._read = 0
        self._header: Profile | None = None
        self._by_sample: dict[tuple[str, str], _Span] = {}
        self._by_request: dict[str, list[_Span]] = {}

    @property
    def profile(self) -> Profile:
        """Whose answers these are.

        Raises:
            BadInput: the file does not exist or says nothing yet.
        """
        if self._header is None:
            raise BadInput(f"there are no recorded answers in {str(self.path)!r}: record some first")
        return self._header

    def find(self, request: str, sample: str) -> Answer | None:
        """Give the first answer that was recorded for a sample; None when there is none.

        Raises:
            BadInput: the file cannot be read, or has become another's.
        """
        with self._lock:
            if (request, sample) not in self._by_sample:
                self._look()
            span = self._by_sample.get((request, sample))
            if span is None:
                return None
            found = self._at(span)
            if found is not None and (found.request, found.sample) == (request, sample):
                return found
            self._forget()  # somebody has put another file in its place
            self._look()
            span = self._by_sample.get((request, sample))
            return None if span is None else self._at(span)

    def find_all(self, request: str) -> list[Answer]:
        """Give every answer to a request, in the order of recording.

        Raises:
            BadInput: the file cannot be read, or has become another's.
        """
        with self._lock:
            self._look()
            found = [self._at(span) for span in self._by_request.get(request, ())]
            return [answer for answer in found if answer is not None and answer.request == request]

    def _at(self, span: _Span) -> Answer | None:
        place, length = span
        try:
            with self.path.open("rb") as file:
                file.seek(place)
                answer = _answer.decode(file.read(length))
        except (OSError, msgspec.MsgspecError, RecursionError):
            return None
        return answer if answer.pieces else None

    def _look(self) -> None:
        """Take in what was added since the last look."""
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):  # a pipe would be waited for, a device read without end
                raise BadInput(f"{str(self.path)!r} is not a file: recorded answers are kept in a file")
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                if self._file != (about.st_dev, about.st_ino) or about.st_size < self._read:
                    self._forget()
                    self._file = (about.st_dev, about.st_ino)
                if self._read == 0 and len(file.readline(_LONGEST_HEADER)) == _LONGEST_HEADER:
                    raise BadInput(
                        f"{str(self.path)!r} is not a file of recorded answers: its first line is incomplete"
                    )
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # somebody is writing it, or died over it
                    self._take(line)
                    self._read += len(line)
        except (FileNotFoundError, NotADirectoryError):
            self._forget()
        except OSError as error:
            raise BadInput(f"cannot read the recorded answers in {str(self.path)!r}: {error.strerror}") from error

    def _take(self, line: bytes) -> None:
        if self._read == 0:
            self._header = self._checked(line)
            return
        try:
            name = _name.decode(line)
        except (msgspec.MsgspecError, RecursionError):
            return  # torn
        span = (self._read, len(line))
        self._by_sample.setdefault((name.request, name.sample), span)
        self._by_request.setdefault(name.request, []).append(span)

    def _checked(self, line: bytes) -> Profile:
        try:
            header = _header.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadInput(f"{str(self.path)!r} is not a file of recorded answers: {error}") from None
        if header.format != FORMAT:
            raise BadInput(f"{str(self.path)!r} has another version (format {header.format}): record it again")
        ours, theirs = self._profile, header.profile
        if ours is not None and (ours.backend, ours.model) != (theirs.backend, theirs.model):
            raise BadInput(
                f"{str(self.path)!r} has the answers of {theirs.backend}:{theirs.model}, not of "
                f"{ours.backend}:{ours.model}: use another file"
            )
        return theirs

    def add(self, answers: Sequence[Answer]) -> bool:
        """Append answers, all or none of them; say whether there was room.

        Raises:
            OSError: they could not be written.
        """
        lines = b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._only_writer() as file:
            size = os.fstat(file).st_size
            if self._most_bytes is not None and size + len(lines) > self._most_bytes:
                return False
            if size and b"\n" not in os.pread(file, _LONGEST_HEADER, 0):
                os.ftruncate(file, 0)  # whoever began it died over its first line
                size = 0
            if size == 0:
                lines = msgspec.json.encode(_Header(FORMAT, self._said_profile())) + b"\n" + lines
            elif os.pread(file, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # what was torn stays a line of its own
            try:
                _write(file, lines)
            except OSError:
                os.ftruncate(file, size)
                raise
        return True

    def _said_profile(self) -> Any:
        if self._profile is None:
            raise ValueError("to add answers, say which backend they are from")
        return self._profile

    @contextmanager
    def _only_writer(self) -> Iterator[int]:
        # Prompts and answers are nobody else's business.
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)  # which gives the lock back


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]

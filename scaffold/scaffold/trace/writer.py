"""The two files of a run as the process has them that writes it: locked, mended, appended to, and made durable."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from scaffold.errors import JournalFailed, RunHeld
from scaffold.trace.heads import without_torn_note
from scaffold.trace.parts import CONTENT, is_plain, parts_of, set_aside, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scaffold.interfaces import Record
    from scaffold.trace.syncing import OneByOne, Syncing

SPINE, HEADS = "trace.jsonl", "heads"
CUT = f"{SPINE}.cut"
_BLOCK = 65_536
_HAS_CONTENT = b',"content":"'
# What is stored without waiting for the disk, or may have been on its way there: it can be done or asked again.
_FORGOTTEN = tuple(
    b'{"kind":"' + kind
    for kind in (
        *(b"step.", b"plan.", b"reviewed", b"noted", b"released", b"profile.corrected"),
        *(b"action.proposed", b"action.previewed", b"action.cleared", b"action.refused", b"action.outcome"),
    )
)
_INTENT, _READ = b'{"kind":"action.intent"', b',"effect":"read"'

Write = Callable[[int, bytes], int]


def make_private(folder: Path) -> None:
    """Make a folder that nobody else may enter, and those above it, whose names are made durable: once for all runs.

    Raises:
        JournalFailed: it is there already, or cannot be made.
    """
    try:
        above = [each for each in folder.parents if not each.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        for each in above:
            _sync_folder(each.parent)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise JournalFailed(f"cannot make the run's folder {folder}: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Writer:
    """The two open files of one run under its lock.

    Args:
        folder: the run's.
        write: writes to a file.
        create: the run is new.
        part: content of so many bytes is a full part, which is set aside.
    """

    def __init__(self, folder: Path, write: Write, *, create: bool, part: int) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            self.spine = os.open(folder / SPINE, flags, 0o600)
        except OSError as error:
            raise JournalFailed(f"cannot open {folder / SPINE}: {error.strerror}") from error
        try:
            fcntl.flock(self.spine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.content = os.open(folder / CONTENT, flags | os.O_CREAT, 0o600)
        except BlockingIOError:
            os.close(self.spine)
            raise RunHeld(f"run {folder.name} is being written by another process") from None
        except OSError as error:
            os.close(self.spine)
            raise JournalFailed(f"cannot open {folder / CONTENT}: {error.strerror}") from error
        self._folder = folder
        self._write = write
        self._part = part
        full = [] if create else parts_of(folder)
        self.uncompressed = any(map(is_plain, full))  # full parts wait to be compressed
        self._aside = until(full)
        self._last = 0  # event written
        self._renamed: int | None = None  # the folder, until the new names in it are on disk
        self._sizes = (os.fstat(self.spine).st_size, os.fstat(self.content).st_size)
        self._written = 0
        self._synced = -1  # what another process has written may not be on disk
        self._content_synced = -1  # of its bytes
        self._syncing = False
        self._waiting: list[asyncio.Future[None]] = []  # for the sync under way to be over
        self._closing = False
        self._failed: JournalFailed | None = None

    def close(self) -> None:
        """Unlock the run, at once or as soon as the sync under way is over: the descriptors are its own until then."""
        self._closing = True
        if not self._syncing:
            os.close(self.spine)
            os.close(self.content)
            if self._renamed is not None:
                os.close(self._renamed)

    def mend(self) -> str:
        """Cut off what a crash left half written; say what was cut.

        Raises:
            JournalFailed: it cannot be read, or not be mended.
        """
        try:
            return self._mend()
        except OSError as error:
            raise JournalFailed(f"cannot mend {self._folder}: {error.strerror}") from error

    def _mend(self) -> str:
        spine_cut = _cut_torn_line(self.spine)
        last = self._last = _last_seq(self.spine)
        content_cut = _cut_torn_line(self.content)
        while (seq := _last_seq(self.content)) > last:
            content_cut += _cut_last_line(self.content)
            if not seq:
                break
        bare = self._cut_bare_events()
        self._sizes = (os.fstat(self.spine).st_size, os.fstat(self.content).st_size)
        cuts = ((spine_cut, SPINE), (content_cut, CONTENT), (self._mend_heads(), HEADS))
        said = [f"{cut} bytes of a torn line in {name}" for cut, name in cuts if cut]
        said += [f"{bare} events whose content never reached the disk (kept in {CUT})"] if bare else []
        return "cut off " + " and ".join(said) if said else ""

    def _cut_bare_events(self) -> int:
        """Cut off what has lost its content at the end of the trace: a loss of power kept one file and not the other.

        That can be so only of what nobody has waited for, since what is durable has all content before it on disk too.
        Where anything durable follows, somebody took the content away, and whoever goes on has to find that.
        """
        kept, size = _last_seq(self.content) or self._aside, os.fstat(self.spine).st_size
        cut, bare, firm = size, 0, False
        for number, (place, line) in enumerate(_lines_from_the_end(self.spine), start=1):
            if seq_of(line) <= kept:
                break
            firm = firm or not (line.startswith(_FORGOTTEN) or (line.startswith(_INTENT) and _READ in line))
            if _HAS_CONTENT in line:
                if firm:
                    return 0
                cut, bare = place, number
        if bare:
            beside = os.open(self._folder / CUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(beside, "ab") as file:
                file.write(os.pread(self.spine, size - cut, cut))
                file.flush()
                os.fsync(file.fileno())
            os.ftruncate(self.spine, cut)
        return bare

    def _mend_heads(self) -> int:
        """Cut off a signed head that was being written; what is signed again then stands on a line of its own."""
        path = self._folder / HEADS
        if not path.is_file():
            return 0
        heads = path.read_bytes()
        whole = without_torn_note(heads)
        torn = len(heads.rstrip(b"\n")) - len(whole.rstrip(b"\n"))
        if torn:
            path.write_bytes(whole + b"\n" if whole else b"")
        return torn

    def write(self, records: Sequence[Record]) -> None:
        if self._failed is not None:
            raise self._failed
        content = b"".join([record.content + b"\n" for record in records if record.content])
        spine = b"".join([record.line + b"\n" for record in records])
        try:
            if content:
                self._write_all(self.content, content)
            self._write_all(self.spine, spine)
        except OSError as error:
            self._undo()
            raise self._fail(f"cannot write to {self._folder}: {error.strerror}") from error
        self._sizes = (self._sizes[0] + len(spine), self._sizes[1] + len(content))
        self._written += 1
        if records:
            self._last = records[-1].seq

    @property
    def full(self) -> bool:
        """Whether the content is long enough to be set aside, as soon as all of it is on disk."""
        return self._sizes[1] >= self._part

    async def sync(self, syncs: Syncing | OneByOne, *, alone: bool) -> None:
        """Wait until all written so far is on disk; who comes while a sync is under way shares the next one.

        When a part is full all wait until it is set aside, which is when nobody has written during a sync.
        """
        target = self._written
        while self._synced < target or self.full:
            if self._failed is not None:
                raise self._failed
            if self._syncing:
                await self._over()
            else:
                await self._sync(syncs, alone=alone)
        if self._failed is not None:
            raise self._failed

    async def settled(self) -> None:
        """Wait until no sync is under way."""
        while self._syncing:
            await self._over()

    async def _over(self) -> None:
        over = asyncio.get_running_loop().create_future()
        self._waiting.append(over)
        await over

    async def _sync(self, syncs: Syncing | OneByOne, *, alone: bool) -> None:
        size = self._sizes[1]
        files = (self.spine,) if size == self._content_synced else (self.content, self.spine)
        if self._renamed is not None:
            files = (self._renamed, *files)
        self._syncing = True
        await syncs.sync(files, partial(self._told, self._written, size), alone=alone)

    def _told(self, written: int, size: int, error: BaseException | None) -> None:
        """A sync of what was written until then is over, whether or not anybody still waits for it."""
        self._syncing = False
        if error is None:
            self._synced, self._content_synced = written, size
            if self._renamed is not None:
                os.close(self._renamed)
                self._renamed = None
            if self.full and written == self._written:
                self._set_aside()
        elif isinstance(error, OSError):
            # After a failed fsync the kernel may have dropped the pages: nothing written since can be trusted.
            self._fail(f"cannot sync {self._folder}: {error.strerror}")
        if self._closing:
            self.close()
        waiting, self._waiting = self._waiting, []
        for over in waiting:
            if not over.done():  # whoever was cancelled waits no more
                over.set_result(None)

    def _set_aside(self) -> None:
        """Begin a new part. All there is, is on disk; where no file can be made, the part becomes twice as long."""
        draft = self._folder / f"{CONTENT}.draft"
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._part *= 2
            return
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC
            content = os.open(draft, flags, 0o600)
        except OSError:
            os.close(folder)
            self._part *= 2
            return
        try:
            set_aside(self._folder, self._last)
            draft.rename(self._folder / CONTENT)
        except OSError as error:
            os.close(folder)
            os.close(content)
            self._fail(f"cannot rename {self._folder / CONTENT}: {error.strerror}")
            return
        os.close(self.content)
        self.content, self._renamed = content, folder
        self._sizes, self._content_synced = (self._sizes[0], 0), 0
        self._aside, self.uncompressed = self._last, True

    def _fail(self, message: str) -> JournalFailed:
        self._failed = JournalFailed(message)
        return self._failed

    def _write_all(self, descriptor: int, data: bytes) -> None:
        written = self._write(descriptor, data)  # all of it, as a rule
        while written < len(data):
            written += self._write(descriptor, data[written:])

    def _undo(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self.spine, self._sizes[0])
            os.ftruncate(self.content, self._sizes[1])


def seq_of(line: bytes) -> int:
    """Number of a spine or content line; 0 when it is neither."""
    start = line.find(b'"seq":')
    digits = line[start + 6 : start + 26].split(b",", 1)[0] if start >= 0 else b""
    return int(digits) if digits.isdigit() else 0


def _lines_from_the_end(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their newlines and where they begin, the last one first."""
    start = os.fstat(descriptor).st_size
    tail = b""
    while start:
        step = min(_BLOCK, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
        whole = tail.find(b"\n", 0, -1) + 1 if start else 0  # what comes before may have begun in the block before
        if start and not whole:
            continue
        end = start + len(tail)
        for line in reversed(_lines(tail[whole:])):
            end -= len(line)
            yield end, line
        tail = tail[:whole]


def _lines(block: bytes) -> list[bytes]:
    """Lines with their newlines; `splitlines` would split at others too."""
    *whole, rest = block.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def _last_line(descriptor: int) -> bytes:
    """The last line, with its newline if it has one; empty when there is none."""
    return next(_lines_from_the_end(descriptor), (0, b""))[1]


def _last_seq(descriptor: int) -> int:
    return seq_of(_last_line(descriptor))


def _cut_last_line(descriptor: int) -> int:
    length = len(_last_line(descriptor))
    os.ftruncate(descriptor, os.fstat(descriptor).st_size - length)
    return length


def _cut_torn_line(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return 0
    return _cut_last_line(descriptor)

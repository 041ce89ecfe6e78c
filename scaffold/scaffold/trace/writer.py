"""The two files of a run in the process that writes it: locked, appended to, set aside, and made durable."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from scaffold.errors import JournalFailed
from scaffold.trace.folders import held_error, lock
from scaffold.trace.mending import SPINE, last_seq, mend
from scaffold.trace.parts import CONTENT, compress_parts, is_plain, parts_of, set_aside, until
from scaffold.trace.syncing import Files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scaffold.interfaces import Record

Write = Callable[[int, bytes], int]
_content, _line = attrgetter("content"), attrgetter("line")
_log = logging.getLogger(__name__)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; missing parents are made too, their names made durable.

    Raises:
        JournalFailed: it exists already, or cannot be made.
    """
    try:
        try:
            folder.mkdir(mode=0o700)
        except FileNotFoundError:
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


class Writer(Files):
    """The two open files of one run under its lock.

    Args:
        folder: the run's folder.
        write: writes to a file.
        create: the run is new.
        part: bytes of content that make a full part, which is set aside.
    """

    def __init__(self, folder: Path, write: Write, *, create: bool, part: int) -> None:
        super().__init__()
        # No link is followed: whoever can write to the folder must not choose which other file a run is written to.
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            self.spine = os.open(folder / SPINE, flags, 0o600)
        except OSError as error:
            raise JournalFailed(f"cannot open {folder / SPINE}: {error.strerror}") from error
        try:
            lock(self.spine, folder / SPINE)
            self.content = os.open(folder / CONTENT, flags | os.O_CREAT, 0o600)
        except BlockingIOError:
            os.close(self.spine)
            raise held_error(folder) from None
        except JournalFailed:
            os.close(self.spine)
            raise
        except OSError as error:
            os.close(self.spine)
            raise JournalFailed(f"cannot open {folder / CONTENT}: {error.strerror}") from error
        self._folder = folder
        self._write = write
        self._part = part
        full = [] if create else parts_of(folder)
        self.uncompressed = any(map(is_plain, full))  # full parts wait to be compressed
        self._compressing: asyncio.Future[None] | None = None
        self._aside = until(full)
        self._last = 0  # number of the last event written
        self._renamed: int | None = None  # the folder's descriptor, until new names in it are on disk
        self._sizes = (os.fstat(self.spine).st_size, os.fstat(self.content).st_size)
        self.written = 0
        self._synced = -1  # what an earlier process wrote may not be on disk
        self._content_synced = -1  # bytes of content
        self._syncing = (0, 0)  # `written` and the content's size when the current sync began
        self._closing = False
        self._failed: JournalFailed | None = None

    @property
    def is_void(self) -> bool:
        """Whether writing failed before anything at all was written, as on a full disk."""
        return self._failed is not None and self._sizes == (0, 0)

    def close(self) -> None:
        """Unlock the run, now or after the current sync, which still needs the descriptors."""
        self._closing = True
        if not self.handed:
            os.close(self.spine)
            os.close(self.content)
            if self._renamed is not None:
                os.close(self._renamed)

    def mend(self) -> str:
        """Cut off what a crash left half written; say what was cut.

        Raises:
            JournalFailed: it cannot be read or repaired.
        """
        try:
            said = mend(self._folder, self.spine, self.content, self._aside)
            self._last = last_seq(self.spine)
            self._sizes = (os.fstat(self.spine).st_size, os.fstat(self.content).st_size)
        except OSError as error:
            raise JournalFailed(f"cannot repair {self._folder}: {error.strerror}") from error
        return said

    def write(self, records: Sequence[Record]) -> None:
        if self._failed is not None:
            raise self._failed
        content = b"\n".join([*filter(None, map(_content, records)), b""])
        spine = b"\n".join([*map(_line, records), b""])
        try:
            if content:
                self._write_all(self.content, content)
            self._write_all(self.spine, spine)
        except OSError as error:
            self._undo()
            raise self._fail(f"cannot write to {self._folder}: {error.strerror}") from error
        self._sizes = (self._sizes[0] + len(spine), self._sizes[1] + len(content))
        self.written += 1
        if records:
            self._last = records[-1].seq

    def is_full(self) -> bool:
        """Whether the content is long enough to be set aside once all of it is on disk."""
        return self._sizes[1] >= self._part

    def lacks(self, target: int) -> bool:
        """Whether something written up to `target` is not on disk yet, or a full part is still to be set aside.

        Raises:
            JournalFailed: it may never be on disk.
        """
        if self._failed is not None:
            raise self._failed
        return self._synced < target or self._sizes[1] >= self._part

    def compress(self) -> None:
        """Compress the full parts in a thread that shares the run's lock, unless one is already running."""
        if self._compressing is not None and not self._compressing.done():
            return
        with contextlib.suppress(OSError):  # out of descriptors: try again later
            work = partial(_compress_held, self._folder, os.dup(self.spine))
            self._compressing = asyncio.get_running_loop().run_in_executor(None, work)
            self.uncompressed = False

    async def compressed(self) -> None:
        """Wait until no full part is waiting to be compressed."""
        while self._compressing is not None:
            await asyncio.wait({self._compressing})
            self._compressing = None
            if self.uncompressed:
                self.compress()

    async def settled(self) -> None:
        """Wait until no sync is under way."""
        while self.handed:
            await self.over(asyncio.get_running_loop())

    def begin(self) -> Sequence[int]:
        """Return the files with anything not yet on disk, content first."""
        size = self._sizes[1]
        self._syncing = (self.written, size)
        files = (self.spine,) if size == self._content_synced else (self.content, self.spine)
        return files if self._renamed is None else (self._renamed, *files)

    def told(self, error: BaseException | None) -> None:
        """Count what was written before the sync as durable; set a full part aside if nobody has written since."""
        if error is None:
            self._synced, self._content_synced = self._syncing
            if self._renamed is not None:
                os.close(self._renamed)
                self._renamed = None
            if self.is_full() and self._synced == self.written:
                self._set_aside()
        elif isinstance(error, OSError):
            # After a failed fsync the kernel may have dropped the pages: nothing written since is safe.
            self._fail(f"cannot sync {self._folder}: {error.strerror}")
        if self._closing:
            self.close()

    def _set_aside(self) -> None:
        """Start a new part, as everything is on disk. If no file can be created, the part grows to twice its length."""
        draft = self._folder / f"{CONTENT}.draft"
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._part *= 2
            return
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_CREAT | os.O_TRUNC
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
        written = self._write(descriptor, data)  # usually all of it
        while written < len(data):
            written += self._write(descriptor, data[written:])

    def _undo(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self.spine, self._sizes[0])
            os.ftruncate(self.content, self._sizes[1])


def _compress_held(folder: Path, lock: int) -> None:
    """Compress the full parts; on failure a part stays intact."""
    try:
        compress_parts(folder)
    except JournalFailed as error:
        _log.warning("%s", error)
    finally:
        os.close(lock)

"""The file journal: one directory per run, one writer at a time by `flock` (POSIX).

    RUN/trace.jsonl    the spine, one event a line
    RUN/content.jsonl  prompts, reasoning, arguments, outputs, with their salts; once the run has ended perhaps
                       content.jsonl.gz (`packing.py`)
    RUN/heads          signed heads, when a key is given
    RUN/inbox/         what people say to the run from outside

Content is written before the spine line that needs it, so that a spine never refers to what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import logging
import os
import stat
import time
import zlib
from collections.abc import Awaitable, Callable
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec

from scaffold.errors import ClaimLost, JournalFailed, RunHeld, UnknownRun, nearest
from scaffold.interfaces import Answer, Claim, Record
from scaffold.trace.heads import without_torn_note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from scaffold.interfaces import Holder
    from scaffold.trace.identities import Identities

SPINE, CONTENT, HEADS, INBOX = "trace.jsonl", "content.jsonl", "heads", "inbox"
PACKED = f"{CONTENT}.gz"
_LARGEST_ANSWER = 1 << 20
_SETTLED_NS = 1_000_000_000
_log = logging.getLogger(__name__)


Sync = Callable[[int], Awaitable[None]]
Write = Callable[[int, bytes], int]


_MOST_SYNCS = 32
_threads: list[Executor] = []
os.register_at_fork(after_in_child=_threads.clear)  # a child has none of its parent's threads


async def _fsync_in_thread(descriptor: int) -> None:
    """Sync a file in a thread; as many at once as runs are likely to want, so that the disk can join their syncs.

    asyncio's own threads are a few more than there are processors, and these hardly use one.
    """
    if not _threads:
        from concurrent.futures import ThreadPoolExecutor

        _threads.append(ThreadPoolExecutor(_MOST_SYNCS, "scaffold-sync"))
    await asyncio.get_running_loop().run_in_executor(_threads[0], os.fsync, descriptor)


class FileJournal:
    """Keeps runs as directories below `root`.

    Args:
        root: the folder.
        fsync: makes a file durable.
        write: writes to one.
        apart: the runs are trials of the same thing, each in a world of its own: what one acts on, others may too.
        compress: compress what runs hold once they have ended; as `$SCAFFOLD_COMPRESS` says, if None.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        fsync: Sync = _fsync_in_thread,
        write: Write = os.write,
        apart: bool = False,
        compress: bool | None = None,
    ) -> None:
        self.root = Path(root)
        self._compress = bool(os.environ.get("SCAFFOLD_COMPRESS")) if compress is None else compress
        self._apart = apart
        self._fsync = fsync
        self._write = write
        self._open: dict[str, _Writer] = {}
        self._inboxes: dict[str, tuple[int, Sequence[Answer]]] = {}  # as last read, with the folder's time

    @property
    def name(self) -> str:
        """Where the runs are, for people."""
        return str(self.root)

    def folder(self, run: str, *, brief: bool = False) -> Path:
        """The run's folder; it is whole, also where only its first and last event are wanted."""
        return self.root / run

    def runs(self) -> list[str]:
        """Ids of the runs kept here, oldest first."""
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in self.root.iterdir() if (entry / SPINE).is_file())

    def find(self, name: str) -> str:
        """Give the run meant by an id, a unique beginning or ending of one, or `last`.

        Raises:
            UnknownRun: none, or more than one, is meant.
        """
        known = self.runs()
        if name == "last" and known:
            return max(known, key=lambda run: (self.root / run / SPINE).stat().st_mtime_ns)
        if name in known:
            return name
        fitting = [run for run in known if run.startswith(name) or run.endswith(name)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise UnknownRun(
                f"{name!r} fits {len(fitting)} runs in {self.root}: {', '.join(fitting[:5])}; say more of it"
            )
        hint = nearest(name, known) if known else "; there are none"
        raise UnknownRun(f"no run {name!r} in {self.root}{hint}")

    def location(self, run: str) -> str:
        """Path of the run's spine."""
        return str(self.root / run / SPINE)

    async def claim(self, run: str, owner: str, *, create: bool = False) -> Claim:
        """Lock the run for writing, and mend its tail."""
        folder = self.root / run
        if create:
            _make_private(folder, self.root)
        elif not (folder / SPINE).is_file():
            raise UnknownRun(f"no run {run!r} in {self.root}{nearest(run, self.runs())}")
        writer = _Writer(folder, self._write, create=create)
        try:
            repaired = writer.mend()
            if create:
                await self._sync_folder(folder)
                await self._sync_folder(self.root)
        except BaseException:
            writer.close()
            raise
        self._open[run] = writer
        return Claim(run, owner, repaired=repaired)

    async def _sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable: what is in a file does not help if the file cannot be found."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            await self._fsync(descriptor)
        except OSError as error:
            raise JournalFailed(f"cannot sync {folder}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    async def release(self, claim: Claim) -> None:
        """Unlock the run."""
        writer = self._open.pop(claim.run, None)
        self._inboxes.pop(claim.run, None)
        if writer is not None:
            try:
                if self._compress:
                    await self._pack(self.root / claim.run)
            finally:
                writer.close()

    @staticmethod
    async def _pack(folder: Path) -> None:
        """Compress a run that has ended; one that cannot be is whole all the same."""
        from scaffold.trace.packing import pack_if_ended

        try:
            await asyncio.to_thread(pack_if_ended, folder)
        except JournalFailed as error:
            _log.warning("%s", error)

    async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
        """Write records; with `durable`, wait until they are on disk."""
        writer = self._open.get(claim.run)
        if writer is None:
            raise ClaimLost(f"run {claim.run} is not ours to write")
        if records:
            writer.write(records)
        if durable:
            await writer.sync(self._fsync)

    async def read(self, run: str, after: int = 0) -> AsyncIterator[Record]:
        """Give what is stored, whole lines only."""
        folder = self.root / run
        if not (folder / SPINE).is_file():
            raise UnknownRun(f"no run {run!r} in {self.root}{nearest(run, self.runs())}")
        for record in read_files(folder):
            if record.seq > after:
                yield record

    async def sign(self, claim: Claim, note: str) -> None:
        """Append a signed head; one that cannot be written whole leaves nothing behind."""
        path = self.root / claim.run / HEADS
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalFailed(f"cannot keep a signed head in {path}: {error.strerror}") from error
        size = os.fstat(descriptor).st_size
        try:
            left = (note + "\n").encode()
            while left:
                left = left[self._write(descriptor, left) :]
            await self._fsync(descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise JournalFailed(f"cannot keep a signed head in {path}: {error.strerror}") from error
        finally:
            os.close(descriptor)

    async def heads(self, run: str) -> str:
        """The signed heads of a run."""
        path = self.root / run / HEADS
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    async def holder(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Who else acts on a thing, or has, or may have."""
        return None if self._apart else await self._identities.holder(identity, claim.run, key)

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Take a thing to act on, unless somebody else has it; gives who."""
        return None if self._apart else await self._identities.hold(identity, claim.run, key)

    async def free(self, claim: Claim, identity: str, key: str) -> None:
        """Give a thing back."""
        if not self._apart:
            await self._identities.free(identity, claim.run, key)

    @cached_property
    def _identities(self) -> Identities:
        from scaffold.trace.identities import Identities  # SQLite: most runs act on nothing that has an identity

        return Identities(self.root, read_files, self.inbox)

    async def post(self, run: str, answer: Answer) -> None:
        """Put an answer into the run's inbox; the last one of each person for a question counts."""
        inbox = self.root / run / INBOX
        inbox.mkdir(mode=0o700, exist_ok=True)
        person = f".{sha256(answer.by.encode()).hexdigest()[:16]}" if answer.by else ""
        target = inbox / f"{answer.id}{person}.json"
        draft = inbox / f".{target.name}.{os.getpid()}.draft"
        draft.write_bytes(msgspec.json.encode(answer))
        draft.replace(target)

    def inbox(self, run: str) -> Sequence[Answer]:
        """Read the run's inbox; what is not an answer is passed over."""
        folder = f"{self.root}/{run}/{INBOX}"
        if not os.access(folder, os.F_OK):  # most runs are never spoken to
            return []
        try:
            # Whoever waits looks twenty times a second. What was changed in this tick of the file system's clock
            # may be changed again without a trace in the time of the folder.
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116 - as below
            known = self._inboxes.get(run)
            if known is not None and known[0] == changed:
                return known[1]
            names = os.listdir(folder)  # noqa: PTH208 - asked before every action; pathlib would take most of its time
        except FileNotFoundError:
            return []
        answers = []
        for name in sorted(names):
            if name.endswith(".json"):
                with contextlib.suppress(msgspec.MsgspecError, OSError):
                    answers.append(msgspec.json.decode(_read_small(f"{folder}/{name}"), type=Answer))
        if time.time_ns() - changed > _SETTLED_NS:
            self._inboxes[run] = (changed, answers)
        return answers


def _read_small(path: str) -> bytes:
    """A small file whole; whatever else lies there is empty: a pipe would be waited for, a giant would fill memory."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        said = os.fstat(file)
        return os.read(file, _LARGEST_ANSWER) if stat.S_ISREG(said.st_mode) and said.st_size <= _LARGEST_ANSWER else b""
    finally:
        os.close(file)


def _make_private(folder: Path, root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise JournalFailed(f"cannot make the run's folder {folder}: {error.strerror}") from error


class _Writer:
    """The two open files of one run under its lock."""

    def __init__(self, folder: Path, write: Write, *, create: bool) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            self.spine = os.open(folder / SPINE, flags, 0o600)
        except OSError as error:
            raise JournalFailed(f"cannot open {folder / SPINE}: {error.strerror}") from error
        try:
            fcntl.flock(self.spine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # What is compressed has ended: it is read again, and nothing is added.
            self._packed = not create and not (folder / CONTENT).exists() and (folder / PACKED).exists()
            self.content = (
                os.open(folder / PACKED, os.O_RDONLY | os.O_CLOEXEC)
                if self._packed
                else os.open(folder / CONTENT, flags | os.O_CREAT, 0o600)
            )
        except BlockingIOError:
            os.close(self.spine)
            raise RunHeld(f"run {folder.name} is being written by another process") from None
        except OSError as error:
            os.close(self.spine)
            raise JournalFailed(f"cannot open {folder / CONTENT}: {error.strerror}") from error
        self._folder = folder
        self._write = write
        self._sizes = (os.fstat(self.spine).st_size, os.fstat(self.content).st_size)
        self._written = 0
        self._synced = 0
        self._content_synced = -1  # of its bytes; what another process has written may not be
        self._syncing = False
        self._waiting: list[asyncio.Future[None]] = []  # for the sync under way to be over
        self._failed: JournalFailed | None = None

    def close(self) -> None:
        os.close(self.spine)
        os.close(self.content)

    def mend(self) -> str:
        """Cut off what a crash left half written; say what was cut."""
        spine_cut = _cut_torn_line(self.spine)
        last = _last_seq(self.spine)
        content_cut = 0 if self._packed else _cut_torn_line(self.content)
        while not self._packed and (seq := _last_seq(self.content)) > last:
            content_cut += _cut_last_line(self.content)
            if not seq:
                break
        self._sizes = (os.fstat(self.spine).st_size, os.fstat(self.content).st_size)
        cuts = ((spine_cut, SPINE), (content_cut, CONTENT), (self._mend_heads(), HEADS))
        said = [f"{cut} bytes of a torn line in {name}" for cut, name in cuts if cut]
        return "cut off " + " and ".join(said) if said else ""

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
        if self._packed:
            raise self._fail(f"{self._folder.name} has ended and is compressed: nothing is added to it")
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

    async def sync(self, fsync: Sync) -> None:
        """Wait until all written so far is on disk; who comes while a sync is under way shares the next one."""
        if self._failed is not None:
            raise self._failed
        target = self._written
        while self._synced < target:
            if self._failed is not None:
                raise self._failed
            if self._syncing:
                over = asyncio.get_running_loop().create_future()
                self._waiting.append(over)
                await over
                continue
            self._syncing = True
            covered = self._written
            content = self._sizes[1]
            try:
                if content != self._content_synced:
                    await fsync(self.content)
                    self._content_synced = content
                await fsync(self.spine)
                self._synced = covered
            except OSError as error:
                # After a failed fsync the kernel may have dropped the pages: nothing written since can be trusted.
                raise self._fail(f"cannot sync {self._folder}: {error.strerror}") from error
            finally:
                self._syncing = False
                waiting, self._waiting = self._waiting, []
                for over in waiting:
                    if not over.done():  # whoever was cancelled waits no more
                        over.set_result(None)

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


def read_files(folder: Path) -> Iterator[Record]:
    """Give the records of a run's folder, without a lock; a line still being written is left out."""
    with (folder / SPINE).open("rb") as spine, open_content(folder) as lines:
        # What is written to the spine later may have content that was not there yet when content was read.
        left = os.fstat(spine.fileno()).st_size
        contents = _numbered(lines)
        waiting, belongs_to = next(contents, _NO_MORE)
        for number, line in enumerate(spine, start=1):
            left -= len(line)
            if left < 0 or not line.endswith(b"\n"):
                return
            content = b""
            while belongs_to <= number:
                if belongs_to == number:
                    content = waiting
                waiting, belongs_to = next(contents, _NO_MORE)
            yield Record(number, line[:-1], content)


_NO_MORE = (b"", 1 << 62)


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Content lines without their newlines, and the events they belong to; a line still being written ends them."""
    try:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield line[:-1], seq_of(line)
    except (OSError, EOFError, zlib.error) as error:
        raise JournalFailed(f"the content cannot be read: {error}") from error


def open_content(folder: Path) -> BinaryIO:
    """Open a run's content, compressed or not; nothing, when it is withheld."""
    try:
        return (folder / CONTENT).open("rb")
    except FileNotFoundError:
        pass
    if not (folder / PACKED).exists():
        return io.BytesIO()
    import gzip  # most runs are not compressed

    return cast("BinaryIO", gzip.open(folder / PACKED, "rb"))


def seq_of(line: bytes) -> int:
    """Number of a spine or content line; 0 when it is neither."""
    start = line.find(b'"seq":')
    digits = line[start + 6 : start + 26].split(b",", 1)[0] if start >= 0 else b""
    return int(digits) if digits.isdigit() else 0


_BLOCK = 65_536


def _last_line(descriptor: int) -> bytes:
    """The last whole line, with its newline; empty when there is none."""
    size = os.fstat(descriptor).st_size
    tail = b""
    while len(tail) < size and tail.count(b"\n", 0, -1) == 0:
        step = min(_BLOCK, size - len(tail))
        tail = os.pread(descriptor, step, size - len(tail) - step) + tail
    return tail[tail.rfind(b"\n", 0, -1) + 1 :]


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

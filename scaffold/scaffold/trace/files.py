"""The file journal: one directory per run, one writer at a time by `flock` (POSIX).

    RUN/trace.jsonl    the spine, one event a line
    RUN/content.jsonl  prompts, reasoning, arguments, outputs, with their salts; in parts if long (`parts.py`)
    RUN/heads          signed heads, if there is a key
    RUN/inbox/         what people tell the run from outside

Content is written before its spine line, so that a spine never refers to missing content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import time
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import BadInput, ClaimLost, JournalFailed, UnknownRun, nearest
from scaffold.interfaces import Answer, Claim, Record
from scaffold.trace.answers import answers_in
from scaffold.trace.folders import how_it_ended
from scaffold.trace.mending import HEADS, SPINE
from scaffold.trace.parts import CONTENT, PART_BYTES, seq_of
from scaffold.trace.presence import is_there, may_be_run
from scaffold.trace.records import read_files
from scaffold.trace.syncing import Files, OneByOne, Syncing
from scaffold.trace.writer import Writer, make_private

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from scaffold.interfaces import Holder
    from scaffold.trace.identities import Identities
    from scaffold.trace.syncing import Sync
    from scaffold.trace.writer import Write

__all__ = ["CONTENT", "HEADS", "INBOX", "SPINE", "FileJournal", "seq_of"]

INBOX = "inbox"
LONG_BYTES = 16 << 20  # some 24,000 steps: reading them takes ten times as long as starting a process
_LARGEST_ANSWER = 1 << 20
_SETTLED_NS = 1_000_000_000
_log = logging.getLogger(__name__)


class FileJournal:
    """Stores runs as directories below `root`.

    Args:
        root: the folder.
        fsync: makes one file durable; replaces the default of syncing the files of all runs together in threads.
        write: writes to a file.
        apart: the runs are independent trials of the same thing, so they may act on the same identities.
        compress: compress runs of any size once they have ended; if None, as `$SCAFFOLD_COMPRESS` says.
        part: bytes of content that make a part, to be compressed while the run goes on.
        long: spine size in bytes from which a run is read by a second process on resume.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        fsync: Sync | None = None,
        write: Write = os.write,
        apart: bool = False,
        compress: bool | None = None,
        part: int = PART_BYTES,
        long: int = LONG_BYTES,
    ) -> None:
        self.root = Path(root)
        self._place = str(self.root)  # cached: pathlib takes as long to build it as the system to look there
        self._compress = bool(os.environ.get("SCAFFOLD_COMPRESS")) if compress is None else compress
        self._part = part
        self._long = long
        self._apart = apart
        self._one_by_one = None if fsync is None else OneByOne(fsync)
        self._syncing: dict[asyncio.AbstractEventLoop, Syncing] = {}
        self._write = write
        self._open: dict[str, Writer] = {}
        self._inboxes: dict[str, tuple[int, Sequence[Answer]]] = {}  # as last read, with the folder's modification time

    @property
    def name(self) -> str:
        """Where the runs are, for people."""
        return str(self.root)

    def folder(self, run: str, *, brief: bool = False) -> Path:
        """Return the run's folder; it is complete even if `brief` is given."""
        return self.root / run

    def runs(self) -> list[str]:
        """Return the ids of the runs stored here, oldest first, including those of others that we may not read."""
        with _reaching(self.root):
            try:
                entries = list(self.root.iterdir())
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(entry.name for entry in entries if may_be_run(entry, SPINE))

    def ended(self, runs: Sequence[str]) -> set[str]:
        """Return those of the runs that have ended or were removed; one that we may not read has not ended."""
        found = set()
        for run in runs:
            try:
                over = how_it_ended(self.folder(run)) is not None
            except FileNotFoundError:
                over = True
            if over:
                found.add(run)
        return found

    def find(self, name: str) -> str:
        """Resolve a run: by its id, a unique beginning or ending of one, or `last`.

        Raises:
            UnknownRun: no run matches, or more than one does.
        """
        known = self.runs()
        if name == "last" and known:
            written: dict[str, int] = {}
            with _reaching(self.root):
                for run in known:
                    with contextlib.suppress(FileNotFoundError, PermissionError):  # removed meanwhile, or not readable
                        written[run] = (self.root / run / SPINE).stat().st_mtime_ns
            if not written:
                raise UnknownRun(f"no run in {self.root} can be read by this user; {len(known)} belong to others")
            return max(written, key=written.__getitem__)
        if name in known:
            return name
        fitting = [run for run in known if run.startswith(name) or run.endswith(name)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise UnknownRun(
                f"{name!r} matches {len(fitting)} runs in {self.root}: {', '.join(fitting[:5])}; give more of its name"
            )
        hint = nearest(name, known) if known else "; there are none"
        raise UnknownRun(f"no run {name!r} in {self.root}{hint}")

    def location(self, run: str) -> str:
        """Return the path of the run's spine."""
        return str(self.root / run / SPINE)

    async def claim(self, run: str, owner: str, *, create: bool = False) -> Claim:
        """Lock the run for writing, and repair its tail."""
        folder = self.root / run
        if create:
            make_private(folder)
        else:
            self._see(run)
        self._syncs()  # before anything is written, so that it sees every failure
        try:
            writer, repaired = await self._locked(folder, create=create)
        except BaseException:
            if create:
                _remove_void(folder)
            raise
        self._open[run] = writer
        return Claim(run, owner, repaired=repaired)

    async def _locked(self, folder: Path, *, create: bool) -> tuple[Writer, str]:
        """Return a run's files under its lock, and what was repaired in them."""
        writer = self._writer(folder, create=create)
        try:
            if not create:
                return writer, writer.mend()
            await self._sync_folders(folder, self.root)
        except BaseException:
            writer.close()
            raise
        return writer, ""

    def _writer(self, folder: Path, *, create: bool) -> Writer:
        return Writer(folder, self._write, create=create, part=self._part)

    def _syncs(self) -> Syncing | OneByOne:
        """Return what makes files durable in this event loop."""
        if self._one_by_one is not None:
            return self._one_by_one
        loop = asyncio.get_running_loop()
        syncs = self._syncing.get(loop)
        if syncs is None:
            for each in list(self._syncing):
                if each.is_closed():
                    del self._syncing[each]
            syncs = self._syncing[loop] = Syncing()
        return syncs

    async def _sync_folders(self, *folders: Path) -> None:
        """Make the names in folders durable: a file's content is useless if the file cannot be found."""
        descriptors: list[int] = []
        for folder in folders:
            try:
                descriptors.append(os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                for descriptor in descriptors:
                    os.close(descriptor)
                raise JournalFailed(f"cannot sync {folder}: {error.strerror}") from error
        await self._synced(descriptors, str(folders[0]))

    async def _synced(self, descriptors: Sequence[int], path: str) -> None:
        """Sync open files, and close them.

        Raises:
            JournalFailed: they may not be on disk.
        """
        files = _Once(descriptors)
        await self._syncs().sync(files, alone=len(self._open) <= 1)
        if files.failed is not None:
            said = getattr(files.failed, "strerror", files.failed)
            raise JournalFailed(f"cannot sync {path}: {said}") from files.failed

    async def release(self, claim: Claim) -> None:
        """Unlock the run once nothing of it is on its way to disk; remove a run that never began."""
        writer = self._open.pop(claim.run, None)
        self._inboxes.pop(claim.run, None)
        if writer is not None:
            try:
                await writer.settled()
                await writer.compressed()
                if self._compress:
                    await self._pack(self.root / claim.run)
            finally:
                if writer.is_void:
                    _remove_void(self.root / claim.run)
                writer.close()

    @staticmethod
    async def _pack(folder: Path) -> None:
        """Compress a run that has ended; on failure it stays intact."""
        from scaffold.trace.packing import pack_if_ended

        try:
            await asyncio.to_thread(pack_if_ended, folder)
        except JournalFailed as error:
            _log.warning("%s", error)

    async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
        """Write records; with `durable`, wait until they are on disk."""
        writer = self._open.get(claim.run)
        if writer is None:
            raise ClaimLost(f"run {claim.run} is not claimed by this process and cannot be written")
        if records:
            writer.write(records)
        if durable or writer.is_full():
            written = writer.written
            while writer.lacks(written):
                await self._syncs().sync(writer, alone=len(self._open) == 1)
        if writer.uncompressed:
            writer.compress()

    async def read(self, run: str, after: int = 0) -> AsyncIterator[Record]:
        """Yield what is stored, complete lines only."""
        self._see(run)
        with _reaching(self.root / run):
            for record in read_files(self.root / run):
                if record.seq > after:
                    yield record

    def long(self, run: str) -> Path | None:
        """Return a run's folder if it is long enough to be worth a second process to read it, else None."""
        folder = self.root / run
        with contextlib.suppress(OSError):
            return folder if (folder / SPINE).stat().st_size >= self._long else None
        return None

    def _see(self, run: str) -> None:
        """Check that a run exists.

        Raises:
            UnknownRun: it does not.
        """
        with _reaching(self.root / run):
            if not is_there(self.root / run / SPINE):
                raise UnknownRun(f"no run {run!r} in {self.root}{nearest(run, self.runs())}")

    async def sign(self, claim: Claim, note: str) -> None:
        """Append a signed head; if it cannot be written completely, nothing remains of it."""
        path = self.root / claim.run / HEADS
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalFailed(f"cannot keep a signed head in {path}: {error.strerror}") from error
        size = os.fstat(descriptor).st_size
        try:
            left = (note + "\n").encode()
            while left:
                left = left[self._write(descriptor, left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            os.close(descriptor)
            raise JournalFailed(f"cannot keep a signed head in {path}: {error.strerror}") from error
        try:
            await self._synced([descriptor], str(path))
        except JournalFailed:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            raise

    async def holder(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Return who else acts on a thing, has acted on it, or may have."""
        return None if self._apart else await self._identities.holder(identity, claim.run, key)

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Take a thing to act on; if somebody else has it, return who."""
        return None if self._apart else await self._identities.hold(identity, claim.run, key)

    async def free(self, claim: Claim, identity: str, key: str) -> None:
        """Free a thing."""
        if not self._apart:
            await self._identities.free(identity, claim.run, key)

    def settle_gone(self, run: str, key: str, *, happened: bool) -> bool:
        """Record a person's word on an action of a run whose trace is gone; return whether it held anything."""
        return self._identities.settle_gone(run, key, happened=happened)

    @cached_property
    def _identities(self) -> Identities:
        from scaffold.trace.identities import Identities  # needs SQLite; most runs act on nothing that has an identity

        return Identities(self.root, read_files, self.inbox)

    async def post(self, run: str, answer: Answer) -> None:
        """Put an answer into the run's inbox; each person's last answer to a question counts.

        Raises:
            BadInput: the question's id names no file of the inbox, as in a trace that others wrote to.
        """
        if answer.id in {"", ".."} or "\0" in answer.id or Path(answer.id).name != answer.id:
            raise BadInput(f"run {run} has asked nothing named {answer.id!r}: its trace cannot be trusted")
        with _reaching(self.root / run):
            inbox = self.root / run / INBOX
            inbox.mkdir(mode=0o700, exist_ok=True)
            person = f".{sha256(answer.by.encode()).hexdigest()[:16]}" if answer.by else ""
            target = inbox / f"{answer.id}{person}.json"
            draft = inbox / f".{target.name}.{os.getpid()}.draft"
            draft.write_bytes(msgspec.json.encode(answer))
            draft.replace(target)

    def inbox(self, run: str) -> Sequence[Answer]:
        """Read the run's inbox; skip what is not an answer."""
        folder = f"{self._place}/{run}/{INBOX}"
        if not os.access(folder, os.F_OK):  # most runs never get an answer
            return []
        try:
            # Cached, since waiting looks twenty times a second. A change within the current tick of the file system's
            # clock could be followed by another that leaves the folder's time as it is.
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116 - as below
            known = self._inboxes.get(run)
            if known is not None and known[0] == changed:
                return known[1]
            names = os.listdir(folder)  # noqa: PTH208 - asked before every action; pathlib would take most of its time
        except FileNotFoundError:
            return []
        answers: list[Answer] = []
        for name in sorted(names):
            if name.endswith(".json"):
                with contextlib.suppress(OSError):
                    answers += answers_in([_read_small(f"{folder}/{name}")])
        if time.time_ns() - changed > _SETTLED_NS:
            self._inboxes[run] = (changed, answers)
        return answers


class _Once(Files):
    """Files that are synced once and then closed.

    Attributes:
        failed: why they may not be on disk.
    """

    def __init__(self, descriptors: Sequence[int]) -> None:
        super().__init__()
        self._descriptors = descriptors
        self.failed: BaseException | None = None

    def begin(self) -> Sequence[int]:
        return self._descriptors

    def told(self, error: BaseException | None) -> None:
        self.failed = error
        for descriptor in self._descriptors:
            os.close(descriptor)


def _remove_void(folder: Path) -> None:
    """Remove the folder of a run of which nothing was written; files of others stay."""
    with contextlib.suppress(OSError):
        for name in (CONTENT, SPINE):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


@contextlib.contextmanager
def _reaching(path: Path) -> Iterator[None]:
    """Turn the system's refusals into one clear line.

    Raises:
        JournalFailed: the system refused.
    """
    try:
        yield
    except PermissionError as error:
        where = error.filename or path
        raise JournalFailed(
            f"this user may not use {where}: {error.strerror}; its owner can allow it (chmod, chown)"
        ) from error
    except OSError as error:
        raise JournalFailed(f"cannot use {error.filename or path}: {error.strerror}") from error


def _read_small(path: str) -> bytes:
    """Read a small regular file; return nothing for anything else: a pipe would block, a giant fill the memory."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        said = os.fstat(file)
        return os.read(file, _LARGEST_ANSWER) if stat.S_ISREG(said.st_mode) and said.st_size <= _LARGEST_ANSWER else b""
    finally:
        os.close(file)

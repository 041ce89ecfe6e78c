"""Which run acts on what: the runs of a folder, even concurrent ones, act on each thing at most once.

    ROOT/.identities.sqlite    for each thing acted on, by its identity: the run, and the action's key in it

An identity is taken before the intent is written, in one atomic step, and freed once the action is known not to have
happened. What became of its holder is read from the holder's trace, which stays the only source of truth: a process
that died before the intent has done nothing, one that died after it may have. The index survives the death of a
process. The crash of a machine may lose its last entries; they are restored from the intents in the traces, which are
on disk before their effects. The same happens if the index was deleted while no run was going; but what a run whose
content was pruned has acted on, only the index knows. Each process that opens it also adds entries missing for runs
that have changed since they were last seen: these were copied from elsewhere, or the index is from a backup.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import BadInput, JournalFailed, TraceDamaged
from scaffold.interfaces import Holder
from scaffold.trace.chain import Sealed, read_content
from scaffold.trace.folders import is_written
from scaffold.trace.presence import is_there, may_be_run
from scaffold.trace.sealing import VARIABLE

if TYPE_CHECKING:
    from scaffold.interfaces import Answer, Record

INDEX = ".identities.sqlite"
_SPINE = "trace.jsonl"
_TABLES = """
CREATE TABLE IF NOT EXISTS held (
    identity TEXT PRIMARY KEY, run TEXT NOT NULL, key TEXT NOT NULL, time INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS machine (boot TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS looked (run TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
"""
_TAKE = "INSERT INTO held VALUES (?, ?, ?, 1) ON CONFLICT DO NOTHING"
_RETAKE = "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)"
_LOOK = "SELECT time, run, key FROM held WHERE identity = ?"
_FREE = "DELETE FROM held WHERE identity = ? AND run = ? AND key = ?"
_HELD_BY = "SELECT 1 FROM held WHERE run = ? AND key = ?"
_LET_GO = "DELETE FROM held WHERE run = ? AND key = ?"
_LOOKED = "INSERT OR REPLACE INTO looked VALUES (?, ?)"
_OVER = -1  # in place of a size: the run has ended
_MOMENT_MS, _PATIENCE_MS = 5, 10_000
_FREED = frozenset({"", "refused", "failed", "undone"})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA})

Read = Callable[[Path], "Iterator[Record]"]
Inbox = Callable[[str], "Sequence[Answer]"]


class Act(msgspec.Struct):
    """What a trace says of one action: its identity, and how far it got."""

    identity: str = ""
    status: str = ""
    digest: str = ""
    compensates: str = ""
    action: str = ""


class _Line(msgspec.Struct):
    kind: str
    key: str = ""
    action: str = ""
    status: str = ""
    effect: str = ""
    digest: str = ""
    compensates: str = ""


class _Body(msgspec.Struct):
    identity: str = ""


_line = msgspec.json.Decoder(_Line)
_body = msgspec.json.Decoder(_Body)


def acts_in(records: Iterator[Record], *, identities: bool = True) -> dict[str, Act]:
    """Return a run's actions with effects, by key; the status `intended` means that no outcome is recorded.

    Args:
        records: the run's records.
        identities: whether their identities are wanted, which are in content that may be encrypted or gone.

    Raises:
        TraceDamaged: a line cannot be read.
    """
    acts: dict[str, Act] = {}
    for record in records:
        if b'"action.' not in record.line[:32]:
            continue
        try:
            line = _line.decode(record.line)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise TraceDamaged(f"line {record.seq} of the trace is not an event: {error}", record.seq) from error
        act = acts.setdefault(line.key, Act())
        match line.kind:
            case "action.proposed":
                identity = _identity_in(record) if identities and record.content else ""
                acts[line.key] = Act(identity, "", line.digest, line.compensates, line.action)
            case "action.intent" if line.effect != "read":
                act.status = "intended"
            case "action.withdrawn":
                act.status = ""
            case "action.refused":
                act.status = "refused"
            case "action.outcome":
                act.status = line.status
                if line.status == "performed" and act.compensates in acts:
                    acts[act.compensates].status = "undone"
            case _:
                pass
    return acts


def _identity_in(record: Record) -> str:
    try:
        return _body.decode(read_content(record.content).body).identity
    except Sealed as error:
        raise TraceDamaged(f"the content is encrypted, and ${VARIABLE} is not set", record.seq) from error
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise TraceDamaged(f"the content of line {record.seq} cannot be read: {error}", record.seq) from error


def unsettled_in(records: Iterator[Record], said: Sequence[Answer]) -> dict[str, Act]:
    """Return a run's actions of which nobody knows whether they happened, by key.

    Raises:
        TraceDamaged: a line cannot be read.
    """
    acts = acts_in(records, identities=False)
    return {key: act for key, act in acts.items() if act.status == "unknown" and word_on(key, act.digest, said) is None}


def settlement_id(key: str) -> str:
    """Return the id, in the run's inbox, of a person's word on the action at a key."""
    return f"settled-{sha256(key.encode()).hexdigest()[:16]}"


def word_on(key: str, digest: str, said: Sequence[Answer]) -> Answer | None:
    """Return a person's word on exactly the call at a key; of several, one that says it happened."""
    words = [each for each in said if each.id == settlement_id(key) and each.digest == digest]
    return next((each for each in words if each.granted), words[0] if words else None)


def fate_of(
    run: str, key: str, act: Act | None, said: Sequence[Answer], *, identity: str, lives: bool
) -> Holder | None:
    """Return what became of the holder of an identity; None if it has done nothing and will not go on.

    Args:
        run: the run that holds it.
        key: the action's key in that run.
        act: what its trace says of that action; None if nothing.
        said: the answers in its inbox.
        identity: what it holds.
        lives: a process is writing the run, or may be.
    """
    if act is not None and act.identity not in ("", identity):
        return None  # after a crash that lost the proposal, the resumed run did something else at that key
    status = "" if act is None else act.status
    if act is not None and status in {"intended", "unknown"}:
        if status == "intended" and lives:
            return Holder(run, key, "under way")
        word = word_on(key, act.digest, said)
        if word is None:
            return Holder(run, key, "unknown")
        return Holder(run, key, "performed", f"as {word.by or 'a person'} says") if word.granted else None
    if status == "performed":
        return Holder(run, key, "performed")
    # A refused or failed action may be tried again elsewhere, whether its run goes on or not.
    return Holder(run, key, "under way") if lives and not status else None


class Identities:
    """The index of one folder of runs.

    Its methods raise BadInput if the index or a trace cannot be read, which does not pass by itself, and JournalFailed
    if it cannot be used now: the disk is full or fails, or other processes hold it too long.

    Args:
        root: the folder.
        read: reads a run's records from its folder.
        inbox: returns what people have said to a run.
    """

    def __init__(self, root: Path, read: Read, inbox: Inbox) -> None:
        self._root = root
        self._read = read
        self._inbox = inbox
        self._lock = threading.Lock()
        self._index: sqlite3.Connection | None = None
        self._process = 0

    async def holder(self, identity: str, run: str, key: str) -> Holder | None:
        """Return who else acts on it, has acted on it, or may have; None if nobody."""
        await self._made_ready()
        try:
            with self._opened(_MOMENT_MS) as index:
                row = index.execute(_LOOK, (identity,)).fetchone()
            if row is None or row[1:] == (run, key):
                return None
        except _Busy:
            pass
        return await asyncio.to_thread(self._standing, identity, run, key)

    async def hold(self, identity: str, run: str, key: str) -> Holder | None:
        """Take it, or return who else acts on it, has acted on it, or may have."""
        await self._made_ready()
        try:
            with self._opened(_MOMENT_MS) as index:
                if index.execute(_TAKE, (identity, run, key)).rowcount == 1:
                    return None
        except _Busy:
            pass
        return await asyncio.to_thread(self._take, identity, run, key)

    async def free(self, identity: str, run: str, key: str) -> None:
        """Free it: the action is known not to have happened."""
        await self._made_ready()
        try:
            with self._opened(_MOMENT_MS) as index:
                index.execute(_FREE, (identity, run, key))
        except _Busy:
            await asyncio.to_thread(self._free, identity, run, key)

    def settle_gone(self, run: str, key: str, *, happened: bool) -> bool:
        """Record a person's word on an action of a run whose trace is gone; return whether it held anything."""
        with self._opened(_PATIENCE_MS) as index:
            if happened:
                return index.execute(_HELD_BY, (run, key)).fetchone() is not None
            return index.execute(_LET_GO, (run, key)).rowcount > 0

    async def _made_ready(self) -> None:
        if self._index is None or self._process != os.getpid():
            await asyncio.to_thread(self._look)

    # --- in a thread

    def _look(self) -> None:
        with self._opened(_PATIENCE_MS):
            pass

    def _free(self, identity: str, run: str, key: str) -> None:
        with self._opened(_PATIENCE_MS) as index:
            index.execute(_FREE, (identity, run, key))

    def _standing(self, identity: str, run: str, key: str) -> Holder | None:
        with self._opened(_PATIENCE_MS) as index:
            row = index.execute(_LOOK, (identity,)).fetchone()
        return None if row is None or row[1:] == (run, key) else self._fate(identity, *row[1:])

    def _take(self, identity: str, run: str, key: str) -> Holder | None:
        """Take it if it is free, ours, or its holder is found to have done nothing and has not come back since."""
        stale = None
        while True:
            with self._opened(_PATIENCE_MS) as index, _transaction(index):
                row = index.execute(_LOOK, (identity,)).fetchone()
                if row is None or row == stale or row[1:] == (run, key):
                    # The count of takes shows whether the holder has come back since.
                    index.execute(_RETAKE, (identity, run, key, row[0] + 1 if row else 1))
                    return None
            fate = self._fate(identity, *row[1:])
            if fate is not None:
                return fate
            stale = row

    def _fate(self, identity: str, run: str, key: str) -> Holder | None:
        """Return what became of a holder; None if it has done nothing and will not go on."""
        folder = self._root / run
        lives = _is_locked(folder / _SPINE)  # asked first: a dead run writes no more
        if not is_there(folder / _SPINE):
            return Holder(run, key, "unknown", "its trace is gone")
        try:
            act = acts_in(self._read(folder)).get(key)
        except TraceDamaged as error:
            return Holder(run, key, "unknown", f"its trace cannot be read: {error}")
        return fate_of(run, key, act, self._inbox(run), identity=identity, lives=lives)

    # --- the file

    @contextmanager
    def _opened(self, patience_ms: int) -> Iterator[sqlite3.Connection]:
        moment = patience_ms == _MOMENT_MS
        if not self._lock.acquire(timeout=patience_ms / 1000):
            raise _Busy if moment else self._unkept(TimeoutError("it is in use"))
        try:
            index = self._index
            if index is None or self._process != os.getpid():
                index = self._open()
            if moment:
                yield index
            else:
                with _patient(index):
                    yield index
        except sqlite3.OperationalError as error:
            if moment and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise _Busy from error
            raise self._unkept(error) from error
        except (sqlite3.Error, OSError) as error:
            raise self._unkept(error) from error
        finally:
            self._lock.release()

    def _unkept(self, error: Exception) -> BadInput | JournalFailed:
        said = f"cannot tell whether another run acts on the same thing: {self._root / INDEX}: {error}"
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if isinstance(error, OSError) or code not in _DAMAGED:
            return JournalFailed(f"{said}; resume the run once the folder can be written to again")
        cure = "while no run is going on, it can be deleted: it is rebuilt from the traces that have their content"
        return BadInput(f"{said}; {cure}")

    def _open(self) -> sqlite3.Connection:
        self._root.mkdir(parents=True, exist_ok=True)
        path = self._root / INDEX
        index = sqlite3.connect(path, timeout=_PATIENCE_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            path.chmod(0o600)
            boot = _boot()
            _write_ahead(index)
            # A process's death loses nothing; what a machine's crash loses is restored from the traces.
            index.execute(f"PRAGMA synchronous = {'NORMAL' if boot else 'FULL'}")
            self._make_whole(index, boot)
            index.execute(f"PRAGMA busy_timeout = {_MOMENT_MS}")
        except BaseException:
            index.close()
            raise
        self._index, self._process = index, os.getpid()
        weakref.finalize(self, index.close)
        return index

    def _make_whole(self, index: sqlite3.Connection, boot: str) -> None:
        """Add what the traces have and the index lacks: from all runs, once after the machine booted or if it is new.

        Later, traces that cannot be read are skipped: if they were written here, the index has their contents already.
        """
        with _transaction(index):
            for statement in _TABLES.split(";"):
                index.execute(statement)
            kept = index.execute("SELECT 1 FROM machine WHERE boot = ?", (boot,)).fetchone() is not None
            if not kept:
                index.execute("DELETE FROM looked")
            looked: dict[str, int] = dict(index.execute("SELECT run, size FROM looked").fetchall())
            for run in sorted(os.listdir(self._root)):  # noqa: PTH208 - only names, of possibly very many runs
                if looked.get(run) == _OVER:
                    continue
                try:
                    self._look_into(index, self._root / run, looked.get(run), kept=kept)
                except (OSError, BadInput):
                    if not kept:
                        raise
            if not kept:
                index.execute("DELETE FROM machine")
                index.execute("INSERT INTO machine VALUES (?)", (boot,))

    def _look_into(self, index: sqlite3.Connection, folder: Path, looked: int | None, *, kept: bool) -> None:
        """Add what one run holds, unless its trace has not grown, or it is being written and the index was kept."""
        spine = folder / _SPINE
        if not may_be_run(folder, _SPINE) or spine.stat().st_size == looked or (kept and is_written(folder)):
            return
        trace = spine.read_bytes()
        if b'"action.intent"' in trace:
            try:
                acts = acts_in(self._read(folder))
            except TraceDamaged as error:
                said = f"cannot tell what run {folder.name} did: {error}; move {folder} away to continue without it"
                raise BadInput(said) from error
            rows = [
                (act.identity, folder.name, key)
                for key, act in acts.items()
                if act.identity and act.status not in _FREED
            ]
            index.executemany(_TAKE, rows)
        ended = trace[trace.rfind(b"\n", 0, -1) + 1 :].startswith(b'{"kind":"run.ended"')
        index.execute(_LOOKED, (folder.name, _OVER if ended else len(trace)))


class _Busy(Exception):
    """Another process is writing; waiting longer than a moment is done in a thread."""


def _write_ahead(index: sqlite3.Connection) -> None:
    """Turn on write-ahead logging; retry while another process is turning it on, for which SQLite does not wait."""
    until = time.monotonic() + _PATIENCE_MS / 1000
    while True:
        try:
            index.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            return


@contextmanager
def _transaction(index: sqlite3.Connection) -> Iterator[None]:
    index.execute("BEGIN IMMEDIATE")
    try:
        yield
        index.execute("COMMIT")
    except BaseException:
        if index.in_transaction:  # on a full disk SQLite has rolled back by itself
            index.execute("ROLLBACK")
        raise


@contextmanager
def _patient(index: sqlite3.Connection) -> Iterator[None]:
    index.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    try:
        yield
    finally:
        index.execute(f"PRAGMA busy_timeout = {_MOMENT_MS}")


def _is_locked(spine: Path) -> bool:
    """Whether a process writes the run. Tries the lock for a moment, as only that works on every system."""
    try:
        descriptor = os.open(spine, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _boot() -> str:
    """Return the id of the machine's current boot (Linux, random(4)); empty if the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""

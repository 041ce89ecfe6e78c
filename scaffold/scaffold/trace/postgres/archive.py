"""Read access to runs in PostgreSQL: copies their lines into folders laid out like the file journal's.

So everything that reads, checks or exports a run's folder also works for runs in a database. The copies are in a
private temporary folder that is deleted with the process; the most recently used ones are kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scaffold.errors import BadInput, JournalFailed, UnknownRun, nearest
from scaffold.interfaces import Answer, Elsewhere
from scaffold.trace.answers import answers_in
from scaffold.trace.chain import MISFIT, Sealed, body_of, read_content
from scaffold.trace.files import CONTENT, HEADS, SPINE
from scaffold.trace.folders import event_in
from scaffold.trace.postgres.copies import private_folder
from scaffold.trace.postgres.database import extra, said_of
from scaffold.trace.postgres.schema import refusal
from scaffold.trace.sealing import VARIABLE, NotOpened
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from psycopg import Connection

_CONNECT_S = 10
_SHOWN = 5
_AT_ONCE = 500
_MOST_BYTES = 256 << 20
_LONGEST_NAME, _SHOWN_OF_NAME = 255, 40  # bytes, letters
_TABLES_MISSING = "it has no tables of scaffold: create them with `scaffold database migrate`"


class Archive:
    """The runs of one database, for reading.

    Args:
        url: a `postgresql://` address.
    """

    def __init__(self, url: str) -> None:
        extra()
        self.name = said_of(url)
        self._url = url
        self._lock = threading.Lock()
        self._copying = threading.Lock()
        self._connection: Connection[tuple[Any, ...]] | None = None
        self._process = 0
        self._folder: Path | None = None
        self._locks: dict[str, int] = {}
        self._copied: dict[Path, _Copy] = {}
        self._size = 0

    def runs(self) -> list[str]:
        """Return the ids of all runs, oldest first."""
        return [run for (run,) in self._rows("SELECT run FROM scaffold.runs ORDER BY run")]

    def find(self, name: str) -> str:
        """Resolve a run: by its id, a unique beginning or ending of one, or `last`.

        Raises:
            UnknownRun: no run matches, or more than one does.
        """
        if name == "last":
            newest = self._rows("SELECT run FROM scaffold.runs ORDER BY begun DESC LIMIT 1")
            if newest:
                return str(newest[0][0])
        fitting = [
            run
            for (run,) in self._rows(
                "SELECT run FROM scaffold.runs WHERE run = %s OR starts_with(run, %s) OR right(run, length(%s)) = %s "
                "ORDER BY run = %s DESC, run LIMIT 100",
                (name, name, name, name, name),
            )
        ]
        if name in fitting or len(fitting) == 1:
            return str(fitting[0])
        if fitting:
            shown = ", ".join(fitting[:_SHOWN])
            raise UnknownRun(f"{name!r} matches {len(fitting)} runs in {self.name}: {shown}; give more of its name")
        known = self.runs()
        raise UnknownRun(f"no run {name!r} in {self.name}{nearest(name, known) if known else '; there are none'}")

    def inbox(self, run: str) -> Sequence[Answer]:
        """Return what people have said to a run; skip what is not an answer."""
        said = self._rows("SELECT answer::text FROM scaffold.inbox WHERE run = %s ORDER BY id, person", (run,))
        return answers_in(each for (each,) in said)

    def elsewhere(self, since: float) -> list[Elsewhere]:
        """Return the actions of all runs begun (or proposed) since a time, unless refused or known to have failed."""
        return [
            Elsewhere(run, key, at, action, _arguments(run, said))
            for run, key, at, action, said in self._rows(_ELSEWHERE, (since,))
        ]

    def settle_gone(self, run: str, key: str, *, happened: bool) -> bool:
        """Record a person's word on an action of a run whose trace is gone; return whether it held anything."""
        return bool(self._rows(_HELD_BY if happened else _LET_GO, (run, key)))

    def over(self, runs: Sequence[str]) -> dict[str, str]:
        """Return those of the runs that have ended or are paused, with their status."""
        lasts = {run: event_in(line.encode()) for run, line in self._rows(_OVER, (list(runs),))}
        return {run: last.status for run, last in lasts.items() if isinstance(last, ev.Ended | ev.Paused)}

    def folder(self, run: str, *, brief: bool = False) -> Path:
        """Return a folder with a current copy of a run; with `brief`, of its first and last event only."""
        with self._copying:
            folder = self._root() / ("brief" if brief else "runs") / _folder_name(run)
            folder.mkdir(parents=True, exist_ok=True)
            [(living, *mark)] = self._rows(_STANDS, (run,) * 3) or [(False, 0, 0)]
            copy = self._drop(folder)
            if copy is None or copy.mark != mark:
                if brief:
                    lines = self._rows(_FIRST_AND_LAST, (run, run))
                    _write(folder / SPINE, (line for (line,) in lines))
                else:
                    self._copy(run, folder)
                copy = _Copy(mark, sum(_room_of(path) for path in (folder, *folder.iterdir())))
            self._copied[folder] = copy
            self._size += copy.size
            self._mark(folder, living=bool(living))
            self._make_room()
            return folder

    def _drop(self, folder: Path) -> _Copy | None:
        """Forget a copy; return what was known of it."""
        copy = self._copied.pop(folder, None)
        self._size -= 0 if copy is None else copy.size
        return copy

    def _make_room(self) -> None:
        """Remove the least recently used copies: a worker or server that runs for months meets many runs."""
        while self._size > _MOST_BYTES and len(self._copied) > 1:
            folder = next(iter(self._copied))
            self._drop(folder)
            self._mark(folder, living=False)
            shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, run: str, folder: Path) -> None:
        """Copy a snapshot of the run from the database, some lines at a time."""
        with self.transaction(snapshot=True) as connection:
            for name, statement in _FILES.items():
                with connection.cursor(name="copied") as lines:
                    lines.itersize = _AT_ONCE
                    lines.execute(statement.encode(), (run,))
                    _write(folder / name, (line for (line,) in lines))

    def forget(self, run: str) -> None:
        """Discard a run's copies, so that the next look copies it again."""
        with self._copying:
            for brief in ("brief", "runs"):
                self._drop(self._root() / brief / _folder_name(run))

    def heads(self, run: str) -> str:
        """Return the signed heads of a run, one after another."""
        heads = self._rows("SELECT note FROM scaffold.heads WHERE run = %s ORDER BY number", (run,))
        return "".join(f"{note}\n" for (note,) in heads)

    def keep_head(self, run: str, note: str) -> None:
        """Store a signed head; the run itself may be stored elsewhere."""
        with self.transaction() as connection:
            connection.execute(b"INSERT INTO scaffold.heads (run, note) VALUES (%s, %s)", (run, note))

    def _mark(self, folder: Path, *, living: bool) -> None:
        """Hold the lock on the copy of a run that is being written, as the writer of a run's files does."""
        held = self._locks.pop(str(folder), None)
        if held is not None:
            os.close(held)
        if living:
            self._locks[str(folder)] = descriptor = os.open(folder / SPINE, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _root(self) -> Path:
        if self._folder is None:
            self._folder, lock = private_folder()
            weakref.finalize(self, _remove, self._folder, self._locks, lock, os.getpid())
        return self._folder

    @contextlib.contextmanager
    def transaction(self, *, snapshot: bool = False) -> Iterator[Connection[tuple[Any, ...]]]:
        """Open a transaction; with `snapshot`, a read-only one that sees the database at one moment.

        Raises:
            JournalFailed: the database cannot be reached, or denies this to the role.
        """
        import psycopg

        self._rows("SELECT 1")  # reconnects if the connection was lost
        with self._lock:
            connection = self._connected()
            try:
                with connection.transaction():
                    if snapshot:
                        connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    yield connection
            except psycopg.errors.UndefinedTable:
                raise JournalFailed(f"{self.name}: {_TABLES_MISSING}") from None
            except psycopg.Error as error:
                if connection.broken:
                    self._disconnect()
                raise JournalFailed(refusal(self.name, error)) from error

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        import psycopg

        with self._lock:
            for last in (False, True):
                try:
                    return self._connected().execute(statement.encode(), values).fetchall()
                except psycopg.errors.UndefinedTable:
                    raise JournalFailed(f"{self.name}: {_TABLES_MISSING}") from None
                except psycopg.OperationalError as error:
                    self._disconnect()
                    if last:
                        said = " ".join(str(error).split())
                        raise JournalFailed(f"PostgreSQL at {self.name} cannot be used: {said}") from None
                except psycopg.Error as error:
                    raise JournalFailed(refusal(self.name, error)) from None
        raise AssertionError

    def _connected(self) -> Connection[tuple[Any, ...]]:
        import psycopg

        if self._connection is None or self._process != os.getpid():
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=_CONNECT_S)
            self._process = os.getpid()
            weakref.finalize(self, _close, self._connection, self._process)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Copy(NamedTuple):
    """What was copied: the run's state then, and the copy's size."""

    mark: list[Any]
    size: int


def _room_of(path: Path) -> int:
    return path.stat().st_blocks * 512


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a file anew; another thread that reads the old one can go on."""
    new = path.with_name(f".{path.name}")
    with new.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line + "\n")
    new.replace(path)


def _close(connection: Connection[Any], process: int) -> None:
    if process == os.getpid():  # a forked child must not close its parent's
        connection.close()


def _remove(folder: Path, locks: dict[str, int], lock: int, process: int) -> None:
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
        for descriptor in (*locks.values(), lock):
            os.close(descriptor)


def _folder_name(run: str) -> str:
    """Return the name of a run's folder: its id, unless that is no name of a folder.

    Whoever can write to the database can choose an id that is a path to elsewhere, or longer than a name may be.
    """
    name = run.replace("%", "%25").replace("/", "%2F")
    if len(name.encode()) > _LONGEST_NAME:
        return f"{name[:_SHOWN_OF_NAME]}-{sha256(run.encode()).hexdigest()}"
    return name.replace(".", "%2E") if name in {".", ".."} else name


# Each file of a run, and its lines. A head comes with the blank line that separates it from the next. The spine is
# last, so that readers find the content of its events.
_FILES = {
    CONTENT: "SELECT line::text FROM scaffold.content WHERE run = %s ORDER BY seq",
    HEADS: "SELECT note FROM scaffold.heads WHERE run = %s ORDER BY number",
    SPINE: "SELECT line::text FROM scaffold.events WHERE run = %s ORDER BY seq",
}
_OVER = """
SELECT asked.run, last.line::text FROM unnest(%s::text[]) AS asked (run) CROSS JOIN LATERAL (
    SELECT kind, line FROM scaffold.events e WHERE e.run = asked.run ORDER BY seq DESC LIMIT 1) last
WHERE last.kind IN ('run.ended', 'run.paused')
"""


def _arguments(run: str, said: str | None) -> dict[str, Any] | None:
    """Return a call's arguments from its content; None if it is withheld.

    Raises:
        BadInput: the content is encrypted, and there is no key that opens it; or it is no action's.
    """
    if said is None:
        return None
    try:
        arguments = body_of(read_content(said.encode()))["call"]["arguments"]
    except (Sealed, NotOpened) as error:
        raise BadInput(f"cannot tell what run {run} did: {error}; set ${VARIABLE} to its key") from None
    except MISFIT:
        arguments = None
    if not isinstance(arguments, dict):
        raise BadInput(f"cannot tell what run {run} did: the content of an action that it proposed was altered")
    return arguments


_STANDS = """
SELECT leased_until > clock_timestamp(),
    (SELECT max(seq) FROM scaffold.events WHERE run = %s), (SELECT count(*) FROM scaffold.heads WHERE run = %s)
FROM scaffold.runs WHERE run = %s
"""
_FIRST_AND_LAST = """
SELECT line::text FROM scaffold.events
WHERE run = %s AND seq IN (1, (SELECT max(seq) FROM scaffold.events WHERE run = %s)) ORDER BY seq
"""
# Content is returned unparsed: PostgreSQL's JSON functions turn strings into its text type, which cannot hold all.
_HELD_BY = "SELECT 1 FROM scaffold.identities WHERE run = %s AND key = %s"
_LET_GO = "DELETE FROM scaffold.identities WHERE run = %s AND key = %s RETURNING 1"
_ELSEWHERE = """
SELECT * FROM (
    SELECT DISTINCT ON (p.run, b.key) p.run, b.key, b.at, p.line ->> 'action', c.line::text
    FROM (
        SELECT run, line ->> 'key' AS key, max((line ->> 'at')::float8) AS at FROM scaffold.events
        WHERE kind IN ('action.proposed', 'action.intent') AND (line ->> 'at')::float8 >= %s
        GROUP BY run, line ->> 'key') b
    JOIN scaffold.events p ON p.run = b.run AND p.kind = 'action.proposed' AND p.line ->> 'key' = b.key
    LEFT JOIN scaffold.content c ON c.run = p.run AND c.seq = p.seq
    WHERE NOT EXISTS (
        SELECT FROM scaffold.events x
        WHERE x.run = p.run AND x.seq > p.seq AND x.kind IN ('action.refused', 'action.outcome')
        AND x.line ->> 'key' = b.key AND (x.kind = 'action.refused' OR x.line ->> 'status' = 'failed'))
    ORDER BY p.run, b.key, p.seq DESC) found
ORDER BY at
"""

"""An index of what all runs of a folder did, kept beside them, for limits that span runs.

    ROOT/.elsewhere.sqlite    each action performed or possibly performed: run, key, time, name, arguments

The traces stay the only source of truth: the index is derived from them and can be deleted. Before each lookup it is
updated by reading what was appended since, with the chain checked. A run that has ended is not read again, so a lookup
costs what has changed and what it finds, not what is stored.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import Protocol, runtime_checkable

from scaffold.errors import BadInput, JournalFailed, TraceError
from scaffold.interfaces import Elsewhere, Record
from scaffold.trace.chain import Chain, as_written, body_of, withheld
from scaffold.trace.files import SPINE, FileJournal
from scaffold.trace.parts import content_lines
from scaffold.trace.presence import may_be_run
from scaffold.trace.sealing import VARIABLE, from_environment
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from scaffold.interfaces import Journal

INDEX = ".elsewhere.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, spine INTEGER NOT NULL, content INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    ended INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS acts (
    run TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL, action TEXT NOT NULL, arguments BLOB,
    PRIMARY KEY (run, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_time ON acts (at);
"""
_WAIT_S = 10.0
_SEALED = b"sealed:"


@runtime_checkable
class KnowsElsewhere(Protocol):
    """A journal that can itself say what its runs did."""

    def elsewhere(self, since: float) -> list[Elsewhere]:
        """See `elsewhere`."""
        ...


class _Numbered(msgspec.Struct):
    """The part of a content line that names its event."""

    seq: int


_numbered = msgspec.json.Decoder(_Numbered)


def elsewhere(journal: Journal, since: float) -> list[Elsewhere]:
    """Return the actions of all runs begun (or proposed) since a time, unless refused or known to have failed.

    Raises:
        BadInput: the journal does not store runs in files, a run written to since then is damaged, or the index cannot
            be kept.
    """
    if isinstance(journal, KnowsElsewhere):
        try:
            return journal.elsewhere(since)
        except JournalFailed as error:
            raise BadInput(f"cannot tell what other runs did: {error}") from error
    if not isinstance(journal, FileJournal):
        raise BadInput(f"cannot tell what other runs did: a {type(journal).__name__} cannot be searched")
    try:
        with closing(sqlite3.connect(journal.root / INDEX, timeout=_WAIT_S, isolation_level=None)) as index:
            (journal.root / INDEX).chmod(0o600)
            index.executescript(_TABLES)
            index.execute("BEGIN IMMEDIATE")
            _follow_all(index, journal.root, since)
            index.execute("COMMIT")
            rows = index.execute("SELECT run, key, at, action, arguments FROM acts WHERE at >= ? ORDER BY at", (since,))
            return [_row(*row) for row in rows]
    except (sqlite3.Error, OSError) as error:
        raise BadInput(
            f"the index of runs {journal.root / INDEX} cannot be updated: {error}; it can be deleted safely"
        ) from error


def _row(run: str, key: str, at: float, action: str, arguments: bytes | None) -> Elsewhere:
    if arguments is not None and arguments.startswith(_SEALED):
        sealer = from_environment()
        try:
            arguments = sealer.open(arguments[len(_SEALED) :], f"{run}/{key}".encode()) if sealer else None
        except ValueError:
            raise BadInput(f"what run {run} did is encrypted with another key than the one in ${VARIABLE}") from None
    return Elsewhere(run, key, at, action, None if arguments is None else msgspec.json.decode(arguments))


def _follow_all(index: sqlite3.Connection, root: Path, since: float) -> None:
    known = {run: rest for run, *rest in index.execute("SELECT run, spine, content, seq, hash, ended FROM runs")}
    for run in os.listdir(root):  # noqa: PTH208 - only names, of possibly very many runs
        state = known.get(run)
        if state is not None and state[4]:
            continue
        try:
            stat = (root / run / SPINE).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            if may_be_run(root / run, SPINE):
                raise
            continue
        if state is None and stat.st_mtime < since:
            continue  # nothing in it is that recent
        if state is None or stat.st_size != state[0]:
            _follow(index, root / run, state if state is not None and stat.st_size > state[0] else None)


def _follow(index: sqlite3.Connection, folder: Path, state: list[Any] | None) -> None:
    """Take in what was appended to one run; start over if that does not continue what is known."""
    run, chain = folder.name, Chain()
    if state is None:
        index.execute("DELETE FROM acts WHERE run = ?", (run,))
        spine_at = content_at = 0
    else:
        spine_at, content_at, chain.seq, chain.hash = state[:4]
    ended = False
    contents = _Contents(folder, content_at)
    with closing(contents), (folder / SPINE).open("rb") as spine:
        spine.seek(spine_at)
        for line in spine:
            if not line.endswith(b"\n"):
                break
            body = line.rstrip(b"\n")
            wanted = b'"kind":"action.proposed"' in body[:40]
            try:
                link = chain.follow(Record(chain.seq + 1, body, contents.of(chain.seq + 1) if wanted else b""))
                if wanted and link.content is None and (content := contents.last):
                    raise BadInput(f"cannot tell what run {run} did: {withheld(Record(chain.seq, body, content))}")
                with as_written(link.event):
                    _take(index, run, link.event, body_of(link.content) if link.content is not None else None)
            except TraceError as error:
                if state is None:
                    raise BadInput(f"cannot tell what run {run} did: {error}") from error
                return _follow(index, folder, None)
            spine_at += len(line)
            ended = isinstance(link.event, ev.Ended) and link.event.status in ev.ENDED
        row = (run, spine_at, contents.at, chain.seq, chain.hash, ended)
    index.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)
    return None


def _take(index: sqlite3.Connection, run: str, event: ev.Event, content: dict[str, Any] | None) -> None:
    match event:
        case ev.ActionProposed():
            arguments = None if content is None else msgspec.json.encode(content["call"]["arguments"])
            sealer = from_environment()
            if arguments is not None and sealer is not None:
                arguments = _SEALED + sealer.seal(arguments, f"{run}/{event.key}".encode())
            row = (run, event.key, event.at, event.action, arguments)
            index.execute("INSERT OR REPLACE INTO acts VALUES (?, ?, ?, ?, ?)", row)
        case ev.ActionIntent():  # a person may have approved it long after the proposal
            index.execute("UPDATE acts SET at = max(at, ?) WHERE run = ? AND key = ?", (event.at, run, event.key))
        case ev.ActionRefused() | ev.ActionOutcome(status="failed"):
            index.execute("DELETE FROM acts WHERE run = ? AND key = ?", (run, event.key))
        case _:
            pass


class _Contents:
    """The content lines of a run from some offset on, looked up by ascending event number.

    Attributes:
        at: offset of the first line not looked up yet.
        last: the result of the last lookup.
    """

    def __init__(self, folder: Path, at: int) -> None:
        self.at = at
        self.last = b""
        self._content = content_lines(folder, at)  # may be withheld
        self._lines = self._numbered()
        self._ahead: tuple[int, bytes] | None = None

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        for line in self._content:
            if not line.endswith(b"\n"):
                return
            yield _seq_of(line), line

    def of(self, seq: int) -> bytes:
        """Return the content line of one event; empty if it is withheld."""
        self.last = self._found(seq)
        return self.last

    def _found(self, seq: int) -> bytes:
        while True:
            found = self._ahead or next(self._lines, None)
            self._ahead = None
            if found is None:
                return b""
            if found[0] > seq:
                self._ahead = found
                return b""
            self.at += len(found[1])
            if found[0] == seq:
                return found[1].rstrip(b"\n")

    def close(self) -> None:
        """Close the files."""
        self._content.close()


def _seq_of(line: bytes) -> int:
    try:
        return _numbered.decode(line).seq
    except msgspec.MsgspecError:
        return -1  # belongs to no event

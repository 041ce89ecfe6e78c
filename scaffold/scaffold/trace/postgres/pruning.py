"""Pruning in a database: removes whole runs, all content of runs, or only content that mentions somebody.

Each removal is one transaction. It takes the run's epoch, so that nobody writes the run meanwhile, and later appends by
a process whose lease expired are refused.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scaffold.errors import RunHeld
from scaffold.trace.folders import last_event
from scaffold.trace.pruning import Pruned, holds, spellings, tells_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection

    from scaffold.trace.postgres.archive import Archive
    from scaffold.vocabulary.events import Event

_AT_ONCE = 500


class PostgresPruning:
    """Prunes the runs of one database.

    Args:
        archive: the runs.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def last(self, run: str) -> Event | None:
        """Return the last event in its spine."""
        return last_event(self._archive.folder(run, brief=True))

    def whole(self, run: str, *, dry: bool) -> Pruned:
        """Remove a whole run. The identities it acted on stay taken, so that nobody repeats those actions."""
        pruned = Pruned(run=run, gone=True)
        with self._held(run, dry=dry) as connection:
            pruned.bytes = _one(connection, _BYTES_OF_ALL, run)
            if not dry:
                for statement in _WHOLE:
                    connection.execute(statement.encode(), (run,))
        return pruned

    def content(self, run: str, *, dry: bool) -> Pruned:
        """Remove all content of a run, and what people said to it."""
        pruned = Pruned(run=run)
        with self._held(run, dry=dry) as connection:
            pruned.contents = _one(connection, _CONTENTS, run)
            pruned.bytes = _one(connection, _BYTES_OF_CONTENT, run)
            pruned.answers = _one(connection, _ANSWERS, run)
            if not dry:
                connection.execute(b"DELETE FROM scaffold.content WHERE run = %s", (run,))
                connection.execute(b"DELETE FROM scaffold.inbox WHERE run = %s", (run,))
        return pruned

    def mentions(self, run: str, words: Sequence[str], *, dry: bool) -> Pruned:
        """Remove every content and every answer that contains one of some words, ignoring case.

        Raises:
            BadInput: content is encrypted, and there is no key to read it.
        """
        pruned, wanted = Pruned(run=run), spellings(words)
        with self._held(run, dry=dry) as connection:
            gone = []
            with connection.cursor(name="content") as lines:
                lines.itersize = _AT_ONCE
                lines.execute(b"SELECT seq, line::text FROM scaffold.content WHERE run = %s ORDER BY seq", (run,))
                for seq, line in lines:
                    if holds(line.encode(), wanted, run):
                        gone.append(seq)
                        pruned.bytes += len(line.encode())
            said = connection.execute(b"SELECT id, person, answer::text FROM scaffold.inbox WHERE run = %s", (run,))
            answers = [
                (run, id_, person)
                for id_, person, answer in said.fetchall()
                if tells_of(answer.encode(), answer.encode(), wanted)
            ]
            pruned.contents, pruned.answers = len(gone), len(answers)
            if not dry:
                connection.execute(b"DELETE FROM scaffold.content WHERE run = %s AND seq = ANY(%s)", (run, gone))
                with connection.cursor() as each:
                    each.executemany(b"DELETE FROM scaffold.inbox WHERE run = %s AND id = %s AND person = %s", answers)
        return pruned

    @contextmanager
    def _held(self, run: str, *, dry: bool) -> Iterator[Connection[tuple[Any, ...]]]:
        """Open a transaction during which nobody writes the run."""
        with self._archive.transaction() as connection:
            if not dry and connection.execute(_TAKE.encode(), (run,)).fetchone() is None:
                raise RunHeld(f"run {run} is being written by another process")
            yield connection
        self._archive.forget(run)


def _one(connection: Connection[tuple[Any, ...]], statement: str, run: str) -> int:
    row = connection.execute(statement.encode(), {"run": run}).fetchone()
    return int(row[0]) if row is not None and row[0] is not None else 0


_TAKE = """
UPDATE scaffold.runs SET epoch = epoch + 1, owner = '', leased_until = NULL
WHERE run = %s AND (leased_until IS NULL OR leased_until < clock_timestamp()) RETURNING epoch
"""
_CONTENTS = "SELECT count(*) FROM scaffold.content WHERE run = %(run)s"
_ANSWERS = "SELECT count(*) FROM scaffold.inbox WHERE run = %(run)s"
_BYTES_OF_CONTENT = "SELECT sum(octet_length(line::text)) FROM scaffold.content WHERE run = %(run)s"
_BYTES_OF_ALL = """
SELECT coalesce((SELECT sum(octet_length(line::text)) FROM scaffold.content WHERE run = %(run)s), 0)
    + coalesce((SELECT sum(octet_length(line::text)) FROM scaffold.events WHERE run = %(run)s), 0)
"""
_WHOLE = (
    "DELETE FROM scaffold.inbox WHERE run = %s",
    "DELETE FROM scaffold.heads WHERE run = %s",
    "DELETE FROM scaffold.content WHERE run = %s",
    "DELETE FROM scaffold.events WHERE run = %s",
    "DELETE FROM scaffold.runs WHERE run = %s",
)

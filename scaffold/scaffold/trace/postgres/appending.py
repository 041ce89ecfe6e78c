"""Builds the one SQL statement that stores records of runs under their claims, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from scaffold.interfaces import Record

_KIND = b'{"kind":"'
_FEW = 4  # records

# The lock in `held` does the fencing: a claim changes `epoch`, so it waits for the lock; later appends see the change.
_HELD_ONE = """
WITH held AS MATERIALIZED (
    SELECT run, CASE WHEN %b THEN '' ELSE set_config('synchronous_commit', 'off', true) END
    FROM scaffold.runs WHERE run = %b AND epoch = %b FOR KEY SHARE)
"""
_KEPT_ONE = """, kept AS (
    INSERT INTO scaffold.content (run, seq, line)
    SELECT held.run, c.seq, c.line::json FROM held, unnest(%b::bigint[], %b::text[]) AS c (seq, line))
"""
_SPINE_ONE = """, spine AS (
    INSERT INTO scaffold.events (run, seq, kind, line)
    SELECT held.run, e.seq, e.kind, e.line::json
    FROM held, unnest(%b::bigint[], %b::text[], %b::text[]) AS e (seq, kind, line))
"""
# The same for a few records, with single values: these cost the client a tenth of what arrays cost.
_HELD_DURABLE = """
WITH held AS MATERIALIZED (SELECT run FROM scaffold.runs WHERE run = %b AND epoch = %b FOR KEY SHARE)
"""
_KEPT_FEW = """, kept AS (
    INSERT INTO scaffold.content (run, seq, line)
    SELECT held.run, c.seq, c.line FROM held, (VALUES {}) AS c (seq, line))
"""
_SPINE_FEW = """
INSERT INTO scaffold.events (run, seq, kind, line)
SELECT held.run, e.seq, e.kind, e.line FROM held, (VALUES {}) AS e (seq, kind, line) RETURNING run
"""
_HELD = """
WITH held AS MATERIALIZED (
    SELECT r.run, CASE WHEN asked.durable THEN '' ELSE set_config('synchronous_commit', 'off', true) END
    FROM scaffold.runs r
    JOIN (SELECT *, %b::boolean AS durable FROM unnest(%b::text[], %b::bigint[]) AS a (run, epoch)) asked
    ON r.run = asked.run WHERE r.epoch = asked.epoch
    ORDER BY r.run FOR KEY SHARE OF r)
"""
_KEPT = """, kept AS (
    INSERT INTO scaffold.content (run, seq, line)
    SELECT c.run, c.seq, c.line::json FROM unnest(%b::text[], %b::bigint[], %b::text[]) AS c (run, seq, line)
    JOIN held ON held.run = c.run)
"""
_SPINE = """, spine AS (
    INSERT INTO scaffold.events (run, seq, kind, line)
    SELECT e.run, e.seq, e.kind, e.line::json
    FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::text[]) AS e (run, seq, kind, line)
    JOIN held ON held.run = e.run)
"""
_WHOSE = "SELECT * FROM held"


class Part(NamedTuple):
    """Records of one run under one claim; without any, only makes what was stored before durable."""

    run: str
    epoch: int
    records: Sequence[Record]


def appending(parts: Sequence[Part], *, durable: bool) -> tuple[bytes, list[Any]]:
    """Return the statement that stores records, with only the clauses they need, and its values."""
    if len(parts) == 1 and 0 < len(parts[0].records) <= _FEW:
        return _appending_few(parts[0], durable=durable)
    rows = [(part.run, record) for part in parts for record in part.records]
    content = [(run, record) for run, record in rows if record.content]
    if len(parts) == 1:
        held, kept, spine, named = _HELD_ONE, _KEPT_ONE, _SPINE_ONE, False
        values: list[Any] = [durable, parts[0].run, parts[0].epoch]
    else:
        held, kept, spine, named = _HELD, _KEPT, _SPINE, True
        values = [durable, [part.run for part in parts], [part.epoch for part in parts]]
    if content:
        values += [[run for run, _ in content]] if named else []
        values += [[record.seq for _, record in content], [record.content.decode() for _, record in content]]
    if rows:
        values += [[run for run, _ in rows]] if named else []
        values += [[record.seq for _, record in rows], [kind_of(record.line) for _, record in rows]]
        values.append([record.line.decode() for _, record in rows])
    statement = held + (kept if content else "") + (spine if rows else "") + _WHOSE
    return statement.encode(), values


@cache
def _few(events: int, contents: int, *, durable: bool) -> bytes:
    """Return the statement that stores a few records of one run."""
    kept = _KEPT_FEW.format(", ".join(["(%b::bigint, %b::json)"] * contents)) if contents else ""
    spine = _SPINE_FEW.format(", ".join(["(%b::bigint, %b::text, %b::json)"] * events))
    return ((_HELD_DURABLE if durable else _HELD_ONE) + kept + spine).encode()


def _appending_few(part: Part, *, durable: bool) -> tuple[bytes, list[Any]]:
    """Return the same for a few records of one run; if they are to be durable, no setting is changed."""
    contents = [record for record in part.records if record.content]
    values: list[Any] = [] if durable else [durable]
    values += [part.run, part.epoch]
    for record in contents:
        values += [record.seq, record.content.decode()]
    for record in part.records:
        values += [record.seq, kind_of(record.line), record.line.decode()]
    return _few(len(part.records), len(contents), durable=durable), values


def kind_of(line: bytes) -> str:
    """Return the kind of a spine line, which is its first field."""
    end = line.find(b'"', len(_KIND)) if line.startswith(_KIND) else -1
    return line[len(_KIND) : end].decode() if end > 0 else ""

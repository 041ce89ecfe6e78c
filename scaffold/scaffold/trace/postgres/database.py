"""The database operations of the journal, and their PostgreSQL implementation: all SQL, and no decisions.

Each method is one statement, so it happens completely or not at all. If it is interrupted, it raises `Gone`: whether it
took effect is unknown. Leases run on the database's clock; the clients' clocks do not matter.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from scaffold.errors import BadInput, JournalFailed, MissingExtra
from scaffold.interfaces import Record
from scaffold.trace.postgres import schema
from scaffold.trace.postgres.appending import Part, appending

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor
    from psycopg_pool import AsyncConnectionPool

    from scaffold.trace.postgres.connecting import OneOutage

_pool_log = logging.getLogger("psycopg.pool")
_CONNECT_S = 10
# What of an address is said: where it is, and as whom and how it is reached, none of which is a secret.
_TOLD = ("user", "host", "hostaddr", "port", "dbname", "service", "sslmode", "sslrootcert", "sslcert", "sslkey")
_PLAIN_HOST = re.compile(r"[\w.-]+")
_ENOUGH_TO_KEEP, _NOT_KEPT = 3, 2  # from 3 connections on, all but 2 may be kept for appends
_GREETING = "SELECT pg_postmaster_start_time(), set_config('plan_cache_mode', 'force_generic_plan', false)"
EVENTS, INBOX = "scaffold_events", "scaffold_inbox"


class Gone(Exception):
    """The database is unreachable, or the connection broke."""


class Refused(Exception):
    """The database has refused the statement: nothing was done."""


class Claimed(NamedTuple):
    """The result of claiming a run.

    Attributes:
        epoch: of the new claim; 0 if it was not granted.
        owner: who holds it, if somebody else does; None if there is no such run.
        left: for how many more seconds, unless they renew it.
    """

    epoch: int
    owner: str | None = None
    left: float = 0.0


class Taken(NamedTuple):
    """Who holds an identity, and how often it has changed hands."""

    run: str
    key: str
    times: int


class Database(Protocol):
    """The operations the journal needs of a database.

    Attributes:
        restarts: incremented whenever the database may have lost what was stored but not durable.
    """

    restarts: int

    async def open(self) -> None:
        """Get ready; each call needs a matching `close`."""
        ...

    async def close(self) -> None:
        """Release the resources, with the last matching call."""
        ...

    async def claim(self, run: str, owner: str, lease: float, *, create: bool) -> Claimed:
        """Claim a run for so many seconds, unless another owner's claim is still valid."""
        ...

    async def renew(self, claims: Sequence[tuple[str, int]], lease: float) -> set[str]:
        """Extend claims to so many seconds from now; return the runs whose claims are the latest."""
        ...

    async def release(self, run: str, epoch: int) -> None:
        """Give up a claim, if it is the latest."""
        ...

    async def fence(self, run: str) -> bool:
        """Stop an expired claim from writing any more; return whether nobody holds the run."""
        ...

    async def append(self, parts: Sequence[Part], *, durable: bool, restarts: int) -> set[str]:
        """Store the records of those claims that are the latest, and return their runs; raise Gone after a restart."""
        ...

    async def last(self, run: str, epoch: int) -> int | None:
        """Return the number of the last record; None if the claim is not the latest."""
        ...

    async def records(self, run: str, after: int, most: int, kinds: str = "") -> list[Record] | None:
        """Return the next records of a run, of kinds with this prefix; None if there is no such run."""
        ...

    async def keep_head(self, run: str, epoch: int, note: str) -> bool:
        """Store a signed head; return whether the claim is the latest."""
        ...

    async def post(self, run: str, name: str, person: str, answer: bytes) -> bool:
        """Put an answer into an inbox, replacing the person's earlier one; return whether the run exists."""
        ...

    async def answers(self, runs: Sequence[str]) -> list[tuple[str, bytes]]:
        """Return what is in inboxes: pairs of run and answer."""
        ...

    async def take(self, identity: str, run: str, key: str, since: Taken | None = None) -> Taken | None:
        """Take an identity if it is free, or still held as in `since`; otherwise return its holder."""
        ...

    async def taken(self, identity: str) -> Taken | None:
        """Return who holds an identity."""
        ...

    async def free(self, identity: str, run: str, key: str) -> None:
        """Free an identity."""
        ...

    async def tell(self, runs: Sequence[str]) -> None:
        """Notify listeners that runs have grown."""
        ...

    def heard(self) -> AsyncIterator[tuple[str, str]]:
        """Listen: yield pairs of channel and run; raise Gone at the end."""
        ...


def said_of(conninfo: str) -> str:
    """Return a database's address without its secrets, so that it can be typed.

    Raises:
        BadInput: it is not an address.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(conninfo)
    except ProgrammingError as error:
        raise BadInput(f"it is not the address of a database: {_line(error)}") from None
    told = {name: str(given[name]) for name in _TOLD if given.get(name)}
    who = f"{quote(told.pop('user'), safe='')}@" if "user" in told else ""
    where, name = "", quote(told.pop("dbname", ""), safe="")
    if _PLAIN_HOST.fullmatch(told.get("host", "")):  # else a folder of a socket, an address of IPv6, or several
        where = told.pop("host") + (f":{told.pop('port')}" if "port" in told else "")
    rest = urlencode(told, safe="/:,")
    return f"postgresql://{who}{where}/{name}{'?' if rest else ''}{rest}"


def extra() -> None:
    """Check that psycopg is installed.

    Raises:
        MissingExtra: it is not.
    """
    try:
        import psycopg
        import psycopg_pool  # noqa: F401 - to see whether it is there
    except ImportError:
        raise MissingExtra("keeping runs in PostgreSQL", "postgres") from None
    del psycopg


class Postgres:
    """PostgreSQL through psycopg.

    Args:
        conninfo: a `postgresql://` address, with libpq's parameters.
        connections: most connections at a time, plus one that listens.
        migrate: create or update the tables if they are not current.
    """

    def __init__(self, conninfo: str, *, connections: int = 4, migrate: bool = True) -> None:
        extra()
        self.conninfo = conninfo
        self.where = said_of(conninfo)
        self.restarts = 0
        self._most = connections
        self._migrate = migrate
        self._started: Any = None
        self._pool: AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]] | None = None
        self._kept: list[AsyncCursor[tuple[Any, ...]]] = []  # cursors of pooled connections, kept for the next append
        self._users = 0
        self._opening: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checked = False
        self._outage: OneOutage | None = None

    # --- connections

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # another loop's connections ended with it
            self._loop, self._pool, self._users, self._opening = loop, None, 0, asyncio.Lock()
            self._kept = []
        assert self._opening is not None  # noqa: S101 - made above
        async with self._opening:
            if self._pool is None:
                await self._check()
                self._pool = await self._new_pool()
            self._users += 1

    async def _new_pool(self) -> AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]:
        from psycopg_pool import AsyncConnectionPool

        from scaffold.trace.postgres.connecting import Connection, OneOutage

        name = f"scaffold {id(self)}"
        self._forget_outage()
        self._outage = OneOutage(name)
        _pool_log.addFilter(self._outage)
        pool: AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]] = AsyncConnectionPool(
            self.conninfo,
            connection_class=Connection,
            min_size=1,
            max_size=self._most,
            open=False,
            timeout=_CONNECT_S,
            kwargs={"autocommit": True, "connect_timeout": _CONNECT_S},
            configure=self._greet,
            name=name,
        )
        await pool.open()
        return pool

    async def close(self) -> None:
        self._users -= 1
        if not self._users and self._pool is not None:
            pool, self._pool = self._pool, None
            self._forget_outage()
            kept, self._kept = self._kept, []
            for cursor in kept:
                await pool.putconn(cursor.connection)
            await pool.close()

    def _forget_outage(self) -> None:
        if self._outage is not None:
            _pool_log.removeFilter(self._outage)
            self._outage = None

    async def _greet(self, connection: AsyncConnection[Any]) -> None:
        """Notice a restart of the server, which may have lost what was not durable."""
        cursor = await connection.execute(_GREETING, prepare=False)
        if self._outage is not None:
            self._outage.over()
        row = await cursor.fetchone()
        started = row[0] if row else None
        if self._started is not None and started != self._started:
            self.restarts += 1
        self._started = started

    async def _check(self) -> None:
        if not self._checked:
            async with self.alone() as connection:
                await schema.check(connection, self.where, migrate=self._migrate)
            self._checked = True

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        """Open a separate connection.

        Raises:
            JournalFailed: the server cannot be reached, or refuses the login.
        """
        import psycopg

        from scaffold.trace.postgres.connecting import Connection

        try:
            connection = await Connection.connect(self.conninfo, autocommit=True, connect_timeout=_CONNECT_S)
        except psycopg.OperationalError as error:
            raise JournalFailed(f"PostgreSQL at {self.where} cannot be used: {_line(error)}") from None
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        """Get a connection, from the pool if it is open.

        Raises:
            Gone: it broke, or there is none.
            Refused: the statement was refused.
        """
        with _understood():
            if self._pool is None or self._loop is not asyncio.get_running_loop():
                await self._check()
                async with self.alone() as connection:
                    yield connection
            else:
                async with self._pool.connection() as connection:
                    yield connection

    @asynccontextmanager
    async def _appending(self) -> AsyncIterator[AsyncCursor[tuple[Any, ...]]]:
        """Get a cursor that is kept, with its connection, for the next append.

        The pool's bookkeeping takes as long as the append, and each new cursor must work out again how to encode
        values.
        """
        if self._most < _ENOUGH_TO_KEEP or self._pool is None or self._loop is not asyncio.get_running_loop():
            async with self._connection() as connection:
                yield connection.cursor()
            return
        pool = self._pool
        with _understood():
            cursor = self._kept.pop() if self._kept else (await pool.getconn()).cursor()
            done = False
            try:
                yield cursor
                done = True
            finally:
                if done and pool is self._pool and len(self._kept) < self._most - _NOT_KEPT:
                    self._kept.append(cursor)
                else:
                    await pool.putconn(cursor.connection)

    async def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        async with self._connection() as connection:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    # --- claims

    async def claim(self, run: str, owner: str, lease: float, *, create: bool) -> Claimed:
        values = (run, owner, lease) if create else (owner, lease, run, owner)
        rows = await self._rows(_CREATE if create else _CLAIM, values)
        if rows:
            return Claimed(rows[0][0])
        rows = await self._rows(_WHO, (run,))
        return Claimed(0, rows[0][0], float(rows[0][1] or 0.0)) if rows else Claimed(0)

    async def renew(self, claims: Sequence[tuple[str, int]], lease: float) -> set[str]:
        rows = await self._rows(_RENEW, (lease, [run for run, _ in claims], [epoch for _, epoch in claims]))
        return {run for (run,) in rows}

    async def release(self, run: str, epoch: int) -> None:
        await self._rows(
            "UPDATE scaffold.runs SET owner = '', leased_until = NULL WHERE run = %s AND epoch = %s", (run, epoch)
        )

    async def fence(self, run: str) -> bool:
        await self._rows(_FENCE, (run,))
        rows = await self._rows("SELECT leased_until IS NULL FROM scaffold.runs WHERE run = %s", (run,))
        return not rows or bool(rows[0][0])

    # --- records

    async def append(self, parts: Sequence[Part], *, durable: bool, restarts: int) -> set[str]:
        from psycopg.errors import UniqueViolation

        statement, values = appending(parts, durable=durable)
        async with self._appending() as cursor:
            if self.restarts != restarts:
                raise Gone("the server was restarted")
            try:
                await cursor.execute(statement, values, prepare=True)
            except UniqueViolation as error:  # from our own earlier attempt, which succeeded after all
                raise Gone(_line(error)) from error
            if len(parts) == 1:  # the row count is enough
                return {parts[0].run} if cursor.rowcount > 0 else set()
            return {run for (run, *_) in await cursor.fetchall()}

    async def last(self, run: str, epoch: int) -> int | None:
        rows = await self._rows(_LAST, (run, run, epoch))
        return int(rows[0][0]) if rows else None

    async def records(self, run: str, after: int, most: int, kinds: str = "") -> list[Record] | None:
        rows = await self._rows(_READ, (run, after, f"{kinds}%", most))
        if not rows and not await self._rows("SELECT 1 FROM scaffold.runs WHERE run = %s", (run,)):
            return None
        return [Record(seq, line, content or b"") for seq, line, content in rows]

    async def keep_head(self, run: str, epoch: int, note: str) -> bool:
        return bool(await self._rows(_SIGN, (run, epoch, note)))

    # --- what people say, and what runs act on

    async def post(self, run: str, name: str, person: str, answer: bytes) -> bool:
        return bool(await self._rows(_POST, (name, person, answer.decode(), run)))

    async def answers(self, runs: Sequence[str]) -> list[tuple[str, bytes]]:
        return [(run, answer) for run, answer in await self._rows(_ANSWERS, (list(runs),))]

    async def take(self, identity: str, run: str, key: str, since: Taken | None = None) -> Taken | None:
        if since is None:
            done = await self._rows(_TAKE, (identity, run, key))
        else:
            done = await self._rows(_TAKE_OVER, (run, key, identity, *since))
        return None if done else await self.taken(identity) or Taken("", "", 0)

    async def taken(self, identity: str) -> Taken | None:
        rows = await self._rows("SELECT run, key, times FROM scaffold.identities WHERE identity = %s", (identity,))
        return Taken(*rows[0]) if rows else None

    async def free(self, identity: str, run: str, key: str) -> None:
        await self._rows(
            "DELETE FROM scaffold.identities WHERE identity = %s AND run = %s AND key = %s", (identity, run, key)
        )

    # --- limits that workers share

    async def take_share(
        self, name: str, seconds: float, amount: tuple[int, int], limits: tuple[float, float], under_way: float
    ) -> int | None:
        """Take a share of what may be used within a minute; None if it does not fit now."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
            await connection.execute(_FORGET, (name, seconds))
            cursor = await connection.execute(_SHARE, _share(name, amount, limits, under_way))
            row = await cursor.fetchone()
        return None if row is None else int(row[0])

    async def settle_share(self, name: str, entry: int, tokens: int) -> None:
        """Record how much of it was used."""
        await self._rows(
            "UPDATE scaffold.limits SET running_until = NULL, tokens = %s WHERE name = %s AND entry = %s",
            (tokens, name, entry),
        )

    # --- being told

    async def tell(self, runs: Sequence[str]) -> None:
        await self._rows(_TELL, (EVENTS, list(runs)))

    async def heard(self) -> AsyncIterator[tuple[str, str]]:
        import psycopg

        try:
            async with self.alone() as connection:
                await connection.execute(f"LISTEN {EVENTS}".encode())
                await connection.execute(f"LISTEN {INBOX}".encode())
                yield "", ""  # listeners look once, as they may have missed something
                async for notice in connection.notifies():
                    yield notice.channel, notice.payload
        except (psycopg.Error, JournalFailed) as error:
            raise Gone(str(error)) from error


@contextmanager
def _understood() -> Iterator[None]:
    """Translate psycopg's errors into the two kinds that matter.

    Raises:
        Gone: the connection broke, or there is none.
        Refused: the statement was refused.
    """
    import psycopg
    from psycopg_pool import PoolClosed, PoolTimeout

    try:
        yield
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as error:
        raise Refused(_line(error)) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed) as error:
        raise Gone(_line(error)) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:  # a standby, until it is promoted
        raise Gone(_line(error)) from error
    except psycopg.Error as error:
        raise Refused(_line(error)) from error


def _share(
    name: str, amount: tuple[int, int], limits: tuple[float, float], under_way: float
) -> tuple[str | int | float, ...]:
    """Return the values for requesting a share; a request above a limit is let in once nothing else is in use."""
    calls, tokens = amount
    most = [max(float(limit), float(wanted)) for limit, wanted in zip(limits, amount, strict=True)]
    return (name, calls, tokens, under_way, name, calls, most[0], tokens, most[1])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_CREATE = """
INSERT INTO scaffold.runs (run, owner, epoch, leased_until)
VALUES (%s, %s, 1, clock_timestamp() + make_interval(secs => %s)) ON CONFLICT DO NOTHING RETURNING epoch
"""
_CLAIM = """
UPDATE scaffold.runs SET owner = %s, epoch = epoch + 1, leased_until = clock_timestamp() + make_interval(secs => %s)
WHERE run = %s AND (leased_until IS NULL OR leased_until < clock_timestamp() OR owner = %s) RETURNING epoch
"""
_WHO = """
SELECT owner, extract(epoch FROM leased_until) - extract(epoch FROM clock_timestamp()) FROM scaffold.runs WHERE run = %s
"""
_RENEW = """
UPDATE scaffold.runs r SET leased_until = clock_timestamp() + make_interval(secs => %s)
FROM unnest(%s::text[], %s::bigint[]) AS held (run, epoch)
WHERE r.run = held.run AND r.epoch = held.epoch AND r.owner <> '' RETURNING r.run
"""
_FENCE = """
UPDATE scaffold.runs SET owner = '', epoch = epoch + 1, leased_until = NULL
WHERE run = %s AND leased_until < clock_timestamp()
"""
_LAST = """
SELECT coalesce((SELECT max(seq) FROM scaffold.events WHERE run = %s), 0) FROM scaffold.runs
WHERE run = %s AND epoch = %s
"""
_READ = """
SELECT e.seq, convert_to(e.line::text, 'UTF8'), convert_to(c.line::text, 'UTF8')
FROM scaffold.events e LEFT JOIN scaffold.content c ON c.run = e.run AND c.seq = e.seq
WHERE e.run = %s AND e.seq > %s AND e.kind LIKE %s ORDER BY e.seq LIMIT %s
"""
_SIGN = """
WITH held AS MATERIALIZED (SELECT run FROM scaffold.runs WHERE run = %s AND epoch = %s FOR KEY SHARE)
INSERT INTO scaffold.heads (run, note) SELECT run, %s FROM held RETURNING number
"""
_POST = """
INSERT INTO scaffold.inbox (run, id, person, answer)
SELECT run, %s, %s, %s::json FROM scaffold.runs WHERE run = %s
ON CONFLICT (run, id, person) DO UPDATE SET answer = excluded.answer
RETURNING pg_notify('scaffold_inbox', run)
"""
_ANSWERS = """
SELECT run, convert_to(answer::text, 'UTF8') FROM scaffold.inbox WHERE run = ANY(%s) ORDER BY run, id, person
"""
_TAKE = """
INSERT INTO scaffold.identities (identity, run, key, times) VALUES (%s, %s, %s, 1) ON CONFLICT DO NOTHING RETURNING 1
"""
_TAKE_OVER = """
UPDATE scaffold.identities SET run = %s, key = %s, times = times + 1
WHERE identity = %s AND run = %s AND key = %s AND times = %s RETURNING 1
"""
_FORGET = """
DELETE FROM scaffold.limits WHERE name = %s AND at < clock_timestamp() - make_interval(secs => %s)
AND (running_until IS NULL OR running_until < clock_timestamp())
"""
_SHARE = """
INSERT INTO scaffold.limits (name, at, calls, tokens, running_until)
SELECT %s, clock_timestamp(), %s, %s, clock_timestamp() + make_interval(secs => %s)
FROM (SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(tokens), 0) AS tokens
      FROM scaffold.limits WHERE name = %s) used
WHERE used.calls + %s::bigint <= %s::float8 AND used.tokens + %s::bigint <= %s::float8
RETURNING entry
"""
_TELL = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, run) FROM unnest(%s::text[]) AS told (run)
"""

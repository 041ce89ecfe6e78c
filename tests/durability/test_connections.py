"""A database that hangs, or that goes on with what was given up, keeps nobody waiting and stores nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from scaffold.testing.cluster import Cluster
from scaffold.testing.journal_conformance import Writing
from scaffold.trace.postgres import PostgresJournal

_SOCKET = ".s.PGSQL.5432"


class Line:
    """What carries a client's bytes to the server and back, or no longer does.

    Attributes:
        open: bytes are carried.
        url: the database's address through it.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._server = str(cluster.folder / _SOCKET)
        self.url = cluster.url.replace(str(cluster.folder), str(folder))
        self.open = asyncio.Event()
        self.open.set()
        self._clients: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self._clients.append(writer)
        there, back = await asyncio.open_unix_connection(self._server)
        self._servers.append(back)
        for each in (self._carry(reader, back), self._carry(there, writer)):
            self._tasks.add(asyncio.ensure_future(each))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while said := await reader.read(1 << 16):
                await self.open.wait()
                writer.write(said)

    def cut(self) -> None:
        """Break all connections; the server hears nothing of it."""
        for each in self._clients:
            each.transport.abort()
        self._clients.clear()

    async def close(self) -> None:
        """Carry nothing any more."""
        self.open.set()
        for each in (*self._clients, *self._servers):
            each.transport.abort()
        for work in self._tasks:
            work.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def through(cluster: Cluster) -> AsyncIterator[Line]:
    """A line to the server."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        line = Line(cluster, Path(folder))
        async with await asyncio.start_unix_server(line.connect, str(Path(folder) / _SOCKET)):
            yield line
            await line.close()


def test_whoever_is_cancelled_does_not_wait_for_a_server_that_hangs(cluster: Cluster) -> None:
    """Within seconds it is over; what was handed over is stored once, in order, when the server is there again."""

    async def work() -> float:
        records = Writing().notes(6)
        async with through(cluster) as line, PostgresJournal(line.url) as journal:
            claim = await journal.claim(f"20300101-{os.urandom(8).hex()}", "a", create=True)
            for number in range(4):
                await journal.append(claim, records[number : number + 1], durable=bool(number % 2))
            line.open.clear()
            waiting = asyncio.ensure_future(journal.append(claim, records[4:5], durable=True))
            await asyncio.sleep(0.2)
            begun = time.monotonic()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            took = time.monotonic() - begun
            line.open.set()
            await journal.append(claim, records[5:], durable=True)
            assert [record async for record in journal.read(claim.run)] == records
            await journal.release(claim)
        return took

    assert asyncio.run(work()) < 4.5  # psycopg alone takes ten


def test_an_outage_is_one_line_in_the_log(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Each is told when it begins; the pool logs every attempt to connect, in several lines."""

    async def work() -> None:
        async with PostgresJournal(cluster.url) as journal:
            records = Writing().notes(2)
            claim = await journal.claim(f"20300101-{os.urandom(8).hex()}", "a", create=True)
            for number in range(2):
                cluster.stop("immediate")
                waiting = asyncio.ensure_future(
                    journal.append(claim, records[2 * number : 2 * number + 2], durable=True)
                )
                await asyncio.sleep(3)
                cluster.start()
                await waiting
            await journal.release(claim)

    asyncio.run(work())
    told = [record.getMessage() for record in caplog.records if record.name.startswith("psycopg")]
    assert len(told) == 2, told
    assert all(each.startswith("PostgreSQL is waited for: ") and "\n" not in each for each in told)


def test_a_statement_that_goes_on_after_its_connection_broke_is_stored_once(cluster: Cluster) -> None:
    """Its records are given again before it is through: whichever comes first, they stand there once."""

    async def work() -> None:
        records = Writing().notes(6)
        async with (
            through(cluster) as line,
            PostgresJournal(line.url) as journal,
            await psycopg.AsyncConnection.connect(cluster.url) as other,
        ):
            claim = await journal.claim(f"20300101-{os.urandom(8).hex()}", "a", create=True)
            for number in range(4):
                await journal.append(claim, records[number : number + 1], durable=bool(number % 2))
            await other.execute("SELECT 1 FROM scaffold.runs WHERE run = %s FOR UPDATE", (claim.run,))
            waiting = asyncio.ensure_future(journal.append(claim, records[4:5], durable=True))
            await _waiting(other, 1)
            line.cut()
            await _waiting(other, 2)
            await other.rollback()
            await waiting
            await journal.append(claim, records[5:], durable=True)
            assert [record async for record in journal.read(claim.run)] == records
            await journal.release(claim)

    asyncio.run(work())


async def _waiting(connection: psycopg.AsyncConnection, many: int) -> None:
    """Wait until so many statements wait for what the connection has locked."""
    count = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(60):
        while (await (await connection.execute(count)).fetchone() or (0,))[0] < many:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.01)

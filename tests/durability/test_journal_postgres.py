"""The Postgres journal does what every journal has to, and what only one with leases can."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scaffold.errors import ClaimLost, JournalFailed
from scaffold.interfaces import Answer, Claim, Journal, Record
from scaffold.testing.cluster import Cluster
from scaffold.testing.journal_conformance import JournalConformance, Writing
from scaffold.trace.postgres import PostgresJournal
from scaffold.trace.postgres.appending import Part
from scaffold.trace.postgres.database import _WHO, Postgres
from scaffold.trace.postgres.journal import _clocks
from scaffold.trace.postgres.shared_minute import SharedMinute
from scaffold.trace.records import read_files
from scaffold.vocabulary import events as ev


class TestPostgres(JournalConformance):
    """Every journal has connections of its own, as a process has."""

    @pytest.fixture(autouse=True)
    def server(self, cluster: Cluster) -> None:
        """Have a server."""
        self.url = cluster.url

    @asynccontextmanager
    async def opening(self, place: Path) -> AsyncIterator[Journal]:
        yield PostgresJournal(self.url, lease=3.0)


def test_a_worker_needs_no_right_to_change_what_was_written(cluster: Cluster) -> None:
    """The roles of docs/deployment.md: whoever writes runs cannot change an event, and whoever reads writes nothing."""
    url = cluster.fresh(f"roles_{os.getpid()}")
    asyncio.run(_migrated(url))
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    grants = [line.partition(";")[0] for line in page.splitlines() if line.startswith("GRANT ")]
    assert len(grants) > 5
    with psycopg.connect(url, autocommit=True) as owner:
        for role in ("scaffold_app", "scaffold_reader"):
            owner.execute(f"CREATE ROLE {role} LOGIN".encode())
        for grant in grants:
            owner.execute(grant.encode())
    app, reader = (url.replace("user=owner", f"user={role}") for role in ("scaffold_app", "scaffold_reader"))

    async def work() -> None:
        journal, run = PostgresJournal(app), "20300101-000000-roles"
        claim = await journal.claim(run, "a", create=True)
        await journal.append(claim, Writing().notes(3), durable=True)
        await journal.sign(claim, "a note")
        await journal.post(run, Answer(id="q", digest="d", by="ann"))
        assert await journal.hold(claim, "thing", "0") is None
        await journal.free(claim, "thing", "0")
        assert await asyncio.to_thread(journal.elsewhere, 0.0) == []
        await journal.release(claim)
        minute = SharedMinute(app, "account")
        minute.settle(await minute.take((1, 1), limits=(1, 1)), 1)
        await minute.settled()
        assert len(list(read_files(PostgresJournal(reader).folder(run)))) == 3
        with pytest.raises(JournalFailed, match="permission denied"):
            await PostgresJournal(reader).claim(run, "b")

    asyncio.run(work())
    for statement in (
        "UPDATE scaffold.events SET line = '{}'",
        "DELETE FROM scaffold.content",
        "DROP TABLE scaffold.runs",
    ):
        with psycopg.connect(app, autocommit=True) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute(statement.encode())


async def _migrated(url: str) -> None:
    async with PostgresJournal(url):
        pass


@pytest.mark.parametrize("much", [False, True])
def test_what_a_standby_lacks_that_took_over_is_stored_again(cluster: Cluster, *, much: bool) -> None:
    """The latest events, though they were durable; if more is lost, the gap is told and stays, so nothing is redone."""
    run = f"20300101-000000-behind{much:d}"
    text = b'{"text":"%s"}' % (b"x" * (200_000 if much else 200))

    async def work() -> None:
        journal, writing = PostgresJournal(cluster.url), Writing()
        claim = await journal.claim(run, "a", create=True)
        for number in range(6):
            await journal.append(claim, [writing.event(ev.Noted(key=str(number)), text)], durable=True)
        with psycopg.connect(cluster.url, autocommit=True) as server:  # as if an older one had taken over
            server.execute("DELETE FROM scaffold.events WHERE run = %s AND seq > 2", (run,))
            server.execute("DELETE FROM scaffold.content WHERE run = %s AND seq > 2", (run,))
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with (
            pytest.raises(JournalFailed, match=r"has lost its events 3 to 5, .* the run cannot be resumed")
            if much
            else nullcontext()
        ):
            await journal.append(claim, [writing.event(ev.Noted(key="after"), text)], durable=True)
        await journal.release(claim)
        assert [record.seq async for record in journal.read(run)] == [1, 2, *([] if much else [3, 4, 5]), 6, 7]

    asyncio.run(work())


def test_who_follows_a_run_sees_each_event_until_its_end(cluster: Cluster) -> None:
    """Told by the database rather than by asking again and again; another process writes."""

    async def work() -> None:
        writing, run = Writing(), f"20300101-000000-follow{os.getpid()}"
        records = [*writing.notes(20), writing.event(ev.Ended(status="solved"))]
        journal, other = PostgresJournal(cluster.url), PostgresJournal(cluster.url)
        claim = await journal.claim(run, "a", create=True)
        seen: list[Record] = []

        async def follow() -> None:
            async for record in other.follow(run):
                seen.append(record)  # noqa: PERF401 - what has come so far is looked at in between

        following = asyncio.ensure_future(follow())
        for record in records:
            await journal.append(claim, [record], durable=False)
            await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            await following
        assert seen == records
        await journal.release(claim)

    asyncio.run(work())


def test_one_connection_is_enough(cluster: Cluster) -> None:
    """Who asks again in the moment in which the last sender has ended is served."""

    async def work() -> None:
        journal, writing = PostgresJournal(cluster.url, connections=1), Writing()
        claim = await journal.claim(f"20300101-000000-one{os.getpid()}", "a", create=True)
        async with asyncio.timeout(30):
            for number in range(20):
                await journal.append(claim, writing.notes(1), durable=number % 2 == 0)
            await journal.release(claim)

    asyncio.run(work())


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_was_handed_over_is_stored_whoever_gives_up_waiting(cluster: Cluster, *, goes_on: bool) -> None:
    """A run alone asks in its own task: cut off before, within or after the statement, all is there, once, in order."""

    async def work() -> None:
        async with (
            PostgresJournal(cluster.url) as journal,
            await psycopg.AsyncConnection.connect(cluster.url) as other,
        ):
            for turns in (None, 1, 2, 3, 4):
                records = Writing().notes(7)
                claim = await journal.claim(f"20300101-{os.urandom(8).hex()}", "a", create=True)
                for number in range(3):  # by the second it is known to be alone
                    await journal.append(claim, records[number : number + 1], durable=bool(number % 2))
                if turns is None:
                    await other.execute("SELECT 1 FROM scaffold.runs WHERE run = %s FOR UPDATE", (claim.run,))
                waiting = asyncio.ensure_future(journal.append(claim, records[3:6], durable=True))
                await (_locked_out(other) if turns is None else _turns(turns))
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await other.rollback()
                if goes_on:
                    await journal.append(claim, records[6:], durable=True)
                await journal.release(claim)
                assert [record async for record in journal.read(claim.run)] == records[: 7 if goes_on else 6]

    asyncio.run(work())


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def _locked_out(connection: psycopg.AsyncConnection) -> None:
    """Wait until somebody waits for what the connection has locked."""
    while not await (await connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted")).fetchone():  # noqa: ASYNC110 - only the server knows
        await asyncio.sleep(0.01)


def test_an_append_that_meets_a_claim_is_stored_wholly_or_not_at_all(cluster: Cluster) -> None:
    """Events and their content alike, whether one record comes or many; after the claim nothing of the old one is."""

    async def work() -> None:
        database = Postgres(cluster.url)
        await database.open()
        for number in range(40):
            run, writing = f"20300101-000000-race{os.getpid()}-{number}", Writing()
            assert (await database.claim(run, "a", 60.0, create=True)).epoch == 1
            size = 1 if number % 2 else 7
            records = [writing.event(ev.Noted(key="0"), b'{"text":"it"}') for _ in range(size)]

            async def take(run: str) -> None:
                async with await psycopg.AsyncConnection.connect(cluster.url, autocommit=True) as other:
                    await other.execute("UPDATE scaffold.runs SET epoch = 2 WHERE run = %s", (run,))

            held, _ = await asyncio.gather(
                database.append([Part(run, 1, records)], durable=True, restarts=database.restarts), take(run)
            )
            found = await database.records(run, 0, 100)
            assert found == (records if held else [])
            late = [writing.event(ev.Noted(key="1"), b'{"text":"late"}')]
            assert await database.append([Part(run, 1, late)], durable=True, restarts=database.restarts) == set()
            assert await database.records(run, 0, 100) == found
        await database.close()

    asyncio.run(work())


def test_what_a_run_did_is_found_whatever_letters_it_was_done_with(cluster: Cluster) -> None:
    """A zero byte in an argument, which PostgreSQL's texts cannot hold, hides no action of any run."""

    async def work() -> None:
        journal, writing = PostgresJournal(cluster.fresh(f"zero_{os.getpid()}")), Writing()
        claim = await journal.claim("20300101-000000-zero", "a", create=True)
        body = b'{"call":{"action":"pay","arguments":{"what":"a\\u0000b"}},"identity":"x"}'
        asked = writing.event(ev.ActionProposed(key="0", action="pay", effect="irreversible", digest="d"), body)
        await journal.append(claim, [asked], durable=True)
        found = await asyncio.to_thread(journal.elsewhere, 1.7e9)
        assert [each.arguments for each in found if each.run == claim.run] == [{"what": "a\x00b"}]
        await journal.release(claim)

    asyncio.run(work())


def test_who_has_slept_asks_before_it_acts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stood still with its steady clock is told by another clock that its lease may have run out."""

    async def work() -> None:
        url = cluster.fresh(f"slept_{os.getpid()}")
        journal, other = PostgresJournal(url, lease=60.0), PostgresJournal(url)
        claim = await journal.claim("20300101-000000-slept", "a", create=True)
        with psycopg.connect(url, autocommit=True) as connection:  # so much time goes by for the database
            connection.execute(
                "UPDATE scaffold.runs SET leased_until = now() - interval '1 s' WHERE run = %s", (claim.run,)
            )
        taken = await other.claim(claim.run, "b")
        await journal.confirm(claim)  # what its steady clock says has not changed
        monkeypatch.setattr(journal, "_clocks", lambda: tuple(each + 3600 for each in _clocks()))
        with pytest.raises(ClaimLost, match="taken over by another process"):
            await journal.confirm(claim)
        await other.release(taken)
        await journal.release(claim)

    asyncio.run(work())


def test_a_run_that_is_given_back_while_it_is_asked_for_is_had(cluster: Cluster) -> None:
    """Nobody is told that a run is written by nobody, and free in 0 seconds."""
    url = cluster.fresh(f"given_back_{os.getpid()}")
    first = PostgresJournal(url)
    held: list[Claim] = []

    class Late(Postgres):
        """Finds who has a run after they have given it back."""

        async def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            if statement == _WHO:
                await first.release(held[0])
            return await super()._rows(statement, values)

    async def go() -> None:
        held.append(await first.claim("20300101-000000-run", "first", create=True))
        second = PostgresJournal(url, database=Late(url))
        await second.release(await second.claim("20300101-000000-run", "second"))

    asyncio.run(go())

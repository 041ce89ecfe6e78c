"""What workers share, and what a run keeps when another takes it over: limits, budgets."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator

import psycopg
import pytest

from scaffold import Budget, Planning, Scaffold, Task, think
from scaffold.errors import BackendUnavailable, TaskError
from scaffold.interfaces import Surroundings
from scaffold.testing import Scripted
from scaffold.testing.cluster import Cluster
from scaffold.testing.judging import overspent, read_story
from scaffold.trace.postgres import PostgresJournal
from scaffold.trace.postgres.database import Postgres
from scaffold.trace.postgres.shared_minute import SharedMinute
from scaffold.vocabulary.models import Delta, Request
from scaffold_backends.wrappers.rate import rate_limited


def test_workers_share_a_limit(cluster: Cluster) -> None:
    """Of ten requests by two workers, five a minute in all: five at once, the others when the minute is over."""

    async def work() -> None:
        url = cluster.fresh(f"limits_{os.getpid()}")
        await _made(url)
        workers = [SharedMinute(url, "account", seconds=1.5) for _ in range(2)]
        began = time.monotonic()
        times: list[float] = []

        async def ask(number: int) -> None:
            worker = workers[number % 2]
            entry = await worker.take((1, 10), limits=(5, 1000))
            times.append(time.monotonic() - began)
            worker.settle(entry, 10)

        await asyncio.gather(*map(ask, range(10)))
        for worker in workers:
            await worker.settled()
        # Let in at once, and after a minute; how long it takes to ask does not matter.
        assert times[5] - times[0] > 1.2
        # One that is larger than the limit waits until nothing else is under way; it is not refused for ever.
        entry = await workers[0].take((9, 10), limits=(5, 1000))
        workers[0].settle(entry, 10)
        await workers[0].settled()

    asyncio.run(work())


async def _made(url: str) -> None:
    database = Postgres(url)
    await database.open()
    await database.close()


def test_a_shared_limit_that_cannot_be_asked_for_closes_the_backend(cluster: Cluster) -> None:
    """Nobody can tell what may be used, so nothing is; an address that is none is found at once."""
    with pytest.raises(TaskError, match="`shared` of rate_limited should be"):
        rate_limited(backend="scripted", requests_per_minute=5, shared="$NOWHERE_SAID")
    away = SharedMinute(cluster.url.replace("/scaffold?", "/nothing?"), "account")
    with pytest.raises(Exception, match="does not exist") as raised:
        asyncio.run(away.take((1, 1), limits=(1, 1)))
    assert isinstance(raised.value, BackendUnavailable)


def test_a_run_that_was_taken_over_has_one_budget(cluster: Cluster) -> None:
    """Steps that the first process asked are charged to the second; what was in the middle, at its worst."""
    url = cluster.fresh(f"budget_{os.getpid()}")

    class Slow(Scripted):
        async def generate(self, request: Request) -> AsyncGenerator[Delta]:
            await asyncio.sleep(0.05)
            async for delta in super().generate(request):
                yield delta

    def planner(_task: Task) -> Planning[int]:
        number = 0
        while True:
            yield from think("solve", str(number))
            number += 1

    def agent(surroundings: Surroundings | None = None) -> Scaffold:
        return Scaffold(
            planner,
            backends={"default": Slow("ok")},
            monitors=[],
            journal=PostgresJournal(url, lease=30.0),  # not renewed while the test goes on
            surroundings=surroundings,
        )

    async def work() -> None:
        third = asyncio.Event()
        points: list[str] = []

        def reach(point: str) -> None:
            points.append(point)
            if points.count("step.answered:after") == 3:
                third.set()

        task = Task(prompt="go on", budget=Budget(steps=7))
        first = asyncio.ensure_future(agent(Surroundings(reach=reach)).solve(task))
        await third.wait()
        (run,) = await asyncio.to_thread(PostgresJournal(url).runs)
        with psycopg.connect(url, autocommit=True) as connection:  # as if its lease had run out
            connection.execute("UPDATE scaffold.runs SET leased_until = clock_timestamp() - interval '1 s'")
        outcome = await agent().resume(run)
        assert outcome.status == "exhausted"
        assert (await first).status == "unavailable"
        journal = PostgresJournal(url)
        story = read_story(journal.folder(run))
        assert not list(overspent(story, task))
        assert 3 <= len(list(story.of("step.answered"))) <= 7

    asyncio.run(work())

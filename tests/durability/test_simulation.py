"""Engine, gate and journal under seeds: each seed is one schedule with its own faults and crashes.

`SCAFFOLD_SEEDS=20000` runs that many; `SCAFFOLD_SEED=1197` runs that one alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from scaffold.testing.simulation import simulate

CHUNKS = 20
SEEDS = int(os.environ.get("SCAFFOLD_SEEDS", "2000"))
ONLY = os.environ.get("SCAFFOLD_SEED")


@pytest.fixture
def quick_folder(tmp_path: Path) -> Path:
    """A folder in memory where there is one: what is simulated is the engine, not the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - Linux has it
    return memory / f"scaffold-{os.getpid()}-{tmp_path.name}" if memory.is_dir() else tmp_path


@pytest.mark.timeout(max(120, SEEDS // 10))
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_must_always_hold_holds_under_every_seed(chunk: int, quick_folder: Path) -> None:
    """No action without a clearance, none twice, nothing overspent, and a trace that says how it ended."""
    faulty = []
    seeds = [int(ONLY)] if ONLY else range(chunk, SEEDS, CHUNKS)
    for seed in seeds:
        folder = quick_folder / str(seed)
        try:
            result = simulate(seed, folder)
        finally:
            shutil.rmtree(quick_folder, ignore_errors=True)
        if result.faults:
            faulty.append(f"{result}\n  or: SCAFFOLD_SEED={seed} pytest tests/durability/test_simulation.py")
    assert not faulty, "\n".join(faulty)


@pytest.mark.parametrize("seed", range(40))
def test_one_seed_is_one_schedule(seed: int, quick_folder: Path) -> None:
    """The same seed twice reaches the same points in the same order and writes the same bytes."""
    try:
        first, second = (simulate(seed, quick_folder / name) for name in ("first", "second"))
    finally:
        shutil.rmtree(quick_folder, ignore_errors=True)
    assert first.points == second.points
    assert first.trace == second.trace
    assert first.trace


def test_seeds_differ(quick_folder: Path) -> None:
    """Different seeds give different schedules, and between them they crash, pause and end in every way."""
    try:
        results = [simulate(seed, quick_folder / str(seed)) for seed in range(150)]
    finally:
        shutil.rmtree(quick_folder, ignore_errors=True)
    endings = {life.split(" at ")[0] for result in results for life in result.lives}
    assert endings >= {"solved", "failed", "stopped", "waiting", "exhausted", "unavailable", "killed"}
    assert len({tuple(result.points) for result in results}) > 120


@pytest.mark.timeout(max(120, SEEDS // 5))
@pytest.mark.parametrize("chunk", range(4))
def test_the_same_holds_where_runs_are_kept_in_a_database(chunk: int, quick_folder: Path) -> None:
    """Statements lost on their way there or back, and a server that crashes: no gap, and nothing twice."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    faulty = []
    for seed in [int(ONLY)] if ONLY else range(chunk, SEEDS // 10, 4):
        try:
            result = simulate(seed, quick_folder / str(seed), database=True)
        finally:
            shutil.rmtree(quick_folder, ignore_errors=True)
        if result.faults:
            faulty.append(str(result))
    assert not faulty, "\n".join(faulty)

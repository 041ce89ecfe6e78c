"""What the engine costs, as a ratio to one asyncio task measured in the same process.

    python benchmarks/engine.py            # N = 100, 1,000, 10,000, 100,000
    python benchmarks/engine.py --most 10000

One JSON line for each shape and N: `ratio` is CPU time per step over CPU time of
`await asyncio.create_task(noop())`, the median of interleaved rounds; `least` is the same for the least of each, which
a busy machine disturbs less; `kept_bytes` is memory kept per step, with the trace on disk. The backend does nothing;
the trace is written to a real file; fsync is left out, since its cost drifts more than what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from unit import noop_task

from scaffold import Budget, Goal, Planning, Scaffold, Task, act, action, think, together
from scaffold.trace.files import FileJournal
from scaffold.vocabulary import events
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage
from scaffold.vocabulary.review import ALLOW, MonitorSpec, Subject, Verdict

NO_LIMIT = Budget(tokens=None, seconds=None, steps=None, actions=None)


class Nothing:
    """A backend that answers at once."""

    profile = Profile(backend="nothing", model="nothing", prices=FREE, reasoning="full", can=frozenset({"n"}))

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Give one sample."""
        yield Delta(text="ok", finish="stop", usage=Usage(5, 1))

    async def close(self) -> None:
        """Nothing to free."""


class Reader:
    """A monitor that reads the trace: it folds over the actions and looks at its state."""

    spec = MonitorSpec(name="reader", watches=frozenset({"plan", "action"}), tier=0)
    folds = frozenset({events.ActionOutcome})

    def fold(self, state: Any, event: events.Event, content: dict[str, Any]) -> Any:
        """Count."""
        return (state or 0) + 1

    async def review(self, subject: Subject, view: Any, context: Any) -> Verdict:
        """Allow everything, having looked."""
        return ALLOW if (view.state or 0) >= 0 else Verdict(decision="block")


@action(effect="irreversible", idempotency="target_key")
async def nothing(number: int) -> int:
    """Do nothing."""
    return number


def chain(n: int) -> Callable[[Task], Planning[str]]:
    """N steps, one after another."""

    def planner(_task: Task) -> Planning[str]:
        text = ""
        for number in range(n):
            thought = yield from think("solve", number)
            text = thought.value
        return text

    return planner


def fan_out(n: int) -> Callable[[Task], Planning[int]]:
    """N steps side by side, joined."""

    def planner(_task: Task) -> Planning[int]:
        results = yield from together(*(think("solve", number) for number in range(n)))
        return len(results)

    return planner


def gated(n: int) -> Callable[[Task], Planning[int]]:
    """N actions, each reviewed by `rules`, which keeps count of the trace, each decision recorded."""

    def planner(_task: Task) -> Planning[int]:
        for number in range(n):
            yield from act("nothing", {"number": number})
        return n

    return planner


async def _without_fsync(_: int) -> None:
    return None


def agent(planner: Callable[[Task], Planning[Any]], folder: Path, monitors: list[Any]) -> Scaffold:
    """An agent with its trace in a folder."""
    journal = FileJournal(folder, fsync=_without_fsync)
    return Scaffold(planner, backends={"default": Nothing()}, monitors=monitors, actions=[nothing], journal=journal)


def overseen(n: int) -> Callable[[Task], Planning[int]]:
    """The same, with `scope` and `dataflow` beside `rules`: each follows the trace and compares with the request."""
    return gated(n)


TASK = Task(
    prompt="Do nothing with each number.",
    goals=(
        Goal(
            kind="constraint",
            statement="numbers are never negative",
            rule="action.name != 'nothing' || args.number >= 0",
        ),
    ),
    budget=NO_LIMIT,
)


async def measure(
    shape: Callable[[int], Callable[[Task], Planning[Any]]], n: int, monitors: list[Any], rounds: int
) -> dict[str, Any]:
    """Measure one shape at one N."""
    ratios, seconds, units = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            unit = await noop_task()
            gc.collect()
            started = time.process_time()
            outcome = await agent(shape(n), Path(folder), monitors).solve(TASK)
            each = (time.process_time() - started) / n
            if outcome.status != "solved":
                raise SystemExit(f"{shape.__name__} ended as {outcome.status}: {outcome.reason}")
            ratios.append(each / unit)
            seconds.append(each)
            units.append(unit)
    return {
        "shape": shape.__name__,
        "n": n,
        "ratio": round(statistics.median(ratios), 2),
        "least": round(min(seconds) / min(units), 2),
        "microseconds": round(statistics.median(seconds) * 1e6, 1),
    }


async def kept(shape: Callable[[int], Callable[[Task], Planning[Any]]], n: int, monitors: list[Any]) -> float:
    """Bytes that a run keeps per step, at its highest."""
    with tempfile.TemporaryDirectory() as folder:
        await agent(shape(10), Path(folder), monitors).solve(TASK)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await agent(shape(n), Path(folder), monitors).solve(TASK)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return (peak - before) / n


async def main(most: int) -> None:
    """Measure all shapes."""
    from scaffold_monitors.dataflow import Dataflow
    from scaffold_monitors.rules import Rules
    from scaffold_monitors.scope import Scope

    shapes: list[tuple[Any, list[Any]]] = [
        (chain, [Rules(), Reader()]),
        (fan_out, [Rules(), Reader()]),
        (gated, [Rules()]),
        (overseen, [Rules(), Scope(), Dataflow()]),
    ]
    for shape, monitors in shapes:
        lines = {}
        for n in (100, 1_000, 10_000, 100_000):
            if n <= most:
                rounds = max(1, min(15, 30_000 // n))
                lines[n] = await measure(shape, n, monitors, rounds)
        growth = lines[10_000]["ratio"] / lines[100]["ratio"] if 10_000 in lines else None
        memory = await kept(shape, min(10000, most), monitors)
        for line in lines.values():
            print(json.dumps(line), flush=True)
        print(
            json.dumps(
                {
                    "shape": shape.__name__,
                    "growth_10000_over_100": growth and round(growth, 2),
                    "kept_bytes": round(memory),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--most", type=int, default=100_000)
    sys.exit(asyncio.run(main(parser.parse_args().most)))

"""What a march costs a step: the planner by itself, a whole run with its trace, its bytes, and reading it again.

    python benchmarks/planners.py                # 20,000 steps, five rounds
    python benchmarks/planners.py --steps 100000 --rounds 1

One JSON line a row. The rules only count, the backend answers at once, votes lead by 3, and the trace is written to a
real file without fsync. `planner` is the generator by itself, sent ready-made thoughts; `run` is all of it; `resume` is
the same trace read again to its end, of which the last line was cut off. CPU time is divided by that of
`await asyncio.create_task(noop())`, measured in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

from unit import noop_task

from scaffold import Budget, Scaffold, Task, Thought
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage
from scaffold.vocabulary.moves import Think
from scaffold.vocabulary.references import Provenance
from scaffold_planners.march import MarchOptions, march

NO_LIMIT = Budget(tokens=None, seconds=None, steps=None, actions=None)
TASK = Task(prompt="Count", budget=NO_LIMIT)


class Counting:
    """Rules that are next to nothing: each decision is the next number."""

    returns = int

    def __init__(self, goal: int) -> None:
        self._goal = goal

    def start(self, task: Task) -> int:
        """Begin at nothing."""
        return 0

    def done(self, state: int) -> bool:
        """Whether the goal is reached."""
        return state == self._goal

    def show(self, state: int) -> str:
        """A state of about the length of a Tower of Hanoi."""
        return f"disks:20 last:1 20A 19A 18A 17A 16A 15A 14A 13A 12A 11A 10A reached:{state}"

    def fault(self, state: int, decision: int) -> str:
        """Only the next number is legal."""
        return "" if decision == state + 1 else "is not next"

    def next(self, state: int, decision: int) -> int:
        """Go on."""
        return decision


class Counter:
    """A backend that counts."""

    profile = Profile(backend="counter", model="counter", prices=FREE, reasoning="full", can=frozenset({"n"}))

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Say the next number, as often as asked."""
        text = str(int(request.messages[-1].content.split("reached:")[1].split()[0]) + 1)
        for index in range(request.n):
            usage = Usage(30, request.n) if index == request.n - 1 else None
            yield Delta(index=index, text=text, finish="stop", usage=usage)

    async def close(self) -> None:
        """Nothing to free."""


async def _without_fsync(_: int) -> None:
    return None


def agent(steps: int, folder: Path) -> Scaffold:
    """A march over so many steps, with its trace in a folder."""
    return Scaffold(
        march,
        options={"domain": Counting(steps), "ahead": 3},
        backends={"default": Counter()},
        monitors=[],
        journal=FileJournal(folder, fsync=_without_fsync),
    )


def planner_alone(steps: int) -> float:
    """CPU seconds of the planner for one step: between being sent a thought and asking the next."""
    told = Provenance(("step:0",))
    thoughts = [Thought(number, told, key="0") for number in range(1, steps + 1)]
    planning = march(TASK, MarchOptions(domain=Counting(steps)))
    started = time.process_time()
    move, number = next(planning), 0
    with suppress(StopIteration):
        while True:
            if type(move) is Think:
                number += 1
                move = planning.send(thoughts[number - 1])
            else:
                move = planning.send(None)
    assert number == steps
    return (time.process_time() - started) / steps


async def whole_run(steps: int) -> dict[str, float]:
    """CPU seconds and bytes a step of a run, and of reading it again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.process_time()
        outcome = await agent(steps, folder).solve(TASK)
        run = (time.process_time() - started) / steps
        assert outcome.status == "solved", outcome.reason
        spine, content = (folder / outcome.run / each for each in ("trace.jsonl", "content.jsonl"))
        measured = {"spine": spine.stat().st_size / steps, "content": content.stat().st_size / steps}
        lines = spine.read_bytes().splitlines(keepends=True)
        spine.write_bytes(b"".join(lines[:-1]))  # it never heard that it has ended
        del lines
        started = time.process_time()
        again = await agent(steps, folder).resume(outcome.run)
        assert again.answer == outcome.answer
        return {**measured, "run": run, "resume": (time.process_time() - started) / steps}


async def main(steps: int, rounds: int) -> None:
    """Measure, in turn with the floor."""
    rows: dict[str, list[float]] = {"planner": [], "run": [], "resume": []}
    ratios: dict[str, list[float]] = {name: [] for name in rows}
    size: dict[str, Any] = {}
    for _ in range(rounds):
        unit = await noop_task()
        gc.collect()
        measured = {"planner": planner_alone(steps), **await whole_run(steps)}
        size = {name: round(measured[name]) for name in ("spine", "content")}
        for name, seconds in rows.items():
            seconds.append(measured[name])
            ratios[name].append(measured[name] / unit)
    for name, seconds in rows.items():
        microseconds, ratio = statistics.median(seconds) * 1e6, statistics.median(ratios[name])
        print(json.dumps({"row": name, "n": steps, "microseconds": round(microseconds, 1), "ratio": round(ratio, 2)}))
    print(json.dumps({"row": "trace", "n": steps, "bytes": size["spine"] + size["content"], **size}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    asyncio.run(main(given.steps, given.rounds))

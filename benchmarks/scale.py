"""What a million runs a day, or a run of a million steps, take: a model, fed by what a run here takes, and simulated.

    python benchmarks/scale.py
    python benchmarks/scale.py --runs-a-day 100000 --steps 20 --latency 4

One JSON line a row. `measured` is a run on this machine: events, bytes and commits for each step and action. `model` is
arithmetic with these figures; `simulated` draws arrivals, steps and answers, and lets workers store what their runs
want stored in statements that they share, as the Postgres journal does. The two have to agree, or the arithmetic is
wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaffold import Budget, Call, Planning, Scaffold, Task, act, action, think
from scaffold.interfaces import Claim
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.task import Oversight

_DAY_S = 86_400
_PROMPT = "word " * 300
_ANSWER = "word " * 100
_ROW_BYTES = 60  # a row's header, its key, and its place in the index, twice for events with content
_CONNECTIONS = 13  # of a worker: six write, one listens, one looks; the engine procrastinate has five of its own
_PAGE_WRITES = 1.3  # WAL and checkpoints write a stored byte more than once


def row(name: str, **said: Any) -> None:
    """Print one line."""
    print(json.dumps({"benchmark": "scale", "row": name, **said}), flush=True)


class Counting(FileJournal):
    """Counts what a run stores."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.events = self.size = self.appends = self.durable = 0

    async def append(self, claim: Claim, records: Any, *, durable: bool) -> None:
        """Count, and store."""
        self.events += len(records)
        self.size += sum(len(each.line) + len(each.content) for each in records)
        self.appends += bool(records)
        self.durable += durable
        await super().append(claim, records, durable=durable)


@dataclass
class Cost:
    """What a run stores: for itself, for each step, and for each action."""

    run: float
    step: float
    action: float

    def of(self, steps: int, actions: int) -> float:
        """What a run of so many stores."""
        return self.run + self.step * steps + self.action * actions


def measured() -> dict[str, Cost]:
    """Events, bytes, commits and CPU seconds, from runs of different sizes."""

    @action(effect="irreversible", idempotency="target_key")
    async def pay(what: str, *, call: Call) -> str:
        return f"{what} {call.key}"

    def planner(task: Task) -> Planning[str]:
        for number in range(task.inputs["steps"]):
            yield from think("solve", f"{number} {_PROMPT}")
        for number in range(task.inputs["actions"]):
            yield from act("pay", {"what": f"{number}"})
        return "done"

    def once(steps: int, actions: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            journal = Counting(Path(folder))
            task = Task(
                prompt="measure",
                inputs={"steps": steps, "actions": actions},
                budget=Budget(tokens=None, seconds=None, steps=None, actions=None),
                oversight=Oversight(unmonitored=True),
            )
            agent = Scaffold(
                planner, backends={"default": Scripted(_ANSWER)}, monitors=[], actions=[pay], journal=journal
            )
            began = time.process_time()
            assert asyncio.run(agent.solve(task)).status == "solved"
            spent = time.process_time() - began
        return {"events": journal.events, "bytes": journal.size, "commits": journal.appends, "cpu_s": spent}

    once(1, 1)
    none, steps, actions = once(0, 0), once(400, 0), once(0, 100)
    return {
        name: Cost(none[name], (steps[name] - none[name]) / 400, (actions[name] - none[name]) / 100) for name in none
    }


def simulated(said: argparse.Namespace, seconds: float = 600.0) -> dict[str, float]:
    """Ten minutes of arrivals on workers that share statements; what is under way, and statements a second."""
    source = random.Random(1)
    rate = said.runs_a_day / _DAY_S
    warm = 3 * said.steps * said.latency  # until as many end as begin
    events: list[tuple[float, int, int]] = []  # when, which worker, steps left
    now = 0.0
    while now < warm + seconds:
        now += source.expovariate(rate)
        heapq.heappush(events, (now, source.randrange(said.workers), said.steps))
    free = [0.0] * said.workers  # when a worker's statement under way is over
    under_way = statements = 0
    area, last, begun = 0.0, warm, 0
    while events:
        now, worker, left = heapq.heappop(events)
        if now > warm + seconds:
            break
        if now > warm:
            area += under_way * (now - last)
            last = now
        if left == said.steps:
            under_way += 1
            begun += now > warm
        if left == 0:
            under_way -= 1
        # Whoever comes while a statement is under way goes with the next one, which is counted once.
        if now >= free[worker]:
            free[worker] = now + said.commit_ms / 1000
            statements += now > warm
        elif free[worker] - now <= said.commit_ms / 1000:
            free[worker] += said.commit_ms / 1000
            statements += now > warm
        if left:
            wait = source.expovariate(1 / said.latency)
            heapq.heappush(events, (now + wait, worker, left - 1))
    return {
        "runs_per_s": round(begun / seconds, 2),
        "under_way": round(area / seconds),
        "statements_per_s": round(statements / seconds),
    }


def modelled(said: argparse.Namespace, cost: dict[str, Cost]) -> dict[str, Any]:
    """The same by arithmetic, and what follows from it."""
    rate = said.runs_a_day / _DAY_S
    per_run = {name: each.of(said.steps, said.actions) for name, each in cost.items()}
    under_way = rate * said.steps * said.latency  # Little's law
    wanted = rate * (said.steps + 1)  # moments at which a run wants something stored
    most = said.workers / (said.commit_ms / 1000)  # statements that workers can make, one after another
    stored = per_run["bytes"] + 2 * _ROW_BYTES * per_run["events"]
    return {
        "runs_per_s": round(rate, 2),
        "under_way": round(under_way),
        "statements_per_s": round(min(wanted, most)),
        "events_per_s": round(rate * per_run["events"]),
        "commits_without_sharing_per_s": round(rate * per_run["commits"]),
        "database_gb_a_day": round(said.runs_a_day * stored / 1e9, 1),
        "written_mb_per_s": round(rate * stored * 2 * _PAGE_WRITES / 1e6, 1),
        "tokens_per_s": round(rate * said.steps * said.tokens),
        "usd_a_day": round(said.runs_a_day * said.steps * said.tokens * said.usd_per_million / 1e6),
        "worker_cores": round(rate * per_run["cpu_s"], 1),
        "connections": said.workers * _CONNECTIONS,
    }


def million(said: argparse.Namespace, cost: dict[str, Cost]) -> dict[str, Any]:
    """One run of a million steps, one after another, or with many at once."""
    steps = 1_000_000
    return {
        "events": round(cost["events"].of(steps, 0)),
        "gb": round(cost["bytes"].of(steps, 0) / 1e9, 2),
        "cpu_hours": round(cost["cpu_s"].of(steps, 0) / 3600, 2),
        "days_one_after_another": round(steps * said.latency / _DAY_S, 1),
        "hours_with_64_at_once": round(steps * said.latency / 64 / 3600, 1),
        "statements_per_s_with_64_at_once": round(64 / said.latency, 1),
    }


def main() -> None:
    """Measure, compute, simulate, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-a-day", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=10, help="steps of a run")
    parser.add_argument("--actions", type=int, default=2, help="actions of a run")
    parser.add_argument("--latency", type=float, default=3.0, help="seconds that a model takes for a step")
    parser.add_argument("--tokens", type=int, default=600, help="tokens of a step, of prompt and answer")
    parser.add_argument("--usd-per-million", type=float, default=0.5, help="dollars for a million tokens")
    parser.add_argument(
        "--commit-ms", type=float, default=5.0, help="milliseconds that a statement takes, with its sync"
    )
    parser.add_argument("--workers", type=int, default=8)
    said = parser.parse_args()
    cost = measured()
    row("measured", **{name: {"run": round(each.run, 6), "step": round(each.step, 6), "action": round(each.action, 6)}
                       for name, each in cost.items()})  # fmt: skip
    model, found = modelled(said, cost), simulated(said)
    row("model", **model)
    row("simulated", **found)
    row("agreement", **{name: round(found[name] / model[name], 3) for name in found})
    row("million steps", **million(said, cost))


if __name__ == "__main__":
    main()

"""What reading the reasoning costs: the figures that `benchmarks/reading.py` prints are kept to."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold import Planning, Scaffold, Task, think
from scaffold.machinery.asking.streams import Reading
from scaffold.testing import Scripted
from scaffold.testing.made_up_runs import subject
from scaffold.testing.seeded_loop import SeededLoop
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Delta, Profile, Sample
from scaffold_monitors.legibility import Legibility
from scaffold_monitors.trace import Trace
from scaffold_monitors.watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

JUDGE = Profile(backend="scripted", model="judge", reasoning="full")


def test_a_stream_monitor_adds_less_than_50_microseconds_a_delta() -> None:
    """CPU of a delta through the engine's own reading, with twenty phrases, a pattern and circles."""
    phrases = [f"forbidden thing {number}" for number in range(20)]
    watch = Watch(phrases=phrases, patterns=[r"delete (all|every) \w+"], repeats=6)
    words = ("the ", "model ", "adds ", "numbers ", "up ")
    source = random.Random(1)
    deltas = [Delta(0, reasoning=source.choice(words)) for _ in range(2_000)]
    best = float("inf")
    for _ in range(50):  # a busy machine has a quiet moment now and then
        reading = Reading(watch.spec, "", lambda: watch.open(subject("stream", 0), None, None), binds=True)  # type: ignore[arg-type]  # it uses neither
        began = time.process_time()
        for delta in deltas:
            assert not reading.feed(delta)
        best = min(best, (time.process_time() - began) / len(deltas))
        if best < 50e-6:
            break
    assert best < 50e-6


async def unsynced(_descriptor: int) -> None:
    """Threads would wake nobody in a loop without a clock."""


def renamed(monitor: Any, name: str) -> Any:
    """A monitor under another name."""
    monitor.spec = msgspec.structs.replace(monitor.spec, name=name)
    return monitor


def test_five_model_monitors_take_the_time_of_the_slowest(tmp_path: Path) -> None:
    """Time of a run is at most 1.1 of its slowest chain, where only waiting takes time: nothing waits in turn.

    By the clock of a loop in which time passes only where everything waits; on a wall the benchmark has it.
    """
    own, delays = 4.0, (6.0, 5.0, 4.0, 3.0, 2.0)
    clean = json.dumps({"findings": [], "score": 0})
    rating = json.dumps({"legibility": 4, "coverage": 4})
    monitors = [*(renamed(Trace(to=f"judge{place}"), f"trace-{place}") for place in range(4)), Legibility(to="judge4")]
    backends: dict[str, Any] = {"default": Scripted(lambda _: Sample(0, "ok", "I add."), delay=own)}
    for place, delay in enumerate(delays):
        backends[f"judge{place}"] = Scripted(clean if place < 4 else rating, delay=delay, profile=JUDGE)

    def chain(task: Task) -> Planning[str]:
        yield from think("solve", task.request)
        yield from think("solve", task.request)
        return "ok"

    loop = SeededLoop(random.Random(1))
    agent = Scaffold(chain, backends=backends, monitors=monitors, journal=FileJournal(tmp_path, fsync=unsynced))
    outcome = loop.run_until_complete(agent.solve(Task(prompt="Add")))
    loop.drain()
    assert outcome.answer == "ok"
    assert {name: each.questions for name, each in outcome.overseers.items()} == {
        "legibility": 2,
        **{f"trace-{place}": 2 for place in range(4)},
    }
    slowest = 2 * (own + max(delays))
    assert slowest <= loop.elapsed <= 1.1 * slowest

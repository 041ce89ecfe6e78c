"""What reading the reasoning costs: the figures that `benchmarks/reading.py` prints are kept to."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold import Planning, Scaffold, Task, think
from scaffold.machinery.streams import Reading
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Delta, Profile, Sample
from scaffold_monitors.legibility import Legibility
from scaffold_monitors.suspicion import Trace
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
    for _ in range(7):
        reading = Reading(watch.spec, "", lambda: watch.open(None, None, None), binds=True)  # type: ignore[arg-type]  # it uses none
        began = time.process_time()
        for delta in deltas:
            assert not reading.feed(delta)
        best = min(best, (time.process_time() - began) / len(deltas))
    assert best < 50e-6


def renamed(monitor: Any, name: str) -> Any:
    """A monitor under another name."""
    monitor.spec = msgspec.structs.replace(monitor.spec, name=name)
    return monitor


def test_five_model_monitors_take_the_time_of_the_slowest(tmp_path: Path) -> None:
    """Wall time of a run is at most 1.1 of its slowest chain: the model's own time and the slowest monitor's."""
    own, delays = 0.4, (0.6, 0.5, 0.4, 0.3, 0.2)
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

    best = float("inf")
    for number in range(3):
        journal = FileJournal(tmp_path / str(number))
        agent = Scaffold(chain, backends=backends, monitors=monitors, journal=journal)
        began = time.perf_counter()
        outcome = agent.solve_sync(Task(prompt="Add"))
        best = min(best, time.perf_counter() - began)
        assert outcome.answer == "ok"
        assert {name: each.questions for name, each in outcome.overseers.items()} == {
            "legibility": 2,
            **{f"trace-{place}": 2 for place in range(4)},
        }
        if best <= 1.1 * 2 * (own + max(delays)):
            break
    assert best <= 1.1 * 2 * (own + max(delays))

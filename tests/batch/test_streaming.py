"""A batch holds what is under way in memory, not what waits."""

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaffold import Scaffold, Task
from scaffold.batch.items import Fault, Item, Line, Ready, read_lines
from scaffold.batch.results import Results
from scaffold.batch.runner import Runner, Tally
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal


class Quiet:
    """Watches without a word."""

    def __init__(self) -> None:
        self.most = 0
        self.running = 0

    def preparing(self, what: str, fraction: float) -> None: ...

    def began(self, item: Item) -> None:
        self.running += 1
        self.most = max(self.most, self.running)

    def ended(self, item: Item, row: dict[str, Any], tally: Tally) -> None:
        self.running -= 1

    def passed(self, tally: Tally) -> None: ...

    def fault(self, message: str, tally: Tally) -> None: ...

    def say(self, text: str) -> None: ...


def test_lines_are_read_as_a_stream(tmp_path: Path) -> None:
    """Twenty megabytes of inputs take a tenth of that, or less, to read through."""
    path = tmp_path / "in.jsonl"
    row = json.dumps({"text": "x" * 10_000})
    path.write_text(f"{row}\n" * 2_000)
    tracemalloc.start()
    try:
        count = sum(isinstance(line, Line) for line in read_lines(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 2_000
    assert peak < 2_000_000


def test_no_task_is_made_before_its_turn(tmp_path: Path) -> None:
    """Of 60 tasks, four at once, no more than those under way are made, and never more than four run."""
    watcher, journal = Quiet(), FileJournal(tmp_path / "runs")
    runner = Runner(journal, watcher, at_once=4)
    backend = Scripted("ok", delay=0.002)
    agent = Scaffold("direct", backends={"default": backend}, monitors=[], journal=journal, on_event=runner.hear)
    ahead = []
    made = 0

    def ready() -> Ready:
        nonlocal made
        made += 1
        ahead.append(made - runner.tally.done)
        return Ready(agent, Task(prompt="Say ok"), {})

    def items() -> Iterator[Item | Fault]:
        for number in range(60):
            yield Item("here", str(number), "asked", {}, ready)

    with Results(tmp_path / "r.jsonl", "batch") as results:
        tally = asyncio.run(runner.run(items(), results))
    assert (tally.statuses["solved"], made) == (60, 60)
    assert max(ahead) <= 4
    assert watcher.most == 4

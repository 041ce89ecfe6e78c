"""Deterministic simulation of engine, gate and journal: one seed gives one schedule, one set of faults, one trace.

    result = simulate(42, folder)
    assert not result.faults, result

The seed decides the task with its budgets; the planner; backends, monitors, actions, people and a disk that fail in
every way their interfaces allow; the order in which ready callbacks run; and where the process dies, to be resumed.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.agent import Scaffold
from scaffold.errors import JournalFailed, ScaffoldError
from scaffold.interfaces import Answer
from scaffold.testing.judging import (
    Story,
    overspent,
    read_story,
    wrong_approvals,
    wrong_clearances,
    wrong_effects,
    wrong_end,
)
from scaffold.testing.random_planners import Node, draw_tree, planner_of
from scaffold.testing.seeded_loop import SeededLoop, Stalled
from scaffold.testing.simulated_world import (
    Crash,
    SimulatedBackend,
    SimulatedJournal,
    SimulatedMonitor,
    SimulatedPerson,
    Temper,
    World,
    actions_of,
)
from scaffold.trace.files import SPINE
from scaffold.trace.parts import content_lines
from scaffold.vocabulary.task import Budget, Oversight, Task

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from scaffold.interfaces import Journal
    from scaffold.testing.simulated_database import SimulatedDatabase
    from scaffold.vocabulary.outcome import Outcome

_LIVES = 6
_STEPS = 150  # mean number of callbacks until a process is killed between two of them
_PART = 700  # bytes
_ASKED_AGAIN = 0.4  # share of ended runs that are replayed, since that costs as much as running them
_ACTIONS = ("look", "put", "move", "send")


@dataclass(slots=True)
class Simulated:
    """The result of one seed.

    Attributes:
        seed: the seed.
        lives: how each process ended: a status, or what killed it.
        story: the trace as read by the judge.
        faults: what is wrong, in words.
        trace: the bytes of the spine and of the contents.
        points: every point that was reached, in order.
    """

    seed: int
    lives: list[str] = field(default_factory=list)
    story: Story | None = None
    faults: list[str] = field(default_factory=list)
    trace: bytes = b""
    points: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = "".join(f"\n  - {fault}" for fault in self.faults)
        return f"seed {self.seed} ({' -> '.join(self.lives)}):{said}\n  again: simulate({self.seed}, folder)"


def simulate(
    seed: int,
    folder: Path,
    *,
    tree: tuple[Node, ...] | None = None,
    temper: Temper | None = None,
    database: bool = False,
) -> Simulated:
    """Run everything under one seed, and judge it.

    Args:
        seed: decides all that happens.
        folder: an empty folder for the run.
        tree: the planner; by default drawn from the seed.
        temper: the probabilities of faults; by default drawn from the seed.
        database: whether to keep runs in a database, which then has the faults of the disk.
    """
    source = random.Random(f"simulation {seed}")  # noqa: S311 - repeatable
    setting = Setting(source, folder, tree, temper, database=database)
    if seed % 4 == 3:  # noqa: PLR2004 - one in four: its runs are long enough to have several parts
        setting.world.part = _PART
    result = Simulated(seed)
    collecting = gc.isenabled()
    gc.disable()  # the time of garbage collection does not depend on the seed
    try:
        setting.live(result)
        result.faults += judge(setting, result)
    finally:
        if collecting:
            gc.enable()
    result.points = setting.world.points
    return result


class Setting:
    """Everything drawn from one seed."""

    def __init__(
        self,
        source: random.Random,
        folder: Path,
        tree: tuple[Node, ...] | None,
        temper: Temper | None,
        *,
        database: bool = False,
    ) -> None:
        self.source = source
        self.world = World(source, temper or Temper.draw(source), folder)
        self.database: SimulatedDatabase | None = None
        if database:
            from scaffold.testing.simulated_database import SimulatedDatabase

            self.database = SimulatedDatabase(self.world)
        self.task = _draw_task(source)
        self.tree = draw_tree(source, _ACTIONS) if tree is None else tree
        self.monitors = [
            SimulatedMonitor(self.world, f"m{number}", source) for number in range(source.choice((0, 1, 1, 2, 3)))
        ]
        self.backend = SimulatedBackend(self.world)
        self.with_person = source.random() < 0.7  # noqa: PLR2004 - mostly

    def agent(self, journal: Journal | None = None, *, people: bool = True) -> Scaffold:
        """Make a new process's agent; nothing is left of the last one but what the journal keeps."""
        return Scaffold(
            planner_of(self.tree),
            backends={"default": self.backend, "judge": self.backend},
            monitors=self.monitors,
            actions=actions_of(self.world),
            approvers=[SimulatedPerson(self.world)] if people and self.with_person else [],
            journal=journal or self.journal(),
            surroundings=self.world.surroundings(),
        )

    def journal(self) -> Journal:
        """Make a new process's journal."""
        # Long leases, since a life that waits for people would renew its claim many times.
        return SimulatedJournal(self.world) if self.database is None else self.database.journal(lease=1e6)

    def live(self, result: Simulated) -> None:
        """Run and resume until the run has ended or a limit is reached."""
        run = ""
        for _ in range(_LIVES):
            agent = self.agent()
            said = self.one_life(agent, run)
            result.lives.append(said if isinstance(said, str) else said.status)
            if isinstance(said, str) and said.startswith("fault: "):
                result.faults.append(said)
                return
            run = self.stored()
            if not isinstance(said, str):
                if run:
                    result.faults += _after_life(self.world.root / run, said)
                if said.status in {"solved", "failed", "stopped"}:
                    break
            if run:
                self._answer_inbox(run)
        if run:
            self._end_in_peace(run, result)

    def _end_in_peace(self, run: str, result: Simulated) -> None:
        """Check that an ended run gives its outcome again by a replay of its trace alone."""
        if result.lives[-1] not in {"solved", "failed", "stopped"} or self.source.random() > _ASKED_AGAIN:
            return
        self.world.crashes_left = 0
        again = self.one_life(self.agent(), run)
        if isinstance(again, str):
            result.faults.append(f"the finished run, resumed, is {again}")
        elif again.status != result.lives[-1]:
            result.faults.append(f"it was {result.lives[-1]}, but resumed it is {again.status}")

    def one_life(self, agent: Scaffold, run: str) -> Outcome | str:
        """Run one process; return its outcome, or how it died."""
        source = self.source
        since = source.choice((0.0, 0.0, 10.0, 1_000.0, 1e5)) if run else 0.0  # approvals expire meanwhile
        loop = self.world.clock.loop = SeededLoop(source, elapsed=self.world.clock.monotonic() + since)
        work: Coroutine[Any, Any, Outcome] = agent.resume(run) if run else agent.solve(self.task)
        if self.world.temper.crash:
            loop.steps, loop.trouble = int(source.expovariate(1 / _STEPS)), self.world.die_between_steps
        if source.random() < 0.1:  # noqa: PLR2004 - seldom
            loop.call_later(source.random() * 10, agent.interrupt)
        try:
            return loop.run_until_complete(work)
        except Crash as crash:
            return f"killed at {crash}"
        except Stalled as stalled:
            return f"fault: {stalled}"
        except JournalFailed:
            return "the disk failed"
        except ScaffoldError as error:
            if self.database is not None and run and not self.database.has(run):
                return "the database forgot all of it"  # nothing of it was ever to be durable
            return f"fault: {type(error).__name__}: {error}"
        finally:
            self.world.dead = True
            loop.drain()
            self.world.dead = False
            if self.database is not None:
                self.database.copy_out()
                self.database.let_leases_run_out()

    def stored(self) -> str:
        """Return the run in the folder; empty if nothing was written."""
        traces = (path for path in self.world.root.glob("*/trace.jsonl") if path.stat().st_size)
        return max((path.parent.name for path in traces), default="")

    def post(self, run: str, answer: Answer) -> None:
        """Put an answer into the run's inbox, from outside."""
        if self.database is not None:
            self.database.put(run, answer.id, answer.by, msgspec.json.encode(answer))
            return
        loop = SeededLoop(self.source, elapsed=self.world.clock.monotonic())
        loop.run_until_complete(SimulatedJournal(self.world).post(run, answer))
        loop.close()

    def _answer_inbox(self, run: str) -> None:
        for event in read_story(self.world.root / run).of("approval.asked", "question.asked"):
            if self.source.random() < 0.6:  # noqa: PLR2004 - mostly
                granted = self.source.random() < 0.7  # noqa: PLR2004 - mostly
                answer = Answer(id=event["id"], digest=event["digest"], granted=granted, value="red", by="the inbox")
                self.post(run, answer)


def _draw_task(source: random.Random) -> Task:
    budget = Budget(
        tokens=source.choice((1_000_000, 1_000_000, 20_000, 6_000)),
        steps=source.choice((1_000, 1_000, 12, 4)),
        actions=source.choice((100, 100, 3, 1, 0)),
        seconds=source.choice((3600.0, 3600.0, 15.0)),
    )
    oversight = Oversight(
        unmonitored=source.random() < 0.8,  # noqa: PLR2004 - mostly
        rounds=source.choice((2, 5, 20)),
        resamples=source.choice((0, 2)),
        approval_timeout_s=source.choice((100.0, 86_400.0)),
    )
    inputs = {"paper": "read me"} if source.random() < 0.5 else {}  # noqa: PLR2004 - either
    untrusted = ("paper",) if inputs and source.random() < 0.5 else ()  # noqa: PLR2004 - either
    return Task(
        prompt="do it",
        inputs=inputs,
        untrusted=untrusted,
        budget=budget,
        oversight=oversight,
        concurrency=source.choice((1, 2, 16)),
    )


def _after_life(folder: Path, outcome: Outcome) -> Iterator[str]:
    """Check what must hold after a process has returned an outcome; one that could not write says `unavailable`."""
    if outcome.status != "unavailable" and outcome.run == folder.name:
        yield from wrong_end(read_story(folder), outcome.status)


def judge(setting: Setting, result: Simulated) -> Iterator[str]:
    """Find what is wrong with the runs of a seed, by their lines and their effects outside."""
    if setting.database is not None:
        yield from setting.database.findings
    for folder in sorted(path.parent for path in setting.world.root.glob("*/trace.jsonl")):
        story = result.story = read_story(folder)
        story.observers = frozenset(each.spec.name for each in setting.monitors if each.spec.mode == "observe")
        result.trace += (folder / SPINE).read_bytes() + b"".join(content_lines(folder))
        yield from story.faults
        yield from wrong_clearances(story)
        yield from wrong_approvals(story)
        yield from wrong_effects(story, setting.world.effects, {"send"})
        yield from overspent(story, setting.task)

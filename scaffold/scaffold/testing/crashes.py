"""Kills a run with SIGKILL at every point it reaches, resumes it in another process, and compares.

    def make_agent(stage: Stage) -> Scaffold:
        return Scaffold(my_planner, journal=stage.journal, surroundings=stage.surroundings, actions=[...])

    cases = crash_matrix(make_agent, Task(prompt="..."), tmp_path, opaque={"send"})
    assert not [case for case in cases if case.faults]

`make_agent` has to be a function of a module's top level: two other processes, with different hash seeds,
import its file. The actions leave their effects in `stage.effects`, which no crash reaches: it is the judge.
"""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from scaffold.machinery.points import POINTS
from scaffold.testing.crash_worker import Order, Ran, Stage
from scaffold.testing.effects import EffectLedger
from scaffold.testing.judging import Story, read_story, wrong_clearances, wrong_effects, wrong_end

if TYPE_CHECKING:
    from scaffold.agent import Scaffold
    from scaffold.vocabulary.task import Task

__all__ = ["Case", "Stage", "crash_matrix"]


@dataclass(frozen=True, slots=True)
class Case:
    """One crash, and what came after it.

    Attributes:
        point: where the process was killed.
        nth: at which of its visits there, counted from 1.
        status: how the resumed run ended.
        answer: what it answered.
        actions: what became of each action, by key.
        faults: what is wrong, in words; empty when all held.
        folder: what the case left behind.
    """

    point: str
    nth: int
    status: str
    answer: Any
    actions: dict[str, str]
    faults: tuple[str, ...]
    folder: Path

    def __str__(self) -> str:
        said = "; ".join(self.faults) or "as it should be"
        return f"killed at {self.point} #{self.nth}: {said} ({self.folder})"


def crash_matrix(
    make_agent: Callable[[Stage], Scaffold],
    task: Task,
    folder: Path,
    *,
    opaque: Iterable[str] = (),
    points: Sequence[str] = POINTS,
    says: str = "yes",
    grants: bool = True,
) -> list[Case]:
    """Run a task once in peace, then once for each visit to each point, killed there and resumed.

    Args:
        make_agent: makes the agent, on the stage it is given.
        task: what it solves.
        folder: an empty folder; what went well is removed from it.
        opaque: names of actions whose target neither removes duplicates nor can be asked.
        points: where to kill.
        says: the answer to every question of the run.
        grants: the answer to every approval it asks for.

    Returns:
        The cases, in the order in which the points stand in `points`.

    Raises:
        RuntimeError: the run cannot be completed in peace.
    """
    file, name = inspect.getsourcefile(make_agent), make_agent.__qualname__
    if file is None or "." in name:
        raise TypeError(f"{name} has to be a function at the top level of a file")
    order = Order(folder=str(folder / "peace"), task=task.model_dump(mode="json"), says=says, grants=grants)
    with _Worker(file, name, hash_seed=1) as first, _Worker(file, name, hash_seed=2) as second:
        peace = first.run(order)
        if peace.error or not peace.status:
            raise RuntimeError(f"the run does not get to an end in peace: {peace.error or 'it was killed'}")
        judge = _Judge(peace, _story(folder / "peace"), frozenset(opaque))
        cases = []
        for point in points:
            for nth in range(1, peace.reached.get(point, 0) + 1):
                place = folder / f"{point.replace(':', '-')}-{nth}"
                begun = msgspec.structs.replace(order, folder=str(place), point=point, nth=nth)
                killed = first.run(begun)
                resumed = second.run(msgspec.structs.replace(begun, resume=True, point="")) if killed.killed else killed
                cases.append(judge.case(begun, killed, resumed))
                if not cases[-1].faults:
                    shutil.rmtree(place)
    return cases


class _Worker:
    """The other end of a crash worker."""

    def __init__(self, file: str, function: str, *, hash_seed: int) -> None:
        command = [sys.executable, "-m", "scaffold.testing.crash_worker", file, function]
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": paths}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, order: Order) -> Ran:
        """Have one order carried out."""
        Path(order.folder).mkdir(parents=True, exist_ok=True)
        into, out = self._process.stdin, self._process.stdout
        assert into is not None and out is not None  # noqa: PT018, S101 - pipes were asked for
        into.write(msgspec.json.encode(order) + b"\n")
        into.flush()
        said = out.readline()
        if not said:
            raise RuntimeError("the crash worker is gone; what it said stands above")
        return msgspec.json.decode(said, type=Ran)


def _story(place: Path) -> Story:
    runs = sorted(path for path in (place / "runs").glob("*/") if (path / "trace.jsonl").stat().st_size)
    return read_story(runs[-1])


@dataclass(frozen=True, slots=True)
class _Judge:
    peace: Ran
    told: Story
    opaque: frozenset[str]

    def case(self, order: Order, killed: Ran, resumed: Ran) -> Case:
        place = Path(order.folder)
        faults = tuple(self._faults(place, killed, resumed))
        return Case(order.point, order.nth, resumed.status, resumed.answer, resumed.actions, faults, place)

    def _faults(self, place: Path, killed: Ran, resumed: Ran) -> Iterator[str]:
        if not killed.killed:
            yield f"the point was not reached again: {killed.error or killed.status}"
            return
        if resumed.error:
            yield f"resuming raised {resumed.error}"
            return
        story = _story(place)
        yield from story.faults
        yield from wrong_clearances(story)
        yield from wrong_effects(story, EffectLedger(place / "effects").lines(), self.opaque)
        yield from wrong_end(story, resumed.status)
        unknown = {event["key"] for event in story.of("action.outcome") if event["status"] == "unknown"}
        yield from _not_in_doubt(story, unknown, self.opaque)
        if not unknown:
            yield from self._differences(story, resumed)

    def _differences(self, story: Story, resumed: Ran) -> Iterator[str]:
        """What the planner could tell from the run in peace; it must not be able to tell anything."""
        if (resumed.status, resumed.answer) != (self.peace.status, self.peace.answer):
            yield f"it is {resumed.status} with {resumed.answer!r} ({resumed.reason})"
            yield f"in peace it was {self.peace.status} with {self.peace.answer!r}"
        if story.moves() != self.told.moves():
            yield "the planner asked something else than in peace"


def _not_in_doubt(story: Story, unknown: set[str], opaque: frozenset[str]) -> Iterator[str]:
    """Only what is opaque, and had an intent without an outcome when the process died, may be unknown."""
    open_intents: dict[str, str] = {}
    doubtful: set[str] = set()
    for event in story.events:
        match event["kind"]:
            case "action.intent":
                open_intents[event["key"]] = event["action"]
            case "action.outcome":
                open_intents.pop(event["key"], None)
            case "run.resumed":
                doubtful |= {key for key, action in open_intents.items() if action in opaque}
            case _:
                pass
    yield from (f"the action at {key} is unknown without need" for key in sorted(unknown - doubtful))

"""Kills a run with SIGKILL at every point it reaches, resumes it in another process, and compares.

    def make_agent(stage: Stage) -> Scaffold:
        return Scaffold(my_planner, journal=stage.journal, surroundings=stage.surroundings, actions=[...])

    cases = crash_matrix(make_agent, Task(prompt="..."), tmp_path, opaque={"send"})
    assert not [case for case in cases if case.faults]

`make_agent` must be a top-level function of a module, since two other processes, with different hash seeds, import its
file. The actions leave their effects in `stage.effects`, which no crash can touch and by which runs are judged. Another
agent's loop around a `Gate` is tested in the same way, as an object with the methods of `Solver`.
"""

from __future__ import annotations

import inspect
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.machinery.recording.points import POINTS
from scaffold.testing.crash_worker import Order, Ran, Solver, Stage, journal_at
from scaffold.testing.effects import EffectLedger
from scaffold.testing.judging import Story, read_story, wrong_clearances, wrong_effects, wrong_end

if TYPE_CHECKING:
    from scaffold.vocabulary.task import Task

__all__ = ["Case", "CrashWorkers", "Loop", "Solver", "Stage", "crash_matrix", "kill_loops"]

_MOST_KILLS = 500
_SHORTEST = 8  # points within which every run makes progress


@dataclass(frozen=True, slots=True)
class Case:
    """One crash, and the resumed run.

    Attributes:
        point: the point where the process was killed.
        nth: the number of its visit there, from 1.
        status: how the resumed run ended.
        answer: what it answered.
        actions: each action's outcome, by key.
        faults: what is wrong, in words; empty if all is well.
        folder: the folder with what the case left behind.
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


def _in_files(folder: Path) -> str:
    return str(folder / "runs")


def crash_matrix(  # noqa: PLR0913 - all that a matrix can be narrowed by
    make_agent: Callable[[Stage], Solver],
    task: Task,
    folder: Path,
    *,
    opaque: Iterable[str] = (),
    points: Sequence[str] = POINTS,
    visits: int | None = None,
    says: str = "yes",
    grants: bool = True,
    place: Callable[[Path], str] = _in_files,
    workers: CrashWorkers | None = None,
) -> list[Case]:
    """Run a task once undisturbed, then once for each visit to each point, killed there and resumed.

    Args:
        make_agent: makes the agent, on the stage it is given.
        task: the task.
        folder: an empty folder; cases without faults are removed from it.
        opaque: names of actions whose target neither removes duplicates nor can be asked.
        points: the points where to kill.
        visits: at how many of its visits to each, spread from the first to the last; None for all.
        says: the answer to every question of the run.
        grants: the answer to every approval it asks for.
        place: where the runs of a case are kept: a folder, or a database of its own with the journal's tables.
        workers: the processes to use; by default two that are started for it, which takes a second or two.

    Returns:
        The cases, in the order in which the points stand in `points`.

    Raises:
        RuntimeError: the undisturbed run does not complete.
    """
    where, task_said = folder / "peace", task.model_dump(mode="json")
    order = Order(
        agent=_named(make_agent), folder=str(where), place=place(where), task=task_said, says=says, grants=grants
    )
    with _given(workers) as (first, second):
        judge = _peace(first, order, opaque)
        cases = []
        for point in points:
            for nth in _spread(judge.peace.reached.get(point, 0), visits):
                where = folder / f"{point.replace(':', '-')}-{nth}"
                begun = msgspec.structs.replace(order, folder=str(where), place=place(where), point=point, nth=nth)
                killed = first.run(begun)
                again = msgspec.structs.replace(begun, resume=True, point="", nth=0)
                resumed = second.run(again) if killed.killed else killed
                cases.append(judge.case(begun, killed, resumed))
                if not cases[-1].faults:
                    shutil.rmtree(where)
    return cases


def _spread(reached: int, visits: int | None) -> list[int]:
    if visits is None or reached <= visits:
        return list(range(1, reached + 1))
    return sorted({1 + round(place * (reached - 1) / max(1, visits - 1)) for place in range(visits)})


@dataclass(frozen=True, slots=True)
class Loop:
    """A run that was killed again and again until it completed.

    Attributes:
        kills: the number of kills.
        case: the result.
    """

    kills: int
    case: Case


def kill_loops(
    make_agent: Callable[[Stage], Solver],
    tasks: Iterable[Task],
    folder: Path,
    source: random.Random,
    *,
    opaque: Iterable[str] = (),
    place: Callable[[Path], str] = _in_files,
    workers: CrashWorkers | None = None,
) -> Iterator[Loop]:
    """Run each task undisturbed, then again, killed repeatedly after random numbers of points until it completes.

    Args:
        make_agent: makes the agent, on the stage it is given.
        tasks: what it solves.
        folder: an empty folder; what went well is removed from it.
        source: how long each life is.
        opaque: names of actions whose target neither removes duplicates nor can be asked.
        place: where the runs of a task are kept.
        workers: as for `crash_matrix`.

    Raises:
        RuntimeError: an undisturbed run does not complete, or a killed one does not end.
    """
    agent = _named(make_agent)
    with _given(workers) as pair:
        for number, task in enumerate(tasks):
            peaceful = folder / f"peace-{number}"
            order = Order(agent=agent, folder=str(peaceful), place=place(peaceful), task=task.model_dump(mode="json"))
            judge = _peace(pair[0], order, opaque)
            where, kills = folder / f"loop-{number}", 0
            order = msgspec.structs.replace(order, folder=str(where), place=place(where))
            longest = _SHORTEST + judge.peace.reached_in_all // 2
            while True:
                ran = pair[kills % 2].run(msgspec.structs.replace(order, nth=source.randint(1, longest)))
                if not ran.killed:
                    break
                kills += 1
                order = msgspec.structs.replace(order, resume=True)
                if kills > _MOST_KILLS:
                    raise RuntimeError(f"the run has not ended after {kills} kills: {where}")
            case = judge.case(order, Ran(killed=True), ran)
            if not case.faults:
                shutil.rmtree(where)
                shutil.rmtree(peaceful)
            yield Loop(kills, case)


def _named(make_agent: Callable[[Stage], Solver]) -> tuple[str, str]:
    file, name = inspect.getsourcefile(make_agent), make_agent.__qualname__
    if file is None or "." in name:
        raise TypeError(f"{name} should be a function at the top level of a file")
    return file, name


class CrashWorkers:
    """Two processes that import agents, under different hash seeds; several matrices in turn may share them."""

    def __init__(self) -> None:
        self._pair: tuple[_Worker, _Worker] | None = None

    def __enter__(self) -> tuple[_Worker, _Worker]:
        if self._pair is None:
            self._pair = _Worker(hash_seed=1), _Worker(hash_seed=2)
        return self._pair

    def __exit__(self, *_: object) -> None:
        pair, self._pair = self._pair, None
        for worker in pair or ():
            worker.close()


@contextmanager
def _given(workers: CrashWorkers | None) -> Iterator[tuple[_Worker, _Worker]]:
    if workers is not None:
        yield workers.__enter__()  # the caller who passed them stops them
    else:
        with CrashWorkers() as pair:
            yield pair


def _peace(worker: _Worker, order: Order, opaque: Iterable[str]) -> _Judge:
    """Run undisturbed; return a judge that compares other runs with it."""
    peace = worker.run(order)
    if peace.error or not peace.status:
        raise RuntimeError(f"the undisturbed run failed: {peace.error or 'it was killed'}")
    return _Judge(peace, _story(order.place), frozenset(opaque))


class _Worker:
    """The other end of a crash worker."""

    def __init__(self, *, hash_seed: int) -> None:
        command = [sys.executable, "-m", "scaffold.testing.crash_worker"]
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": paths}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def close(self) -> None:
        """End it."""
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
            raise RuntimeError("the crash worker died; its output is above")
        return msgspec.json.decode(said, type=Ran)


def _story(place: str) -> Story:
    journal = journal_at(place)
    folders = [journal.folder(run) for run in journal.runs()]
    return read_story([folder for folder in folders if (folder / "trace.jsonl").stat().st_size][-1])


@dataclass(frozen=True, slots=True)
class _Judge:
    peace: Ran
    told: Story
    opaque: frozenset[str]

    def case(self, order: Order, killed: Ran, resumed: Ran) -> Case:
        place = Path(order.folder)
        faults = tuple(self._faults(order, killed, resumed))
        return Case(order.point, order.nth, resumed.status, resumed.answer, resumed.actions, faults, place)

    def _faults(self, order: Order, killed: Ran, resumed: Ran) -> Iterator[str]:
        if not killed.killed:
            yield f"the point was not reached again: {killed.error or killed.status}"
            return
        if resumed.error:
            yield f"resuming raised {resumed.error}"
            return
        story = _story(order.place)
        yield from story.faults
        yield from wrong_clearances(story)
        yield from wrong_effects(story, EffectLedger(Path(order.folder, "effects")).lines(), self.opaque)
        yield from wrong_end(story, resumed.status)
        unknown = {event["key"] for event in story.of("action.outcome") if event["status"] == "unknown"}
        yield from _not_in_doubt(story, unknown, self.opaque)
        if not unknown:
            yield from self._differences(story, resumed)

    def _differences(self, story: Story, resumed: Ran) -> Iterator[str]:
        """Find what the planner could tell from the undisturbed run; there must be nothing."""
        if (resumed.status, resumed.answer) != (self.peace.status, self.peace.answer):
            yield f"it is {resumed.status} with {resumed.answer!r} ({resumed.reason})"
            yield f"without kills it was {self.peace.status} with {self.peace.answer!r}"
        if story.moves() != self.told.moves():
            yield "the planner asked other things than without kills"


def _not_in_doubt(story: Story, unknown: set[str], opaque: frozenset[str]) -> Iterator[str]:
    """Find wrongly unknown outcomes: only opaque actions with an intent but no outcome at the kill may be unknown."""
    open_intents: dict[str, str] = {}
    doubtful: set[str] = set()
    for event in story.events:
        match event["kind"]:
            case "action.intent":
                open_intents[event["key"]] = event["action"]
            case "action.outcome" | "action.withdrawn":
                open_intents.pop(event["key"], None)
            case "run.resumed":
                doubtful |= {key for key, action in open_intents.items() if action in opaque}
            case _:
                pass
    yield from (f"the action at {key} is unknown, but its outcome is known" for key in sorted(unknown - doubtful))

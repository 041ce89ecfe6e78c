"""A process with everything imported that forks one child per case, so that a case takes milliseconds.

    python -m scaffold.testing.crash_worker

reads one order per line, and answers each with one line. The child runs the agent and kills itself with SIGKILL at the
point that the order names, from inside the transition, as an impatient supervisor would.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from scaffold.errors import RunHeld, TraceDamaged
from scaffold.interfaces import Answer, KeptRuns, Surroundings
from scaffold.testing.effects import EffectLedger
from scaffold.trace.files import FileJournal
from scaffold.trace.places import is_database
from scaffold.vocabulary.task import Task

if TYPE_CHECKING:
    from scaffold.vocabulary.outcome import Outcome

_SECONDS_A_CASE = 60
_ROUNDS_OF_ANSWERS = 20
_LEASE_S = 0.4


class Stage(msgspec.Struct, frozen=True):
    """What an agent under test is built on; it must use the first two.

    Attributes:
        journal: its journal.
        surroundings: its surroundings, which kill it.
        effects: the ledger of its actions' effects.
        folder: an empty folder for anything else it needs.
    """

    journal: KeptRuns
    surroundings: Surroundings
    effects: EffectLedger
    folder: Path


class Solver(Protocol):
    """What a crash test kills: a `Scaffold`, or another agent's loop around a `Gate`."""

    async def __aenter__(self) -> Any:
        """Begin to be used."""

    async def __aexit__(self, *_: object) -> None:
        """Let go of everything."""

    async def solve(self, task: Task, /) -> Outcome:
        """Solve a task in a new run."""

    async def resume(self, run: str, /) -> Outcome:
        """Go on with a run that was paused or cut off."""


class Order(msgspec.Struct):
    """One order: start a task, or resume the run in the folder.

    Attributes:
        agent: file and name of the function that makes the agent.
        folder: the case's folder.
        place: the place of its runs: a folder, or a database of its own.
        point: the point at whose `nth` visit to be killed; if empty, at the `nth` point of any name.
        says: the answer to every question.
        grants: the answer to every approval.
    """

    agent: tuple[str, str]
    folder: str
    place: str
    task: dict[str, Any]
    resume: bool = False
    point: str = ""
    nth: int = 0
    says: str = "yes"
    grants: bool = True


class Ran(msgspec.Struct):
    """The result of an order.

    Attributes:
        killed: whether the point was reached, and the process killed.
        status: the outcome's status; empty if there is none.
        reached: how often each point was reached.
        error: the error raised instead of an outcome.
    """

    killed: bool = False
    status: str = ""
    answer: Any = None
    reason: str = ""
    actions: dict[str, str] = {}
    reached: dict[str, int] = {}
    error: str = ""

    @property
    def reached_in_all(self) -> int:
        """How many points were reached."""
        return sum(self.reached.values())


def stage_in(folder: Path, place: str, reach: Callable[[str], None]) -> Stage:
    """Build the stage of one case."""
    return Stage(journal_at(place), Surroundings(reach=reach), EffectLedger(folder / "effects"), folder)


def journal_at(place: str) -> KeptRuns:
    """Open the journal of a place; claims on a database expire soon, so that the next case need not wait long."""
    if not is_database(place):
        return FileJournal(place)
    from scaffold.trace.postgres import PostgresJournal

    return PostgresJournal(place, lease=_LEASE_S)


def load(file: str, function: str) -> Callable[[Stage], Solver]:
    """Import the function that makes the agent from its file."""
    made: Callable[[Stage], Solver] = getattr(_module(file), function)
    return made


@cache
def _module(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("agent_under_test", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = sys.modules["agent_under_test"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def _carry_out(agent: Solver, order: Order, journal: KeptRuns) -> Outcome:
    """Solve or resume, and answer the run's questions through its inbox."""
    async with agent:
        begun = _begun(journal) if order.resume else []
        try:
            outcome = await (_resume(agent, begun[0]) if begun else agent.solve(Task.model_validate(order.task)))
        except TraceDamaged:
            if _begun(journal):
                raise
            outcome = await agent.solve(Task.model_validate(order.task))  # nothing was written yet but a torn line
        for _ in range(_ROUNDS_OF_ANSWERS):
            if outcome.status != "waiting":
                break
            async for record in journal.read(outcome.run):
                await _answer(journal, outcome.run, order, record.line)
            outcome = await agent.resume(outcome.run)
    return outcome


def _begun(journal: KeptRuns) -> list[str]:
    """Return the runs that have written anything."""
    return [run for run in journal.runs() if (journal.folder(run) / "trace.jsonl").stat().st_size]


async def _resume(agent: Solver, run: str) -> Outcome:
    """Resume a run as soon as the dead process's claim expires."""
    async with asyncio.timeout(_SECONDS_A_CASE):
        while True:
            try:
                return await agent.resume(run)
            except RunHeld:
                await asyncio.sleep(_LEASE_S / 4)


async def _answer(journal: KeptRuns, run: str, order: Order, line: bytes) -> None:
    event = msgspec.json.decode(line)
    if event["kind"] in {"approval.asked", "question.asked"}:
        answer = Answer(
            id=event["id"],
            digest=event["digest"],
            granted=order.grants,
            value=order.says,
            by="the crash test",
        )
        await journal.post(run, answer)


def _child(make: Callable[[Stage], Solver], order: Order) -> Ran:
    reached: Counter[str] = Counter()

    def reach(point: str) -> None:
        reached[point] += 1
        if order.nth and (reached[point] if point == order.point else not order.point and reached.total()) == order.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    stage = stage_in(Path(order.folder), order.place, reach)
    try:
        outcome = asyncio.run(_carry_out(make(stage), order, stage.journal))
    except Exception as error:  # noqa: BLE001 - reported to the judge
        return Ran(error=f"{type(error).__name__}: {error}", reached=reached)
    return Ran(
        status=outcome.status,
        answer=outcome.answer,
        reason=outcome.reason,
        actions={each.key: each.status for each in outcome.actions},
        reached=reached,
    )


def _fork(make: Callable[[Stage], Solver], order: Order) -> Ran:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(_SECONDS_A_CASE)
        said = msgspec.json.encode(_child(make, order))
        while said:
            said = said[os.write(writing, said) :]
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        killed = number == signal.SIGKILL
        return Ran(killed=killed, error="" if killed else f"died of {signal.Signals(number).name}")
    return msgspec.json.decode(said, type=Ran) if said else Ran(error="the child said nothing")


def _warm_up(make: Callable[[Stage], Solver], order: Order) -> None:
    """Run once in this process, so that children inherit imports and caches."""
    if is_database(order.place):
        importlib.import_module("psycopg_pool")
    with tempfile.TemporaryDirectory(dir=Path(order.folder).parent) as folder:
        place = str(Path(folder, "runs"))
        _child(make, msgspec.structs.replace(order, folder=folder, place=place, resume=False, point="", nth=0))
    gc.collect()
    gc.freeze()


def main() -> None:
    """Answer orders until there are no more."""
    orders = msgspec.json.Decoder(Order)
    warm = set()
    for line in sys.stdin.buffer:
        order = orders.decode(line)
        make = load(*order.agent)
        if order.agent not in warm:
            _warm_up(make, order)
            warm.add(order.agent)
        sys.stdout.buffer.write(msgspec.json.encode(_fork(make, order)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

"""Simulates two live workers on one database under one seed: the runs of a batch, delivered at least once.

    result = simulate_workers(42, folder)
    assert not result.faults, result

At any await a worker may be killed, freeze (for longer than its lease or not), be asked to leave, or have its clock
set; meanwhile statements are lost and the database crashes. The runs are carried by the production code (`Carrier`,
`Remote`, the Postgres journal); the simulated engine promises delivery at least once, and nothing else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from scaffold.errors import JournalFailed, ScaffoldError
from scaffold.interfaces import Answer
from scaffold.testing.judging import read_story, wrong_end
from scaffold.testing.seeded_loop import SeededLoop, Stalled
from scaffold.testing.simulated_process import Process
from scaffold.testing.simulated_world import Temper
from scaffold.testing.simulation import Setting, Simulated, judge
from scaffold.workers.carrying import Carrier
from scaffold.workers.remote import Delivery, Remote

if TYPE_CHECKING:
    from scaffold.agent import Scaffold
    from scaffold.interfaces import Surroundings
    from scaffold.testing.simulated_world import World
    from scaffold.vocabulary.outcome import Outcome
    from scaffold.workers.carrying import Carry

LEASE_S = 15.0
_STEPS = 100  # callbacks of a worker between faults, on average
_TROUBLES = 8
_LOOK_S = 2.0
_AGAIN_S = 20.0
_KIND_AFTER_S = 900.0
_ENOUGH_S = 40_000.0
_OVER = frozenset({"solved", "failed", "stopped", "exhausted"})


@dataclass(eq=False)
class _Job:
    run: str
    due: float = 0.0
    attempts: int = 0
    holder: object = None
    beaten: float = 0.0


class SimulatedEngine:
    """Delivers runs at least once, some twice at a time, and those of a worker without a sign of life to others."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: list[_Job] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to disconnect."""

    async def deliver(self, runs: Sequence[str]) -> None:
        """Have runs handed out."""
        await self._world.dawdle(0.05)
        self._jobs += [_Job(run) for run in runs]

    async def work(self, carry: Carry, *, at_once: int, heartbeat: float, drain: bool) -> None:
        """Take runs and go on with them, until cancelled."""
        worker, places = object(), asyncio.Semaphore(at_once)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(worker, heartbeat / 3))
            while True:
                await places.acquire()
                while (job := self._next(heartbeat)) is None:  # noqa: ASYNC110 - what is lost or due, only time tells
                    await asyncio.sleep(_LOOK_S)
                job.holder, job.beaten = worker, self._now()
                group.create_task(self._one(job, worker, carry, places))

    async def _one(self, job: _Job, worker: object, carry: Carry, places: asyncio.Semaphore) -> None:
        await self._world.dawdle(0.05)
        again = await carry(job.run, job.attempts)
        places.release()
        if again is None and job in self._jobs:
            self._jobs.remove(job)
        elif job.holder is worker:
            job.holder, job.due, job.attempts = None, self._now() + (again or 0.0), job.attempts + 1

    def _next(self, heartbeat: float) -> _Job | None:
        now, source = self._now(), self._world.source
        for job in self._jobs:
            lost = job.beaten < now - heartbeat or source.random() < 0.02  # noqa: PLR2004 - seldom, and needlessly
            if lost if job.holder is not None else job.due <= now:
                return job
        return None

    async def _beat(self, worker: object, seconds: float) -> None:
        while True:
            for job in self._jobs:
                if job.holder is worker:
                    job.beaten = self._now()
            await asyncio.sleep(seconds)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class _Carrier(Carrier):
    """Continues runs of one agent, which no file describes."""

    def __init__(self, journal: Any, agent: Scaffold, surroundings: Surroundings) -> None:
        super().__init__(journal, held=LEASE_S / 3, surroundings=surroundings)
        self._agents[b"the only one"] = agent

    async def _agent_of(self, run: str) -> Scaffold:
        return self._agents[b"the only one"]


class Fleet:
    """The workers of one seed, and the faults that happen to them."""

    def __init__(self, setting: Setting) -> None:
        assert setting.database is not None  # noqa: S101 - it was asked for
        self.setting = setting
        self.database = setting.database
        self.world = setting.world
        self.source = setting.source
        self.engine = SimulatedEngine(self.world)
        self.said: list[str] = []  # what happened to whom
        self.outcomes: dict[str, Outcome] = {}
        self._leaving: dict[Process, asyncio.Event] = {}
        self._troubles = _TROUBLES

    async def go(self) -> None:
        """Begin a batch's runs, have workers carry them, and wait until all have ended."""
        around = [asyncio.ensure_future(work) for work in (self._worker("a"), self._worker("b"), self._people())]
        batch = Process("the batch", 0, self._trouble, mortal=False).start(self._batch())
        async with asyncio.timeout(_ENOUGH_S):
            done, _ = await asyncio.wait({batch, *around}, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()

    # --- workers

    async def _worker(self, name: str) -> None:
        """Run worker processes one after another, as a supervisor would."""
        while True:
            process = Process(f"worker {name}", self._steps(), self._trouble)
            self._leaving[process] = asyncio.Event()
            work, over = process.start(self._work(process)), asyncio.ensure_future(process.over.wait())
            await asyncio.wait({work, over}, return_when=asyncio.FIRST_COMPLETED)
            if not process.dead:
                work.result()  # it ended by itself, which is an error
            await asyncio.sleep(self.source.choice((0.0, 1.0, 2 * LEASE_S)))

    async def _work(self, process: Process) -> None:
        journal = self.database.journal(lease=LEASE_S)
        carrier = _Carrier(journal, self.setting.agent(journal, people=False), self.world.surroundings())
        async with journal:
            working = asyncio.ensure_future(self.engine.work(carrier.carry, at_once=2, heartbeat=LEASE_S, drain=False))
            leaving = asyncio.ensure_future(self._leaving[process].wait())
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            carrier.leave()
            await carrier.left()
            working.cancel()
            await asyncio.wait({working})
        process.kill()

    def _steps(self) -> int:
        return 1 + int(self.source.expovariate(1 / _STEPS)) if self._troubles > 0 else 0

    def _trouble(self, process: Process) -> None:
        self._troubles -= 1
        process.steps = self._steps()
        match self.source.randrange(6):
            case 0 | 1:
                what = "killed"
                process.kill()
            case 2 | 3:
                seconds = self.source.choice((1.0, LEASE_S * 0.9, LEASE_S * 1.5, LEASE_S * 3))
                what = f"frozen for {seconds:g} s"
                process.freeze(self.world.clock.loop, seconds)
            case 4:
                what = "asked to leave"
                self._leaving[process].set()
            case _:
                process.offset += self.source.choice((-86_400.0, -3_600.0, 3_600.0, 86_400.0))
                what = f"by its clock {process.offset:g} s off"
        self.said.append(f"{process.name} {what} at {self.world.clock.monotonic():.1f} s")

    # --- who has runs carried, and who is asked

    async def _batch(self) -> None:
        journal = self.database.journal(lease=LEASE_S)
        agent = self.setting.agent(journal, people=False)
        async with journal:
            remote = Remote(agent, Delivery(self.engine, journal))
            await asyncio.gather(*(self._one_task(agent, remote) for _ in range(self.source.choice((1, 2, 3)))))

    async def _one_task(self, agent: Scaffold, remote: Remote) -> None:
        run = ""
        while True:
            try:
                run = run or await agent.submit(self.setting.task)
                outcome = await remote.resume(run)
            except JournalFailed:
                continue
            self.outcomes[run] = outcome
            if outcome.status in _OVER:
                return
            await asyncio.sleep(_AGAIN_S)  # it waits for people or was unavailable; try again as a new batch would

    async def _people(self) -> None:
        """Answer the runs' questions now and then; later without faults, so that every run ends."""
        answered: set[str] = set()
        while True:
            await asyncio.sleep(self.source.choice((5.0, 60.0)))
            if self.world.clock.monotonic() > _KIND_AFTER_S:
                self.world.temper = Temper(0, 0, 0, 0, 0, 0)
            for run, event in self.database.said("approval.asked", "question.asked"):
                if event["id"] in answered or self.source.random() < 0.4:  # noqa: PLR2004 - not at once
                    continue
                answered.add(event["id"])
                granted = self.source.random() < 0.7  # noqa: PLR2004 - mostly
                answer = Answer(id=event["id"], digest=event["digest"], granted=granted, value="red", by="somebody")
                self.database.put(run, answer.id, answer.by, msgspec.json.encode(answer))


def simulate_workers(seed: int, folder: Path) -> Simulated:
    """Run two workers under one seed, and judge the runs.

    Args:
        seed: decides all that happens.
        folder: an empty folder for the runs.
    """
    source = random.Random(f"workers {seed}")  # noqa: S311 - repeatable
    setting = Setting(source, folder, None, None, database=True)
    setting.world.temper = dataclasses.replace(setting.world.temper, crash=setting.world.temper.crash / 4)
    result, fleet = Simulated(seed), Fleet(setting)
    collecting = gc.isenabled()
    gc.disable()  # the time of garbage collection does not depend on the seed
    try:
        result.faults += _live(fleet)
        result.lives = [*fleet.said, *(outcome.status for outcome in fleet.outcomes.values())]
        result.faults += judge(setting, result)
        for run, outcome in fleet.outcomes.items():
            result.faults += wrong_end(read_story(folder / run), outcome.status)
    finally:
        if collecting:
            gc.enable()
    result.points = setting.world.points
    return result


def _live(fleet: Fleet) -> Iterator[str]:
    world = fleet.world
    loop = world.clock.loop = SeededLoop(fleet.source)
    try:
        loop.run_until_complete(fleet.go())
    except TimeoutError:
        yield f"after {_ENOUGH_S:g} s the runs have not come to their end: {fleet.outcomes}"
    except Stalled as stalled:
        yield str(stalled)
    except ScaffoldError as error:
        yield f"{type(error).__name__}: {error}"
    finally:
        world.dead = True
        loop.drain()
        world.dead = False
        fleet.database.copy_out()

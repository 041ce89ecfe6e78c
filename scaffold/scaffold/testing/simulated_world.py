"""A run's simulated surroundings, with faults drawn from a seed: backends, monitors, actions, people, the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BackendError, BackendUnavailable, BadResponse, ContextOverflow, NotPerformed
from scaffold.interfaces import Answer, Question, Surroundings
from scaffold.testing.effects import EffectLine
from scaffold.testing.seeded_loop import SeededClock
from scaffold.testing.simulated_process import PROCESS
from scaffold.trace.files import FileJournal
from scaffold.trace.parts import PART_BYTES, compress_parts
from scaffold.trace.writer import Write, Writer
from scaffold.vocabulary.actions import ActionSpec, Effect, Idempotency
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.models import FREE, Ability, Delta, Profile, ReasoningVisibility, Request, Usage
from scaffold.vocabulary.review import Decision, MonitorSpec, Subject, SubjectKind, Verdict

if TYPE_CHECKING:
    from scaffold.interfaces import Claim, Holder, ReviewContext, TraceView
    from scaffold.vocabulary.actions import Call
    from scaffold.vocabulary.clearance import Clearance

_FOREVER = 1e6
_SUBJECTS: tuple[SubjectKind, ...] = ("plan", "step", "stream", "action", "observation", "answer")


class Crash(BaseException):
    """The death of the process: a BaseException, so that nothing catches it and nothing more happens."""


@dataclass(frozen=True, slots=True)
class Temper:
    """The probability that each part fails at one use, 0 to 1."""

    backend: float
    monitor: float
    action: float
    person: float
    disk: float
    crash: float

    @staticmethod
    def draw(source: random.Random) -> Temper:
        """Draw probabilities; some worlds fail rarely, so that runs get far before something breaks."""
        backend, monitor, action, person = (source.choice((0.0, 0.0, 0.03, 0.1, 0.3)) for _ in range(4))
        disk, crash = source.choice((0.0, 0.0, 0.0, 0.02)), source.choice((0.0, 0.005, 0.02, 0.06))
        return Temper(backend, monitor, action, person, disk, crash)


class World:
    """The surroundings, which outlive a crash.

    Attributes:
        effects: the effects outside, in order.
        dead: whether the process that asks was killed, so that everything raises.
        points: every point reached so far, for comparing schedules.
        crashes_left: how often the process may still die at random.
        dies_after: points until it dies for certain; 0 or less means never.
        part: bytes after which a part of the content is full.
    """

    def __init__(self, source: random.Random, temper: Temper, root: Path) -> None:
        self.source = source
        self.temper = temper
        self.root = root
        self.clock = SeededClock()
        self.effects: list[EffectLine] = []
        self.epochs: dict[str, int] = {}  # the latest owner that a target has seen, by run
        self._dead = False
        self.crashes_left = 3
        self.dies_after = 0
        self.part = PART_BYTES
        self.points: list[str] = []

    @property
    def dead(self) -> bool:
        """See above."""
        process = PROCESS.get()
        return self._dead or (process is not None and process.dead)

    @dead.setter
    def dead(self, dead: bool) -> None:
        self._dead = dead

    def surroundings(self) -> Surroundings:
        """Return the surroundings of the run under test."""
        return Surroundings(clock=self.clock, random=self.source, reach=self.reach, look_s=3600.0)

    def reach(self, point: str) -> None:
        """Die here at random."""
        if self.dead:
            raise Crash
        self.points.append(point)
        self.dies_after -= 1
        process = PROCESS.get()
        mortal = process is None or process.mortal
        if not self.dies_after or (mortal and self.crashes_left and self.source.random() < self.temper.crash):
            raise self.die(point)

    def die(self, where: str) -> Crash:
        """Kill the current process, or the only one; return the error that it dies of."""
        self.crashes_left -= 1
        crash, process = Crash(where), PROCESS.get()
        if process is not None:
            process.kill()
        else:
            self.dead = True
            if self.clock.loop is not None:
                self.clock.loop.halted = crash
        return crash

    def die_between_steps(self) -> None:
        """Die at any await, not only at a named point, unless there were enough deaths already."""
        if self.crashes_left:
            self.die("an await")

    def fails(self, rate: float) -> bool:
        """Draw whether something fails."""
        return self.source.random() < rate

    async def dawdle(self, longest: float = 2.0) -> None:
        """Wait a random time, perhaps none."""
        for _ in range(self.source.choice((0, 0, 1, 2))):
            await asyncio.sleep(self.source.choice((0.0, self.source.random() * longest)))

    def happen(self, action: str, call: Call, arguments: Mapping[str, Any], result: Any) -> None:
        """Perform an effect."""
        if self.dead:
            raise Crash
        self.effects.append(EffectLine(action, call.run, call.key, dict(arguments), result))

    def admits(self, call: Call) -> bool:
        """Whether a target that remembers owners accepts a call; it refuses those of a superseded owner."""
        latest = self.epochs[call.run] = max(call.epoch, self.epochs.get(call.run, 0))
        return call.epoch == latest

    def find(self, key: str) -> EffectLine | None:
        """Look an effect up."""
        return next((line for line in self.effects if line.key == key), None)


class SimulatedWriter(Writer):
    """Compresses full parts in the loop or not at all, since a thread would outlive a killed process with its lock."""

    def __init__(self, folder: Path, write: Write, world: World, *, create: bool) -> None:
        super().__init__(folder, write, create=create, part=world.part)
        self._world = world

    def compress(self) -> None:
        if self._world.dead:
            raise Crash
        if not self._world.fails(self._world.temper.disk):
            self.uncompressed = False
            compress_parts(self._folder)


class SimulatedJournal(FileJournal):
    """The file journal on a disk that can be slow, full or broken, and that stops with its process."""

    def __init__(self, world: World) -> None:
        super().__init__(world.root, fsync=self._sync, write=self._put)
        self._world = world

    async def _sync(self, _descriptor: int) -> None:
        await self._world.dawdle(0.05)
        if self._world.dead:
            raise Crash
        if self._world.fails(self._world.temper.disk):
            raise OSError(errno.EIO, "the disk is broken")

    def _put(self, descriptor: int, data: bytes) -> int:
        if self._world.dead:
            raise Crash
        if self._world.fails(self._world.temper.disk):
            os.write(descriptor, data[: self._world.source.randrange(len(data))])
            raise OSError(errno.ENOSPC, "the disk is full")
        return os.write(descriptor, data[: self._world.source.choice((len(data), len(data), 100))])

    def _writer(self, folder: Path, *, create: bool) -> Writer:
        return SimulatedWriter(folder, self._put, self._world, create=create)

    async def sign(self, claim: Claim, note: str) -> None:
        if self._world.dead:
            raise Crash
        await super().sign(claim, note)

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        if self._world.dead:
            raise Crash
        return await super().hold(claim, identity, key)


class SimulatedBackend:
    """Answers with numbers, in one or many pieces, or fails in any way that the interface allows."""

    def __init__(self, world: World) -> None:
        self._world = world
        can: frozenset[Ability] = frozenset({"n"}) if world.source.random() < 0.5 else frozenset()  # noqa: PLR2004 - either
        reasoning: ReasoningVisibility = world.source.choice(("full", "absent"))
        self.profile = Profile(
            backend="simulated", model="simulated", context=100_000, prices=FREE, reasoning=reasoning, can=can
        )

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        world = self._world
        await world.dawdle()
        if world.fails(world.temper.backend):
            self._break(world.source)
        for index in range(request.n):
            await world.dawdle(0.5)
            text = "mumble" if world.fails(world.temper.backend) else str(world.source.randrange(3))
            if world.fails(world.temper.backend / 2):
                yield Delta(index=index, text=text)
                return  # broken off: no finish, no usage
            yield Delta(index=index, text=text[:1], reasoning="because")
            usage = Usage(sum(len(message.content.split()) for message in request.messages), 2 * request.n)
            yield Delta(index=index, text=text[1:], finish="stop", usage=usage if index == request.n - 1 else None)

    @staticmethod
    def _break(source: random.Random) -> None:
        match source.randrange(8):
            case 0:
                raise BackendUnavailable("it is down")
            case 1:
                raise ContextOverflow("it is too long")
            case 2:
                raise RuntimeError("it has a bug")
            case 3:
                raise asyncio.CancelledError
            case 4 | 5:
                raise BadResponse("it was cut")
            case _:
                raise BackendError("it will not")

    async def close(self) -> None:
        """Nothing to free."""


class SimulatedMonitor:
    """Reads its subjects, sometimes asks a model, and returns a random verdict or fails."""

    def __init__(self, world: World, name: str, source: random.Random) -> None:
        self._world = world
        watches = frozenset(source.sample(_SUBJECTS, source.randint(1, 4)))
        self._timid = source.random() < 0.4  # noqa: PLR2004 - leaves much to people
        stances: tuple[Decision, ...] = ("block", "block", "escalate", "resample", "flag")
        self.spec = MonitorSpec(
            name=name,
            watches=watches,
            tier=source.randrange(4),
            mode=source.choice(("gate", "gate", "gate", "observe")),
            on_error=source.choice(stances),
            on_timeout=source.choice(stances),
            timeout_s=source.choice((1.0, 30.0)),
        )

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        world = self._world
        await world.dawdle()
        if world.fails(0.1):
            await context.think("evaluate", subject.key, returns=int)
        if world.fails(0.05):
            async for event, _ in view.events(after=1):
                assert event.seq  # noqa: S101 - it can be read
        if self._timid and subject.kind != "step" and world.fails(0.5):
            return Verdict(decision="escalate", rationale="a person should look")
        if not world.fails(world.temper.monitor):
            return Verdict(decision="allow", score=world.source.choice((None, 0.1, 0.5)))
        return await self._err()

    async def _err(self) -> Verdict:
        world = self._world
        match world.source.randrange(10):
            case 0:
                raise RuntimeError("it has a bug")
            case 1:
                await asyncio.sleep(_FOREVER)
            case 2:
                return "fine"  # type: ignore[return-value]  # what is no verdict must not count as one
            case 3:
                raise asyncio.CancelledError
            case 4:
                return Verdict(decision="allow", status=world.source.choice(("error", "truncated", "abstain")))
            case _:
                pass
        decision: Decision = world.source.choice(
            ("flag", "revise", "resample", "escalate", "escalate", "block", "block", "halt")
        )
        return Verdict(decision=decision, rationale="because", feedback="please not", score=world.source.random())


class SimulatedAction:
    """An action of one kind that works, fails, hangs, or performs its effect and then reports a failure."""

    def __init__(self, world: World, name: str, effect: Effect, idempotency: Idempotency) -> None:
        self._world = world
        self.spec = ActionSpec(name=name, effect=effect, idempotency=idempotency, timeout_s=5.0, trusted=name == "look")

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if set(arguments) != {"what"}:
            raise ValueError("what?")
        return dict(arguments)

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> Any:
        call = clearance.redeem(self.spec.name, canonical(arguments))
        world = self._world
        await world.dawdle()
        fails = world.fails(world.temper.action)
        how = world.source.randrange(7)
        if fails and how == 0:
            raise NotPerformed("the target was closed")
        if fails and how == 1:
            raise RuntimeError("no connection")
        if fails and how == 2:  # noqa: PLR2004 - one of several ways
            await asyncio.sleep(world.source.choice((6.0, _FOREVER)))
        result = {"done": arguments["what"]}
        if self.spec.idempotency == "reconcile" and not world.admits(call):
            raise NotPerformed("another owner of the run has been here")
        if self.spec.effect != "read" and not (self.spec.idempotency == "target_key" and world.find(call.key)):
            world.happen(self.spec.name, call, arguments, result)
        world.reach("inside the action")
        if fails and how in {3, 4}:
            raise RuntimeError("the connection broke")
        if fails and how == 5:  # noqa: PLR2004 - as above
            await asyncio.sleep(_FOREVER)
        if fails:
            raise asyncio.CancelledError
        await world.dawdle()
        return result


class SimulatedReconciled(SimulatedAction):
    """An action whose target can be asked, but may not answer."""

    async def reconcile(self, arguments: Mapping[str, Any], call: Call) -> tuple[bool, Any]:
        world = self._world
        await world.dawdle()
        if world.fails(world.temper.action):
            if world.source.randrange(3) == 0:
                await asyncio.sleep(_FOREVER)
            raise RuntimeError("the target is away")
        world.admits(call)
        found = world.find(call.key)
        return found is not None, found.result if found else None


def actions_of(world: World) -> list[SimulatedAction]:
    """Make one action of every kind."""
    return [
        SimulatedAction(world, "look", "read", "none"),
        SimulatedAction(world, "put", "reversible", "target_key"),
        SimulatedReconciled(world, "move", "irreversible", "reconcile"),
        SimulatedAction(world, "send", "irreversible", "none"),
    ]


class SimulatedPerson:
    """Answers yes, no, not at all, too late, or something that was not asked, or cannot be reached."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ask(self, question: Question) -> Answer | None:
        world = self._world
        await world.dawdle()
        answer = Answer(id=question.id, digest=question.digest, granted=True, value="blue", by="somebody")
        if not world.fails(world.temper.person):
            return answer
        match world.source.randrange(7):
            case 0:
                return None
            case 1:
                await asyncio.sleep(200.0)
                return answer
            case 2:
                return msgspec.structs.replace(answer, digest="another")
            case 3:
                raise RuntimeError("the line is dead")
            case 4:
                await asyncio.sleep(_FOREVER)
                return answer
            case _:
                return msgspec.structs.replace(answer, granted=False)

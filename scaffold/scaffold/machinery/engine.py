"""Runs one task: drives its planner, carries out its moves within limits, and says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold import errors
from scaffold.machinery.cancelling import is_from_within
from scaffold.machinery.effects import reason_of
from scaffold.machinery.gate import Gate, PlanOnly
from scaffold.machinery.interpreter import Interpreter
from scaffold.machinery.people import Parked, People
from scaffold.machinery.prompts import Templates
from scaffold.machinery.recorder import Recorder
from scaffold.machinery.replay import Replay, deliver
from scaffold.machinery.reviews import Reviews
from scaffold.machinery.state import ActionSummary, RunState, VerdictSummary
from scaffold.machinery.steps import Steps, thought_from
from scaffold.machinery.watchdog import watching
from scaffold.trace.chain import Chain
from scaffold.version import VERSION
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import adapter, canonical, digest
from scaffold.vocabulary.confidence import Calibration
from scaffold.vocabulary.models import Usage
from scaffold.vocabulary.moves import Act, Ask, Note, Propose, Think
from scaffold.vocabulary.review import SEVERITY, StepRecord, Subject

if TYPE_CHECKING:
    from scaffold.interfaces import Action, Approver, Backend, Claim, Journal, Monitor, Surroundings
    from scaffold.machinery.interpreter import Pending
    from scaffold.trace.heads import Signer
    from scaffold.vocabulary.events import Event, RunStatus
    from scaffold.vocabulary.moves import Planning
    from scaffold.vocabulary.sampling import Sampling
    from scaffold.vocabulary.task import Task

_MOVES_BETWEEN_BREATHS = 64
_ANSWER_TYPES: dict[str, Any] = {"integer": int, "number": float, "boolean": bool}


class Outcome(msgspec.Struct, kw_only=True):
    """How a run ended, or why it stands still.

    Attributes:
        run: the run's id.
        status: `solved`, `failed`, `stopped`, or why it is paused.
        answer: what the planner answered; when it was cut short, what it had so far.
        reason: why it is not solved.
        usage: tokens and dollars of the work and of oversight.
        steps: steps answered for the work.
        actions: what became of each action.
        verdicts: verdicts that said more than `allow`.
        saved: actions that the gate refused, and their declared cost in dollars.
        trace: where the trace is.
        repaired: what was mended when the run was opened.
        seconds: how long the run has been active, over all its resumes; waiting for people does not count.
    """

    run: str
    status: RunStatus
    answer: Any = None
    reason: str = ""
    usage: dict[str, Usage]
    steps: int
    actions: list[ActionSummary]
    verdicts: list[VerdictSummary]
    saved: dict[str, float]
    trace: str
    repaired: str = ""
    seconds: float = 0.0


@dataclass(kw_only=True)
class Setting:
    """All that a run is made of.

    Attributes:
        planner: gives the planner's generator for a task.
        name: the planner's name, as pinned in the trace.
        plugins: what else is pinned: versions and settings, by name.
        seed: what the seeds of samples follow from; the run's id when empty.
        oversample: how many samples of each step are drawn at least, for measuring how they agree.
        calibration: how stated confidence is corrected; a resumed run keeps to what its first event holds.
        config: what is needed to build this setting again; kept in the trace's content.
        followers: called with each event and its content's bytes, on resume from the first one on.
        listeners: the same, but only for what happens now.
    """

    task: Task
    planner: Callable[[Task], Planning[Any]]
    name: str
    backends: Mapping[str, Backend]
    monitors: Sequence[Monitor]
    actions: Mapping[str, Action]
    templates: Templates
    journal: Journal
    surroundings: Surroundings
    plugins: dict[str, str] = field(default_factory=dict)
    approvers: Sequence[Approver] = ()
    signer: Signer | None = None
    sampling: Sampling | None = None
    observe: bool = False
    plan_only: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    followers: Sequence[Callable[[Event, bytes], None]] = ()
    listeners: Sequence[Callable[[Event, bytes], None]] = ()
    seed: str = ""
    oversample: int = 0
    calibration: Calibration | None = None


class Engine:
    """One run, from its first event or from where its trace ends."""

    def __init__(self, setting: Setting, claim: Claim) -> None:
        self._setting = setting
        self._claim = claim
        task = setting.task.with_tools(tuple(action.spec for action in setting.actions.values()))
        specs = {name: action.spec for name, action in setting.actions.items()}
        self._task = task
        self._journal = setting.journal
        self._reach = setting.surroundings.reach
        self._state = RunState(task, specs)
        self._recorder = Recorder(setting.journal, claim, setting.surroundings, signer=setting.signer)
        self._steps = Steps(
            run=claim.run,
            seed=setting.seed,
            backends=setting.backends,
            templates=setting.templates,
            recorder=self._recorder,
            state=self._state,
            surroundings=setting.surroundings,
            sampling=setting.sampling,
        )
        self._steps.oversample = setting.oversample
        self._reviews = Reviews(
            task=task,
            monitors=setting.monitors,
            actions=specs,
            recorder=self._recorder,
            state=self._state,
            steps=self._steps,
            journal=setting.journal,
            observe=setting.observe,
        )
        self._people = People(
            approvers=setting.approvers,
            journal=setting.journal,
            recorder=self._recorder,
            state=self._state,
            surroundings=setting.surroundings,
            open_seconds=task.oversight.approval_seconds,
            aside=self._aside,
        )
        self._gate = Gate(
            task=task,
            actions=setting.actions,
            reviews=self._reviews,
            people=self._people,
            recorder=self._recorder,
            state=self._state,
            surroundings=setting.surroundings,
            observe=setting.observe,
            plan_only=setting.plan_only,
        )
        self._recorder.follow_kinds(self._state.takers)
        self._recorder.follow_kinds(self._reviews.folds)
        for follower in setting.followers:
            self._recorder.follow(follower)
        self._interpreter = Interpreter(setting.planner(task), tainted=bool(task.untrusted))
        self._queue: deque[Pending] = deque()
        self._parked: list[Pending] = []
        self._working = 0
        self._standing = 0
        self._moves = 0
        self._interrupted = False
        self._driving: asyncio.Task[None] | None = None
        self._deadline: asyncio.Timeout | None = None

    # --- from outside

    def interrupt(self) -> None:
        """Pause the run as soon as what cannot be cut off is over; it can be resumed."""
        self._interrupted = True
        if self._driving is not None:
            self._driving.cancel()

    async def start(self) -> Outcome:
        """Solve the task from the beginning."""
        setting = self._setting
        for listener in setting.listeners:
            self._recorder.follow(listener)
        self._reach("run.started:before")
        self._recorder.record(
            ev.RunStarted(
                format=ev.FORMAT,
                run=self._claim.run,
                scaffold=VERSION,
                planner=setting.name,
                plugins=setting.plugins,
                seed=setting.seed,
            ),
            self._opening(),
        )
        await self._recorder.flush()  # a run that dies before its first step still says what it was
        self._reach("run.started:after")
        return await self._live()

    def _opening(self) -> dict[str, Any]:
        """What the first event holds beside its facts; from here on a run keeps to what that says."""
        setting = self._setting
        content: dict[str, Any] = {"task": setting.task.model_dump(mode="json"), "config": setting.config}
        if setting.calibration is not None:
            content["calibration"] = setting.calibration
            self._steps.curves = setting.calibration.by_kind()
        return content

    async def resume(self) -> Outcome:
        """Go on from where the trace ends; a run that has ended gives its outcome again.

        Raises:
            PlanChanged: the planner no longer fits its trace.
            TraceDamaged: the trace was altered.
        """
        chain, replay = Chain(), Replay(self._interpreter, self._state)
        async for record in self._journal.read(self._claim.run):
            link = chain.follow(record)
            if isinstance(link.event, ev.RunStarted):
                self._compare_pins(link.event)
                self._steps.seed = link.event.seed or self._claim.run
            body = link.content.body if link.content is not None else b""
            if isinstance(link.event, ev.RunStarted) and body:
                self._steps.curves = _opening.decode(body).calibration.by_kind()
            replay.feed(link.event, body)
            self._recorder.adopt(link)
        if self._state.ended is not None:
            return self._outcome(self._state.ended[0].status, self._state.ended[1])
        for listener in self._setting.listeners:
            self._recorder.follow(listener)
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._reach("run.resumed:before")
        self._recorder.record(ev.RunResumed(owner=owner, repaired=self._claim.repaired))
        self._reach("run.resumed:after")
        if self._state.insists:
            return await self._end("stopped", reason=self._state.insists)
        self._queue.extend(replay.waiting.values())
        return await self._live()

    def _compare_pins(self, event: ev.RunStarted) -> None:
        if event.format > ev.FORMAT:
            raise errors.NewerTrace(f"the trace is of format {event.format}; this version reads up to {ev.FORMAT}")
        now = {"planner": self._setting.name, **self._setting.plugins}
        then = {"planner": event.planner, **event.plugins}
        changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
        if changed:
            said = ", ".join(f"{name} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in changed)
            raise errors.PlanChanged(f"the run was started with something else: {said}")

    # --- the run

    async def _live(self) -> Outcome:
        """Drive until the planner is done or nothing can go on; whatever happens, the trace says how it ended."""
        try:
            self._driving = asyncio.create_task(self._drive())
            if self._interrupted:
                self._driving.cancel()
            await self._driving
            return await self._ended_by_planner()
        except asyncio.CancelledError:
            outcome = await asyncio.shield(self._pause("interrupted", "interrupted"))
            if not self._interrupted:
                raise
            return outcome
        except BaseExceptionGroup as group:
            return await self._ended_by(_gravest(group))
        except Exception as error:  # noqa: BLE001 - every way a run can end is written down
            return await self._ended_by(error)
        finally:
            self._interpreter.close()

    async def _drive(self) -> None:
        seconds = self._task.budget.seconds
        left = None if seconds is None else max(0.0, seconds - self._recorder.active())
        with watching(self._interpreter, left):
            await self._drive_within(seconds, left)

    async def _drive_within(self, seconds: float | None, left: float | None) -> None:
        try:
            async with asyncio.timeout(left) as self._deadline:
                while not self._interpreter.done:
                    heard = self._people.heard()
                    self._queue.extend(self._parked)
                    self._parked = []
                    async with asyncio.TaskGroup() as self._group:
                        self._spawn()
                    if self._parked and self._people.heard() == heard:
                        raise Parked
                    if not (self._parked or self._interpreter.has_ready or self._interpreter.done):
                        raise errors.Unavailable("a move was cancelled from within")
        except TimeoutError:
            if isinstance(self._interpreter.error, errors.PlannerStuck):
                return  # which says more
            used = self._recorder.active()
            raise errors.BudgetSpent("seconds", limit=seconds or 0.0, spent=used, wanted=0.0) from None

    def _spawn(self) -> None:
        work = self._work()
        try:
            self._group.create_task(work)
        except RuntimeError:
            work.close()  # the group is shutting down, and the run with it
        else:
            self._working += 1

    async def _work(self) -> None:
        """Carry out moves until there is none; more workers are started as long as there is more to do at once."""
        interpreter, queue = self._interpreter, self._queue
        try:
            while True:
                pending = queue.popleft() if queue else interpreter.next()
                if pending is None:
                    return
                if (queue or interpreter.has_ready) and self._working < self._task.concurrency:
                    self._spawn()
                try:
                    move = pending.move
                    step = self._think(pending, move) if type(move) is Think else self._carry_out(pending)
                    outcome = await step
                except Parked:
                    self._parked.append(pending)
                    continue
                except asyncio.CancelledError:
                    if is_from_within():
                        raise errors.Unavailable(f"what was asked at {pending.key} was cancelled from within") from None
                    raise
                deliver(interpreter, pending, outcome)
                self._moves += 1
                if self._moves % _MOVES_BETWEEN_BREATHS == 0:
                    await asyncio.sleep(0)
        finally:
            self._working -= 1

    async def _carry_out(self, pending: Pending) -> Any:
        move = pending.move
        match move:
            case Act():
                return await self._gate.act(pending, move)
            case Propose():
                return await self._gate.propose(pending, move)
            case Ask():
                return await self._people.ask(pending.key, move, pending.history)
            case Note():
                self._recorder.record(ev.Noted(key=pending.key), {"text": move.text, "partial": move.partial})
                return None

    async def _think(self, pending: Pending, move: Think) -> Any:
        key = pending.key
        if not self._reviews.reads_steps:
            return thought_from(*await self._steps.ask(key, move, pending.history), move)
        while True:
            answered = self._state.at(key).answered
            if answered is None:
                readings = self._reviews.read_stream(key)
                answered = await self._steps.ask(key, move, pending.history, final=False, readings=readings)
                await self._reviews.conclude_stream(key, readings)
            thought = thought_from(*answered, move)
            if isinstance(thought, Exception):
                return thought
            record = StepRecord(
                kind=move.kind,
                inputs=json.loads(canonical(move.inputs)),
                value=json.loads(canonical(thought.value)),
                text=thought.text,
                reasoning=thought.reasoning,
            )
            subject = Subject(kind="step", key=key, step=record)
            decision, verdicts = await self._reviews.review(subject, answered[0].content, "low")
            if decision == "halt":
                raise errors.Stopped(reason_of(verdicts, "halt"))
            progress = self._state.at(key)
            if decision == "resample" and progress.tries <= self._task.oversight.resamples:
                progress.answered = None
                continue
            withheld = SEVERITY[decision] >= SEVERITY["revise"]
            feedback = next(
                (verdict.feedback for verdict in verdicts if verdict.feedback), "oversight withheld this thought"
            )
            self._reach("released:before")
            self._recorder.record(
                ev.Released(key=key, subject="step", ok=not withheld), {"feedback": feedback} if withheld else None
            )
            self._reach("released:after")
            return errors.StepRefused(feedback, key) if withheld else thought

    @contextlib.asynccontextmanager
    async def _aside(self) -> AsyncIterator[None]:
        """While a person is asked: another branch may use the place, and when all wait, no seconds pass."""
        self._working -= 1
        self._standing += 1
        if (self._queue or self._interpreter.has_ready) and self._working < self._task.concurrency:
            self._spawn()
        if self._working == 0:
            self._recorder.stand_still()
            if self._deadline is not None:
                self._deadline.reschedule(None)
        try:
            yield
        finally:
            self._standing -= 1
            self._working += 1
            self._recorder.move_on()
            seconds = self._task.budget.seconds
            if self._deadline is not None and seconds is not None and not self._deadline.expired():
                left = max(0.0, seconds - self._recorder.active())
                self._deadline.reschedule(asyncio.get_running_loop().time() + left)

    # --- the end

    async def _ended_by_planner(self) -> Outcome:
        error = self._interpreter.error
        if error is not None:
            return await self._ended_by(error)
        answer = self._interpreter.result
        try:
            plain = json.loads(canonical(answer))
        except (TypeError, ValueError) as problem:
            return await self._end("failed", reason=f"the planner's answer cannot be recorded: {problem}")
        problem_said = _misfit(self._task, plain)
        if problem_said:
            return await self._end("failed", reason=problem_said, partial=plain)
        if self._reviews.watches("answer"):
            subject = Subject(kind="answer", key="answer", answer=plain)
            what = digest(canonical(plain), self._recorder.secret)
            decision, verdicts = await self._reviews.review(subject, what, "low")
            if SEVERITY[decision] >= SEVERITY["revise"]:
                reasons = [
                    verdict.feedback or verdict.rationale for verdict in verdicts if verdict.decision == decision
                ]
                return await self._end("stopped", reason=f"oversight withheld the answer: {'; '.join(reasons)}")
        return await self._end("solved", answer=plain)

    async def _ended_by(self, error: BaseException) -> Outcome:  # noqa: C901, PLR0911 - one for each way to end
        match error:
            case PlanOnly():
                planned = [
                    msgspec.to_builtins(summary)
                    for summary in self._state.actions.values()
                    if summary.status == "planned"
                ]
                return await self._end("solved", answer={"planned": planned})
            case Parked():
                return await self._pause("waiting", "waits for a person")
            case errors.BudgetSpent():
                return await self._pause("exhausted", str(error))
            case errors.Unavailable():
                return await self._pause("unavailable", str(error))
            case errors.TraceError():
                # Nothing more can be written: the trace is left as it is, cut off or someone else's.
                return self._outcome("unavailable", {"reason": str(error)})
            case errors.Stopped() | errors.ActionRefused() | errors.StepRefused() | errors.ObservationWithheld():
                return await self._end("stopped", reason=str(error))
            case errors.PlannerStuck():
                return await self._end("failed", reason=f"{error}{self._after_its_move()}")
            case errors.ScaffoldError():
                return await self._end("failed", reason=str(error))
            case asyncio.CancelledError():
                return await self._pause("interrupted", "interrupted")
            case _:
                trace = "".join(traceback.format_exception(error, limit=-8))
                said = f"the planner raised {type(error).__name__}: {error}{self._after_its_move()}"
                if "'NoneType'" in str(error):
                    said += "; a step that was begun, ended or closed before gives None: call its function again"
                return await self._end("failed", reason=said, traceback=trace)

    def _after_its_move(self) -> str:
        key = self._interpreter.failed_at
        return f" (after its move at {key})" if key else ""

    async def _end(self, status: RunStatus, **content: Any) -> Outcome:
        if status != "solved" and self._state.partial is not None:
            content.setdefault("partial", self._state.partial)
        return await self._close(ev.Ended(status=status), status, content)

    async def _pause(self, status: RunStatus, reason: str) -> Outcome:
        return await self._close(ev.Paused(status=status), status, {"reason": reason, "partial": self._state.partial})

    async def _close(self, event: Event, status: RunStatus, content: dict[str, Any]) -> Outcome:
        try:
            self._reach("run.ended:before")
            self._recorder.record(event, content)
            await self._recorder.flush(durable=True)
            await self._recorder.sign()
            self._reach("run.ended:after")
        except errors.TraceError as error:
            return self._outcome("unavailable", {"reason": str(error), "partial": self._state.partial})
        return self._outcome(status, content)

    def _outcome(self, status: RunStatus, content: dict[str, Any]) -> Outcome:
        state = self._state
        return Outcome(
            run=self._claim.run,
            status=status,
            answer=content.get("answer", content.get("partial")),
            reason=content.get("reason", ""),
            usage=state.usage(),
            steps=state.steps,
            actions=list(state.actions.values()),
            verdicts=state.verdicts,
            saved=state.saved(),
            trace=self._journal.location(self._claim.run),
            repaired=self._claim.repaired,
            seconds=self._recorder.t,
        )


class _Opening(msgspec.Struct):
    calibration: Calibration = Calibration()


_opening = msgspec.json.Decoder(_Opening)


def _misfit(task: Task, answer: Any) -> str:
    """Say why an answer is not of the kind that the task wants; empty when it is, or any will do."""
    if isinstance(task.answer, tuple):
        return "" if answer in task.answer else f"the answer {answer!r} is none of {', '.join(task.answer)}"
    wanted = _ANSWER_TYPES.get(task.answer)
    if wanted is None:
        return ""
    try:
        adapter(wanted).validate_python(answer, strict=True)
    except ValueError:
        return f"the answer {answer!r} is not of the kind the task wants: {task.answer}"
    return ""


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of the errors that ended a run at once, the one to report: oversight first, then what cannot go on."""
    leaves = list(_leaves(group))
    for kind in (errors.Stopped, errors.TraceError, errors.Unavailable, errors.BudgetSpent, PlanOnly):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]

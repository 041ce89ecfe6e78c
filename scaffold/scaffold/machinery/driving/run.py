"""The parts of one run, whoever drives it: carries out moves, and records how the run began and ended."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold import errors
from scaffold.credentials import Credentials
from scaffold.interfaces import Recalls
from scaffold.machinery.asking.prompts import Templates
from scaffold.machinery.asking.showing import Piece, Showing, Words
from scaffold.machinery.asking.steps import Steps, signals_in, thought_from
from scaffold.machinery.gating.gate import Gate, PlanOnly, call_asked
from scaffold.machinery.gating.people import Parked, People
from scaffold.machinery.gating.permissions import HOST, Permissions
from scaffold.machinery.recording.recorder import Fold, Recorder
from scaffold.machinery.recording.redacting import redaction_of
from scaffold.machinery.recording.state import ActionSummary, Overseen, RunState, VerdictSummary, bounds_of
from scaffold.machinery.reviewing.reviews import Reviews
from scaffold.trace.chain import Chain
from scaffold.trace.checked import Checked
from scaffold.tracebacks import raised_at
from scaffold.version import VERSION
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import adapter, canonical, digest, recordable, unwritable
from scaffold.vocabulary.confidence import Calibration
from scaffold.vocabulary.events import RunStatus
from scaffold.vocabulary.models import Usage
from scaffold.vocabulary.monitorability import Monitorability, Readable
from scaffold.vocabulary.moves import Act, Ask, Note, Propose, Think
from scaffold.vocabulary.plan import as_call
from scaffold.vocabulary.review import SEVERITY, StepRecord, Subject, reason_of
from scaffold.vocabulary.task import Unread

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from scaffold.interfaces import Action, Approver, Backend, Claim, Journal, Monitor, Surroundings, Witness
    from scaffold.machinery.interpreter import Pending
    from scaffold.trace.heads import Signer
    from scaffold.trace.sealing import Sealer
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.moves import Thought
    from scaffold.vocabulary.sampling import Sampling
    from scaffold.vocabulary.task import Task

_ANSWER_TYPES: dict[str, Any] = {"integer": int, "number": float, "boolean": bool}


class Outcome(msgspec.Struct, kw_only=True):
    """How a run ended, or why it is paused.

    Attributes:
        run: the run's id.
        status: `solved`, `failed`, `stopped`, or why it is paused.
        answer: the planner's answer; if it was cut short, its partial answer.
        reason: why it is not solved.
        usage: tokens and dollars of the work and of oversight.
        steps: steps answered for the work.
        actions: what became of each action.
        verdicts: verdicts stricter than `allow`.
        saved: actions that the gate refused, and their declared cost in dollars.
        trace: where the trace is.
        repaired: what was repaired when the run was opened.
        seconds: how long the run has been active, over all resumes, without waiting for people.
        reasoning: how much of the reasoning could be read, and was.
        overseers: what each monitor has cost, by name.
        undoable: for the key of each action that can be undone, in the order performed, the action that undoes it.
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
    reasoning: Readable = msgspec.field(default_factory=Readable)
    overseers: dict[str, Overseen] = {}
    undoable: dict[str, str] = {}


class Setting(msgspec.Struct, kw_only=True, eq=False):
    """Everything a run is made of.

    Attributes:
        name: the planner, or whoever else makes the moves, as pinned in the trace.
        plugins: other pinned plug-ins: versions and settings, by name.
        seed: source of the samples' seeds; the run's id when empty.
        oversample: minimum number of samples per step, for measuring how they agree.
        calibration: how stated confidence is corrected; a resumed run keeps what its first event holds.
        monitorability: probe results from other runs; likewise.
        config: what is needed to rebuild this setting; kept in the trace's content.
        raised: on resume, new limits for resources that the first event bounds.
        raised_by: who raised them.
        credentials: where actions' credentials are looked up.
        witnesses: further places that keep signed heads.
        sealer: encrypts content.
        followers: called with each event and its content's bytes; on resume from the first event on.
        listeners: the same, but only for new events, and for those that a listener Recalls.
        on_piece: called with the text of the work's steps, for a person to see.
        words: whether that happens as text is generated, or once oversight has released a step.
    """

    task: Task
    name: str
    backends: Mapping[str, Backend]
    monitors: Sequence[Monitor]
    actions: Mapping[str, Action]
    templates: Templates
    journal: Journal
    surroundings: Surroundings
    plugins: dict[str, str] = msgspec.field(default_factory=dict)
    approvers: Sequence[Approver] = ()
    signer: Signer | None = None
    witnesses: Sequence[Witness] = ()
    sealer: Sealer | None = None
    sampling: Sampling | None = None
    observe: bool = False
    plan_only: bool = False
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    followers: Sequence[Callable[[Event, bytes], None]] = ()
    listeners: Sequence[Callable[[Event, bytes], None]] = ()
    on_piece: Callable[[Piece], None] | None = None
    words: Words = "cleared"
    seed: str = ""
    oversample: int = 0
    calibration: Calibration | None = None
    monitorability: Monitorability | None = None
    credentials: Credentials = msgspec.field(default_factory=Credentials)
    raised: Mapping[str, float] = {}
    raised_by: str = ""


class Run:
    """One run: its recorder, its state, and the parts that carry out its moves.

    Attributes:
        setting: what it is made of.
        claim: the right to write it.
        task: the task, with the actions' specifications.
        act: clears and performs one call; see `Gate.act`.
    """

    def __init__(self, setting: Setting, claim: Claim, aside: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self.setting = setting
        self.claim = claim
        self.task = task = setting.task.with_tools(tuple(action.spec for action in setting.actions.values()))
        specs = {name: action.spec for name, action in setting.actions.items()}
        self._journal = setting.journal
        self._reach = setting.surroundings.reach
        self.state = RunState(task, specs)
        self.recorder = Recorder(
            setting.journal,
            claim,
            setting.surroundings,
            signer=setting.signer,
            witnesses=setting.witnesses,
            sealer=setting.sealer,
            redaction=redaction_of(setting.task),
        )
        self._steps = Steps(
            run=claim.run,
            seed=setting.seed,
            backends=setting.backends,
            templates=setting.templates,
            recorder=self.recorder,
            state=self.state,
            surroundings=setting.surroundings,
            sampling=setting.sampling,
        )
        self._steps.oversample = setting.oversample
        if task.oversight.unread != Unread():
            self._steps.unread = task.oversight.unread
        self._reviews = Reviews(
            task=task,
            monitors=setting.monitors,
            actions=specs,
            recorder=self.recorder,
            state=self.state,
            steps=self._steps,
            journal=setting.journal,
            observe=setting.observe,
        )
        self.people = People(
            approvers=setting.approvers,
            journal=setting.journal,
            recorder=self.recorder,
            state=self.state,
            surroundings=setting.surroundings,
            oversight=task.oversight,
            aside=aside,
        )
        self._permissions = Permissions(task.oversight, self.state, self._steps, hosted=HOST in setting.backends)
        self._gate = Gate(
            task=task,
            permissions=self._permissions,
            actions=setting.actions,
            reviews=self._reviews,
            people=self.people,
            journal=setting.journal,
            recorder=self.recorder,
            state=self.state,
            surroundings=setting.surroundings,
            credentials=setting.credentials,
            observe=setting.observe,
            plan_only=setting.plan_only,
        )
        self.act = self._gate.act
        self._showing = Showing(claim.run, setting.words, setting.on_piece) if setting.on_piece is not None else None
        self.recorder.follow_kinds(self.state.takers)
        self.recorder.follow_kinds(self._reviews.folds)
        for follower in setting.followers:
            self.recorder.follow(follower)

    # --- the beginning

    async def begin(self) -> None:
        """Record the run's first event, which fixes what the run is from here on."""
        setting = self.setting
        self._listen()
        self._reach("run.started:before")
        self.recorder.record(
            ev.RunStarted(
                format=ev.FORMAT,
                run=self.claim.run,
                scaffold=VERSION,
                planner=setting.name,
                plugins=setting.plugins,
                seed=setting.seed,
                bounds=bounds_of(setting.task),
                unmonitored=setting.task.oversight.unmonitored,
            ),
            self._opening(),
        )
        self._name_key("")
        await self.recorder.flush()  # a run that dies before its first step still says what it was
        self._reach("run.started:after")

    def _opening(self) -> dict[str, Any]:
        """Return the content of the first event; from here on the run keeps to it."""
        setting = self.setting
        content: dict[str, Any] = {"task": setting.task.model_dump(mode="json"), "config": setting.config}
        if setting.calibration is not None:
            content["calibration"] = setting.calibration
            self._steps.curves = setting.calibration.by_kind()
        if setting.monitorability is not None:
            content["monitorability"] = setting.monitorability
            self._permissions.known = setting.monitorability
        return content

    async def read_back(self, takers: Mapping[type[Event], Fold]) -> Outcome | None:
        """Read all recorded events; return the run's outcome if it has ended.

        Args:
            takers: by kind of event, a function called with each event before the run's state takes it in.

        Raises:
            PlanChanged: the run was started with something else.
            TraceDamaged: the trace was altered.
            BadInput: a limit to be raised is unknown, or the new one is not higher.
        """
        checked, recorder = Checked(), self.recorder
        opening: dict[type[Event], Any] = {ev.RunStarted: self._keep_to}
        listening: Sequence[object] = self.setting.listeners
        recalling = [each.recalls for each in listening if isinstance(each, Recalls)]
        recorder.read_by(opening, takers, *recalling)
        async with aclosing(checked.all_of(self._journal, self.claim.run)) as batches:
            async for batch in batches:
                recorder.adopt(batch)
        if not checked.seq:
            raise errors.TraceDamaged("the trace is empty: its store has forgotten how the run began", 1)
        recorder.go_on(checked)
        if self.state.ended is not None:
            return self.outcome(self.state.ended[0].status, self.state.ended[1])
        raised = self._raised()
        self._listen()
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._reach("run.resumed:before")
        self.recorder.record(ev.RunResumed(owner=owner, repaired=self.claim.repaired))
        if raised:
            self.recorder.record(ev.BudgetRaised(bounds=raised, by=self.setting.raised_by))
        self._name_key(self.state.key)
        self._reach("run.resumed:after")
        return None

    def _raised(self) -> dict[str, float]:
        """Return the new limits a person allows from here on.

        Raises:
            BadInput: the run has no such limit, or the new one is not higher.
        """
        known = self.state.bounds
        for name, most in self.setting.raised.items():
            if name not in known:
                said = f"the run has no bound on {name!r}{errors.nearest(name, known)}"
                raise errors.BadInput(f"{said}; it bounds {', '.join(known)}")
            if most <= known[name]:
                said = f"the run may use {known[name]:,.10g} {name} already"
                raise errors.BadInput(f"{said}: a run that goes on can be given more, not {most:,.10g}")
        return dict(self.setting.raised)

    def _keep_to(self, event: ev.RunStarted, body: bytes) -> None:
        """Continue with what the first event says."""
        self._compare_pins(event)
        self._steps.seed = event.seed or self.claim.run
        if body:
            opening = _opening.decode(body)
            self._steps.curves = opening.calibration.by_kind()
            self._permissions.known = opening.monitorability

    def _name_key(self, before: str) -> None:
        """Record which key signs, the first time and whenever it changes."""
        signer = self.setting.signer
        if signer is not None and signer.verifier() != before:
            self.recorder.record(
                ev.KeyChanged(verifier=signer.verifier(), before=before, endorsement=signer.endorsement)
            )

    async def look_back(self) -> Outcome:
        """Return the run's status from its trace alone, without writing anything."""
        chain = Chain()
        status: ev.RunStatus = "interrupted"
        said = b""
        async for record in self._journal.read(self.claim.run):
            link = chain.follow(record)
            if isinstance(link.event, ev.Ended | ev.Paused):
                status = link.event.status
                said = link.content.body if link.content is not None else b""
            self.recorder.adopt([(link.event, link.content.body if link.content is not None else b"")])
        return self.outcome(status, json.loads(said or b"{}"))

    def _listen(self) -> None:
        for listener in self.setting.listeners:
            self.recorder.follow(listener)

    def _compare_pins(self, event: ev.RunStarted) -> None:
        if event.format > ev.FORMAT:
            raise errors.NewerTrace(f"the trace is of format {event.format}; this version reads up to {ev.FORMAT}")
        now = {"planner": self.setting.name, **self.setting.plugins}
        then = {"planner": event.planner, **event.plugins}
        changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
        if changed:
            said = ", ".join(f"{name} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in changed)
            cure = "resume with what it was started with, or start a new run"
            raise errors.PlanChanged(f"the run was started with something else: {said}; {cure}")

    # --- moves

    async def carry_out(self, pending: Pending) -> Any:
        """Carry out a move other than a step; return what the planner or host is sent."""
        move = pending.move
        match move:
            case Act():
                if self._may_change_the_world(move):
                    await self._reviews.join()  # so that reviews of the thoughts behind it are recorded before it
                call = as_call(move.planned, pending.history)
                return await self.act(pending.key, move, call, call_asked(call))
            case Propose():
                await self._reviews.join()  # as above
                return await self._gate.propose(pending, move)
            case Ask():
                return await self.people.ask(pending.key, move, pending.history)
            case Note():
                recordable(move.partial)
                self.recorder.record(ev.Noted(key=pending.key), {"text": move.text, "partial": move.partial})
                return None

    def _may_change_the_world(self, move: Act) -> bool:
        known = self.setting.actions.get(move.planned.action)
        return known is not None and known.spec.effect != "read"

    async def think(self, pending: Pending, move: Think) -> Any:
        """Ask a step, and have it reviewed if monitors read steps."""
        key = pending.key
        showing = self._showing
        if not self._reviews.reads_steps and showing is None:
            return thought_from(*await self._steps.ask(key, move, pending.history), move)
        while True:
            answered = self.state.at(key).answered
            if answered is None:
                answered = await self._read_while_asked(pending, move)
            thought = thought_from(*answered, move)
            if isinstance(thought, Exception):
                return thought
            if not self._reviews.reads_steps:
                self._show(move, thought, answered[0])
                return thought
            subject = Subject(kind="step", key=key, step=self._step_record(move, thought, *answered))
            stakes = self._reviews.step_stakes(move.to)
            decision, verdicts = await self._reviews.review(subject, answered[0].content, stakes)
            if decision == "halt":
                raise errors.Stopped(reason_of(verdicts, "halt"))
            progress = self.state.at(key)
            if decision == "resample" and progress.tries <= self.task.oversight.resamples:
                progress.answered = None
                self._show(move, thought, answered[0], withdrawn="drawn again on suspicion")
                continue
            withheld = SEVERITY[decision] >= SEVERITY["revise"]
            feedback = next(
                (verdict.feedback for verdict in verdicts if verdict.feedback), "oversight withheld this thought"
            )
            self._reach("released:before")
            self.recorder.record(
                ev.Released(key=key, subject="step", ok=not withheld, beside=self._reviews.reading(key)),
                {"feedback": feedback} if withheld else None,
            )
            self._reach("released:after")
            self._show(move, thought, answered[0], withdrawn=feedback if withheld else "")
            return errors.StepRefused(feedback, key) if withheld else thought

    async def _read_while_asked(self, pending: Pending, move: Think) -> tuple[ev.StepAnswered, bytes]:
        """Ask a step while monitors, and anyone watching, read its samples as they are generated."""
        key, reviews, showing = pending.key, self._reviews, self._showing
        readings = reviews.read_stream(key, lambda: self._asked_record(move))
        return await self._steps.ask(
            key,
            move,
            pending.history,
            final=not reviews.reads_steps,
            readings=readings if showing is None else showing.watch(key, move.kind, readings),
            conclude=(lambda: reviews.conclude_stream(key, readings)) if readings else None,
        )

    def _show(self, move: Think, thought: Thought[Any], event: ev.StepAnswered, *, withdrawn: str = "") -> None:
        """Show a released thought to anyone watching, or that it was withheld."""
        if self._showing is None:
            return
        if withdrawn:
            self._showing.withdrawn(event.key, move.kind, withdrawn, event.winner)
        else:
            self._showing.cleared(event.key, move.kind, thought, event.winner)

    def _asked_record(self, move: Think) -> StepRecord:
        """Return a step as monitors see it while it is being answered: what is asked, and of whom."""
        profile = self._steps.backend(move.to).profile
        return StepRecord(
            kind=move.kind,
            inputs=json.loads(canonical(move.inputs)),
            to=move.to,
            backend=profile.backend,
            model=profile.model,
            choices=move.options.choices,
        )

    def _step_record(self, move: Think, thought: Thought[Any], event: ev.StepAnswered, body: bytes) -> StepRecord:
        """Return an answered step as monitors see it."""
        return msgspec.structs.replace(
            self._asked_record(move),
            value=json.loads(canonical(thought.value)),
            text=thought.text,
            reasoning=thought.reasoning,
            usage=event.usage,
            signals=signals_in(body, event.winner) if b'"signals"' in body else {},
            shown=event.reasoning,
        )

    # --- the end

    async def answered(self, answer: Any) -> Outcome:
        """End with an answer, if it is of the kind the task wants and oversight allows it."""
        try:
            plain = json.loads(recordable(answer))
        except (TypeError, ValueError, RecursionError) as problem:
            return await self.end("failed", reason=f"the planner's answer cannot be recorded: {unwritable(problem)}")
        problem_said = _misfit(self.task, plain)
        if problem_said:
            return await self.end("failed", reason=problem_said, partial=plain)
        await self._reviews.join(self._seconds_left())
        if self._reviews.watches("answer"):
            subject = Subject(kind="answer", key="answer", answer=plain)
            what = digest(canonical(plain), self.recorder.secret)
            decision, verdicts = await self._reviews.review(subject, what, "low")
            if SEVERITY[decision] >= SEVERITY["revise"]:
                reasons = [
                    verdict.feedback or verdict.rationale for verdict in verdicts if verdict.decision == decision
                ]
                return await self.end("stopped", reason=f"oversight withheld the answer: {'; '.join(reasons)}")
        return await self.end("solved", answer=plain)

    def _seconds_left(self) -> float | None:
        seconds = self.state.bounds.get("seconds")
        return None if seconds is None else max(0.0, seconds - self.recorder.active())

    async def ended_by(self, error: BaseException, *, where: str = "") -> Outcome:  # noqa: C901, PLR0911, PLR0912 - for each way to end
        """End or pause the run because of an error.

        Args:
            error: the reason.
            where: where the planner was, for errors that are its fault.
        """
        match error:
            case PlanOnly():
                planned = [
                    msgspec.to_builtins(summary)
                    for summary in self.state.actions.values()
                    if summary.status == "planned"
                ]
                return await self.end("solved", answer={"planned": planned})
            case Parked():
                return await self.pause("waiting", "waits for a person")
            case errors.BudgetSpent():
                return await self.pause("exhausted", str(error))
            case errors.Unavailable():
                return await self.pause("unavailable", str(error))
            case errors.TraceError():
                # Nothing more can be written: the trace is left as it is, cut off or someone else's.
                await self._reviews.give_up()
                return self.outcome("unavailable", {"reason": str(error)})
            case errors.Stopped() | errors.ActionRefused() | errors.StepRefused() | errors.ObservationWithheld():
                return await self.end("stopped", reason=str(error))
            case errors.PlannerStuck() | errors.MemoryTooSmall():
                return await self.end("failed", reason=f"{error}{_in_brackets(where)}")
            case errors.PlanError():
                return await self.end("failed", reason=f"{error}{_in_brackets(raised_at(error), where)}")
            case errors.ScaffoldError():
                return await self.end("failed", reason=str(error))
            case asyncio.CancelledError():
                return await self.pause("interrupted", "interrupted")
            case _:
                trace = "".join(traceback.format_exception(error, limit=-8))
                at = _in_brackets(raised_at(error), where)
                said = f"the planner raised {type(error).__name__}: {error}{at}"
                if "'NoneType'" in str(error):
                    said += "; a step that was begun, ended or closed before gives None: call its function again"
                elif str(error).startswith("'generator' object"):
                    said += "; a step is asked by `yield from think(...)`, not by calling alone"
                return await self.end("failed", reason=said, traceback=trace)

    async def end(self, status: RunStatus, **content: Any) -> Outcome:
        if status != "solved" and self.state.partial is not None:
            content.setdefault("partial", self.state.partial)
        return await self._close(ev.Ended(status=status), status, content)

    async def pause(self, status: RunStatus, reason: str) -> Outcome:
        return await self._close(ev.Paused(status=status), status, {"reason": reason, "partial": self.state.partial})

    async def _close(self, event: Event, status: RunStatus, content: dict[str, Any]) -> Outcome:
        try:
            if status == "waiting":
                await self._reviews.join(self._seconds_left())
            await self._reviews.give_up()
            self._reach("run.ended:before")
            self.recorder.record(event, content)
            await self.recorder.flush(durable=True)
            await self.recorder.sign()
            self._reach("run.ended:after")
        except errors.TraceError as error:
            return self.outcome("unavailable", {"reason": str(error), "partial": self.state.partial})
        return self.outcome(status, content)

    def outcome(self, status: RunStatus, content: dict[str, Any]) -> Outcome:
        state = self.state
        return Outcome(
            run=self.claim.run,
            status=status,
            answer=content.get("answer", content.get("partial")),
            reason=content.get("reason", ""),
            usage=state.usage(),
            steps=state.steps,
            actions=list(state.actions.values()),
            verdicts=state.verdicts,
            saved=state.saved(),
            trace=self._journal.location(self.claim.run),
            repaired=self.claim.repaired,
            seconds=self.recorder.t,
            reasoning=state.reading,
            undoable={key: done.undo for key, done in state.undoable.items()},
            overseers=state.overseers,
        )


class _Opening(msgspec.Struct):
    calibration: Calibration = Calibration()
    monitorability: Monitorability = Monitorability()


_opening = msgspec.json.Decoder(_Opening)


def _in_brackets(*parts: str) -> str:
    said = ", ".join(filter(None, parts))
    return said and f" ({said})"


def _misfit(task: Task, answer: Any) -> str:
    """Say why an answer is not of the kind the task wants; empty if it is, or if any kind will do."""
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

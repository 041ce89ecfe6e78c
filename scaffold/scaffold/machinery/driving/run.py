"""The parts of one run, whoever drives it: carries out moves, and records how the run began and ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold import errors
from scaffold.interfaces import Recalls
from scaffold.machinery.asking.showing import Showing
from scaffold.machinery.asking.steps import Steps
from scaffold.machinery.driving.thinking import Thinking
from scaffold.machinery.gating.gate import Gate, PlanOnly, call_asked
from scaffold.machinery.gating.people import Parked, People
from scaffold.machinery.gating.permissions import HOST, Permissions
from scaffold.machinery.recording.recorder import Fold, Recorder
from scaffold.machinery.recording.redacting import redaction_of
from scaffold.machinery.recording.state import RunState, bounds_of
from scaffold.machinery.reviewing.reviews import Reviews
from scaffold.trace.ahead import read_all
from scaffold.trace.chain import Chain
from scaffold.trace.checked import Checked
from scaffold.tracebacks import raised_at
from scaffold.version import VERSION
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import adapter, canonical, digest, recordable, unwritable
from scaffold.vocabulary.confidence import Calibration
from scaffold.vocabulary.events import RunStatus
from scaffold.vocabulary.monitorability import Monitorability
from scaffold.vocabulary.moves import Act, Ask, Note, Propose
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.plan import as_call
from scaffold.vocabulary.review import SEVERITY, Subject
from scaffold.vocabulary.task import Unread

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from scaffold.interfaces import Claim
    from scaffold.machinery.driving.setting import Setting
    from scaffold.machinery.interpreter import Pending
    from scaffold.vocabulary.actions import Observation
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.plan import ActionCall
    from scaffold.vocabulary.task import Task

_log = logging.getLogger(__name__)
_ANSWER_TYPES: dict[str, Any] = {"integer": int, "number": float, "boolean": bool}


class Run:
    """One run: its recorder, its state, and the parts that carry out its moves.

    Attributes:
        setting: what it is made of.
        claim: the right to write it.
        task: the task, with the actions' specifications.
        think: asks one step and has it reviewed; see `Thinking.think`.
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
        # Monitors have the inputs to themselves: one that changes them changes nothing that a planner thinks.
        own = task.model_copy(update={"inputs": adapter(dict[str, Any]).dump_python(task.inputs)})
        self._reviews = Reviews(
            task=own,
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
        self.think = Thinking(
            steps=self._steps,
            reviews=self._reviews,
            recorder=self.recorder,
            state=self.state,
            surroundings=setting.surroundings,
            resamples=task.oversight.resamples,
            showing=Showing(claim.run, setting.words, setting.on_piece) if setting.on_piece is not None else None,
        ).think
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
        async with aclosing(read_all(checked, self._journal, self.claim.run)) as batches:
            async for batch in batches:
                recorder.adopt(batch)
        if not checked.seq:
            raise errors.TraceDamaged("the trace is empty: its store has lost the start of the run", 1)
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
                said = f"the run has no limit on {name!r}{errors.nearest(name, known)}"
                raise errors.BadInput(f"{said}; its limits are {', '.join(known)}")
            if most <= known[name]:
                said = f"the run's limit on {name} is already {known[name]:,.10g}"
                raise errors.BadInput(f"{said}: a resumed run can be given more, not {most:,.10g}")
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
        if signer is None:
            if before:
                _log.warning("run %s was signed so far; without a key the rest of it is not", self.claim.run)
        elif signer.verifier() != before:
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
            raise errors.NewerTrace(
                f"the trace has format {event.format}, but this version reads formats up to {ev.FORMAT}: upgrade "
                "scaffold"
            )
        now = {"planner": self.setting.name, **self.setting.plugins}
        then = {"planner": event.planner, **event.plugins}
        changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
        if changed:
            said = ", ".join(f"{name} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in changed)
            cure = "resume it with the same, or start a new run"
            raise errors.PlanChanged(f"the run was started with something else: {said}; {cure}")

    # --- moves

    async def carry_out(self, pending: Pending) -> Any:
        """Carry out a move other than a step; return what the planner or host is sent."""
        move = pending.move
        match move:
            case Act():
                call = as_call(move.planned, pending.history)
                return await self.act(pending.key, move, call, call_asked(call))
            case Propose():
                await self._reviews.join()  # so that reviews of the thoughts behind it are recorded before it
                return await self._gate.propose(pending, move)
            case Ask():
                return await self.people.ask(pending.key, move, pending.history)
            case Note():
                recordable(move.partial)
                self.recorder.record(ev.Noted(key=pending.key), {"text": move.text, "partial": move.partial})
                return None

    async def act(self, key: str, move: Act, call: ActionCall, what: bytes) -> Observation[Any] | errors.ActionError:
        """Clear and perform one call; see `Gate.act`."""
        if self._may_change_the_world(move):
            await self._reviews.join()  # as for a plan
        return await self._gate.act(key, move, call, what)

    def _may_change_the_world(self, move: Act) -> bool:
        known = self.setting.actions.get(move.planned.action)
        return known is not None and known.spec.effect != "read"

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
                return await self.end("solved", answer={"planned": msgspec.to_builtins(self.state.planned())})
            case Parked():
                return await self.pause("waiting", "waits for a person")
            case errors.BudgetSpent():
                return await self.pause("exhausted", str(error), lacking=error.resource)
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
                    said += "; a step that was already started, ended or closed gives None: call its function again"
                elif str(error).startswith("'generator' object"):
                    said += "; a step is asked with `yield from think(...)`, not by calling think(...) alone"
                return await self.end("failed", reason=said, traceback=trace)

    async def end(self, status: RunStatus, **content: Any) -> Outcome:
        if status != "solved" and self.state.partial is not None:
            content.setdefault("partial", self.state.partial)
        return await self._close(ev.Ended(status=status), status, content)

    async def pause(self, status: RunStatus, reason: str, **content: Any) -> Outcome:
        content |= {"reason": reason, "partial": self.state.partial}
        return await self._close(ev.Paused(status=status), status, content)

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
            lacking=content.get("lacking", ""),
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
        return "" if answer in task.answer else f"the answer {answer!r} is not one of {', '.join(task.answer)}"
    wanted = _ANSWER_TYPES.get(task.answer)
    if wanted is None:
        return ""
    try:
        adapter(wanted).validate_python(answer, strict=True)
    except ValueError:
        return f"the answer {answer!r} does not have the type that the task wants: {task.answer}"
    return ""

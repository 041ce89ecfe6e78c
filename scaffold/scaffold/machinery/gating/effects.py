"""Performs cleared calls, and records the outcome of each, or that it is unknown.

The intent is on disk before the effect begins; once begun, an effect is never cancelled, only waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import msgspec

from scaffold.errors import (
    ActionError,
    ActionFailed,
    NotPerformed,
    ObservationWithheld,
    OutcomeUnknown,
    RunEnding,
    Stopped,
    TraceError,
)
from scaffold.interfaces import Reconciles, Returns
from scaffold.machinery.gating.credentials import Revealed
from scaffold.machinery.gating.undoing import offer_in
from scaffold.machinery.reviewing.reviews import observed
from scaffold.machinery.within import leaving
from scaffold.tracebacks import described
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.actions import Call, Observation
from scaffold.vocabulary.canonical import canonical, decode, not_finite, unwritable, with_text_keys
from scaffold.vocabulary.plan import is_pending
from scaffold.vocabulary.references import Provenance
from scaffold.vocabulary.review import SEVERITY, Objection, Subject, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from scaffold.credentials import Credentials
    from scaffold.interfaces import Action, Previews, Surroundings
    from scaffold.machinery.gating.identities import Identities
    from scaffold.machinery.gating.undoing import Undoing
    from scaffold.machinery.recording.recorder import Recorder
    from scaffold.machinery.recording.state import Progress, RunState
    from scaffold.machinery.reviewing.reviews import Reviews
    from scaffold.vocabulary.clearance import Clearance
    from scaffold.vocabulary.plan import ActionCall
    from scaffold.vocabulary.review import Decision, Verdict

    AskPerson = Callable[[Subject, str, str, Sequence[Verdict]], Awaitable[tuple[Decision, list[Verdict]]]]

NOT_CLEARED = SEVERITY["revise"]
_TURNS = 3  # of the event loop: an action that never really waits is done by then, and needs no timer


class Effects:
    """Performs the calls of one run."""

    def __init__(  # noqa: PLR0913 - performing needs all these parts
        self,
        *,
        actions: Mapping[str, Action],
        reviews: Reviews,
        recorder: Recorder,
        state: RunState,
        surroundings: Surroundings,
        identities: Identities,
        credentials: Credentials,
        undoing: Undoing,
        ask_person: AskPerson,
    ) -> None:
        self._actions = actions
        self._misfits = {name: each.misfit for name, each in actions.items() if isinstance(each, Returns)}
        self._reviews = reviews
        self._recorder = recorder
        self._state = state
        self._reach = surroundings.reach
        self._identities = identities
        self._credentials = credentials
        self._undoing = undoing
        self._ask_person = ask_person

    def reveal(self, action: str) -> Revealed:
        """Return the credentials that a call of an action may read."""
        return Revealed(self._credentials, self._actions[action].spec.credentials)

    async def preview(self, key: str, calls: Sequence[ActionCall]) -> dict[str, Any]:
        """Have actions say what calls would do, if they can and have not yet; the previews are recorded as data."""
        previews = self._state.at(key).previews
        for call in calls:
            action = self._actions.get(call.action)
            if action is None or not action.spec.preview or call.id in previews or is_pending(call.arguments):
                continue
            await self._recorder.flush()
            told = self.reveal(call.action)
            run = self._recorder.claim.run
            content: dict[str, Any] = {"node": call.id}
            try:
                async with asyncio.timeout(action.spec.timeout_s):
                    asking = Call(run=run, key=idempotency_key(run, key), credentials=told)
                    said = await cast("Previews", action).preview(decode(canonical(call.arguments)), asking)
                content["value"] = msgspec.Raw(told.hidden_in(canonical(said)))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - reviewers are told that there is no preview
                content["reason"] = told.hidden(described(error))
            self._reach("action.previewed:before")
            self._recorder.record(ev.ActionPreviewed(key=key, action=call.action, ok="value" in content), content)
            self._reach("action.previewed:after")
        return previews

    async def perform(
        self, key: str, call: ActionCall, progress: Progress, clearance: Clearance
    ) -> Observation[Any] | ActionError:
        """Perform a cleared call: intent on disk, effect, outcome on disk, result reviewed."""
        action = self._actions[call.action]
        spec = action.spec
        in_doubt = progress.intent is not None  # an earlier attempt was interrupted, and may have happened
        await self._intend(key, call, progress, clearance, in_doubt=in_doubt)
        started = self._recorder.ticks()
        try:
            status, value, reason, cancelled = await self._run(action, clearance)
        except asyncio.CancelledError:
            if spec.effect == "read":  # of others the intent stands: something may have come of them
                await self._withdraw(key, call, progress, "a call of its own paused the run")
            raise
        seconds = (self._recorder.ticks() - started) / 1e6
        if status == "failed" and in_doubt and spec.idempotency == "target_key":
            # This attempt did nothing, but the interrupted one may have.
            status, reason = "unknown", f"an earlier attempt was interrupted; its target says of this one: {reason}"
        told = clearance.call.credentials
        event, body = await self._write_outcome(
            key, call, progress, status, value=value, reason=reason, seconds=seconds, told=told
        )
        if cancelled:
            raise asyncio.CancelledError  # the result is reviewed when the run is resumed
        return observation_from(event, body) if event.final else await self._read(key, call, event, body)

    async def _intend(
        self, key: str, call: ActionCall, progress: Progress, clearance: Clearance, *, in_doubt: bool
    ) -> None:
        """Put the intent on disk, and what an effect waits for besides.

        Raises:
            TraceError: it could not be stored, signed or kept; the action is not begun.
        """
        spec = self._actions[call.action].spec
        self._reach("action.intent:before")
        self._recorder.record(
            ev.ActionIntent(
                key=key,
                action=spec.name,
                effect=spec.effect,
                digest=progress.digest,
                idempotency=clearance.call.key,
                attempt=clearance.call.attempt,
            )
        )
        try:
            await self._recorder.flush(durable=spec.effect != "read")
            self._reach("action.intent:after")
            if spec.effect == "irreversible":
                await self._recorder.sign()
            if spec.effect != "read":
                await self._recorder.confirm()
        except TraceError as error:
            # Not begun. Recorded, if anything can still be written, so that a resumed run does not call it unknown.
            with contextlib.suppress(TraceError):
                if not in_doubt:
                    await self._withdraw(key, call, progress, f"it was not started: {error}")
            raise
        except asyncio.CancelledError:
            if spec.effect != "read" and spec.idempotency == "none":  # the others can simply be started again
                await self._withdraw(key, call, progress, "the run was cut off before the action started")
            raise

    async def _withdraw(self, key: str, call: ActionCall, progress: Progress, reason: str) -> None:
        """Write down that a call was not made: this is no outcome, and it is made when the run goes on."""
        self._reach("action.withdrawn:before")
        self._recorder.record(
            ev.ActionWithdrawn(key=key, action=call.action, digest=progress.digest), {"reason": reason}
        )
        await self._recorder.flush(durable=True)
        self._reach("action.withdrawn:after")
        await self._identities.give_back(call, key)

    async def _run(self, action: Action, clearance: Clearance) -> tuple[Any, Any, str, bool]:
        """Perform a cleared call to its end: once started it is never cancelled, only waited for.

        Raises:
            CancelledError: a call that it made itself has paused the run, and it can simply be started again.
        """
        spec = action.spec
        self._reach("action.effect:before")
        task = asyncio.get_running_loop().create_task(_performed(action, clearance))
        cancelled = False
        for _ in range(_TURNS):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                cancelled = True
            if task.done():
                break
        else:
            cancelled = await _ended_in_time(task, spec.timeout_s) or cancelled
        self._reach("action.effect:after")
        certain = "failed" if spec.effect == "read" else "unknown"
        if not task.done():
            task.add_done_callback(_forget)
            return certain, None, f"no answer within {spec.timeout_s:g} s", cancelled
        if task.cancelled():
            return certain, None, "it was cancelled by its own code", cancelled
        error = task.exception()
        if error is None:
            return "performed", task.result(), self._misfit(action, task.result()), cancelled
        pauses = isinstance(error, RunEnding) and not isinstance(error, Stopped)
        again = spec.effect == "read" or spec.idempotency != "none"
        if pauses and again and (cancelled or await _is_being_cancelled()):
            raise asyncio.CancelledError
        if isinstance(error, NotPerformed):
            return "failed", None, str(error) or "not performed", cancelled
        return certain, None, described(error), cancelled

    async def conclude(
        self,
        key: str,
        call: ActionCall,
        status: Any,
        *,
        value: Any = None,
        reason: str = "",
        told: Revealed | None = None,
    ) -> Observation[Any] | ActionError:
        """Record the outcome of a call; return what the planner is sent."""
        event, body = await self._write_outcome(
            key, call, self._state.at(key), status, value=value, reason=reason, told=told
        )
        return await self._read(key, call, event, body)

    async def _read(
        self, key: str, call: ActionCall, event: ev.ActionOutcome, body: bytes
    ) -> Observation[Any] | ActionError:
        if event.final:
            return observation_from(event, body)
        return await self.review_result(key, call, self._state.at(key))

    def _misfit(self, action: Action, result: Any) -> str:
        """Say in what a result is not what its action declares; it was performed all the same."""
        misfit = self._misfits.get(action.spec.name)
        said = misfit(result) if misfit is not None else ""
        return said and f"its result does not fit what it declares: {said}"

    async def _write_outcome(
        self,
        key: str,
        call: ActionCall,
        progress: Progress,
        status: Any,
        *,
        value: Any = None,
        reason: str = "",
        seconds: float = 0.0,
        told: Revealed | None = None,
    ) -> tuple[ev.ActionOutcome, bytes]:
        """Record the outcome of a call, with the credentials it was given redacted."""
        spec = self._actions[call.action].spec
        content: dict[str, Any] = {}
        if reason:
            content["reason"] = reason if told is None else told.hidden(reason)
        if status != "performed":
            content |= self._undoing.offer(progress, call)
        else:
            if spec.undo in self._actions:
                content["undo"] = spec.undo
            try:
                plain, said = _written(value)
                content["value"] = msgspec.Raw(plain if told is None else told.hidden_in(plain))
                if said:
                    content["reason"] = "; ".join(filter(None, (content.get("reason"), said)))
            except (TypeError, ValueError, RecursionError) as error:
                said = f"it was performed, but its result cannot be recorded: {unwritable(error)}"
                content |= {"value": None, "reason": said if told is None else told.hidden(said)}
        event = ev.ActionOutcome(
            key=key,
            action=call.action,
            digest=progress.digest,
            status=status,
            tainted=not spec.trusted,
            seconds=seconds,
            final=not self._reviews.watches("observation"),
        )
        undone = self._state.undoable.get(call.compensates) if call.compensates else None
        self._reach("action.outcome:before")
        body = self._recorder.record(event, content)
        # On disk before anybody reads it: an effect that happened must not be forgotten.
        await self._recorder.flush(durable=spec.effect != "read")
        self._reach("action.outcome:after")
        if status == "failed":
            await self._identities.give_back(call, key)
        elif status == "performed" and undone is not None:
            await self._identities.give_back(undone.call, call.compensates)
        return event, body

    async def review_result(self, key: str, call: ActionCall, progress: Progress) -> Observation[Any] | ActionError:
        """Have the result, or the error message, reviewed before the planner sees it."""
        if progress.outcome is None:
            raise OutcomeUnknown("no outcome to review", key)
        event, body = progress.outcome
        record = observed(event, decode(body) if body else {}, call)
        subject = Subject(kind="observation", key=key, call=call, observation=record)
        decision, verdicts = await self._reviews.review(subject, progress.digest, self._reviews.stakes((call,)))
        if decision == "halt":
            await self._recorder.flush()
            raise Stopped(reason_of(verdicts, "halt"))
        if decision == "escalate":
            what = "result" if event.status == "performed" else "error message"
            decision, verdicts = await self._ask_person(
                subject, progress.digest, f"the {what} of {call.action}", verdicts
            )
        withheld = SEVERITY[decision] >= NOT_CLEARED
        feedback = "; ".join(objection.feedback for objection in objections_of(verdicts)) if withheld else ""
        released = ev.Released(key=key, subject="observation", ok=not withheld)
        self._reach("released:before")
        self._recorder.record(released, {"feedback": feedback} if withheld else None)
        self._reach("released:after")
        return withheld_from(event, body, feedback) if withheld else observation_from(event, body)

    async def recover(self, call: ActionCall, progress: Progress, key: str) -> Observation[Any] | ActionError | None:
        """Resolve an intent without an outcome; None means that the call is to be made again.

        A person's word counts only if the target cannot say. The call is never made again on that word alone, since the
        word would still hold if the new attempt were cut off too: the planner is told that the call failed.
        """
        action = self._actions[call.action]
        if action.spec.idempotency == "target_key":
            return None
        if action.spec.idempotency == "reconcile" and isinstance(action, Reconciles):
            told = self.reveal(call.action)
            run = self._recorder.claim.run
            # A target that refuses older epochs learns ours here, so the process we took over from can no longer act.
            epoch = self._recorder.claim.epoch
            asking = Call(run=run, key=idempotency_key(run, key), credentials=told, epoch=epoch)
            try:
                async with asyncio.timeout(action.spec.timeout_s):
                    happened, value = await action.reconcile(call.arguments, asking)
            except Exception as error:  # noqa: BLE001 - then the outcome stays unknown
                why = f"its target could not tell: {described(error)}"
                return await self._conclude_by_word(key, call, progress, why, told)
            if not happened:
                return None
            misfit = self._misfit(action, value)
            return await self.conclude(key, call, "performed", value=value, reason=misfit, told=told)
        return await self._conclude_by_word(key, call, progress, "the process died between intent and outcome")

    async def _conclude_by_word(
        self, key: str, call: ActionCall, progress: Progress, why: str, told: Revealed | None = None
    ) -> Observation[Any] | ActionError:
        """Record the outcome that a person states, or that it is unknown."""
        word = self._identities.word(key, progress.digest)
        if word is None:
            return await self.conclude(key, call, "unknown", reason=why, told=told)
        by = word.by or "a person"
        if word.granted:
            said = f"it happened, as {by} says; its result is not known"
            return await self.conclude(key, call, "performed", reason=said, told=told)
        return await self.conclude(key, call, "failed", reason=f"it did not happen, as {by} says", told=told)


async def _performed(action: Action, clearance: Clearance) -> Any:
    """Perform the action; turn SystemExit into an error, or asyncio would exit with the outcome unrecorded."""
    try:
        return await action.perform(decode(clearance.arguments), clearance)
    except SystemExit as error:
        raise leaving(error) from error


async def _ended_in_time(task: asyncio.Task[Any], seconds: float) -> bool:
    """Wait for an effect, for at most so many seconds; return whether the wait was cancelled meanwhile."""
    now = asyncio.get_running_loop().time
    deadline = now() + seconds
    cancelled = False
    while not task.done() and now() < deadline:
        try:
            await asyncio.wait({task}, timeout=max(0.0, deadline - now()))
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


async def _is_being_cancelled() -> bool:
    """Whether what is about to run in the event loop cancels this task."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return True
    return False


def idempotency_key(run: str, key: str) -> str:
    """Return the key by which a target knows one effect: the same for every attempt, unique to this run."""
    return sha256(f"{run}/{key}".encode()).hexdigest()[:32]


def observation_from(event: ev.ActionOutcome, body: bytes) -> Observation[Any] | ActionError:
    """Return what the planner is sent for a recorded outcome."""
    content = decode(body) if body else {}
    if event.status == "performed":
        provenance = Provenance((f"action:{event.key}",), event.tainted)
        return Observation(
            content.get("value"),
            provenance,
            key=event.key,
            action=event.action,
            reason=content.get("reason", ""),
            undo=content.get("undo", ""),
        )
    return _unperformed(event, content, content.get("reason", ""))


def withheld_from(event: ev.ActionOutcome, body: bytes, feedback: str) -> ActionError:
    """Return what the planner is sent for a recorded outcome whose result or error message is withheld."""
    if event.status == "performed":
        return ObservationWithheld(feedback, event.key, action=event.action)
    return _unperformed(event, decode(body) if body else {}, f"its error message is withheld: {feedback}")


def _unperformed(event: ev.ActionOutcome, content: dict[str, Any], reason: str) -> ActionError:
    leaf = ActionFailed if event.status == "failed" else OutcomeUnknown
    said, undo = offer_in(content)
    error = leaf(reason + said, event.key, action=event.action, **undo)
    error.tainted = event.tainted
    return error


def objections_of(verdicts: Sequence[Verdict]) -> tuple[Objection, ...]:
    """Return what the planner is told: only the feedback of the verdicts against it.

    Escalations are left out unless a person was asked, or nothing else stands against it: they are nothing to revise.
    """
    against = [verdict for verdict in verdicts if verdict.severity >= NOT_CLEARED]
    standing = [verdict for verdict in against if verdict.decision != "escalate"]
    asked = any(verdict.monitor == "people" for verdict in standing)
    told: list[Objection] = []
    for verdict in against if asked or not standing else standing:
        told += verdict.objections or ([Objection("", verdict.feedback)] if verdict.feedback else [])
    return tuple(dict.fromkeys(told)) or (Objection("", "it was not cleared"),)


def _forget(task: asyncio.Future[Any]) -> None:
    """Retrieve the result of a call that nobody waits for any more, so that asyncio does not warn."""
    if not task.cancelled():
        task.exception()


def _written(value: Any) -> tuple[bytes, str]:
    """Return the canonical bytes of a result, and what they do not keep of it, in words."""
    said = []
    try:
        plain = canonical(value)
    except TypeError:
        plain = canonical(with_text_keys(value))
        said.append("keys in what it returned are recorded as text, because JSON has no others")
    if b"null" in plain and (number := not_finite(value)) is not None:
        said.append(f"it returned {number}, which is recorded as null, because JSON cannot hold it")
    return plain, "; ".join(said)

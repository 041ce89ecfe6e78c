"""Replay: drives a planner from its trace, event by event, in the recorded order.

Nothing is read ahead and nothing delivered is kept, so memory grows with what is under way, not with the length of the
run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.errors import MoveError, PlanChanged, StepRefused
from scaffold.machinery.asking.steps import asked, thought_from
from scaffold.machinery.gating.effects import observation_from, withheld_from
from scaffold.machinery.gating.gate import call_asked, plan_asked, refusal_from, review_from
from scaffold.machinery.gating.people import answer_from, question_asked
from scaffold.machinery.recording.state import asked_in, is_asked_in
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.vocabulary.moves import Act, Ask, Note, Propose, Think
from scaffold.vocabulary.plan import as_call
from scaffold.vocabulary.references import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.machinery.interpreter import Interpreter, Pending
    from scaffold.machinery.recording.state import RunState
    from scaffold.vocabulary.events import Event


def deliver(interpreter: Interpreter, pending: Pending, outcome: Any) -> None:
    """Send a planner the outcome of its move; used by live runs, replays and tests alike."""
    if isinstance(outcome, Exception):
        interpreter.throw(pending, outcome, tainted=isinstance(outcome, MoveError) and outcome.tainted)
    else:
        interpreter.send(pending, outcome, tainted=isinstance(outcome, Reference) and outcome.provenance.tainted)


def asked_by(pending: Pending) -> bytes:
    """Return the canonical bytes of what a move asks."""
    move = pending.move
    match move:
        case Think():
            return asked(move)
        case Propose():
            return plan_asked(move.plan.calls(pending.history))
        case Act():
            return call_asked(as_call(move.planned, pending.history))
        case Ask():
            return question_asked(move)
        case Note():
            return canonical(move.text)


class Replay:
    """Delivers recorded outcomes to the planner.

    Attributes:
        waiting: moves without a recorded outcome, by key; a live run continues with them.
        takers: for each kind of event that moves leave, a function called with it before the run's state takes it in.
    """

    def __init__(self, interpreter: Interpreter, state: RunState) -> None:
        self._interpreter = interpreter
        self._state = state
        self.waiting: dict[str, Pending] = {}
        self._moves: dict[type[Event], Callable[[Any, bytes], None]] = {
            ev.StepAsked: self._asked,
            ev.PlanProposed: self._asked,
            ev.ActionProposed: self._asked,
            ev.QuestionAsked: self._asked,
            ev.StepAnswered: self._step_answered,
            ev.PlanDecided: self._plan_decided,
            ev.ActionOutcome: self._action_outcome,
            ev.ActionRefused: self._action_refused,
            ev.Released: self._released,
            ev.QuestionAnswered: self._question_answered,
            ev.Noted: self._noted,
        }
        self.takers = dict.fromkeys(self._moves, self._feed)

    def _feed(self, event: Event, body: bytes) -> None:
        """Take in one recorded event, unless it does not belong to the planner.

        Raises:
            PlanChanged: the planner asks for something other than what is recorded, or for nothing.
        """
        if event.key and "!" not in event.key:
            self._moves[type(event)](event, body)

    def _asked(self, event: Event, body: bytes) -> None:
        pending = self._find(event)
        now = asked_by(pending)
        if not is_asked_in(body, now):
            raise _changed(event, asked_in(body), now)

    def _step_answered(self, event: ev.StepAnswered, body: bytes) -> None:
        if event.final:
            pending = self._taken(event)
            deliver(self._interpreter, pending, thought_from(event, body, pending.move))  # type: ignore[arg-type]  # compared before

    def _plan_decided(self, event: ev.PlanDecided, body: bytes) -> None:
        deliver(self._interpreter, self._taken(event), review_from(event, body))

    def _action_outcome(self, event: ev.ActionOutcome, body: bytes) -> None:
        if event.final:
            deliver(self._interpreter, self._taken(event), observation_from(event, body))

    def _action_refused(self, event: ev.ActionRefused, body: bytes) -> None:
        deliver(self._interpreter, self._taken(event), refusal_from(event, body))

    def _question_answered(self, event: ev.QuestionAnswered, body: bytes) -> None:
        pending = self._taken(event)
        deliver(self._interpreter, pending, answer_from(event, body, pending.move))  # type: ignore[arg-type]  # as above

    def _noted(self, event: ev.Noted, body: bytes) -> None:
        recorded, now = canonical(decode(body)["text"]), asked_by(self._find(event))
        if recorded != now:
            raise _changed(event, recorded, now)
        deliver(self._interpreter, self._taken(event), None)

    def _released(self, event: ev.Released, body: bytes) -> None:
        pending = self._find(event)
        outcome = self._let_out(event, body, pending)
        deliver(self._interpreter, self._taken(event), outcome)

    def _let_out(self, event: ev.Released, body: bytes, pending: Pending) -> Any:
        """Return what the planner is sent after the review of a thought or an observation."""
        progress = self._state.at(event.key)
        feedback = "" if event.ok else decode(body)["feedback"]
        if progress.answered is not None:
            thought = thought_from(*progress.answered, pending.move)  # type: ignore[arg-type]  # as above
            return thought if event.ok else StepRefused(feedback, event.key)
        if progress.outcome is not None:
            return observation_from(*progress.outcome) if event.ok else withheld_from(*progress.outcome, feedback)
        raise PlanChanged(f"the trace releases something at {event.key} that it does not contain")

    def _find(self, event: Event) -> Pending:
        """Return the move at an event's key."""
        found = self.waiting.get(event.key)
        while found is None:
            pending = self._interpreter.next()
            if pending is None:
                raise PlanChanged(
                    f"the trace has {_kind(event)} at {event.key}, but the planner no longer makes a move there"
                )
            self.waiting[pending.key] = pending
            if pending.key == event.key:
                found = pending
        return found

    def _taken(self, event: Event) -> Pending:
        """Return the move at an event's key, and stop waiting for it."""
        return self.waiting.pop(event.key, None) or self.waiting.pop(self._find(event).key)


def _changed(event: Event, recorded: bytes, now: bytes) -> PlanChanged:
    return PlanChanged(
        f"at {event.key} the trace has {_kind(event)}, {_short(recorded)}, but the planner now asks "
        f"{_short(now)}. Resume with the code and inputs that the run was started with, or start a new run."
    )


def _kind(event: Event) -> str:
    return _KINDS.get(type(event)) or f"an event {event.__struct_config__.tag}"


_KINDS: dict[type[Event], str] = {
    ev.StepAsked: "a step",
    ev.PlanProposed: "a plan",
    ev.ActionProposed: "an action",
    ev.QuestionAsked: "a question",
    ev.Noted: "a note",
}


def _short(what: bytes) -> str:
    text = what.decode("utf-8", "replace")
    return text if len(text) <= 160 else f"{text[:157]}..."  # noqa: PLR2004 - as much as reads well in one line

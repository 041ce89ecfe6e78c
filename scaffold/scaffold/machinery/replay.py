"""Drives a planner through what its trace records, event by event, in the order in which it happened.

Nothing is read ahead and nothing is kept that has been delivered, so that resuming takes memory by what is under way,
not by how long the run is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.errors import MoveError, ObservationWithheld, PlanChanged, StepRefused
from scaffold.machinery.effects import observation_from
from scaffold.machinery.gate import call_asked, plan_asked, refusal_from, review_from
from scaffold.machinery.people import answer_from, question_asked
from scaffold.machinery.state import asked_in
from scaffold.machinery.steps import asked, thought_from
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.vocabulary.moves import Act, Ask, Note, Propose, Think
from scaffold.vocabulary.plan import as_call
from scaffold.vocabulary.references import Reference

if TYPE_CHECKING:
    from scaffold.machinery.interpreter import Interpreter, Pending
    from scaffold.machinery.state import RunState
    from scaffold.vocabulary.events import Event


def deliver(interpreter: Interpreter, pending: Pending, outcome: Any) -> None:
    """Tell a planner what came of its move: the one way for live runs, replays and tests alike."""
    if isinstance(outcome, Exception):
        interpreter.throw(pending, outcome, tainted=isinstance(outcome, MoveError) and outcome.tainted)
    else:
        interpreter.send(pending, outcome, tainted=isinstance(outcome, Reference) and outcome.provenance.tainted)


def asked_by(pending: Pending) -> bytes:
    """Canonical bytes of what a move asks."""
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
    """Delivers recorded outcomes.

    Attributes:
        waiting: moves made whose outcome is not recorded, by key; they are what a live run goes on with.
    """

    def __init__(self, interpreter: Interpreter, state: RunState) -> None:
        self._interpreter = interpreter
        self._state = state
        self.waiting: dict[str, Pending] = {}

    def feed(self, event: Event, body: bytes) -> None:
        """Take in one recorded event, before the state does.

        Raises:
            PlanChanged: the planner asks for something else than is recorded, or for nothing.
        """
        if not event.key or "!" in event.key:
            return
        match event:
            case ev.StepAsked() | ev.PlanProposed() | ev.ActionProposed() | ev.QuestionAsked():
                self._compare(event, asked_in(body))
            case ev.StepAnswered(final=True):
                pending = self._find(event)
                self._deliver(event, thought_from(event, body, pending.move))  # type: ignore[arg-type]  # compared before
            case ev.PlanDecided():
                self._deliver(event, review_from(event, body))
            case ev.ActionOutcome(final=True):
                self._deliver(event, observation_from(event, body))
            case ev.ActionRefused():
                self._deliver(event, refusal_from(event, body))
            case ev.Released():
                self._deliver(event, self._released(event, body))
            case ev.QuestionAnswered():
                pending = self._find(event)
                self._deliver(event, answer_from(event, body, pending.move))  # type: ignore[arg-type]  # as above
            case ev.Noted():
                self._compare(event, canonical(decode(body)["text"]))
                self._deliver(event, None)
            case _:
                pass

    def _released(self, event: ev.Released, body: bytes) -> Any:
        progress = self._state.at(event.key)
        if not event.ok:
            leaf = StepRefused if event.subject == "step" else ObservationWithheld
            return leaf(decode(body)["feedback"], event.key)
        if progress.answered is not None:
            return thought_from(*progress.answered, self._find(event).move)  # type: ignore[arg-type]  # as above
        if progress.outcome is not None:
            return observation_from(*progress.outcome)
        raise PlanChanged(f"the trace releases something at {event.key} that it does not hold")

    def _find(self, event: Event) -> Pending:
        while event.key not in self.waiting:
            pending = self._interpreter.next()
            if pending is None:
                raise PlanChanged(
                    f"the trace has a {_kind(event)} at {event.key}; the planner makes no move there any more"
                )
            self.waiting[pending.key] = pending
        return self.waiting[event.key]

    def _compare(self, event: Event, recorded: bytes) -> None:
        pending = self._find(event)
        now = asked_by(pending)
        if now != recorded:
            raise PlanChanged(
                f"at {event.key} the trace has a {_kind(event)} of {_short(recorded)}; "
                f"the planner now asks {_short(now)}. "
                "Resume with the code and inputs that the run was started with, or start a new run."
            )

    def _deliver(self, event: Event, outcome: Any) -> None:
        pending = self._find(event)
        del self.waiting[event.key]
        deliver(self._interpreter, pending, outcome)


def _kind(event: Event) -> str:
    return str(event.__struct_config__.tag)


def _short(what: bytes) -> str:
    text = what.decode("utf-8", "replace")
    return text if len(text) <= 160 else f"{text[:157]}..."  # noqa: PLR2004 - as much as reads well in one line

"""Describes the events of a run in words, one line each, for live views and stored traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from scaffold.cli.speech import call, line, plain, sentence
from scaffold.errors import count
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.monitorability import VISIBILITIES
from scaffold.vocabulary.review import SEVERITY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaffold.vocabulary.events import Event

Tone = Literal["plain", "good", "bad", "wait", "quiet"]
_WIDTH = 160
_decode = msgspec.json.Decoder().decode


REMEMBERED: tuple[type[Event], ...] = (ev.ActionProposed, ev.PlanProposed, ev.ApprovalAsked)
"""The kinds of events that later ones refer to without repeating what they said, also after a resume."""


class Told(NamedTuple):
    """One line; `quiet` ones are shown only in verbose mode."""

    tone: Tone
    text: str


def is_shown(event: Event, told: Told, *, verbose: bool) -> bool:
    """Whether a live view shows a line; the end of the run is shown separately."""
    return (verbose or told.tone != "quiet") and not isinstance(event, ev.Ended | ev.Paused)


class Narrator:
    """Describes events in words, remembering what later events of the run do not repeat."""

    def __init__(self, *, width: int = _WIDTH) -> None:
        self._width = width
        self._calls: dict[str, str] = {}
        self._plans: dict[str, int] = {}
        self._steps: dict[str, str] = {}
        self._asked: dict[str, str] = {}
        self._objections: dict[str, str] = {}
        self._tellers: dict[type[Event], Callable[[Any, dict[str, Any]], Told | None]] = {
            ev.RunStarted: self._started,
            ev.RunResumed: self._resumed,
            ev.StepAsked: self._step_asked,
            ev.StepReserved: lambda event, _: Told("quiet", f"{self._steps.get(event.key, 'step')}: more samples"),
            ev.StepAnswered: self._step_answered,
            ev.StepCut: self._step_cut,
            ev.ProfileCorrected: self._profile_corrected,
            ev.KeyChanged: lambda event, _: Told(
                "quiet",
                f"heads are signed by {plain(event.verifier)}"
                + (", as the previous key says" if event.endorsement else ""),
            ),
            ev.Released: self._released,
            ev.PlanProposed: self._plan_proposed,
            ev.PlanDecided: self._plan_decided,
            ev.Reviewed: self._reviewed,
            ev.ActionProposed: self._proposed,
            ev.ActionCleared: self._cleared,
            ev.ActionIntent: lambda event, _: Told("quiet", f"begins {self._call(event)}, attempt {event.attempt}"),
            ev.ActionWithdrawn: self._withdrawn,
            ev.ActionOutcome: self._outcome,
            ev.ActionRefused: self._refused,
            ev.ApprovalAsked: self._approval_asked,
            ev.ApprovalGiven: self._approval_given,
            ev.QuestionAsked: self._question_asked,
            ev.QuestionAnswered: self._question_answered,
            ev.Noted: lambda _, content: Told("quiet", f"note: {line(content.get('text', ''), self._width)}"),
            ev.BudgetRaised: lambda event, _: Told(
                "quiet", f"{plain(event.by) or 'somebody'} raises the budget: {_bounds(event.bounds)}"
            ),
            ev.StopAsked: lambda event, _: Told("bad", f"{plain(event.by)} asks the run to stop"),
            ev.Paused: lambda event, content: Told(
                "wait", f"paused, {event.status}: {line(content.get('reason', ''), self._width)}"
            ),
            ev.Ended: self._ended,
        }

    def tell(self, event: Event, body: bytes) -> Told | None:
        """Return the line for one event from its content's bytes, which are empty if the content is withheld."""
        teller = self._tellers.get(type(event))
        return teller(event, _decode(body) if body else {}) if teller is not None else None

    def _call(self, event: Any) -> str:
        return self._calls.get(event.key, plain(event.action))

    # --- the run

    def _started(self, event: ev.RunStarted, _: dict[str, Any]) -> Told:
        foreign = f", imported from {plain(event.foreign)}" if event.foreign else ""
        return Told("plain", f"run {event.run}, planner {plain(event.planner)}{foreign}")

    def _resumed(self, event: ev.RunResumed, _: dict[str, Any]) -> Told:
        return Told("plain", "resumed" + (f" ({event.repaired})" if event.repaired else ""))

    def _ended(self, event: ev.Ended, content: dict[str, Any]) -> Told:
        said = line(content.get("answer", content.get("reason", "")), self._width)
        return Told("good" if event.status == "solved" else "bad", f"{event.status}: {said}" if said else event.status)

    # --- steps

    def _step_asked(self, event: ev.StepAsked, _: dict[str, Any]) -> Told:
        self._steps[event.key] = event.step
        whose = " (oversight)" if event.ledger == "oversight" else ""
        return Told("quiet", f"{event.step}{whose}: asks {plain(event.to)}, {plain(event.model)}")

    def _step_answered(self, event: ev.StepAnswered, content: dict[str, Any]) -> Told:
        step = self._steps.pop(event.key, "step")
        votes = f" by {event.confidence:.0%} of {count(event.votes, 'vote')}" if event.samples > 1 else ""
        if not event.ok:
            return Told(
                "quiet",
                f"{step}: no answer: {line(content.get('error', {}).get('message', ''), self._width)}",
            )
        said = line(content["value"], self._width) if "value" in content else "(withheld)"
        return Told("quiet", f"{step}: {said}{votes}")

    def _step_cut(self, event: ev.StepCut, content: dict[str, Any]) -> Told:
        return Told(
            "quiet",
            f"{self._steps.pop(event.key, 'step')}: given up: {line(content.get('reason', ''), self._width)}",
        )

    def _profile_corrected(self, event: ev.ProfileCorrected, _: dict[str, Any]) -> Told:
        known = f", not {event.believed} as expected" if event.reasoning != event.believed else " as expected"
        worse = VISIBILITIES.index(event.reasoning) > VISIBILITIES.index(event.believed)
        return Told("bad" if worse else "quiet", f"the reasoning of {plain(event.model)} is {event.reasoning}{known}")

    def _released(self, event: ev.Released, content: dict[str, Any]) -> Told:
        objection = self._objections.pop(event.key, "")
        if event.ok:
            return Told("quiet", f"the {event.subject} may be read")
        # The feedback is for the model, so it does not say that a judge was unreachable, which the user can mend.
        why = objection or line(content.get("feedback", ""), self._width)
        return Told("bad", f"oversight withholds the {event.subject}: {why}")

    # --- plans and actions

    def _plan_proposed(self, event: ev.PlanProposed, content: dict[str, Any]) -> Told:
        self._plans[event.key] = event.actions
        inner = "; ".join(call(each["action"], each["arguments"]) for each in content.get("calls", ()))
        return Told("quiet", line(f"proposes a plan of {count(event.actions, 'action')}: {inner}", self._width))

    def _plan_decided(self, event: ev.PlanDecided, content: dict[str, Any]) -> Told:
        plan = f"plan of {count(self._plans.pop(event.key, 0), 'action')}"
        if event.allowed:
            return Told("good", f"{plan}: allowed" + ("" if event.decision == "allow" else f" ({event.decision})"))
        said = "; ".join(_objection(each) for each in content.get("objections", ()))
        return Told("bad", f"{plan}: refused ({event.decision}): {self._against(event.key, said)}")

    def _against(self, key: str, feedback: str) -> str:
        """Describe the objections to a plan or an action: the planner's feedback, and objections without feedback."""
        unspoken = self._objections.pop(key, "")
        return line(feedback, self._width) + (f": {unspoken}" if unspoken else "")

    def _reviewed(self, event: ev.Reviewed, content: dict[str, Any]) -> Told:
        said = {
            each.get("monitor"): each.get("rationale") or each.get("feedback", "")
            for each in content.get("verdicts", ())
        }
        told = {each.get("monitor") for each in content.get("verdicts", ()) if each.keys() & {"feedback", "objections"}}
        parts = []
        for fact in event.verdicts:
            status = "" if fact.status == "ok" else f" ({fact.status})"
            score = "" if fact.score is None else f" {fact.score:.2f}"
            why = (
                f": {sentence(said[fact.monitor], self._width)}"
                if (SEVERITY[fact.decision] or status) and said.get(fact.monitor)
                else ""
            )
            parts.append(f"{plain(fact.monitor)} says {fact.decision}{status}{score}{why}")
            spoken = event.subject in {"plan", "action"} and fact.monitor in told
            if SEVERITY[fact.decision] >= SEVERITY["revise"] and not spoken:
                self._objections[event.key] = parts[-1]
        what = (
            f"whether a person is asked about the {event.subject}" if event.waives else f"review of the {event.subject}"
        )
        return Told("quiet", f"{what}: {'; '.join(parts)}")

    def _proposed(self, event: ev.ActionProposed, content: dict[str, Any]) -> Told:
        known = content.get("call")
        self._calls[event.key] = call(event.action, known["arguments"], self._width) if known else plain(event.action)
        return Told("quiet", f"proposes {self._call(event)}, {event.effect}")

    def _cleared(self, event: ev.ActionCleared, _: dict[str, Any]) -> Told:
        how = f" by approval {event.approval}" if event.approval else ""
        return Told(
            "quiet",
            f"cleared {self._call(event)}{how}{' while monitors only observe' if event.observed else ''}",
        )

    def _withdrawn(self, event: ev.ActionWithdrawn, content: dict[str, Any]) -> Told:
        return Told("bad", f"withdraws {self._call(event)}: {line(content.get('reason', ''), self._width)}")

    def _outcome(self, event: ev.ActionOutcome, content: dict[str, Any]) -> Told:
        why = line(content.get("reason", ""), self._width)
        if event.status == "performed":
            said = f"performed {self._call(event)}"
            return Told("bad", f"{said}: {why}") if why else Told("good", said)
        known = "failed" if event.status == "failed" else "outcome unknown of"
        return Told("bad", f"{known} {self._call(event)}: {why}")

    def _refused(self, event: ev.ActionRefused, content: dict[str, Any]) -> Told:
        return Told(
            "bad",
            f"REFUSED {self._call(event)} ({event.decision}): {self._against(event.key, content.get('feedback', ''))}",
        )

    # --- people

    def _approval_asked(self, event: ev.ApprovalAsked, content: dict[str, Any]) -> Told:
        self._asked[event.id] = what_is_asked(content.get("title", event.subject), content.get("calls"), self._width)
        return Told("wait", f"asks a person to approve {self._asked[event.id]} (id {event.id})")

    def _approval_given(self, event: ev.ApprovalGiven, content: dict[str, Any]) -> Told:
        title = self._asked.pop(event.id, event.id)
        comment = f": {line(content['comment'], self._width)}" if content.get("comment") else ""
        if event.by == "expiry":
            return Told("bad", f"nobody approved {title} in time{comment}")
        verb = "approved" if event.granted else "denied"
        who = " and ".join(plain(name) for name in (event.by, *event.beside) if name) or "a person"
        return Told("good" if event.granted else "bad", f"{who} {verb} {title}{comment}")

    def _question_asked(self, event: ev.QuestionAsked, content: dict[str, Any]) -> Told:
        return Told("wait", f"asks the user: {line(content.get('title', ''), self._width)} (id {event.id})")

    def _question_answered(self, event: ev.QuestionAnswered, content: dict[str, Any]) -> Told:
        return Told("good", f"{plain(event.by) or 'the user'} answered: {line(content.get('value', ''), self._width)}")


def what_is_asked(title: str, calls: Any, width: int) -> str:
    """Describe what a person is asked to approve: the call itself if it is a single one, else the title."""
    if calls and len(calls) == 1:
        return call(calls[0]["action"], calls[0]["arguments"], width)
    return line(title, width)


def _objection(objection: dict[str, Any]) -> str:
    node, feedback = objection.get("node", ""), objection.get("feedback", "")
    return f"{node}: {feedback}" if node else str(feedback)


def _bounds(bounds: Mapping[str, float]) -> str:
    return ", ".join(f"{plain(name)} up to {most:,.10g}" for name, most in bounds.items())

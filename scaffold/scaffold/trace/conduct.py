"""Checks in a trace that the gate kept its promises.

Every action performed has an earlier matching clearance, every clearance its verdicts, every approval its digest and
its expiry, every budget its limits (`bounds.py`). This check uses the events alone, knows nothing of the engine, and
forgets each action once it is settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.trace.bounds import Bounds
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.review import SEVERITY, Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.vocabulary.events import Event

_NOT_CLEARED = SEVERITY["revise"]
# The gate checks the clock right before it writes the line, but the process may be suspended in between.
_SLACK_S = 5.0


class _Open:
    """What is known of one unsettled plan or action."""

    __slots__ = (
        "action",
        "asked",
        "cleared",
        "digest",
        "effect",
        "given",
        "intent",
        "node",
        "plan",
        "reviews",
        "waived",
    )

    def __init__(self) -> None:
        self.action = ""
        self.digest = ""
        self.effect = ""
        self.plan = ""
        self.node = ""
        self.reviews: dict[str, tuple[str, Decision]] = {}
        self.waived = ""
        self.asked: ev.ApprovalAsked | None = None
        self.given: ev.ApprovalGiven | None = None
        self.cleared: ev.ActionCleared | None = None
        self.intent: ev.ActionIntent | None = None


class Conduct:
    """Checks the events of one run, in order.

    Attributes:
        intents: number of actions begun.
        unread: how many of these change something and were begun without any monitor having read them.
        observed: how many of these were cleared while monitors were suspended.
        ended: whether `run.ended` was seen.
    """

    def __init__(self) -> None:
        self.intents = 0
        self.unread = 0
        self.observed = 0
        self.ended = False
        self._bounds = Bounds()
        self._reviewed_always = False  # from the first event: every effect needs a monitor's review
        self._open: dict[str, _Open] = {}
        self._plans_read: set[str] = set()
        self._scopes: dict[str, tuple[str, float]] = {}  # plans approved with all their calls: approval and expiry
        self._spent: dict[tuple[str, str], str] = {}  # key of the first call of each node of such a plan
        self._checks: dict[type[Event], Callable[..., str]] = {
            ev.RunStarted: self._started,
            ev.Reviewed: self._reviewed,
            ev.ApprovalAsked: self._approval_asked,
            ev.ApprovalGiven: self._approval_given,
            ev.PlanProposed: self._plan_proposed,
            ev.PlanDecided: self._plan_decided,
            ev.ActionProposed: self._proposed,
            ev.ActionCleared: self._cleared,
            ev.ActionIntent: self._intent,
            ev.ActionWithdrawn: self._withdrawn,
            ev.ActionOutcome: self._outcome,
            ev.ActionRefused: self._refused,
            ev.Released: self._released,
            ev.Ended: self._end,
        }

    @property
    def unfinished(self) -> int:
        """Number of actions begun without a recorded outcome: they may have happened."""
        return sum(known.intent is not None for known in self._open.values())

    def follow(self, event: Event) -> str:
        """Take in one event; say what it violates, or ""."""
        if self.ended:
            return "the run continues after its end"
        kind = type(event)
        bound, check = self._bounds.checks.get(kind), self._checks.get(kind)
        over = bound(event) if bound is not None else ""
        return (check(event) if check is not None else "") or over

    def _started(self, event: ev.RunStarted) -> str:
        self._reviewed_always = bool(event.bounds) and not event.unmonitored
        return ""

    def _at(self, key: str) -> _Open:
        known = self._open.get(key)
        if known is None:
            known = self._open[key] = _Open()
        return known

    # --- what is said of a plan or an action

    def _reviewed(self, event: ev.Reviewed) -> str:
        if not event.verdicts:
            return f"a review of the {event.subject} was written without a verdict of any monitor"
        if event.subject not in {"plan", "action"}:
            return ""
        if event.waives:
            self._at(event.key).waived = event.digest if event.decision == "allow" else ""
        else:
            self._at(event.key).reviews[event.subject] = (event.digest, event.decision)
        return ""

    def _approval_asked(self, event: ev.ApprovalAsked) -> str:
        known = self._at(event.key)
        known.asked, known.given = event, None
        return ""

    def _approval_given(self, event: ev.ApprovalGiven) -> str:
        known = self._at(event.key)
        asked = known.asked
        if asked is None or asked.id != event.id or asked.digest != event.digest:
            return f"the approval {event.id} does not answer any question"
        if event.granted and event.at > asked.expires + _SLACK_S:
            return f"the approval {event.id} was given after it had expired"
        people = {event.by, *event.beside}
        if event.granted and (len(people) < asked.needs or (asked.approvers and not people <= set(asked.approvers))):
            return f"the approval {event.id} was not given by people who may approve, or by too few of them"
        known.given = event
        return ""

    def _stands_against(self, known: _Open, digest: str, at: float, *, in_scope: bool = False) -> str:
        """Say which review forbids the action; empty if none does, or it was lifted."""
        for subject, (reviewed, decision) in known.reviews.items():
            if reviewed != digest:
                return f"the review of the {subject} was for something else"
            if SEVERITY[decision] < _NOT_CLEARED:
                continue
            if decision != "escalate":
                return f"the review of the {subject} said {decision}"
            if known.waived == digest or (subject == "action" and in_scope):
                continue
            given, asked = known.given, known.asked
            if given is None or asked is None or not given.granted or given.digest != digest:
                return f"the review of the {subject} asked for a person, and nobody approved"
            if at > asked.expires + _SLACK_S:
                return f"the approval {given.id} had expired"
        return ""

    # --- plans

    def _plan_proposed(self, event: ev.PlanProposed) -> str:
        self._at(event.key).digest = event.digest
        return ""

    def _plan_decided(self, event: ev.PlanDecided) -> str:
        known = self._open.pop(event.key, None)
        if known is None or known.digest != event.digest:
            return "a plan was decided on that was never proposed"
        if not event.allowed:
            return ""
        if known.reviews:
            self._plans_read.add(event.key)
        against = self._stands_against(known, event.digest, event.at)
        if against:
            return f"a plan was allowed, and {against}"
        if known.given is not None and known.asked is not None and known.given.granted and known.given.scope:
            self._scopes[event.key] = (known.given.id, known.asked.expires)
        return ""

    # --- actions

    def _proposed(self, event: ev.ActionProposed) -> str:
        known = self._at(event.key)
        known.digest, known.plan, known.node = event.digest, event.plan, event.node
        known.action, known.effect = event.action, event.effect
        if event.plan in self._scopes:
            self._spent.setdefault((event.plan, event.node), event.key)
        return ""

    def _is_in_scope(self, known: _Open, event: ev.ActionCleared) -> bool:
        """Whether the approval of a plan with all its calls covers this call: the first one for its node."""
        approval, expires = self._scopes.get(known.plan, ("", 0.0))
        first = self._spent.get((known.plan, known.node)) == event.key
        return bool(approval) and event.approval == approval and first and event.at <= expires + _SLACK_S

    def _cleared(self, event: ev.ActionCleared) -> str:
        known = self._at(event.key)
        if known.digest != event.digest or known.action != event.action:
            return f"{event.action} was cleared for another call than the proposed one"
        if self._reviewed_always and known.effect != "read" and not self._is_read(known):
            return f"{event.action} was cleared, but no monitor had read it"
        in_scope = self._is_in_scope(known, event)
        given = known.given if known.given is not None and known.given.granted else None
        if event.approval and not in_scope and (given is None or given.id != event.approval):
            return f"{event.action} was cleared by an approval that nobody gave"
        against = self._stands_against(known, event.digest, event.at, in_scope=in_scope)
        if against:
            return f"{event.action} was cleared, and {against}"
        known.cleared = event
        return ""

    def _intent(self, event: ev.ActionIntent) -> str:
        known = self._at(event.key)
        cleared, known.cleared = known.cleared, None
        known.intent = event
        self.intents += 1
        if cleared is None:
            return f"{event.action} was started without a clearance"
        if cleared.digest != event.digest or cleared.action != event.action or known.effect != event.effect:
            return f"{event.action} was started with a clearance for something else"
        self.observed += cleared.observed
        if event.effect != "read" and not self._is_read(known):
            self.unread += 1
        return ""

    def _is_read(self, known: _Open) -> bool:
        """Whether a monitor has read the call, by itself or in its plan."""
        return bool(known.reviews) or known.plan in self._plans_read

    def _withdrawn(self, event: ev.ActionWithdrawn) -> str:
        known = self._at(event.key)
        intent, known.intent = known.intent, None
        if intent is None or intent.digest != event.digest:
            return f"{event.action} was withdrawn but never started"
        return ""

    def _outcome(self, event: ev.ActionOutcome) -> str:
        known = self._at(event.key)
        intent, known.intent = known.intent, None
        if event.final:
            del self._open[event.key]
        if intent is None or intent.digest != event.digest:
            return f"{event.action} has an outcome but was never started"
        return ""

    def _refused(self, event: ev.ActionRefused) -> str:
        known = self._open.pop(event.key, None)
        if known is not None and known.intent is not None and known.intent.effect != "read":
            return f"{event.action} was started and may have happened, but is recorded as refused"
        return ""

    def _released(self, event: ev.Released) -> str:
        self._open.pop(event.key, None)
        return ""

    def _end(self, event: ev.Ended) -> str:
        self.ended = True
        return (
            "the run ended as solved with an unfinished action" if event.status == "solved" and self.unfinished else ""
        )

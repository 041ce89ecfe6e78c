"""Converts the gate's events to spans: plans, verdicts, approvals, and actions from proposal to outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.projections import conventions
from scaffold.projections.conventions import as_json
from scaffold.vocabulary import events as happened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaffold.projections.conventions import Attributes, Content
    from scaffold.projections.disclosure import Disclosure
    from scaffold.projections.open_spans import OpenSpans
    from scaffold.projections.unfinished import Unfinished
    from scaffold.vocabulary.events import Event, VerdictFact

_CHECK_NOT_MADE = frozenset({"error", "timeout", "truncated"})
_OUTCOME_ERRORS = {"failed": "action_failed", "unknown": "outcome_unknown"}


class GateSpans:
    """Folds the events of plans, reviews, approvals and actions.

    Attributes:
        planner: the planner's name, for the spans of plans.
    """

    def __init__(self, open_spans: OpenSpans, disclosure: Disclosure) -> None:
        self.planner = ""
        self._open = open_spans
        self._disclosure = disclosure

    def reactions(self) -> Mapping[type[Event], Callable[[Any, Content], None]]:
        """Return the handler of each kind of event."""
        return {
            happened.PlanProposed: self._plan_proposed,
            happened.PlanDecided: self._plan_decided,
            happened.Reviewed: self._reviewed,
            happened.ApprovalAsked: self._approval_asked,
            happened.ApprovalGiven: self._approval_given,
            happened.ActionProposed: self._action_proposed,
            happened.ActionPreviewed: self._action_previewed,
            happened.ActionCleared: self._action_cleared,
            happened.ActionIntent: self._action_intent,
            happened.ActionWithdrawn: self._action_withdrawn,
            happened.ActionOutcome: self._action_outcome,
            happened.ActionRefused: self._action_refused,
        }

    # --- plans and verdicts

    def _begin_plan(self, event: happened.PlanProposed | happened.PlanDecided) -> Unfinished:
        attributes: Attributes = {
            "gen_ai.operation.name": "plan",
            "gen_ai.agent.name": self.planner,
            "scaffold.digest": event.digest,
        }
        return self._open.begin(event, f"plan {self.planner}", attributes, waits=True)

    def _plan_proposed(self, event: happened.PlanProposed, content: Content) -> None:
        plan = self._begin_plan(event)
        plan.attributes["scaffold.plan.actions"] = event.actions
        self._disclosure.show(plan.attributes, "scaffold.plan.calls", content.get("calls"), as_json)
        self._disclosure.show(plan.attributes, "scaffold.plan.reason", content.get("reason"))
        self._replace(event, plan)

    def _replace(self, event: Event, move: Unfinished) -> None:
        """Open a move; one still open at its key was begun by an earlier process and is replaced."""
        earlier = self._open.moves.pop(event.key, None)
        if earlier is not None:
            earlier.cut_off()
            self._open.end(earlier, event.at)
        self._open.moves[event.key] = move

    def _plan_decided(self, event: happened.PlanDecided, content: Content) -> None:
        plan = self._open.moves.pop(event.key, None) or self._begin_plan(event)
        plan.attributes |= {"scaffold.decision": event.decision, "scaffold.allowed": event.allowed}
        self._disclosure.show(plan.attributes, "scaffold.plan.objections", content.get("objections"), as_json)
        self._open.end(plan, event.at)

    def _reviewed(self, event: happened.Reviewed, content: Content) -> None:
        whole = {verdict.get("monitor"): verdict for verdict in content.get("verdicts") or ()}
        for index, fact in enumerate(event.verdicts):
            guard = self._open.guards.pop((event.key, fact.monitor), None) or self._open.begin(
                event, f"guard {fact.monitor}", part=f"guard/{index}", seconds=fact.seconds
            )
            guard.attributes |= {
                "scaffold.monitor": fact.monitor,
                "scaffold.subject": event.subject,
                "scaffold.decision": fact.decision,
                "scaffold.stakes": event.stakes,
            }
            if fact.status != "ok":
                guard.attributes["scaffold.verdict.status"] = fact.status
            self._evaluate(guard, event, fact, whole.get(fact.monitor, {}))
            self._open.end(guard, event.at)

    def _evaluate(self, guard: Unfinished, event: happened.Reviewed, fact: VerdictFact, verdict: Content) -> None:
        """Add a verdict to its guard as attributes, and to the evaluated span as the conventions' event."""
        rationale = self._disclosure.text(verdict.get("rationale"))
        evaluation = conventions.evaluation_attributes(fact, rationale)
        guard.attributes |= evaluation
        evaluated = self._open.moves.get(event.key, self._open.session)
        if evaluated is not None:
            evaluated.note("gen_ai.evaluation.result", event.at, evaluation | {"scaffold.monitor": fact.monitor})
        if fact.status in _CHECK_NOT_MADE:
            guard.fail(fact.status, rationale)

    # --- people

    def _approval_asked(self, event: happened.ApprovalAsked, content: Content) -> None:
        attributes: Attributes = {
            "scaffold.approval.id": event.id,
            "scaffold.approval.expires": event.expires,
            "scaffold.subject": event.subject,
        }
        approval = self._open.begin(event, "approval", attributes, waits=True)
        self._disclosure.show(approval.attributes, "scaffold.approval.reasons", content.get("reasons"))
        self._open.asked[event.id] = approval

    def _approval_given(self, event: happened.ApprovalGiven, content: Content) -> None:
        approval = self._open.asked.pop(event.id, None) or self._open.begin(
            event, "approval", {"scaffold.approval.id": event.id}
        )
        approval.attributes |= {"scaffold.approval.granted": event.granted, "scaffold.approval.by": event.by}
        self._disclosure.show(approval.attributes, "scaffold.approval.comment", content.get("comment"))
        self._open.end(approval, event.at)

    # --- actions

    def _action_proposed(self, event: happened.ActionProposed, content: Content) -> None:
        attributes: Attributes = {
            "scaffold.action": event.action,
            "scaffold.action.effect": event.effect,
            "scaffold.digest": event.digest,
        }
        if event.cost:
            attributes["scaffold.action.cost"] = event.cost
        if event.plan:
            attributes |= {"scaffold.plan": event.plan, "scaffold.plan.node": event.node}
        if event.compensates:
            attributes["scaffold.compensates"] = event.compensates
        action = self._open.begin(event, f"action {event.action}", attributes, waits=True)
        arguments = (content.get("call") or {}).get("arguments")
        self._disclosure.show(action.attributes, "scaffold.action.arguments", arguments, as_json)
        self._replace(event, action)

    def _action_previewed(self, event: happened.ActionPreviewed, content: Content) -> None:
        reviewed = self._open.moves.get(event.key)
        if reviewed is None:
            return
        attributes: Attributes = {"scaffold.action": event.action, "scaffold.preview.ok": event.ok}
        self._disclosure.show(attributes, "scaffold.preview", content.get("value", content.get("reason")))
        reviewed.note("scaffold.action.previewed", event.at, attributes)

    def _action_cleared(self, event: happened.ActionCleared, _content: Content) -> None:
        action = self._open.moves.get(event.key)
        if action is not None:
            action.attributes["scaffold.decision"] = event.decision
            if event.observed:
                action.attributes["scaffold.observed"] = True

    def _begin_call(
        self, event: happened.ActionIntent | happened.ActionWithdrawn | happened.ActionOutcome, seconds: float = 0.0
    ) -> Unfinished:
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.action,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": event.key,
        }
        call = self._open.begin(event, f"execute_tool {event.action}", attributes, part="call", seconds=seconds)
        action = self._open.moves.get(event.key)
        if action is not None and (arguments := action.attributes.get("scaffold.action.arguments")) is not None:
            call.attributes["gen_ai.tool.call.arguments"] = arguments
        return call

    def _action_intent(self, event: happened.ActionIntent, _content: Content) -> None:
        call = self._begin_call(event)
        call.attributes |= {
            "scaffold.action.effect": event.effect,
            "scaffold.action.idempotency": event.idempotency,
        }
        if event.attempt > 1:
            call.attributes["scaffold.action.attempt"] = event.attempt
        self._open.calls[event.key] = call

    def _action_withdrawn(self, event: happened.ActionWithdrawn, content: Content) -> None:
        call = self._open.calls.pop(event.key, None) or self._begin_call(event)
        call.attributes["scaffold.action.status"] = "withdrawn"
        call.fail("withdrawn", self._disclosure.text(content.get("reason")))
        self._open.end(call, event.at)

    def _action_outcome(self, event: happened.ActionOutcome, content: Content) -> None:
        call = self._open.calls.pop(event.key, None) or self._begin_call(event, event.seconds)
        call.attributes["scaffold.action.status"] = event.status
        if event.tainted:
            call.attributes["scaffold.tainted"] = True
        self._disclosure.show(call.attributes, "gen_ai.tool.call.result", content.get("value"), as_json)
        action = self._open.moves.get(event.key)
        for span in (call, action):
            if span is not None and event.status in _OUTCOME_ERRORS:
                span.fail(_OUTCOME_ERRORS[event.status], self._disclosure.text(content.get("reason")))
        self._open.end(call, event.at)
        if action is not None:
            action.attributes["scaffold.action.status"] = event.status
            if event.final:
                self._open.end(self._open.moves.pop(event.key), event.at)

    def _action_refused(self, event: happened.ActionRefused, content: Content) -> None:
        action = self._open.moves.pop(event.key, None) or self._open.begin(event, "action refused")
        action.name = "action refused"
        action.attributes |= {
            "scaffold.action": event.action,
            "scaffold.action.status": "refused",
            "scaffold.decision": event.decision,
        }
        self._disclosure.show(action.attributes, "scaffold.feedback", content.get("feedback"))
        action.fail("action_refused", self._disclosure.text(content.get("feedback")))
        self._open.end(action, event.at)

"""The monitor `budget`: refuses a plan that would exceed the budget midway, before any of it is performed.

The engine's ledger enforces the budget in any case. This monitor looks ahead, since half a plan can be worse than
none. It counts actions and their declared costs. The cost of steps between the actions is unknown beforehand, and
plans of other branches that have not begun are not counted, so a plan that fits may still run out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from scaffold.interfaces import ReviewContext, TraceView
from scaffold.vocabulary import events
from scaffold.vocabulary.events import StepAnswered, StepAsked, StepCut, StepReserved
from scaffold.vocabulary.review import ALLOW, MonitorSpec, Subject, Verdict
from scaffold_monitors.findings import unread

# Sums of floats differ in their last digits; a millionth of a dollar is less than any price.
_TOLERANCE = 1e-6


class Spent(msgspec.Struct):
    """A run's spending so far: a fold over its trace.

    Attributes:
        actions: how many actions were begun; retries of one are not counted.
        usd: settled cost of steps and actions, in US dollars.
        reserved: worst-case cost of each step under way, by key.
        proposed: declared cost of each action under way, by key.
        raised: the budget's bounds that a person has raised since the run began.
    """

    actions: int = 0
    usd: float = 0.0
    reserved: dict[str, float] = msgspec.field(default_factory=dict)
    proposed: dict[str, float] = msgspec.field(default_factory=dict)
    raised: dict[str, float] = msgspec.field(default_factory=dict)

    def follow(self, event: events.Event) -> None:
        """Process one more event."""
        match event:
            case StepAsked() | StepReserved():
                if event.usd and event.ledger == "model":
                    self.reserved[event.key] = self.reserved.get(event.key, 0.0) + event.usd
            case StepAnswered() | StepCut():
                if event.ledger == "model":
                    worst, usd = self.reserved.pop(event.key, 0.0), event.usage.usd
                    self.usd += worst if usd is None else usd
            case events.ActionProposed():
                self.proposed[event.key] = event.cost
            case events.ActionIntent(attempt=1):
                self.actions += 1
            case events.ActionOutcome():
                cost = self.proposed.pop(event.key, 0.0)
                self.usd += 0.0 if event.status == "failed" else cost
            case events.ActionRefused():
                self.proposed.pop(event.key, None)
            case events.BudgetRaised():
                self.raised |= event.bounds
            case _:
                pass

    def committed(self, key: str) -> float:
        """Return the US dollars spent, or committed to anything but the action with this key."""
        promised = sum(cost for other, cost in self.proposed.items() if other != key)
        return self.usd + sum(self.reserved.values()) + promised


class BudgetMonitor:
    """Compares what a plan needs with what is left of the budget."""

    folds = frozenset(
        {
            events.BudgetRaised,
            events.StepAsked,
            events.StepReserved,
            events.StepAnswered,
            events.StepCut,
            events.ActionProposed,
            events.ActionIntent,
            events.ActionOutcome,
            events.ActionRefused,
        }
    )
    bare = folds

    def __init__(self) -> None:
        self.spec = MonitorSpec(name="budget", tier=0, default=True)

    def fold(self, state: Any, event: events.Event, content: dict[str, Any]) -> Spent:
        """Add up what the run has used."""
        spent: Spent = state or Spent()
        spent.follow(event)
        return spent

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check that a plan, or one action, fits into what is left."""
        calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
        spent = view.state if isinstance(view.state, Spent) else Spent()
        budget = view.task.budget.model_copy(update=spent.raised)
        if calls is None or (budget.actions is None and budget.usd is None):
            return Verdict(decision="allow", status="abstain", rationale="the task has no budget for actions")
        unknown = next((call for call in calls if call.action not in view.actions), None)
        if unknown is not None:
            return unread(unknown.id, f"there is no action {unknown.action!r}")
        cost = sum(view.actions[call.action].cost for call in calls)
        lacking = []
        if budget.actions is not None and spent.actions + len(calls) > budget.actions:
            room = max(0, budget.actions - spent.actions)
            lacking.append(f"{_actions(len(calls))}, but the budget has room for {room} more")
        committed = spent.committed(subject.key)
        if budget.usd is not None and cost > 0 and committed + cost > budget.usd + _TOLERANCE:
            left = max(0.0, budget.usd - committed)
            lacking.append(f"{cost:.2f} USD of actions, but the budget has {left:.2f} USD left")
        if not lacking:
            return ALLOW
        needs = "the plan needs" if subject.kind == "plan" else "this needs"
        feedback = "; ".join(f"{needs} {lack}" for lack in lacking)
        return Verdict(decision="block", rationale=feedback, feedback=feedback)


def _actions(number: int) -> str:
    return f"{number} action{'' if number == 1 else 's'}"

"""The monitor `prediction_error`: compares the results of actions with the plan's predictions.

A plan was allowed for its predicted consequences. If an effect turns out otherwise, the rest of the plan rests on a
false premise: it is refused, and the planner may propose anew with what it now knows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from scaffold.interfaces import ReviewContext, TraceView
from scaffold.vocabulary import events
from scaffold.vocabulary.review import ALLOW, Evidence, MonitorSpec, ObservationRecord, Subject, Verdict
from scaffold_monitors.expectations import Compared, compare

_NAME = "prediction_error"
_SHOWN = 10


@dataclass(slots=True)
class Plans:
    """The plans of a run whose predictions failed.

    Attributes:
        under_way: the plan of each action under way, by the action's key.
        surprised: the plan's first action with a surprising result, by the plan's key.
    """

    under_way: dict[str, str] = field(default_factory=dict)
    surprised: dict[str, str] = field(default_factory=dict)

    def follow(self, event: events.Event) -> None:
        """Process one more event."""
        match event:
            case events.ActionProposed(plan=plan) if plan:
                self.under_way[event.key] = plan
            case events.Reviewed(subject="observation") if event.key in self.under_way:
                if any(fact.monitor == _NAME and fact.decision != "allow" for fact in event.verdicts):
                    self.surprised.setdefault(self.under_way[event.key], event.key)
            case events.ActionOutcome(final=True) | events.ActionRefused() | events.Released():
                self.under_way.pop(event.key, None)
            case _:
                pass


class PredictionError:
    """Compares an action's result with its prediction, and stops a plan after a surprise.

    Args:
        reads: whether the results of reads can be surprises, too.
    """

    folds = frozenset(
        {events.ActionProposed, events.Reviewed, events.ActionOutcome, events.ActionRefused, events.Released}
    )

    def __init__(self, *, reads: bool = False) -> None:
        self._reads = reads
        self.spec = MonitorSpec(name=_NAME, watches=frozenset({"observation", "action"}), settings={"reads": reads})

    def fold(self, state: Any, event: events.Event, content: dict[str, Any]) -> Plans:
        """Remember which plans had surprises."""
        plans = state if isinstance(state, Plans) else Plans()
        plans.follow(event)
        return plans

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Review a result, or an action whose plan may have had a surprise."""
        if subject.observation is not None:
            return self._compare(subject.observation, view)
        plans = view.state if isinstance(view.state, Plans) else Plans()
        surprise = plans.surprised.get(plans.under_way.get(subject.key, ""))
        if surprise is None:
            return ALLOW
        return Verdict(
            decision="revise",
            rationale=f"the result of the action at {surprise} of the same plan was not as predicted",
            feedback="an earlier action of this plan did not turn out as predicted: propose the rest of the plan again",
        )

    def _compare(self, seen: ObservationRecord, view: TraceView) -> Verdict:
        if seen.predicted is None:
            return Verdict(decision="allow", status="abstain", rationale="nothing was predicted")
        if seen.status != "performed":
            return Verdict(
                decision="allow", status="abstain", rationale="it was not performed, so there is no result to compare"
            )
        spec = view.actions.get(seen.call.action)
        if spec is not None and spec.effect == "read" and not self._reads:
            return Verdict(decision="allow", status="abstain", rationale="reading changes nothing")
        compared = list(compare(seen.predicted, seen.value))
        wrong = [each for each in compared if each.holds is False]
        known = [each for each in compared if each.holds is not None]
        if not known:
            return Verdict(
                decision="allow", status="abstain", rationale="the prediction is in prose; only a judge can compare it"
            )
        score = len(wrong) / len(known)
        if not wrong:
            return Verdict(decision="allow", score=score, property="surprise")
        said = "; ".join(each.text() for each in wrong[:_SHOWN])
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return Verdict(
            decision="flag",
            score=score,
            property="surprise",
            rationale=f"{seen.call.action} returned {said}{more}",
            feedback=f"{seen.call.action} did not turn out as predicted",
            evidence=tuple(_evidence(each) for each in wrong[:_SHOWN]),
        )


def _evidence(compared: Compared) -> Evidence:
    quote = json.dumps(compared.happened, ensure_ascii=False, default=str)[:200]
    return Evidence(quote=quote, path=f"observation/value{compared.path}", end=len(quote))

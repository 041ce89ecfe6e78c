"""Named points of a run at which a test may observe or kill it.

Each transition of a run has two: `reach` is called with `step.asked:before` just before it is recorded, and with
`step.asked:after` just before what depends on it goes on.
"""

from __future__ import annotations

TRANSITIONS = (
    "run.started",
    "run.resumed",
    "step.asked",
    "step.answered",
    "plan.proposed",
    "plan.decided",
    "approval.asked",
    "approval.given",
    "question.asked",
    "question.answered",
    "action.refused",
    "identity",
    "action.previewed",
    "action.intent",
    "action.withdrawn",
    "head",
    "action.effect",
    "action.outcome",
    "released",
    "run.ended",
)
POINTS = tuple(f"{transition}:{side}" for transition in TRANSITIONS for side in ("before", "after"))

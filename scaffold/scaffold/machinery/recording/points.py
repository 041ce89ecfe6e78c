"""The named points of a run at which a test may watch it, or kill it.

Each transition of a run has two: `reach` is called with `step.asked:before` just before it is written down,
and with `step.asked:after` when what depends on it is about to go on.
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
    "head",
    "action.effect",
    "action.outcome",
    "released",
    "run.ended",
)
POINTS = tuple(f"{transition}:{side}" for transition in TRANSITIONS for side in ("before", "after"))

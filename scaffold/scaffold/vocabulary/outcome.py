"""How a run ended, as whoever embeds the framework is told: the outcome, and what became of each action."""

from __future__ import annotations

from typing import Any

import msgspec

from scaffold.vocabulary.actions import ActionStatus
from scaffold.vocabulary.events import RunStatus
from scaffold.vocabulary.models import NO_USAGE, Usage
from scaffold.vocabulary.monitorability import Readable


class ActionSummary(msgspec.Struct, kw_only=True):
    """The result of one action."""

    key: str
    name: str
    arguments: dict[str, Any]
    status: ActionStatus = "planned"
    reason: str = ""
    cost: float = 0.0
    compensates: str = ""
    undone: str = ""


class VerdictSummary(msgspec.Struct, kw_only=True, frozen=True):
    """A verdict stricter than `allow`."""

    monitor: str
    decision: str
    subject: str
    key: str
    status: str
    reason: str


class Overseen(msgspec.Struct):
    """What one monitor has cost a run.

    Attributes:
        verdicts: number of its verdicts.
        questions: number of its questions to models.
        usage: what those used.
        seconds: total duration of its reviews, including waiting for models; reviews may overlap.
    """

    verdicts: int = 0
    questions: int = 0
    usage: Usage = NO_USAGE
    seconds: float = 0.0


class Outcome(msgspec.Struct, kw_only=True):
    """How a run ended, or why it is paused.

    Attributes:
        run: the run's id.
        status: `solved`, `failed`, `stopped`, or why it is paused.
        answer: the planner's answer; if it was cut short, its partial answer.
        reason: why it is not solved.
        lacking: the resource that ran out, if it is `exhausted`: the name of the limit to raise on resume.
        usage: tokens and dollars of the work and of oversight.
        steps: steps answered for the work.
        actions: what became of each action.
        verdicts: verdicts stricter than `allow`.
        saved: actions that the gate refused, and their declared cost in dollars.
        trace: where the trace is.
        repaired: what was repaired when the run was opened.
        seconds: how long the run has been active, over all resumes, without waiting for people.
        reasoning: how much of the reasoning could be read, and was.
        overseers: what each monitor has cost, by name.
        undoable: for the key of each action that can be undone, in the order performed, the action that undoes it.
    """

    run: str
    status: RunStatus
    answer: Any = None
    reason: str = ""
    usage: dict[str, Usage]
    steps: int
    actions: list[ActionSummary]
    verdicts: list[VerdictSummary]
    saved: dict[str, float]
    trace: str
    repaired: str = ""
    seconds: float = 0.0
    reasoning: Readable = msgspec.field(default_factory=Readable)
    overseers: dict[str, Overseen] = {}
    undoable: dict[str, str] = {}
    lacking: str = ""

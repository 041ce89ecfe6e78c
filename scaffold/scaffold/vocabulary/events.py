"""Every kind of event a trace may hold; the format is versioned as a whole.

A spine line is one of these, as JSON, with `kind` first and `hash` last. Facts that are safe to keep
stand in the event itself. Prompts, reasoning, arguments, outputs and reasons stand in its *content*,
a JSON object kept apart, of which the event holds a salted digest. What a content holds is written
beside each kind. `key` says where in the planner's structure the event belongs.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

import msgspec

from scaffold.vocabulary.actions import Effect
from scaffold.vocabulary.models import NO_USAGE, ReasoningVisibility, Usage
from scaffold.vocabulary.review import Decision, SubjectKind, VerdictStatus

FORMAT = 1

Ledger = Literal["model", "oversight"]
RunStatus = Literal["solved", "failed", "stopped", "exhausted", "unavailable", "waiting", "interrupted"]
ENDED: frozenset[str] = frozenset({"solved", "failed", "stopped"})


class Event(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="kind", gc=False):
    """What all events have.

    Attributes:
        seq: number in the run, from 1, without gaps.
        at: seconds since the epoch, by the host's clock.
        t: seconds the run has been active so far; waiting does not count.
        key: where in the planner's structure it belongs; empty for the run as a whole.
        content: salted SHA-256 of its content, in hex; empty when it has none.
    """

    seq: int = 0
    at: float = 0.0
    t: float = 0.0
    key: str = ""
    content: str = ""


class RunStarted(Event, tag="run.started", kw_only=True):
    """The first event. Content: `task`, `config` (what is needed to resume).

    `bounds` are the most that the task lets the run use: `tokens`, `usd`, `seconds`, `steps`, `actions`, and those of
    oversight as `oversight.tokens` and so on; what is not named has no bound. `unmonitored` says that actions may run
    that no monitor has read. `foreign` says what it was imported from: then somebody else's agent did all this, without
    a gate, and the trace says no more than what that one reported.
    """

    format: int
    run: str
    scaffold: str
    planner: str
    plugins: dict[str, str] = {}
    seed: str = ""
    bounds: dict[str, float] = {}
    unmonitored: bool = False
    foreign: str = ""


class RunResumed(Event, tag="run.resumed", kw_only=True):
    """Another process, or the same one later, goes on. Content: none."""

    owner: str = ""
    repaired: str = ""


class BudgetRaised(Event, tag="budget.raised", kw_only=True):
    """From here on the run may use more: a person has said so. Content: none.

    `bounds` are the new ones, named as in the first event; those that are not named stay as they were.
    """

    bounds: dict[str, float]
    by: str = ""


class KeyChanged(Event, tag="key.changed", kw_only=True):
    """From here on heads are signed by this key, the first one or another than before. Content: none.

    `verifier` and `before` are verifier lines; `endorsement` is the new key's, signed by the old one, if it was.
    """

    verifier: str
    before: str = ""
    endorsement: str = ""


class StepAsked(Event, tag="step.asked", kw_only=True):
    """A step is about to be asked. Content: `asked`, `messages`, `provenance`; `ways` that its policy asks for.

    `sampling` names its policy, where that is not the usual one. What was asked has no digest of its own: that of the
    content, which holds it, covers it.
    """

    step: str
    to: str = "default"
    ledger: Ledger = "model"
    backend: str = ""
    model: str = ""
    sampling: str = ""
    tokens: int = 0
    usd: float = 0.0


class StepReserved(Event, tag="step.reserved", kw_only=True):
    """More samples of a step are about to be asked. Content: `ways` that its policy asks for now first, if any.

    `spent` is what the step used so far, `tokens` and `usd` what the new samples may cost at worst.
    """

    ledger: Ledger = "model"
    tokens: int = 0
    usd: float = 0.0
    spent: Usage = NO_USAGE


class StepAnswered(Event, tag="step.answered", kw_only=True):
    """A step is over, with a value or an error. Content: `samples`, `value` or `error`.

    `final` is False when a review decides whether the planner may have it. `reasoning` is how much of the reasoning
    could be read; empty where there was no sign of any.
    """

    ok: bool = True
    ledger: Ledger = "model"
    reasoning: ReasoningVisibility | Literal[""] = ""
    usage: Usage = NO_USAGE
    seconds: float = 0.0
    samples: int = 1
    discarded: int = 0
    winner: int = -1
    votes: int = 1
    confidence: float = 1.0
    sources: tuple[str, ...] = ()
    tainted: bool = False
    final: bool = True


class ProfileCorrected(Event, tag="profile.corrected", kw_only=True):
    """A reply shows more, or less, of the reasoning than was believed, or settles what was guessed. Content: none."""

    backend: str
    model: str
    believed: ReasoningVisibility
    reasoning: ReasoningVisibility


class StepCut(Event, tag="step.cut", kw_only=True):
    """A step was given up before it was over; its samples stay charged. Content: `samples`, `reason`."""

    ledger: Ledger = "model"
    usage: Usage = NO_USAGE
    samples: int = 0


class Released(Event, tag="released", kw_only=True):
    """What the review of a thought or an observation came to. Content: `feedback` when withheld.

    `beside` names monitors that only observe, and still read it: what they say comes later, or never if the run ends.
    """

    subject: SubjectKind
    ok: bool = True
    beside: tuple[str, ...] = ()


class PlanProposed(Event, tag="plan.proposed", kw_only=True):
    """A plan is about to be read. Content: `calls`, `reason`."""

    digest: str
    actions: int


class PlanDecided(Event, tag="plan.decided", kw_only=True):
    """The gate's answer to a plan. Content: `objections` when there are any."""

    digest: str
    decision: Decision
    allowed: bool


class VerdictFact(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The part of a verdict that the spine keeps."""

    monitor: str
    decision: Decision
    status: VerdictStatus = "ok"
    settings: str = ""
    score: float | None = None
    property: str = ""
    calibrated: bool = False
    seconds: float = 0.0


class Reviewed(Event, tag="reviewed", kw_only=True):
    """Monitors have read something. Content: `verdicts`, whole, when any of them says more than `allow`.

    With `waives` they were those who may spare a person the question: `allow` means that nobody is asked.
    """

    subject: SubjectKind
    digest: str
    decision: Decision
    stakes: str = "low"
    verdicts: tuple[VerdictFact, ...] = ()
    waives: bool = False


class ActionProposed(Event, tag="action.proposed", kw_only=True):
    """An action is about to be reviewed. Content: `asked`, `call`; `identity`, where other runs are to know of it.

    `compensates` is the key of the action that it undoes.
    """

    action: str
    effect: Effect
    digest: str
    cost: float = 0.0
    plan: str = ""
    node: str = ""
    compensates: str = ""


class ActionPreviewed(Event, tag="action.previewed", kw_only=True):
    """An action has said what a call would do; nothing has happened. Content: `node`, and `value` or `reason`."""

    action: str
    ok: bool = True


class ApprovalAsked(Event, tag="approval.asked", kw_only=True):
    """A person is asked. Content: `title`, `calls`, `reasons`, `previews`, `value` observed, `keys` of approvers.

    So many of `approvers`, or of anybody when none is named, have to approve as `needs` says.
    """

    id: str
    subject: SubjectKind
    digest: str
    expires: float
    needs: int = 1
    approvers: tuple[str, ...] = ()


class ApprovalGiven(Event, tag="approval.given", kw_only=True):
    """A person has answered, or time has. Content: `comment` when there is one.

    `beside` names the others where more than one had to approve. `scope` says that the calls of a plan are approved
    with it, each as long as it is exactly as in the plan.
    """

    id: str
    digest: str
    granted: bool
    by: str
    beside: tuple[str, ...] = ()
    scope: bool = False


class QuestionAsked(Event, tag="question.asked", kw_only=True):
    """The user is asked for a fact. Content: `asked`, `provenance`; `approvers`, where those have keys."""

    id: str
    digest: str


class QuestionAnswered(Event, tag="question.answered", kw_only=True):
    """The user has answered. Content: `value`."""

    id: str
    by: str


class ActionCleared(Event, tag="action.cleared", kw_only=True):
    """The gate has cleared one exact call. Content: none.

    `observed` says that monitors were suspended; `approval` names the approval that was spent.
    """

    action: str
    digest: str
    decision: Decision
    approval: str = ""
    observed: bool = False


class ActionIntent(Event, tag="action.intent", kw_only=True):
    """The call is about to be made; on disk before it is. Content: none."""

    action: str
    effect: Effect
    digest: str
    idempotency: str
    attempt: int = 1


class ActionOutcome(Event, tag="action.outcome", kw_only=True):
    """What came of it. Content: `value` or `reason`; `undo`, and whether that is `due`.

    `final` is False when a review decides whether the planner may read what came back.
    """

    action: str
    digest: str
    status: Literal["performed", "failed", "unknown"]
    tainted: bool = True
    seconds: float = 0.0
    final: bool = True


class ActionRefused(Event, tag="action.refused", kw_only=True):
    """The gate has not cleared it; nothing happened. Content: `feedback`; `undo`, and whether that is `due`."""

    action: str
    digest: str
    decision: Decision
    cost: float = 0.0


class Noted(Event, tag="noted", kw_only=True):
    """The planner's own words. Content: `text`, `partial`."""


class StopAsked(Event, tag="stop.asked", kw_only=True):
    """A person has asked the run to stop before its next action. Content: none."""

    by: str


class Paused(Event, tag="run.paused", kw_only=True):
    """The run stands still and can be resumed. Content: `reason`, `partial`."""

    status: RunStatus


class Ended(Event, tag="run.ended", kw_only=True):
    """The run is over. Content: `answer` or `reason`, `partial`."""

    status: RunStatus


AnyEvent = (
    RunStarted
    | RunResumed
    | BudgetRaised
    | KeyChanged
    | StepAsked
    | StepReserved
    | StepAnswered
    | StepCut
    | ProfileCorrected
    | Released
    | PlanProposed
    | PlanDecided
    | Reviewed
    | ActionProposed
    | ActionPreviewed
    | ApprovalAsked
    | ApprovalGiven
    | QuestionAsked
    | QuestionAnswered
    | ActionCleared
    | ActionIntent
    | ActionOutcome
    | ActionRefused
    | Noted
    | StopAsked
    | Paused
    | Ended
)

KINDS: tuple[type[Event], ...] = get_args(AnyEvent)

encode = msgspec.json.Encoder().encode


@cache
def decoder() -> msgspec.json.Decoder[Event]:
    """What reads events; to make it takes longer than all else here, and a run that is new reads none."""
    return msgspec.json.Decoder(AnyEvent)


def decode(body: bytes) -> Event:
    """Read an event from its line.

    Raises:
        msgspec.ValidationError: it is of no kind that this version knows, or lacks a field.
    """
    return decoder().decode(body)

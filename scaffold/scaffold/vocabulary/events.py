"""Every kind of event a trace may hold. The format is versioned as a whole.

A spine line is one of these events as JSON, with `kind` first and `hash` last. Facts that are safe to keep are fields
of the event itself. Prompts, reasoning, arguments, outputs and reasons are in its *content*: a JSON object stored
separately, of which the event holds a salted digest. Each class below says what its content holds. `key` says where in
the planner's structure the event belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
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
OVERSIGHT = "oversight."  # prefix of the names of its own bounds
HOSTED = "host"  # the planner of a run whose moves another agent's loop makes


class Event(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="kind", gc=False):
    """Fields that all events have.

    Attributes:
        seq: number in the run, from 1, without gaps.
        at: seconds since the epoch, by the host's clock.
        t: seconds the run has been active so far; waiting does not count.
        key: position in the planner's structure; empty for the run as a whole.
        content: salted SHA-256 of its content, in hex; empty if it has none.
    """

    seq: int = 0
    at: float = 0.0
    t: float = 0.0
    key: str = ""
    content: str = ""


class RunStarted(Event, tag="run.started", kw_only=True):
    """The first event. Content: `task`, `config` (what is needed to resume).

    `bounds` are the task's limits on the run: `tokens`, `usd`, `seconds`, `steps`, `actions`, and those of oversight as
    `oversight.tokens` and so on; what is not named is unlimited. `unmonitored` allows actions that no monitor has read.
    `foreign` names what the trace was imported from: another agent did all this without a gate, and the trace says no
    more than that agent reported.
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

    @property
    def hosted(self) -> bool:
        """Whether another agent's loop makes the moves, so that a model may have written whatever it passes."""
        return self.planner == HOSTED or bool(self.foreign)


class RunResumed(Event, tag="run.resumed", kw_only=True):
    """Another process, or the same one later, continues the run. Content: none."""

    owner: str = ""
    repaired: str = ""


class BudgetRaised(Event, tag="budget.raised", kw_only=True):
    """A person has raised the run's budget from here on. Content: none.

    `bounds` are the new limits, named as in the first event; those not named stay as they were.
    """

    bounds: dict[str, float]
    by: str = ""


class KeyChanged(Event, tag="key.changed", kw_only=True):
    """From here on heads are signed by this key, the first one or a new one. Content: none.

    `verifier` and `before` are verifier lines; `endorsement` is the new key's, signed by the old key, if it was.
    """

    verifier: str
    before: str = ""
    endorsement: str = ""


class StepAsked(Event, tag="step.asked", kw_only=True):
    """A step is about to be asked. Content: `asked`, `messages`, `provenance`; `ways` that its policy asks for.

    `sampling` names its policy, unless it is the default. What was asked has no digest of its own: it is part of the
    content, whose digest covers it.
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

    `spent` is what the step has used so far; `tokens` and `usd` are the worst-case cost of the new samples.
    """

    ledger: Ledger = "model"
    tokens: int = 0
    usd: float = 0.0
    spent: Usage = NO_USAGE


class StepAnswered(Event, tag="step.answered", kw_only=True):
    """A step is over, with a value or an error. Content: `samples`, `value` or `error`.

    `final` is False if a review still decides whether the planner gets it. `reasoning` says how much of the reasoning
    could be read; empty if there was no sign of any.
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
    """A reply showed more or less of the reasoning than assumed, or settled a guess. Content: none."""

    backend: str
    model: str
    believed: ReasoningVisibility
    reasoning: ReasoningVisibility


class StepCut(Event, tag="step.cut", kw_only=True):
    """A step was abandoned before it was over; its samples stay charged. Content: `samples`, `reason`."""

    ledger: Ledger = "model"
    usage: Usage = NO_USAGE
    samples: int = 0


class Released(Event, tag="released", kw_only=True):
    """The result of reviewing a thought or an observation. Content: `feedback` when withheld.

    `beside` names observing monitors that are still reading it: their verdicts come later, or never if the run ends.
    """

    subject: SubjectKind
    ok: bool = True
    beside: tuple[str, ...] = ()


class PlanProposed(Event, tag="plan.proposed", kw_only=True):
    """A plan is about to be reviewed. Content: `calls`, `reason`."""

    digest: str
    actions: int


class PlanDecided(Event, tag="plan.decided", kw_only=True):
    """The gate's answer to a plan. Content: `objections` when there are any."""

    digest: str
    decision: Decision
    allowed: bool


class VerdictFact(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The part of a verdict that is kept in the spine."""

    monitor: str
    decision: Decision
    status: VerdictStatus = "ok"
    settings: str = ""
    score: float | None = None
    property: str = ""
    calibrated: bool = False
    seconds: float = 0.0


class Reviewed(Event, tag="reviewed", kw_only=True):
    """Monitors have reviewed something. Content: all `verdicts` in full, if any of them says more than `allow`.

    With `waives`, these were monitors that may spare a person the question: `allow` means that nobody is asked.
    """

    subject: SubjectKind
    digest: str
    decision: Decision
    stakes: str = "low"
    verdicts: tuple[VerdictFact, ...] = ()
    waives: bool = False


class ActionProposed(Event, tag="action.proposed", kw_only=True):
    """An action is about to be reviewed. Content: `asked`, `call`; `identity`, if other runs must know of it.

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
    """An action has said what a call would do; nothing was performed. Content: `node`, and `value` or `reason`."""

    action: str
    ok: bool = True


class ApprovalAsked(Event, tag="approval.asked", kw_only=True):
    """A person is asked. Content: `title`, `calls`, `reasons`, `previews`, `value` observed, `keys` of approvers.

    `needs` of the `approvers` must approve; if none are named, anybody may.
    """

    id: str
    subject: SubjectKind
    digest: str
    expires: float
    needs: int = 1
    approvers: tuple[str, ...] = ()


class ApprovalGiven(Event, tag="approval.given", kw_only=True):
    """A person has answered, or the question has expired. Content: `comment` when there is one.

    `beside` names the other approvers, if more than one had to approve. With `scope`, the plan's calls are approved
    with it, each as long as it is exactly as in the plan.
    """

    id: str
    digest: str
    granted: bool
    by: str
    beside: tuple[str, ...] = ()
    scope: bool = False


class QuestionAsked(Event, tag="question.asked", kw_only=True):
    """The user is asked for a fact. Content: `asked`, `provenance`; `approvers`, if they have keys."""

    id: str
    digest: str


class QuestionAnswered(Event, tag="question.answered", kw_only=True):
    """The user has answered. Content: `value`."""

    id: str
    by: str


class ActionCleared(Event, tag="action.cleared", kw_only=True):
    """The gate has cleared one exact call. Content: none.

    `observed` means that monitors were suspended; `approval` names the approval that was spent.
    """

    action: str
    digest: str
    decision: Decision
    approval: str = ""
    observed: bool = False


class ActionIntent(Event, tag="action.intent", kw_only=True):
    """The call is about to be made; this event is on disk before it. Content: none."""

    action: str
    effect: Effect
    digest: str
    idempotency: str
    attempt: int = 1


class ActionWithdrawn(Event, tag="action.withdrawn", kw_only=True):
    """The call was not made after all, and no answer is given: it is made when the run goes on. Content: `reason`."""

    action: str
    digest: str


class ActionOutcome(Event, tag="action.outcome", kw_only=True):
    """The result of the call. Content: `value` or `reason`; `undo`, and whether that is `due`.

    `final` is False if a review still decides whether the planner may read the result, or the error message.
    """

    action: str
    digest: str
    status: Literal["performed", "failed", "unknown"]
    tainted: bool = True
    seconds: float = 0.0
    final: bool = True


class ActionRefused(Event, tag="action.refused", kw_only=True):
    """The gate has refused the call; nothing happened. Content: `feedback`; `undo`, and whether that is `due`."""

    action: str
    digest: str
    decision: Decision
    cost: float = 0.0


class Noted(Event, tag="noted", kw_only=True):
    """A note by the planner. Content: `text`, `partial`."""


class StopAsked(Event, tag="stop.asked", kw_only=True):
    """A person has asked the run to stop before its next action. Content: none."""

    by: str


class Paused(Event, tag="run.paused", kw_only=True):
    """The run is paused and can be resumed. Content: `reason`, `partial`."""

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
    | ActionWithdrawn
    | ActionOutcome
    | ActionRefused
    | Noted
    | StopAsked
    | Paused
    | Ended
)

KINDS: tuple[type[Event], ...] = get_args(AnyEvent)

encode = msgspec.json.Encoder().encode


def of_oversight(bounds: Mapping[str, float]) -> dict[str, float]:
    """Return the bounds of oversight's own budget among those of a run."""
    return {name.removeprefix(OVERSIGHT): most for name, most in bounds.items() if name.startswith(OVERSIGHT)}


@cache
def decoder() -> msgspec.json.Decoder[Event]:
    """Return the decoder of events. Built on first use: that is slow, and a new run reads no events."""
    return msgspec.json.Decoder(AnyEvent)


def decode(body: bytes) -> Event:
    """Decode an event from its line.

    Raises:
        msgspec.ValidationError: its kind is unknown to this version, or a field is missing.
    """
    return decoder().decode(body)

"""Reviews as data: the verdicts of monitors, and what they are about."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from scaffold.vocabulary.models import NO_USAGE, Usage
from scaffold.vocabulary.plan import ActionCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Decision = Literal["allow", "flag", "revise", "resample", "escalate", "block", "halt"]
SEVERITY: dict[Decision, int] = {
    "allow": 0,
    "flag": 1,
    "revise": 2,
    "resample": 2,
    "escalate": 3,
    "block": 4,
    "halt": 5,
}
VerdictStatus = Literal["ok", "error", "timeout", "truncated", "abstain", "skipped"]
SubjectKind = Literal["plan", "step", "stream", "action", "observation", "answer"]
Stakes = Literal["low", "medium", "high"]


class Objection(msgspec.Struct, frozen=True):
    """What oversight tells the planner: which action of the plan, and what to do about it."""

    node: str
    feedback: str


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A span of text that a verdict rests on.

    Attributes:
        quote: the words.
        event: sequence number of the event that holds them; None for the subject itself.
        path: where in it (`plan/1/arguments/account`).
        start: offset of the first character.
        end: offset after the last character.
        sha256: of the words, in hex, to check them where they are withheld; filled in by the gate.
    """

    quote: str
    event: int | None = None
    path: str = ""
    start: int = 0
    end: int = 0
    sha256: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One monitor's decision about one subject.

    Attributes:
        decision: from `allow` to `halt`.
        status: anything but `ok` means that the check was not made.
        rationale: why; kept in the trace and from the planner, since it teaches evasion.
        feedback: what the planner is told, unless there are objections.
        objections: what the planner is told about single actions of a plan.
        score: between 0 and 1, of `property`.
        property: what the score measures.
        calibrated: whether the score is a probability checked against outcomes.
        evidence: the spans it rests on.
        monitor: the monitor's name; filled in by the gate.
        version: the monitor's version; filled in by the gate.
        settings: digest of the monitor's version and settings; filled in by the gate.
        usage: what asking models for it cost.
        seconds: how long it took.
    """

    decision: Decision
    status: VerdictStatus = "ok"
    rationale: str = ""
    feedback: str = ""
    objections: tuple[Objection, ...] = ()
    score: float | None = None
    property: str = ""
    calibrated: bool = False
    evidence: tuple[Evidence, ...] = ()
    monitor: str = ""
    version: str = ""
    settings: str = ""
    usage: Usage = NO_USAGE
    seconds: float = 0.0

    @builtins.property  # the field above hides the plain word
    def severity(self) -> int:
        """Rank in the order of decisions."""
        return SEVERITY[self.decision]


ALLOW = Verdict(decision="allow")


def strictest(verdicts: Iterable[Verdict]) -> Decision:
    """Return the strictest decision; scores are never averaged. Without verdicts it is `allow`."""
    worst: Decision = "allow"
    for verdict in verdicts:
        if SEVERITY[verdict.decision] > SEVERITY[worst]:
            worst = verdict.decision
    return worst


def reason_of(verdicts: Sequence[Verdict], decision: Decision) -> str:
    """Say which monitor made the decision that halted the run, and why."""
    for verdict in verdicts:
        if verdict.decision == decision:
            return f"{verdict.monitor} halted the run: {verdict.rationale or verdict.feedback}"
    return "halted"


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A step as monitors read it.

    Attributes:
        kind: kind of step.
        inputs: what the model was given.
        value: the answer, as JSON; empty, like the next two, while it is being generated.
        text: the answer as the model wrote it.
        reasoning: its readable reasoning.
        to: the role that was asked.
        backend: name of the plug-in in that role.
        model: name of its model.
        choices: the only texts that the answer could be, if it was restricted.
        usage: what all samples of the step have cost.
        signals: figures about the model's inner state, if its backend gives any.
        shown: how much of the reasoning can be read; empty if there was no sign of any.
    """

    kind: str
    inputs: Any
    value: Any = None
    text: str = ""
    reasoning: str = ""
    to: str = "default"
    backend: str = ""
    model: str = ""
    choices: tuple[str, ...] = ()
    usage: Usage = NO_USAGE
    signals: dict[str, float] = {}
    shown: str = ""


class ObservationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An observation as monitors read it: the call, what it returned or why it did not, and what was predicted.

    Attributes:
        call: the call.
        value: its result; None unless it was performed.
        tainted: whether the result, or the error message, is outside our trust.
        predicted: what the plan predicted of it.
        status: whether it was performed.
        reason: why it was not, often in the words of the action or its target; in what a result is not as declared.
    """

    call: ActionCall
    value: Any
    tainted: bool
    predicted: Any = None
    status: Literal["performed", "failed", "unknown"] = "performed"
    reason: str = ""

    @property
    def said(self) -> Any:
        """What the action gave back: its result, or the error message if it was not performed."""
        return self.value if self.status == "performed" else self.reason


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be reviewed; the field for its kind is set.

    Attributes:
        kind: which of the fields below is set; for a stream, `step`, which has no answer yet.
        key: its place in the planner's structure.
        plan: the calls of a plan, or of the one action that is being cleared.
        reason: what the planner says the plan is for.
        previews: what calls of the plan would do, by id, if their actions can say; data from outside.
    """

    kind: SubjectKind
    key: str
    plan: tuple[ActionCall, ...] = ()
    reason: str = ""
    previews: dict[str, Any] = {}
    call: ActionCall | None = None
    step: StepRecord | None = None
    observation: ObservationRecord | None = None
    answer: Any = None


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a monitor declares about itself.

    Attributes:
        name: as in `monitors:` of a task file.
        version: changes when its verdicts may.
        watches: the kinds of subject it reads.
        needs: roles of the backends it asks, such as `judge`.
        tier: 0 for rules, which always bind; 1 always runs too; 2 and 3 run if the stakes or a `band` ask for it.
        mode: `gate` if its verdicts can close the gate, `observe` if they are only recorded; a run does not wait for
            an observer of steps.
        role: `restrict` can only make a decision stricter. `waive` is asked only when something would be put to a
            person, and can only spare them the question, if all who may waive it say `allow`. Anything else, including
            a failure, means to ask.
        sample: share of the subjects that it reads where the stakes are not high, drawn by run and key.
        band: the range of its scores that is undecided, so that the next, dearer tiers are asked.
        on_error: the decision if it raises or returns nonsense.
        on_timeout: the decision if it takes too long.
        on_missing: the decision if no backend has a role it needs; `block` refuses to begin at all.
        timeout_s: seconds it may take for one subject; a later verdict counts if it is stricter than `on_timeout`.
        default: whether it is on when a task names no monitors.
        reads_rules: whether it evaluates the goals' `rule`s; a task with rules needs a monitor that does.
        settings: its settings as JSON, part of what makes a recorded verdict final.
    """

    name: str
    version: str = "1"
    watches: frozenset[SubjectKind] = frozenset({"plan", "action"})
    needs: tuple[str, ...] = ()
    tier: int = 1
    mode: Literal["gate", "observe"] = "gate"
    role: Literal["restrict", "waive"] = "restrict"
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    band: tuple[float, float] = (0.3, 0.7)
    on_error: Decision = "block"
    on_timeout: Decision = "block"
    on_missing: Decision = "block"
    timeout_s: float = 30.0
    default: bool = False
    reads_rules: bool = False
    settings: dict[str, Any] = {}

"""What monitors say, and what the gate makes of it."""

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
    """What oversight lets the planner know: which action of the plan, and what to do about it."""

    node: str
    feedback: str


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A span that a verdict rests on.

    Attributes:
        quote: the words.
        event: sequence number of the event that holds them; None for the subject itself.
        path: where in it (`plan/1/arguments/account`).
        start: offset of the first character.
        end: offset after the last character.
        sha256: of the words, in hex, so that they can be checked where they are withheld; filled in by the gate.
    """

    quote: str
    event: int | None = None
    path: str = ""
    start: int = 0
    end: int = 0
    sha256: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one monitor says of one subject.

    Attributes:
        decision: from `allow` to `halt`.
        status: anything but `ok` means that the check was not made.
        rationale: why; stays in the trace, since it teaches evasion.
        feedback: what the planner is told, unless there are objections.
        objections: what the planner is told of single actions of a plan.
        score: between 0 and 1, of `property`.
        property: what the score measures.
        calibrated: whether the score is a probability checked against outcomes.
        evidence: what it rests on.
        monitor: who says it; filled in by the gate.
        version: the monitor's; filled in by the gate.
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
        """Place in the order of decisions."""
        return SEVERITY[self.decision]


ALLOW = Verdict(decision="allow")


def strictest(verdicts: Iterable[Verdict]) -> Decision:
    """The decision that wins; scores are never averaged. No verdict at all allows."""
    worst: Decision = "allow"
    for verdict in verdicts:
        if SEVERITY[verdict.decision] > SEVERITY[worst]:
            worst = verdict.decision
    return worst


def reason_of(verdicts: Sequence[Verdict], decision: Decision) -> str:
    """Say which monitor ended the run, and why."""
    for verdict in verdicts:
        if verdict.decision == decision:
            return f"{verdict.monitor} halted the run: {verdict.rationale or verdict.feedback}"
    return "halted"


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A step as monitors read it.

    Attributes:
        kind: what sort of step.
        inputs: what the model was given.
        value: what it answered, as JSON; like the next two nothing, while it is being answered.
        text: the same as it wrote it.
        reasoning: its readable reasoning.
        to: the role that was asked.
        backend: name of the plug-in that the role stands for.
        model: name of its model.
        choices: the only texts that the answer could be, where it was so bound.
        usage: what all samples of the step have cost.
        signals: figures about the model's inner state, where its backend tells.
        shown: how much of the reasoning can be read; empty where there was no sign of any.
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
    """An observation as monitors read it: what came back for which call, and what was predicted."""

    call: ActionCall
    value: Any
    tainted: bool
    predicted: Any = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be reviewed; the field of its kind is set.

    Attributes:
        kind: which of the fields below is set; of a stream, `step`, of which nothing is answered yet.
        key: where it stands.
        plan: the calls of a plan, or of one action on its way.
        reason: what the planner says the plan is for.
        previews: what its actions say that calls of the plan would do, by their ids, where they can; data from outside.
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
    """What a monitor declares of itself.

    Attributes:
        name: as in `monitors:` of a task file.
        version: changes when its verdicts may.
        watches: the kinds of subject it reads.
        needs: roles of the backends it asks, such as `judge`.
        tier: 0 for rules, which always bind; higher tiers run if the stakes ask for it.
        mode: whether its verdicts close the gate or are only recorded; of a step, a run does not wait for the latter.
        role: `restrict` can only make a decision stricter. `waive` is asked only when something would be put to a
            person, and can only spare them the question: when all who may waive it say `allow`. Anything else, a
            failure above all, means to ask.
        sample: share of the subjects that it reads where the stakes are not high, drawn by run and key.
        band: scores of this monitor, from and up to, that leave it open and have the dearer tiers asked.
        on_error: the decision when it raises or answers nonsense.
        on_timeout: the decision when it takes too long.
        on_missing: the decision when no backend answers for a role it needs; `block` refuses to begin at all.
        timeout_s: seconds it may take for one subject; a later verdict counts where it is stricter than `on_timeout`.
        default: whether it is on when a task names no monitors.
        reads_rules: whether it evaluates the goals' `rule`s; a task with rules needs one that does.
        settings: JSON of its settings, part of what makes a recorded verdict final.
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

"""The monitor `dataflow`: taint tracking. Checks where each value of a plan came from before an effect uses it.

The target of an effect must not come from tainted data unless the request itself points to that data. Values in a
trusted fact or a trusted lookup are accepted. Effects are denied by default; reads that leak nothing are allowed, and
fetching an address counts as an effect. Credentials must come from the user. If tainted data decides whether an effect
happens at all (an implicit flow), the request must ask for that effect. The design follows CaMeL (Debenedetti et al.
2025, arXiv:2503.18813) without its interpreter: taint comes from the planner's references, per argument.

A whole field of a result is better evidence than its prose, and prose that asks for the very act in question does not
count. Both are evidence, not guarantees, since an attacker can imitate fields.

The setting `declassify` exempts named arguments; each verdict that it changes records this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from scaffold.errors import BadInput, TaskError, nearest
from scaffold.vocabulary.review import MonitorSpec, Verdict
from scaffold_monitors.entailment import flows
from scaffold_monitors.following import Follows, picture
from scaffold_monitors.objections import verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.review import Subject
    from scaffold.vocabulary.task import Task
    from scaffold_monitors.entailment.calls import Finding
    from scaffold_monitors.entailment.situation import Situation


class Declassified(BaseModel):
    """An argument that may come from anywhere, and why.

    Attributes:
        action: name of the action.
        argument: name of the argument.
        because: the reason, for the trace.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str
    argument: str
    because: str


def _said(error: ValidationError) -> str:
    """Describe what is wrong with a setting, and where."""
    faults = (
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" if each["loc"] else each["msg"] for each in error.errors()
    )
    return "; ".join(faults) + "; each has `action`, `argument` and `because`"


class Dataflow(Follows):
    """Checks the source of every value in a plan.

    Args:
        declassify: arguments that may come from anywhere, each with `action`, `argument` and `because`.

    Raises:
        BadInput: a setting is not what it should be.
    """

    def __init__(self, *, declassify: Sequence[Mapping[str, Any]] = ()) -> None:
        try:
            self._free = [Declassified.model_validate(each) for each in declassify]
        except ValidationError as error:
            raise BadInput(f"the setting 'declassify' of monitor 'dataflow' is not valid: {_said(error)}") from None
        settings = {"declassify": [each.model_dump() for each in self._free]} if self._free else {}
        self.spec = MonitorSpec(name="dataflow", tier=1, settings=settings)

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Check that the actions named in the settings exist.

        Raises:
            TaskError: an action of `declassify` does not exist.
        """
        for number, each in enumerate(self._free):
            if actions and each.action not in actions:
                path = ("monitors", "dataflow", "declassify", number, "action")
                raise TaskError(f"there is no action {each.action!r}{nearest(each.action, actions)}", path=path)

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check a plan, or one action on its way."""
        seen = picture(subject, view)
        if isinstance(seen, Verdict):
            return seen
        findings, notes = self._declassified(flows.judge(seen.situation, seen.reading), seen.situation)
        return verdict(findings, notes)

    def _declassified(self, findings: list[Finding], situation: Situation) -> tuple[list[Finding], list[str]]:
        """Drop the findings that the settings declassify, with a note for each."""
        if not self._free:
            return findings, []
        because = {(each.action, each.argument): each.because for each in self._free}
        kept, notes = [], []
        for finding in findings:
            reason = because.get((situation.by_id[finding.call].tool.name, finding.path.partition("[")[0]))
            if reason is None:
                kept.append(finding)
            else:
                notes.append(f"{finding.call}: {finding.path} is declassified, {reason!r}: {finding.rationale}")
        return kept, notes

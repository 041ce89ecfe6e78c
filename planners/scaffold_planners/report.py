"""What came of a deliberation: what was decided, done and not done, and what was not as expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from scaffold.errors import StepFailed
from scaffold.planning import think, together
from scaffold.vocabulary.actions import Observation
from scaffold.vocabulary.moves import Options, Planning
from scaffold.vocabulary.plan import Plan, Planned
from scaffold.vocabulary.references import Reference, apply
from scaffold_planners.showing import labelled, under
from scaffold_planners.ways import Way
from scaffold_planners.weighing import Conflict, Contradiction, Tension, Weighed, attempt


class Done(BaseModel):
    """A call that was made, and what it gave back; None, with a reason, when that was withheld."""

    action: str
    arguments: dict[str, Any]
    result: Any = None
    why: str = ""


class NotDone(BaseModel):
    """A call that was not made, or of which nobody knows (status `unknown`), and why."""

    action: str
    arguments: dict[str, Any]
    status: str
    why: str


class Rejected(BaseModel):
    """A way that was out, and the names of the goals it breaks."""

    way: str
    breaks: list[str]


class Report(BaseModel):
    """The answer of a deliberation.

    Attributes:
        decided: the way that was chosen, in words; empty when none was.
        done: calls that were made.
        not_done: calls that were not, or may not have been.
        surprises: where what happened was not what had been predicted.
        conflicts: objectives that could not be met without breaking another goal.
        contradictions: constraints and principles that no way found keeps to at once.
        tensions: pairs of objectives of which one is met at the cost of the other.
        rejected: ways that broke a goal.
        objections: what oversight said against plans on the way to the one decided.
    """

    decided: str = ""
    done: list[Done] = []
    not_done: list[NotDone] = []
    surprises: list[str] = []
    conflicts: list[Conflict] = []
    contradictions: list[Contradiction] = []
    tensions: list[Tension] = []
    rejected: list[Rejected] = []
    objections: list[str] = []


class Comparison(BaseModel):
    """Whether what happened is what was expected; if it is not, in what it differs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_expected: bool
    difference: str = ""


def rejected(weighed: list[Weighed]) -> list[Rejected]:
    """The ways that are out."""
    return [Rejected(way=each.way.value.summary, breaks=list(each.broken)) for each in weighed if each.broken]


def record(report: Report, way: Way, results: Mapping[str, Observation[Any]]) -> None:
    """Write into a report what became of each call."""
    for call, seen in zip(way.calls, results.values(), strict=True):
        if seen.status == "performed":
            report.done.append(Done(action=call.action, arguments=call.arguments, result=seen.value))
        elif seen.status == "withheld":
            report.done.append(Done(action=call.action, arguments=call.arguments, why=seen.reason))
        else:
            report.not_done.append(
                NotDone(action=call.action, arguments=call.arguments, status=seen.status, why=seen.reason)
            )


def surprises(plan: Plan, results: Mapping[str, Observation[Any]], asked: Options) -> Planning[list[str]]:
    """Compare each result with what was predicted, by itself."""
    seen = [planned for planned in plan if results[planned.id].status == "performed"]
    compared = yield from together(*(attempt(_compare(planned, results[planned.id], asked)) for planned in seen))
    found = []
    for planned, said in zip(seen, compared, strict=True):
        if isinstance(said, StepFailed):
            found.append(f"{planned.id} ({planned.action}): could not be compared with the prediction: {said}")
        elif said:
            found.append(f"{planned.id} ({planned.action}): {said}")
    return found


def doings(plan: Plan, results: Mapping[str, Observation[Any]]) -> list[Reference[str]]:
    """Refer to what each call gave back, under the call's name and action."""
    read = [planned for planned in plan if results[planned.id].status == "performed"]
    return [apply(under, f"{planned.id} ({planned.action}) gave", results[planned.id]) for planned in read]


def _compare(planned: Planned, seen: Observation[Any], asked: Options) -> Planning[str]:
    said = yield from think(
        "verify",
        labelled("Expected", planned.predicted),
        labelled("Happened", seen),
        returns=Comparison,
        instruction="Is what happened what was expected? If not, say in one sentence what is different.",
        options=asked,
    )
    return "" if said.value.as_expected else said.value.difference or "not as predicted"

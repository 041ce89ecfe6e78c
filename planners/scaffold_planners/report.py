"""The report of a deliberation: what was decided, done and not done, and what was not as expected."""

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
    """A call that was made, and its result; None, with a reason, if that was withheld."""

    action: str
    arguments: dict[str, Any]
    result: Any = None
    why: str = ""


class NotDone(BaseModel):
    """A call that was not made, or may not have been (status `unknown`), and why."""

    action: str
    arguments: dict[str, Any]
    status: str
    why: str


class Rejected(BaseModel):
    """A way that is out, and the names of the goals it breaks."""

    way: str
    breaks: list[str]


class Report(BaseModel):
    """The answer of a deliberation.

    Attributes:
        decided: the chosen way in words; empty if there is none.
        done: calls that were made.
        not_done: calls that were not made, or may not have been.
        surprises: results that differ from the predictions.
        conflicts: objectives that could not be met without breaking another goal.
        contradictions: constraints and principles that no way found keeps all at once.
        tensions: pairs of objectives where one is met at the cost of the other.
        rejected: ways that broke a goal.
        objections: oversight's objections to earlier plans.
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
    """Return the ways that are out."""
    return [Rejected(way=each.way.value.summary, breaks=list(each.broken)) for each in weighed if each.broken]


def record(report: Report, way: Way, results: Mapping[str, Observation[Any]]) -> None:
    """Add the outcome of each call to a report."""
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
    """Compare each result with its prediction, one step for each."""
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
    """Refer to the result of each performed call, labelled with the call's id and action."""
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

"""Deliberate: propose several ways, predict the consequences of each, weigh them, and only then act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scaffold.errors import GaveUp, GoalConflict, StepFailed
from scaffold.planning import carry_out, note, propose, think, together
from scaffold.vocabulary.canonical import decode
from scaffold.vocabulary.moves import Planning, Review
from scaffold.vocabulary.plan import Plan
from scaffold.vocabulary.references import Reference, apply
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import form_of
from scaffold_planners.proposing import DeliberateOptions, TurnedDown, Understanding, propose_ways
from scaffold_planners.report import Report, doings, record, rejected, surprises
from scaffold_planners.showing import given, labelled
from scaffold_planners.ways import Tools, Way, plan_of, same
from scaffold_planners.weighing import (
    Weighed,
    attempt,
    best,
    conflicts,
    contradictions,
    measure,
    objectives,
    tensions,
    unmet,
    weigh,
)

_DEFAULTS = DeliberateOptions()


def deliberate(task: Task, options: DeliberateOptions = _DEFAULTS) -> Planning[Any]:
    """Understand, propose ways, predict and weigh each, decide, have the plan reviewed, act, and compare the results.

    Proposing several thoughts and rating each separately is from Tree of Thoughts (Yao et al. 2023, arXiv
    2305.10601), using the model as a world model from RAP (Hao et al. 2023, arXiv 2305.14992). Each goal is
    weighed separately: a way that breaks a constraint or a principle is out, however much it would achieve;
    among the rest, objectives count by their weights. The model fills in small steps, and code decides.

    Without actions it only deliberates about an answer. A task that wants text is answered with a `Report`,
    which is also the run's partial answer if the planner gives up.

    Raises:
        GoalConflict: every way breaks a constraint or a principle; names the conflicting ones.
        GaveUp: oversight refused every way, or not all that was decided was done.
        StepFailed: no way could be proposed or weighed at all.
    """
    tools = {spec.name: spec for spec in task.tools}
    goals = objectives(task)
    understood = yield from think("understand", *given(task), returns=Understanding, options=options.asked())
    report = Report()
    weighed: list[Weighed] = []
    down: list[TurnedDown] = []
    for _ in range(1 + options.revisions):
        ways = yield from propose_ways(task, understood, tools, down, options)
        fresh = yield from _weigh_all(ways, task, tools, options, first=not down)
        weighed += fresh
        down += [TurnedDown(each.way, _breaking(each, task)) for each in fresh if each.broken]
        report.conflicts, report.rejected = conflicts(weighed, goals), rejected(weighed)
        report.contradictions, report.tensions = contradictions(weighed), tensions(weighed, goals)
        choice = best(fresh, goals, tools) or best(_left(weighed, down), goals, tools)
        if choice is None:
            continue
        plan = plan_of(choice.way, choice.future["expected"], tools)
        review = (yield from propose(plan)) if len(plan) else Review("", allowed=True)
        if review.allowed:
            return (yield from _follow_through(task, choice, plan, review, report, options))
        said = [f"{each.node or 'the plan'}: {each.feedback}" for each in review.objections]
        report.objections += said
        down.append(TurnedDown(choice.way, "; ".join(said)))
    yield from note("every way was rejected", partial=report)
    reasons = " | ".join(f"{each.way.value.summary}{_proposed_at(each.way)}: {each.why}" for each in down)
    if report.contradictions:
        names = list(dict.fromkeys(name for each in report.contradictions for name in each.goals))
        against = " and ".join(map(repr, names))
        raise GoalConflict(f"no way was found that satisfies {against}: {reasons}", names)
    raise GaveUp(f"every way was rejected: {reasons}")


def _weigh_all(
    ways: Sequence[Reference[Way]], task: Task, tools: Tools, options: DeliberateOptions, *, first: bool
) -> Planning[list[Weighed]]:
    """Weigh ways in parallel; one whose consequences cannot be predicted is left out."""
    said = yield from together(*(attempt(weigh(way, task, tools, options)) for way in ways))
    weighed = [each for each in said if not isinstance(each, StepFailed)]
    if first and not weighed:
        raise next(error for error in said if isinstance(error, StepFailed))
    # A way that is out is rated only for objectives that no other way meets, since only there goals may conflict.
    missing = unmet(weighed, objectives(task))
    return list((yield from together(*(measure(each, missing, options) for each in weighed))))


def _breaking(weighed: Weighed, task: Task) -> str:
    said = {goal.name: goal.statement for goal in task.goals}
    return "; ".join(
        (
            f"{'it could not be told whether it satisfies' if name in weighed.untold else 'it breaks'} {name!r}: "
            f"{said[name]}"
        )
        for name in weighed.broken
    )


def _proposed_at(way: Reference[Way]) -> str:
    """Say where in the trace a way was proposed."""
    keys = [source.removeprefix("step:") for source in way.provenance.sources if source.startswith("step:")]
    return f" (at {keys[0]})" if keys else ""


def _left(weighed: Sequence[Weighed], down: Sequence[TurnedDown]) -> list[Weighed]:
    refused = {same(each.way.value) for each in down}
    return [each for each in weighed if same(each.way.value) not in refused]


def _follow_through(
    task: Task, choice: Weighed, plan: Plan, review: Review, report: Report, options: DeliberateOptions
) -> Planning[Any]:
    """Carry out what was decided, and report the results."""
    report.decided = choice.way.value.summary
    results = yield from carry_out(plan, review)
    record(report, choice.way.value, results)
    yield from note("carried out", partial=report)
    report.surprises = yield from surprises(plan, results, options.asked())
    yield from note("compared with what was predicted", partial=report)
    if report.not_done:
        raise GaveUp("; ".join(f"{each.action} was {each.status}: {each.why}" for each in report.not_done))
    if task.answer == "text":
        return report
    form = form_of(task.answer, options.max_tokens)
    if not len(plan) and not task.tools:
        return report.decided if form.returns is str else decode(report.decided)
    answer = yield from think(
        "answer",
        labelled("Task", task.request),
        labelled("Decided", apply(Way.text, choice.way)),
        *doings(plan, results),
        returns=form.returns,
        options=form.options,
    )
    return answer.value

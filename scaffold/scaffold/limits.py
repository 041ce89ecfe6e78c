"""Limits on actions, turned into goals with rules so that one mechanism enforces both; and raised limits of runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scaffold.errors import BadInput, TaskError, nearest
from scaffold.fitting import first_fault, in_words
from scaffold.vocabulary.events import OVERSIGHT
from scaffold.vocabulary.task import Budget, Goal, Limits

if TYPE_CHECKING:
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.task import Task


def limited(task: Task, actions: Mapping[str, ActionSpec]) -> Task:
    """Return the task with a goal for each limit set by it or by one of its actions; goals already there stay.

    Raises:
        TaskError: a limit names no action, no numeric argument of it, or dollars for an action without a cost.
    """
    for name in task.limits:
        if name not in actions:
            raise TaskError(f"there is no action {name!r}{nearest(name, actions)}", path=("limits", name))
    there = {goal.name for goal in task.goals}
    goals: list[Goal] = []
    for name, spec in actions.items():
        if name in task.limits:
            goals += _goals(spec, task.limits[name], f"limit-{name}")
        if spec.limits:
            goals += _goals(spec, _declared(spec), f"declared-limit-{name}")
    new = tuple(goal for goal in goals if goal.name not in there)
    return task.model_copy(update={"goals": (*task.goals, *new)}) if new else task


def raised_to(bounds: Mapping[str, Any]) -> dict[str, float]:
    """Return the raised limits that a person gives a run; `oversight.tokens` means oversight's own.

    Raises:
        BadInput: a budget has no such limit, or the value is not valid for it.
    """
    raised: dict[str, float] = {}
    for name, most in bounds.items():
        field = name.removeprefix(OVERSIGHT)
        try:
            found = getattr(Budget.model_validate({field: most}), field)
        except ValidationError as error:
            raise BadInput(f"budget {name}: {in_words(first_fault(error), Budget)}") from None
        if found is None:
            raise BadInput(f"budget {name}: give an amount; a limit that a run started with cannot be removed")
        raised[name] = found
    return raised


def _declared(spec: ActionSpec) -> Limits:
    try:
        return Limits.model_validate(spec.limits)
    except ValidationError as error:
        fault = first_fault(error)
        where = ".".join(str(part) for part in fault["loc"])
        said = in_words(fault, Limits)
        raise TaskError(f"the limits that {spec.name!r} declares are not valid: {where}: {said}") from None


def _goals(spec: ActionSpec, limits: Limits, name: str) -> Iterator[Goal]:
    action = _quoted(spec.name)
    for span, times, usd in (("run", limits.run, limits.usd_run), ("day", limits.day, limits.usd_day)):
        rule = f"at_most_times({action}, {{}})" if span == "run" else f"at_most_times_in({action}, 1, {{}})"
        if times is not None:
            yield _goal(f"{spec.name} is done at most {times} times a {span}", rule.format(times), f"{name}-{span}")
        if usd is not None:
            if spec.cost <= 0:
                raise TaskError(
                    f"{spec.name!r} declares no cost: limit an argument of it, or how often it is done",
                    path=("limits", spec.name, f"usd_{span}"),
                )
            said = f"{spec.name} costs at most {_number(usd)} dollars a {span}"
            yield _goal(said, rule.format(min(int(usd / spec.cost + 1e-9), sys.maxsize)), f"{name}-usd-{span}")
    for argument, bounds in limits.arguments.items():
        schema: Any = spec.parameters.get("properties", {})
        if argument not in schema:
            raise TaskError(
                f"{spec.name!r} has no argument {argument!r}{nearest(argument, schema)}",
                path=("limits", spec.name, "arguments", argument),
            )
        given = f"{action}, {_quoted(argument)}"
        for span, amount, rule in (
            ("call", bounds.each, f"each_at_most({given}, {{}})"),
            ("run", bounds.run, f"at_most({given}, {{}})"),
            ("day", bounds.day, f"at_most_in({given}, 1, {{}})"),
        ):
            if amount is not None:
                most = _number(amount)
                said = f"{argument} of {spec.name} comes to at most {most} a {span}"
                yield _goal(said, rule.format(most), f"{name}-{argument}-{span}")


def _goal(statement: str, rule: str, name: str) -> Goal:
    return Goal(kind="constraint", statement=statement, rule=rule, name=name)


def _number(amount: float) -> str:
    return str(int(amount)) if amount % 1 == 0 and amount <= sys.maxsize else repr(amount)


def _quoted(name: str) -> str:
    if "'" in name or "\\" in name or "\n" in name:
        raise TaskError(f"{name!r} cannot be limited: its name has a quotation mark or a backslash in it")
    return f"'{name}'"

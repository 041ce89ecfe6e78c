"""Compiles rules as users write them, with a goal or in a monitor's settings.

Separate from `rules`, so that a task without rules does not load the CEL library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaffold.errors import TaskError
from scaffold.fitting import first_fault, in_words
from scaffold_monitors.cel.expressions import read
from scaffold_monitors.cel.mentions import check_mentions
from scaffold_monitors.cel.reading import Fault
from scaffold_monitors.cel.sheet import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.task import Task

Path = tuple[str | int, ...]


class ExtraRule(BaseModel):
    """A rule given in the monitor's settings rather than with a goal.

    Attributes:
        rule: the expression.
        statement: what the planner is told when it is broken.
        only: names of the actions it is about, `for` in the settings; None means all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    statement: str
    only: tuple[str, ...] | None = Field(default=None, alias="for")


_PLACE = ("monitors", "rules", "rules")


def _extra(said: Any, place: tuple[str | int, ...]) -> ExtraRule:
    try:
        return ExtraRule.model_validate(said)
    except ValidationError as error:
        fault = first_fault(error)
        raise TaskError(in_words(fault, ExtraRule), path=(*place, *fault["loc"])) from None


def of_settings(rules: Sequence[Mapping[str, Any]]) -> tuple[tuple[Rule, ...], list[dict[str, Any]]]:
    """Read the rules in the monitor's settings; return them compiled, and as recorded in the trace.

    Raises:
        TaskError: a rule is invalid, or cannot be checked.
    """
    if isinstance(rules, str | bytes | Mapping):
        raise TaskError("should be a list, such as [{rule: ..., statement: ...}]", path=_PLACE)
    extra = [_extra(rule, (*_PLACE, number)) for number, rule in enumerate(rules)]
    ready = [
        _ready(rule.rule, rule.statement, f"rules.{number}", (*_PLACE, number, "rule"), rule.only)
        for number, rule in enumerate(extra)
    ]
    return tuple(ready), [rule.model_dump(mode="json", by_alias=True) for rule in extra]


def of_goals(task: Task) -> Iterator[Rule]:
    """Read the rules of a task's goals.

    Raises:
        TaskError: a rule cannot be checked.
    """
    for number, goal in enumerate(task.goals):
        if goal.rule is not None:
            yield _ready(goal.rule, goal.statement, goal.name, ("goals", number, "rule"))


def check(rule: Rule, task: Task, actions: Mapping[str, ActionSpec]) -> None:
    """Refuse a rule that names something that does not exist, or whose types cannot fit.

    Raises:
        TaskError: it does so.
    """
    try:
        check_mentions(rule, task, actions)
    except Fault as fault:
        raise TaskError(str(fault), path=rule.path) from None


def _ready(source: str, statement: str, name: str, path: Path, only: Sequence[str] | None = None) -> Rule:
    try:
        expression = read(source)
    except Fault as fault:
        raise TaskError(str(fault), path=path) from None
    if only is not None and not expression.per_call:
        raise TaskError("'for' is for rules about single calls: mention action or args", path=path)
    return Rule(name, statement, expression, path, None if only is None else frozenset(only))

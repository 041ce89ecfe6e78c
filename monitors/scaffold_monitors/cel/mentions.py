"""Checks a rule's names and types before the run: a typo would make it vacuous, a wrong type an error in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from scaffold.errors import nearest
from scaffold_monitors.cel import type_checking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.task import Task
    from scaffold_monitors.cel.reading import Mention
    from scaffold_monitors.cel.sheet import Rule

_EFFECTS = ("read", "reversible", "irreversible")


def check_mentions(rule: Rule, task: Task, actions: Mapping[str, ActionSpec]) -> None:
    """Check all names that a rule mentions, and the types of its operands.

    Raises:
        Fault: a name does not exist, or some types do not fit together.
    """
    for mention in rule.expression.mentions:
        problem = _problem(mention, rule, task, actions)
        if problem:
            raise rule.expression.fault(problem, mention.position)
    for name in sorted(rule.only or ()):
        if actions and name not in actions:
            raise rule.expression.fault(f"'for' names {name!r}, which is not an action{nearest(name, actions)}", 0)
    specs = [spec for spec in actions.values() if rule.only is None or spec.name in rule.only]
    type_checking.check(rule.expression.expanded, task.inputs, specs)


def _problem(mention: Mention, rule: Rule, task: Task, actions: Mapping[str, ActionSpec]) -> str:
    name = mention.name
    match mention.kind:
        case "input":
            missing = name not in task.inputs
            return f"the task has no input {name!r}{nearest(name, task.inputs)}" if missing else ""
        case "effect":
            return f"there is no effect {name!r}{nearest(name, _EFFECTS)}" if name not in _EFFECTS else ""
        case "action":
            missing = bool(actions) and name not in actions
            return f"there is no action {name!r}{nearest(name, actions)}" if missing else ""
        case "argument":
            return _argument(name, [spec for spec in actions.values() if rule.only is None or spec.name in rule.only])
        case "total":
            spec = actions.get(mention.of)
            return _argument(name, [spec]) or _number(name, spec) if spec else ""
        case "of":
            spec = actions.get(mention.of)
            return _argument(name, [spec]) if spec else ""
        case _:
            assert_never(mention.kind)


def _argument(name: str, specs: list[ActionSpec]) -> str:
    """Say that no action takes an argument of that name; empty unless all of them declare their arguments."""
    schemas = [spec.parameters.get("properties") for spec in specs]
    if not schemas or any(schema is None for schema in schemas):
        return ""
    known = {argument for schema in schemas for argument in schema or ()}
    whose = f"action {specs[0].name!r}" if len(specs) == 1 else "any action"
    return f"{name!r} is not an argument of {whose}{nearest(name, known)}" if name not in known else ""


def _number(name: str, spec: ActionSpec) -> str:
    schema: dict[str, Any] = spec.parameters.get("properties", {}).get(name, {})
    kind = schema.get("type")
    if kind is None or kind in ("integer", "number"):
        return ""
    return f"total() adds numbers, but argument {name!r} of action {spec.name!r} has type {kind!r}"

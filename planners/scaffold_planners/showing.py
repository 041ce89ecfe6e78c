"""Labels what a step is shown (the request, inputs, earlier results), keeping it as references."""

from __future__ import annotations

from typing import Any

from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.references import NOWHERE, Reference, apply
from scaffold.vocabulary.task import Task


def inputs(task: Task) -> tuple[Reference[str], ...]:
    """Refer to the task's inputs, each under its name."""
    return tuple(labelled(name, task.input(name)) for name in task.inputs)


def given(task: Task) -> tuple[Reference[str], ...]:
    """Refer to all that the user gave: inputs first, so that the request is next to the instruction."""
    return (*inputs(task), task.request)


def labelled(label: str, value: Any) -> Reference[str]:
    """Put a label before a value, keeping the value's provenance.

    Args:
        label: a constant of the planner's code or a name of the task file, never a model's words, since it adds
            nothing to the provenance.
        value: a reference; a bare value depends on the planner's history.
    """
    return apply(under, Reference(label, NOWHERE), value)


def under(label: str, value: Any) -> str:
    """Show a value under a label."""
    text = value if isinstance(value, str) else canonical(value).decode()
    return f"{label}: {text}"

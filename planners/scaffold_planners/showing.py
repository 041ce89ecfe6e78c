"""What a step is shown: the request, inputs, what earlier steps gave; labelled, and still references."""

from __future__ import annotations

from typing import Any

from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.references import NOWHERE, Reference, apply
from scaffold.vocabulary.task import Task


def inputs(task: Task) -> tuple[Reference[str], ...]:
    """Refer to the task's inputs, each under its name."""
    return tuple(labelled(name, task.input(name)) for name in task.inputs)


def given(task: Task) -> tuple[Reference[str], ...]:
    """Refer to all that the user gave: inputs first, so that the request stands next to what is wanted."""
    return (*inputs(task), task.request)


def labelled(label: str, value: Any) -> Reference[str]:
    """Put a label before a value, and keep where the value came from.

    Args:
        label: a constant of the planner's code or a name of the task file, never what a model said: it
            adds nothing to where the value came from.
        value: a reference; a bare value depends on the planner's history.
    """
    return apply(under, Reference(label, NOWHERE), value)


def under(label: str, value: Any) -> str:
    """Show a value under a label."""
    text = value if isinstance(value, str) else canonical(value).decode()
    return f"{label}: {text}"

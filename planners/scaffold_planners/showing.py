"""What a step is shown: the request, inputs, what earlier steps gave; labelled, and still references."""

from __future__ import annotations

from typing import Any

from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.references import NOWHERE, Provenance, Reference, apply
from scaffold.vocabulary.task import Task


def request(task: Task) -> Reference[str]:
    """Refer to what was asked.

    It comes from the user whatever else this run is told. As a bare string it would be taken to depend on the
    planner's history, and be shown as data not to be followed as soon as one input is untrusted.
    """
    return Reference(task.prompt, Provenance(("task:prompt",)))


def inputs(task: Task) -> tuple[Reference[str], ...]:
    """Refer to the task's inputs, each under its name."""
    return tuple(labelled(name, task.input(name)) for name in task.inputs)


def given(task: Task) -> tuple[Reference[str], ...]:
    """Refer to all that the user gave: inputs first, so that the request stands next to what is wanted."""
    return (*inputs(task), request(task))


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

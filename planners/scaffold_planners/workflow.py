"""Workflow: a predefined DAG of steps, each of which sees only what it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaffold.errors import GaveUp, StepFailed, StepRefused
from scaffold.planning import think, together
from scaffold.vocabulary.moves import Planning, Thought
from scaffold.vocabulary.references import Reference, apply
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import form_of
from scaffold_planners.showing import labelled
from scaffold_planners.steps import PROMPT, Step, WorkflowOptions


def workflow(task: Task, options: WorkflowOptions) -> Planning[Any]:
    """Run the steps of a DAG, each after those it names, independent ones in parallel.

    The workflow of "Building effective agents" (Anthropic 2024): models fill in predefined paths. A DAG with a
    sampling policy per step covers prompt chaining, sectioning and voting.

    Raises:
        TaskError: a step names a missing input, or runs for each item of something that is not a list.
        GaveUp: a step has no acceptable answer; says which.
        StepRefused: oversight withheld a step's answer.
    """
    options.check_task(task)
    known: dict[str, Reference[Any]] = {name: task.input(name) for name in task.inputs}
    known.setdefault(PROMPT, task.request)
    outputs: dict[str, Reference[Any]] = {}
    for level in options.levels:
        done = yield from together(*(_do(options.by_id[name], task, options, known, outputs) for name in level))
        outputs.update(zip(level, done, strict=True))
    return outputs[options.answering].value


def _do(
    step: Step,
    task: Task,
    options: WorkflowOptions,
    known: Mapping[str, Reference[Any]],
    outputs: Mapping[str, Reference[Any]],
) -> Planning[Reference[Any]]:
    """Run one step: once, or for each item of the list it names."""
    shown = {name: known[name] for name in step.inputs} | {name: outputs[name] for name in step.needs}
    wanted = step.returns or (task.answer if step.id == options.answering and step.each is None else "text")
    form = form_of(wanted, step.max_tokens or options.max_tokens)

    def once(seen: Mapping[str, Reference[Any]]) -> Planning[Thought[Any]]:
        return think(
            step.kind,
            *(labelled(name, value) for name, value in seen.items()),
            returns=form.returns,
            instruction=step.instruction,
            sampling=None if step.sampling is None else step.sampling.sampling(),
            to=step.backend,
            options=form.options,
        )

    try:
        if step.each is None:
            return (yield from once(shown))
        items = shown.pop(step.each)
        count = len(items.value)
        thoughts = yield from together(*(once({**shown, step.each: items[place]}) for place in range(count)))
    except StepRefused:
        raise  # oversight's refusal stays as it is
    except StepFailed as error:
        raise GaveUp(f"step {step.id!r}: {error}") from error
    return apply(lambda _items, *values: list(values), items, *thoughts)

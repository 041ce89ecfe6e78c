"""Direct: one question, one answer."""

from __future__ import annotations

from typing import Any

from scaffold.planning import think
from scaffold.vocabulary.moves import Planning
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import PlannerOptions, Votes, agreed, form_of
from scaffold_planners.showing import given


class DirectOptions(PlannerOptions):
    """Options of `direct`."""

    votes: Votes = 1


_DEFAULTS = DirectOptions()


def direct(task: Task, options: DirectOptions = _DEFAULTS) -> Planning[Any]:
    """Ask once and take the answer: the baseline that every other planner has to beat.

    With `votes` above 1 this is self-consistency (Wang et al. 2022, arXiv 2203.11171).

    Raises:
        StepFailed: there was no answer of the wanted type, or no majority for one.
    """
    form = form_of(task.answer, options.max_tokens)
    answer = yield from think(
        "answer", *given(task), returns=form.returns, options=form.options, sampling=agreed(options.votes)
    )
    return answer.value

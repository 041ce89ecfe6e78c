"""Stepwise: split a task into smaller questions, answer each from what it needs, and combine the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from scaffold.planning import think, together
from scaffold.vocabulary.moves import Planning, Thought
from scaffold.vocabulary.references import Reference
from scaffold.vocabulary.sampling import once
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import PlannerOptions, Tries, Votes, agreed, form_of
from scaffold_planners.levels import Circle, levels
from scaffold_planners.showing import given, inputs, labelled


class StepwiseOptions(PlannerOptions):
    """Options of `stepwise`."""

    most: Annotated[int, Field(ge=1, le=100, description="most sub-questions")] = 6
    votes: Votes = 1
    tries: Annotated[Tries, Field(description="most decompositions drawn until one is sound")] = 4


class Question(BaseModel):
    """A question, and the numbers of the questions whose answers it needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: Annotated[str, Field(min_length=1)]
    needs: list[int] = []


class Decomposition(BaseModel):
    """Questions, numbered from 1 in the order given here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    questions: list[Question]

    def needs(self) -> dict[int, list[int]]:
        """For each question's number, those of the questions it needs."""
        return {number: question.needs for number, question in enumerate(self.questions, 1)}


_DEFAULTS = StepwiseOptions()
_SPLIT = (
    "Split this task into at most {most} smaller questions whose answers together solve it. Each can be "
    "understood by itself. Say for each which other questions have to be answered first, by their numbers; "
    "most need none."
)


def stepwise(task: Task, options: StepwiseOptions = _DEFAULTS) -> Planning[Any]:
    """Answer the questions that a task consists of, each after those it needs, independent ones in parallel.

    Least-to-most prompting (Zhou et al. 2022, arXiv 2205.10625), with a DAG of questions instead of a list, so that
    they can run in parallel (as calls do in Kim et al. 2023, arXiv 2312.04511). A decomposition with a cycle, or with
    needs that it does not contain, is discarded and drawn again. If the reasoning behind the decomposition could not be
    read, and the task wants finer steps then (`oversight.unread.finer`), each question is split once more.

    Raises:
        StepFailed: there was no sound decomposition, an unanswered question, or no majority.
    """
    parts, answers = yield from _in_parts(task, given(task), options, finer=task.oversight.unread.finer)
    form = form_of(task.answer, options.max_tokens)
    whole = yield from think(
        "combine",
        *inputs(task),
        labelled("Task", task.request),
        *_answered(parts, answers),
        returns=form.returns,
        options=form.options,
        sampling=agreed(options.votes),
    )
    return whole.value


def _in_parts(
    task: Task, shown: Iterable[Reference[Any]], options: StepwiseOptions, *, finer: bool
) -> Planning[tuple[Thought[Decomposition], dict[int, Reference[str]]]]:
    """Split what is shown into questions, and answer them."""
    parts = yield from think(
        "decompose",
        *shown,
        returns=Decomposition,
        instruction=_SPLIT.format(most=options.most),
        sampling=once(tries=options.tries, flags=(partial(fault_in, most=options.most),)),
        options=options.asked(),
    )
    solve = partial(_solve_in_parts, task) if finer and parts.shown == "absent" else _solve
    answers: dict[int, Reference[str]] = {}
    for level in levels(parts.value.needs()):
        needed = [_needed(task, parts, number, answers) for number in level]
        solved = yield from together(*(solve(shown, options) for shown in needed))
        for number, answer in zip(level, solved, strict=True):
            answers[number] = labelled("Answer", answer)
    return parts, answers


def fault_in(parts: Decomposition, *, most: int) -> str:
    """Say what is wrong with a decomposition; empty if it is sound."""
    count = len(parts.questions)
    if not 1 <= count <= most:
        return f"there are {count} questions, but there should be 1 to {most}"
    for number, needs in parts.needs().items():
        unknown = [other for other in needs if not 1 <= other <= count]
        if unknown:
            return f"question {number} needs question {unknown[0]}, which does not exist"
    try:
        levels(parts.needs())
    except Circle as circle:
        return f"the questions depend on one another in a circle: {circle}"
    return ""


def _solve(shown: Sequence[Reference[Any]], options: StepwiseOptions) -> Planning[Thought[str]]:
    """Answer one question from what it needs."""
    return think("solve", *shown, sampling=agreed(options.votes), options=options.asked())


def _solve_in_parts(task: Task, shown: Sequence[Reference[Any]], options: StepwiseOptions) -> Planning[Thought[str]]:
    """Answer one question by smaller ones, so that less of the thinking is hidden."""
    smaller, found = yield from _in_parts(task, shown, options, finer=False)
    asked = (*shown, *_answered(smaller, found))
    return (yield from think("combine", *asked, sampling=agreed(options.votes), options=options.asked()))


def _needed(
    task: Task, parts: Thought[Decomposition], number: int, answers: Mapping[int, Reference[str]]
) -> list[Reference[Any]]:
    """Collect what one question is answered from: the task and the answers it needs, nothing else."""
    needed = {other: answers[other] for other in parts.value.questions[number - 1].needs}
    return [*inputs(task), labelled("Task", task.request), *_answered(parts, needed), _asked(parts, number)]


def _answered(parts: Thought[Decomposition], answers: Mapping[int, Reference[str]]) -> list[Reference[str]]:
    return [shown for number in answers for shown in (_asked(parts, number), answers[number])]


def _asked(parts: Thought[Decomposition], number: int) -> Reference[str]:
    return labelled("Question", parts["questions"][number - 1]["question"])

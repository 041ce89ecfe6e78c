"""The steps of a workflow, as a task file holds them; what can be wrong is found when they are loaded."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from scaffold.errors import nearest
from scaffold.vocabulary.moves import StepKind
from scaffold.vocabulary.sampling import Sampling, ahead_by, majority, once
from scaffold_planners.answering import MaxTokens, PlannerOptions
from scaffold_planners.levels import Circle, levels

PROMPT = "prompt"
_SAMPLING = re.compile(r"once|(majority|ahead_by) ([1-9]\d{0,2})")
_TYPES = ("text", "integer", "number", "boolean", "list")


class Step(BaseModel):
    """One step: it sees what `needs` and `inputs` name, and nothing else.

    Attributes:
        id: what other steps call it.
        kind: what sort of step; also names its template.
        instruction: what to do.
        needs: ids of the steps whose outputs it sees.
        after: ids of steps that it only waits for.
        inputs: names of the task's inputs that it sees; `prompt` is the request.
        returns: `text`, `integer`, `number`, `boolean`, `list` (of texts), or a list of choices; what the
            task wants, for the step that answers it; else text.
        sampling: `once`, `majority N` or `ahead_by K`; the run's own when left out.
        backend: role of the backend that answers.
        each: one of `needs` or `inputs` that is a list: the step is done for each item, and gives a list.
        max_tokens: most tokens of one sample; the workflow's own when left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    kind: StepKind = "solve"
    instruction: Annotated[str, Field(min_length=1)]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    returns: str | tuple[str, ...] | None = None
    sampling: str | None = None
    backend: str = "default"
    each: str | None = None
    max_tokens: MaxTokens | None = None

    @field_validator("sampling")
    @classmethod
    def _is_known(cls, sampling: str | None) -> str | None:
        if sampling is not None and not _SAMPLING.fullmatch(sampling):
            raise PydanticCustomError("sampling", "is none of: once, majority N, ahead_by K")
        return sampling

    @field_validator("returns")
    @classmethod
    def _is_a_form(cls, returns: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(returns, str) and returns not in _TYPES:
            said = f"is none of {', '.join(_TYPES)}, and no list of choices{nearest(returns, _TYPES)}"
            raise PydanticCustomError("returns", "{said}", {"said": said})
        return returns

    @property
    def before(self) -> tuple[str, ...]:
        """Ids of all the steps that have to be done first."""
        return (*self.needs, *self.after)

    def policy(self) -> Sampling | None:
        """How its samples become one answer; None leaves it to the run."""
        if self.sampling is None or self.sampling == "once":
            return None if self.sampling is None else once()
        name, number = self.sampling.split()
        return (majority if name == "majority" else ahead_by)(int(number))


class WorkflowOptions(PlannerOptions):
    """A workflow.

    Attributes:
        steps: what to do; they form a DAG, in whatever order they are written.
        answer: id of the step whose output is the answer; the last one written when left out.
    """

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    answer: str | None = None

    @cached_property
    def by_id(self) -> dict[str, Step]:
        """The steps, by id."""
        return {step.id: step for step in self.steps}

    @cached_property
    def answering(self) -> str:
        """Id of the step whose output is the answer."""
        return self.answer or self.steps[-1].id

    @cached_property
    def levels(self) -> list[list[str]]:
        """Ids in the order they are done, those that can be done at the same time together."""
        return levels({step.id: step.before for step in self.steps})

    @model_validator(mode="after")
    def _is_a_dag(self) -> Self:
        ids = [step.id for step in self.steps]
        for place, step in enumerate(self.steps):
            if ids.index(step.id) != place:
                _fault(f"is the id of two steps: {step.id!r}", "steps", place, "id")
            self._check_names(place, step, ids)
        if self.answer is not None and self.answer not in ids:
            _fault(f"there is no step {self.answer!r}{nearest(self.answer, ids)}", "answer")
        try:
            _ = self.levels
        except Circle as circle:
            place = ids.index(str(circle.nodes[0]))
            _fault(f"step {ids[place]!r} waits for itself: {circle}", "steps", place)
        return self

    def _check_names(self, place: int, step: Step, ids: list[str]) -> None:
        for field, names in (("needs", step.needs), ("after", step.after)):
            for number, name in enumerate(names):
                if name not in ids:
                    said = f"step {step.id!r} names {name!r}, which is no step{nearest(name, ids)}"
                    _fault(said, "steps", place, field, number)
        if step.each is None:
            return
        shown = (*step.needs, *step.inputs)
        if step.each not in shown:
            said = (
                f"step {step.id!r} is for each of {step.each!r}, which it has not among `needs` or `inputs`"
            )
            _fault(said + nearest(step.each, shown), "steps", place, "each")
        source = self.by_id.get(step.each) if step.each in step.needs else None
        if source is not None and source.each is None and source.returns != "list":
            said = (
                f"step {step.id!r} is for each of {step.each!r}, which gives none: add `returns: list` to it"
            )
            _fault(said, "steps", place, "each")


def _fault(said: str, *place: str | int) -> NoReturn:
    """Raise what pydantic reports at just this place."""
    kind = PydanticCustomError("workflow", "{said}", {"said": said})
    details = InitErrorDetails(type=kind, loc=place, input=None)
    raise ValidationError.from_exception_data("WorkflowOptions", [details])

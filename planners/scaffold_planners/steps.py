"""The steps of a workflow as a task file gives them; faults are found when they are loaded."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from scaffold.errors import TaskError, nearest
from scaffold.vocabulary.moves import StepKind
from scaffold.vocabulary.sampling import Sampling, ahead_by, majority, once, shorter_than
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import MaxTokens, PlannerOptions, Tries
from scaffold_planners.levels import Circle, levels

PROMPT = "prompt"
_IN_WORDS = re.compile(r"(majority|ahead_by) (\d+)")
_TYPES = ("text", "integer", "number", "boolean", "list")


class Policy(BaseModel):
    """How samples become one answer: `once`, `majority: N` or `ahead_by: K`; also written `majority N`.

    Attributes:
        majority: number of samples more than half of which must agree.
        ahead_by: number of samples by which an answer must lead.
        cap: most samples drawn.
        shorter_than: answers with this many characters or more are discarded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    majority: Annotated[int, Field(ge=1, le=1000)] | None = None
    ahead_by: Annotated[int, Field(ge=1, le=1000)] | None = None
    cap: Tries | None = None
    shorter_than: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, said: Any) -> Any:
        if not isinstance(said, str):
            return said
        named = _IN_WORDS.fullmatch(said)
        if said != "once" and named is None:
            raise PydanticCustomError("sampling", "should be one of once, majority: N and ahead_by: K")
        return {} if named is None else {named[1]: int(named[2])}

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.majority is not None and self.ahead_by is not None:
            raise PydanticCustomError("sampling", "should be either `majority` or `ahead_by`")
        least = self.majority or self.ahead_by or 1
        if self.cap is not None and self.cap < least:
            said = "`cap` should be at least {least}: no fewer samples can decide"
            raise PydanticCustomError("sampling", said, {"least": least})
        return self

    def sampling(self) -> Sampling:
        """Return the policy as a `Sampling`."""
        flags = () if self.shorter_than is None else (shorter_than(self.shorter_than),)
        if self.majority is not None:
            return majority(self.majority, cap=self.cap, flags=flags)
        if self.ahead_by is not None:
            return ahead_by(self.ahead_by, cap=self.cap, flags=flags)
        return once(tries=self.cap or 3, flags=flags)


class Step(BaseModel):
    """One step; it sees only what `needs` and `inputs` name.

    Attributes:
        id: its id.
        kind: its kind, which also names its template.
        instruction: what to do.
        needs: ids of the steps whose outputs it sees.
        after: ids of steps that it only waits for.
        inputs: names of the task's inputs that it sees; `prompt` is the request.
        returns: `text`, `integer`, `number`, `boolean`, `list` (of texts), or a list of choices; by default what
            the task wants for the answering step, and text for others.
        sampling: how samples become one answer; by default the run's.
        backend: role of the backend that answers.
        each: one of `needs` or `inputs` that is a list; the step runs for each item, and gives a list.
        max_tokens: most tokens of one sample; by default the workflow's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    kind: StepKind = "solve"
    instruction: Annotated[str, Field(min_length=1)]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    returns: str | tuple[str, ...] | None = None
    sampling: Policy | None = None
    backend: str = "default"
    each: str | None = None
    max_tokens: MaxTokens | None = None

    @field_validator("returns", mode="before")
    @classmethod
    def _is_a_form(cls, returns: Any) -> Any:
        if returns is None or returns in _TYPES:
            return returns
        if isinstance(returns, list | tuple):
            if not returns:
                raise ValueError("is an empty list: give at least one choice")
            if no_text := [choice for choice in returns if not isinstance(choice, str)]:
                raise ValueError(f"should be a list of texts to choose from: put {no_text[0]!r} in quotes")
            return returns
        meant = nearest(str(returns), _TYPES)
        raise ValueError(f"should be one of {', '.join(_TYPES)}, or a list of choices, not {returns!r}{meant}")

    @property
    def before(self) -> tuple[str, ...]:
        """The ids of all steps that must come first."""
        return (*self.needs, *self.after)


class WorkflowOptions(PlannerOptions):
    """Options of `workflow`: its steps.

    Attributes:
        steps: the steps, which form a DAG, in any order.
        answer: id of the step whose output is the answer; by default the last one written.
    """

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    answer: str | None = None

    @cached_property
    def by_id(self) -> dict[str, Step]:
        """The steps, by id."""
        return {step.id: step for step in self.steps}

    @cached_property
    def answering(self) -> str:
        """The id of the step whose output is the answer."""
        return self.answer or self.steps[-1].id

    @cached_property
    def levels(self) -> list[list[str]]:
        """Return the ids in order, grouped by what can run in parallel."""
        return levels({step.id: step.before for step in self.steps})

    def check_task(self, task: Task) -> None:
        """Check that the inputs named by steps exist.

        Raises:
            TaskError: one does not exist, or is not a list though a step runs for each item of it.
        """
        names = [*task.inputs, PROMPT]
        for place, step in enumerate(self.steps):
            for number, name in enumerate(step.inputs):
                if name not in names:
                    said = f"step {step.id!r} sees {name!r}, which is not an input of the task{nearest(name, names)}"
                    raise TaskError(said, path=("planner", "options", "steps", place, "inputs", number))
            if step.each in step.inputs and not isinstance(task.inputs.get(step.each or ""), list | tuple):
                said = f"step {step.id!r} is for each of {step.each!r}, which is not a list"
                raise TaskError(said, path=("planner", "options", "steps", place, "each"))

    @model_validator(mode="after")
    def _is_a_dag(self) -> Self:
        ids = [step.id for step in self.steps]
        for place, step in enumerate(self.steps):
            if ids.index(step.id) != place:
                _fault(f"two steps have the id {step.id!r}", "steps", place, "id")
            self._check_names(place, step, ids)
        if self.answer is not None and self.answer not in ids:
            _fault(f"there is no step {self.answer!r}{nearest(self.answer, ids)}", "answer")
        try:
            _ = self.levels
        except Circle as circle:
            place = ids.index(str(circle.nodes[0]))
            _fault(f"step {ids[place]!r} depends on itself: {circle}", "steps", place)
        return self

    def _check_names(self, place: int, step: Step, ids: list[str]) -> None:
        for field, names in (("needs", step.needs), ("after", step.after)):
            for number, name in enumerate(names):
                if name not in ids:
                    said = f"step {step.id!r} names {name!r}, which is not a step{nearest(name, ids)}"
                    _fault(said, "steps", place, field, number)
        for number, name in enumerate(step.inputs):
            if name in step.needs:
                said = f"step {step.id!r} sees {name!r} twice, as an input and as a step: give that step another id"
                _fault(said, "steps", place, "inputs", number)
        if step.each is None:
            return
        shown = (*step.needs, *step.inputs)
        if step.each not in shown:
            said = f"step {step.id!r} is for each of {step.each!r}, which is not in its `needs` or `inputs`"
            _fault(said + nearest(step.each, shown), "steps", place, "each")
        source = self.by_id.get(step.each) if step.each in step.needs else None
        if source is not None and source.each is None and source.returns != "list":
            said = (
                f"step {step.id!r} is for each of {step.each!r}, which does not return a list: add `returns: list` "
                "to that step"
            )
            _fault(said, "steps", place, "each")


def _fault(said: str, *place: str | int) -> NoReturn:
    """Raise an error that pydantic reports at this place."""
    kind = PydanticCustomError("value_error", "{said}", {"said": said})
    details = InitErrorDetails(type=kind, loc=place, input=None)
    raise ValidationError.from_exception_data("WorkflowOptions", [details])

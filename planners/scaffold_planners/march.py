"""March: a long task as a sequence of tiny steps, each decided from the current state alone."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from scaffold.errors import GaveUp, StepFailed, StepRefused, TaskError
from scaffold.planning import note, think
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.code import Code
from scaffold.vocabulary.moves import Options, Planning
from scaffold.vocabulary.sampling import ahead_by, shorter_than
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import PlannerOptions, Tries


@runtime_checkable
class Domain(Protocol):
    """A task's state machine in code: what a step sees, which decisions are legal, and what state each leads to.

    A state is any value; `next` returns a new one and does not change the old. None of the methods does I/O; one that
    does not return ends the run when its seconds are over.
    """

    returns: Any
    """The type of a decision: `str`, `int`, a pydantic model."""

    def start(self, task: Task) -> Any:
        """Return the initial state."""
        ...

    def done(self, state: Any) -> bool:
        """Whether the task is solved."""
        ...

    def show(self, state: Any) -> Any:
        """Return all that one step sees: a text, or a mapping whose keys a template uses."""
        ...

    def fault(self, state: Any, decision: Any) -> str:
        """Say why a decision is illegal; empty if it is legal."""
        ...

    def next(self, state: Any, decision: Any) -> Any:
        """Return the state that a decision leads to."""
        ...


@runtime_checkable
class Answers(Protocol):
    """A domain whose final state contains an answer."""

    def answer(self, state: Any) -> Any:
        """Return the answer in the final state."""
        ...


class MarchOptions(PlannerOptions):
    """Options of `march`.

    Attributes:
        domain: the domain, as `module:name`.
        instruction: what each step is to do; a template named by `prompt` may say it instead.
        prompt: name of a template.
    """

    domain: Annotated[Domain, Code()]
    instruction: str = ""
    prompt: str = ""
    ahead: Annotated[int, Field(ge=1, le=100, description="votes by which a decision has to lead")] = 3
    cap: Annotated[Tries, Field(description="most samples of one step")] = 48
    shorter_than: Annotated[int, Field(ge=1, description="characters from which on a decision is discarded")] = 750
    temperature: Annotated[float, Field(ge=0)] | None = None
    stop: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(description="texts that end a decision: a line feed")
    ] = ()
    note_every: Annotated[int, Field(ge=1, description="steps after which a checkpoint is noted")] = 10_000
    max_tokens: Annotated[int, Field(ge=1)] = 256

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        if self.cap < self.ahead:
            said = "`cap` should be at least {ahead}, as `ahead` is: no fewer samples can decide"
            raise PydanticCustomError("march", said, {"ahead": self.ahead})
        return self


class Marched(BaseModel):
    """The result of a march.

    Attributes:
        steps: number of decisions made.
        digest: SHA-256, in hex, over the decisions, each as canonical JSON with a line feed. The decisions
            themselves are in the trace, one per step.
        answer: the domain's answer from the final state, if it has one.
    """

    model_config = ConfigDict(frozen=True)

    steps: int
    digest: str
    answer: Any = None


def march(task: Task, options: MarchOptions) -> Planning[Any]:
    """Go from state to state by tiny decisions, each made by a vote.

    MAKER (Meyerson et al. 2025, arXiv 2511.09030): a step sees only its state, a decision wins when it leads by k
    votes, and illegal or over-long samples are discarded and drawn again, never repaired. The task's budget bounds the
    number of steps; memory does not grow with it.

    A task that wants text is answered with `Marched`, any other with the domain's answer.

    Raises:
        TaskError: the task wants a value, and the domain has no `answer`.
        GaveUp: a step has no winner; says which.
        StepRefused: oversight withheld a decision.
    """
    domain = options.domain
    if task.answer != "text" and not isinstance(domain, Answers):
        named = task.answer if isinstance(task.answer, str) else "one of some choices"
        raise TaskError(f"{named} is wanted, but the march's domain has no `answer(state)`: add one", path=("answer",))
    asked = Options(max_tokens=options.max_tokens, temperature=options.temperature, stop=options.stop)
    state, steps, mark = domain.start(task), 0, sha256()

    def legal(decision: Any) -> str:
        return _fault(domain, state, decision)  # each sample is checked before it can win

    legal.__qualname__ = f"{type(domain).__qualname__}.fault"  # its name in messages
    flags = (shorter_than(options.shorter_than), legal)
    voted = ahead_by(options.ahead, cap=options.cap, flags=flags)
    while not domain.done(state):
        try:
            decided = yield from think(
                "decide",
                domain.show(state),
                returns=domain.returns,
                instruction=options.instruction,
                prompt=options.prompt,
                sampling=voted,
                options=asked,
            )
        except StepRefused:
            raise  # oversight's refusal stays as it is
        except StepFailed as error:
            yield from note("a step has no winner", partial=Marched(steps=steps, digest=mark.hexdigest()))
            raise GaveUp(f"step {steps + 1} of the march: {error}") from error
        state = domain.next(state, decided.value)
        steps += 1
        mark.update(canonical(decided.value) + b"\n")
        if steps % options.note_every == 0:
            yield from note("on the march", partial=Marched(steps=steps, digest=mark.hexdigest()))
    answer = domain.answer(state) if isinstance(domain, Answers) else None
    return Marched(steps=steps, digest=mark.hexdigest(), answer=answer) if task.answer == "text" else answer


def _fault(domain: Domain, state: Any, decision: Any) -> str:
    """Return the domain's objection to a decision; refuse True, which would be ambiguous."""
    said: Any = domain.fault(state, decision)
    if said is True:
        raise TypeError("`fault` should return a text that says which rule is broken, or None; it returned True")
    return said or ""

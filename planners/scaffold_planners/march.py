"""March: a long task as a march of tiny steps, each decided from the present state alone."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from scaffold.errors import GaveUp, StepFailed, StepRefused, TaskError
from scaffold.planning import note, think
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.code import Code
from scaffold.vocabulary.moves import Options, Planning
from scaffold.vocabulary.sampling import ahead_by, shorter_than
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import PlannerOptions


@runtime_checkable
class Domain(Protocol):
    """The rules of a task of many steps, in code: what a step sees, what it may decide, and what follows from that.

    A state is any value; `next` gives a new one and leaves the old as it is. None of these does I/O; one that does not
    give back control ends the run, once its seconds are over.
    """

    returns: Any
    """The type of a decision: `str`, `int`, a pydantic model."""

    def start(self, task: Task) -> Any:
        """Give the first state."""
        ...

    def done(self, state: Any) -> bool:
        """Whether the task is solved."""
        ...

    def show(self, state: Any) -> Any:
        """Give all that one step sees: a text, or a mapping whose keys a template names."""
        ...

    def fault(self, state: Any, decision: Any) -> str:
        """Say why a decision is against the rules; empty when it is not."""
        ...

    def next(self, state: Any, decision: Any) -> Any:
        """Give the state that a decision leads to."""
        ...


@runtime_checkable
class Answers(Protocol):
    """A domain whose last state holds an answer."""

    def answer(self, state: Any) -> Any:
        """Read the answer off the last state."""
        ...


class MarchOptions(PlannerOptions):
    """How `march` goes.

    Attributes:
        domain: the rules, as `module:name`.
        instruction: what each step is to do; a template named by `prompt` may say it instead.
        prompt: name of a template.
    """

    domain: Annotated[Domain, Code()]
    instruction: str = ""
    prompt: str = ""
    ahead: Annotated[int, Field(ge=1, le=100, description="votes by which a decision has to lead")] = 3
    cap: Annotated[int, Field(ge=1, description="most samples of one step")] = 48
    shorter_than: Annotated[int, Field(ge=1, description="characters from which on a decision is discarded")] = 750
    temperature: Annotated[float, Field(ge=0)] | None = None
    stop: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(description="texts that end a decision: a line feed")
    ] = ()
    note_every: Annotated[int, Field(ge=1, description="steps after which a checkpoint is noted")] = 10_000
    max_tokens: Annotated[int, Field(ge=1)] = 256


class Marched(BaseModel):
    """What became of a march.

    Attributes:
        steps: decisions made.
        digest: SHA-256, in hex, over the decisions, each as canonical JSON with a line feed. The decisions
            themselves stand in the trace, one a step.
        answer: what the domain reads off the last state, if it does.
    """

    model_config = ConfigDict(frozen=True)

    steps: int
    digest: str
    answer: Any = None


def march(task: Task, options: MarchOptions) -> Planning[Any]:
    """Go from state to state, one tiny decision at a time, each voted on until one is ahead.

    MAKER (Meyerson et al. 2025, arXiv 2511.09030): a step sees its state and nothing else, a decision wins when it
    leads by k votes, and what is against the rules or over-long is discarded and drawn again, never repaired. The
    number of steps is bounded by the task's budget; memory does not grow with it.

    A task that wants text is answered with `Marched`, another with what the domain reads off the last state.

    Raises:
        TaskError: the task wants a value that the domain cannot read off its last state.
        GaveUp: a step has no winner; says which.
        StepRefused: oversight withheld a decision.
    """
    domain = options.domain
    if task.answer != "text" and not isinstance(domain, Answers):
        named = task.answer if isinstance(task.answer, str) else "one of some choices"
        raise TaskError(
            f"{named} is wanted, and the march's domain has no `answer(state)`: give it one", path=("answer",)
        )
    asked = Options(max_tokens=options.max_tokens, temperature=options.temperature, stop=options.stop)
    state, steps, mark = domain.start(task), 0, sha256()

    def legal(decision: Any) -> str:
        return _fault(domain, state, decision)  # samples are checked before their step has its thought

    legal.__qualname__ = f"{type(domain).__qualname__}.fault"  # by which messages call it
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
            raise  # oversight's word, under its own name
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
    """What the domain has against a decision; True would pass for no objection, and be meant as one."""
    said: Any = domain.fault(state, decision)
    if said is True:
        raise TypeError("`fault` says in words what is against the rules, and nothing where nothing is; it said True")
    return said or ""

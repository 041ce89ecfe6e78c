"""Moves, which a planner yields, and their results, which it is sent back."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec

from scaffold.vocabulary.plan import Plan, Planned
from scaffold.vocabulary.references import Provenance, Reference
from scaffold.vocabulary.review import Objection
from scaffold.vocabulary.sampling import Sampling

if TYPE_CHECKING:
    from scaffold.vocabulary.models import ReasoningVisibility

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

StepKind = Literal[
    "understand",
    "decompose",
    "propose",
    "predict",
    "evaluate",
    "decide",
    "solve",
    "verify",
    "combine",
    "compress",
    "answer",
]


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a step is asked; None leaves the choice to the engine.

    Attributes:
        max_tokens: most tokens of one sample.
        temperature: 0 is greedy.
        stop: texts that end a sample.
        choices: the only texts an answer may be.
        unfinished: whether a sample counts that `max_tokens` has cut off: where its beginning is all that is wanted.
    """

    max_tokens: int = 512
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    unfinished: bool = False


DEFAULT_OPTIONS = Options()


class Think(msgspec.Struct, frozen=True, kw_only=True):
    """Ask a model for one cognitive step.

    Attributes:
        kind: what sort of step.
        inputs: what it may see; references keep their provenance.
        returns: the type of its value.
        instruction: what to do, in the planner's own words; never text from elsewhere.
        prompt: name of the template; the kind's own if empty.
        sampling: how samples become one answer; the run's own if None.
        to: the role of the backend that answers.
        options: how it is asked.
    """

    kind: StepKind
    inputs: tuple[Any, ...] = ()
    returns: Any = str
    instruction: str = ""
    prompt: str = ""
    sampling: Sampling | None = None
    to: str = "default"
    options: Options = DEFAULT_OPTIONS


class Together(msgspec.Struct, frozen=True):
    """Run sub-planners at the same time; all end before the results, or the error of the lowest key, are sent.

    The driver of the planner takes over the list.
    """

    branches: list[Generator[Move, Any, Any]]


class Propose(msgspec.Struct, frozen=True):
    """Have monitors read the whole plan before any of it is done."""

    plan: Plan


class Act(msgspec.Struct, frozen=True):
    """Perform one action, once cleared. `plan` is the key under which its plan was proposed, if it was."""

    planned: Planned
    plan: str = ""


class Ask(msgspec.Struct, frozen=True):
    """Ask the user for a missing fact."""

    question: str
    returns: Any = str
    about: tuple[Any, ...] = ()


class Note(msgspec.Struct, frozen=True):
    """Write a note into the trace; `partial` is the run's answer if it is cut short from here on."""

    text: str
    partial: Any = None


Move: TypeAlias = Think | Together | Propose | Act | Ask | Note
Planning: TypeAlias = Generator[Move, Any, T]


class Thought(Reference[T_co]):
    """The result of a step: its value and where it came from.

    Attributes:
        key: the step's key.
        text: the answer as the model wrote it.
        reasoning: its readable reasoning.
        confidence: the winner's share of the votes that counted, between 0 and 1.
        candidates: all accepted answers, if the step was sampled by `several`.
        shown: how much of the reasoning behind it could be read; empty if there was no sign of any.
    """

    __slots__ = ("candidates", "confidence", "key", "reasoning", "shown", "text")

    def __init__(
        self,
        value: T_co,
        provenance: Provenance,
        *,
        key: str,
        text: str = "",
        reasoning: str = "",
        confidence: float = 1.0,
        shown: ReasoningVisibility | Literal[""] = "",
    ) -> None:
        self._value = value
        self.provenance = provenance
        self.key = key
        self.text = text
        self.reasoning = reasoning
        self.confidence = confidence
        self.shown = shown
        self.candidates: tuple[Thought[T_co], ...] = ()


class Review(msgspec.Struct, frozen=True):
    """The result of proposing a plan.

    Attributes:
        key: the proposal's key; `carry_out` names it.
        allowed: whether the plan as a whole may be carried out.
        objections: oversight's objections to it.
    """

    key: str
    allowed: bool
    objections: tuple[Objection, ...] = ()

"""The Monitor protocol: what reviews plans, steps and actions, and what it is given to do so."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec
from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.models import Delta
    from scaffold.vocabulary.moves import Options, StepKind, Thought
    from scaffold.vocabulary.review import MonitorSpec, Stakes, Subject, Verdict
    from scaffold.vocabulary.task import Task

T = TypeVar("T")


class TraceView(Protocol):
    """A monitor's read-only view of the run so far."""

    @property
    def run(self) -> str:
        """The run's id."""
        ...

    @property
    def task(self) -> Task:
        """The task."""
        ...

    @property
    def state(self) -> Any:
        """This monitor's own fold over the trace, if it has one; else None."""
        ...

    @property
    def actions(self) -> Mapping[str, ActionSpec]:
        """The run's actions, by name."""
        ...

    def events(self, after: int = 0) -> AsyncIterator[tuple[Event, dict[str, Any]]]:
        """Return events with their content, in order, from the one after `after`."""
        ...


class Elsewhere(msgspec.Struct, frozen=True):
    """An action in any run of the same journal that was performed, may have been, or may yet be.

    Attributes:
        run: the run.
        key: the action's key in that run.
        at: when it began, or was proposed if it has not begun, in seconds since the epoch.
        action: its name.
        arguments: its arguments; None if they are withheld.
    """

    run: str
    key: str
    at: float
    action: str
    arguments: dict[str, Any] | None


@runtime_checkable
class LooksAround(Protocol):
    """A view that knows the time, and what other runs did. A verdict that depends on either says what it was.

    A recorded verdict is final across resumes, so a resumed run decides the same whatever has changed since.
    """

    def now(self) -> float:
        """Seconds since the epoch, by the run's clock."""
        ...

    async def elsewhere(self, since: float) -> Sequence[Elsewhere]:
        """What all runs did from a time on, including this one.

        Raises:
            BadInput: the journal cannot be searched, or a run in it is damaged.
        """
        ...


class ReviewContext(Protocol):
    """What a monitor may use during a review."""

    @property
    def stakes(self) -> Stakes:
        """How much depends on the subject."""
        ...

    @property
    def random(self) -> random.Random:
        """A random source seeded by run and key, so that a resume draws the same."""
        ...

    @overload
    async def think(
        self,
        kind: StepKind,
        *inputs: Any,
        instruction: str = "",
        prompt: str = "",
        to: str = "judge",
        options: Options | None = None,
    ) -> Thought[str]: ...
    @overload
    async def think(
        self,
        kind: StepKind,
        *inputs: Any,
        returns: type[T],
        instruction: str = "",
        prompt: str = "",
        to: str = "judge",
        options: Options | None = None,
    ) -> Thought[T]: ...
    @overload
    async def think(
        self,
        kind: StepKind,
        *inputs: Any,
        returns: Any,
        instruction: str = "",
        prompt: str = "",
        to: str = "judge",
        options: Options | None = None,
    ) -> Thought[Any]: ...
    async def think(
        self,
        kind: StepKind,
        *inputs: Any,
        returns: Any = str,
        instruction: str = "",
        prompt: str = "",
        to: str = "judge",
        options: Options | None = None,
    ) -> Thought[Any]:
        """Ask a model: an ordinary recorded step, in oversight's own ledger.

        Raises:
            StepFailed: there is no acceptable answer. Do not catch it: the verdict then gets status `error`.
        """
        ...


@runtime_checkable
class Monitor(Protocol):
    """Reads one subject, with a view of the trace, and returns a Verdict.

    It reports what it found and never acts. `review` may be cancelled at `spec.timeout_s`. Raising, timing out or
    returning something else is recorded as such and never counts as a pass. One instance serves many runs: what it must
    remember of a run is a fold (`Folds`), never an attribute.
    """

    spec: MonitorSpec

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Review one subject."""
        ...


@runtime_checkable
class ChecksTask(Protocol):
    """A monitor that can check before the run that a task fits it."""

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Raise TaskError, with the path of the fault, if the task cannot be monitored as it says."""
        ...


@runtime_checkable
class Folds(Protocol):
    """A monitor whose state is a fold over the trace, rebuilt on resume.

    Reviewing does not change the state. If several monitors have the same plain function as their `fold` (a static
    method) and want the same events, it runs once for all of them, and they share one state.

    Attributes:
        folds: the kinds of event it wants; others are not decoded for it.
    """

    folds: frozenset[type[Event]]

    def fold(self, state: Any, event: Event, content: dict[str, Any]) -> Any:
        """Return the state after one more event; state is None before the first."""
        ...


@runtime_checkable
class FoldsBare(Protocol):
    """A monitor that folds some kinds of event without their content.

    Attributes:
        bare: these kinds. Prompts and answers then need not be decoded at every step.
    """

    bare: frozenset[type[Event]]


@runtime_checkable
class Recalls(Protocol):
    """A listener to events that, on resume, must also hear some of the earlier ones.

    Attributes:
        recalls: for each kind of event it wants, the function called with an earlier one and its content's bytes.
    """

    recalls: Mapping[type[Event], Callable[[Event, bytes], None]]


@runtime_checkable
class Describes(Protocol):
    """A monitor that corrects what an action's specification says, for all monitors of the run.

    The stakes follow it too. What the action itself promises (its schema, its effect in the trace) stays as declared.
    """

    def describe(self, spec: ActionSpec) -> ActionSpec:
        """Return the specification that monitors are to read; `x-role` in an argument's schema gives its role."""
        ...


class StreamSession(Protocol):
    """Reads one step's samples while they are generated."""

    def feed(self, delta: Delta) -> Verdict | None:
        """Read a piece; a verdict of `resample` or worse ends that sample at once."""
        ...

    def close(self, sample: int) -> Verdict | None:
        """Handle the end of a sample."""
        ...


@runtime_checkable
class ReadsStreams(Protocol):
    """A monitor that reads reasoning and answers while they are generated."""

    def open(self, step: Subject, view: TraceView, context: ReviewContext) -> StreamSession:
        """Begin to read a step: `step.step` says what is asked, and of whom; there is no answer yet.

        A step that is drawn again is opened again.
        """
        ...

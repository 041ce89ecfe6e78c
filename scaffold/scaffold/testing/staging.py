"""A run as a monitor sees it, without an engine: a hand-made trace, a view of it, and a model with scripted answers.

stage = Stage(Mine(), task, actions)
stage.add(ActionProposed(...), {"call": {...}})
verdict = asyncio.run(stage.review(subject))
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.interfaces import Folds, FoldsBare
from scaffold.machinery.asking.streams import whole
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.vocabulary.moves import Thought
from scaffold.vocabulary.references import NOWHERE
from scaffold.vocabulary.review import Subject

if TYPE_CHECKING:
    from scaffold.interfaces import Monitor
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.review import Stakes, Verdict
    from scaffold.vocabulary.task import Task

Happened = tuple["Event", "dict[str, Any]"]
"""An event and its content."""

_subjects = msgspec.json.Decoder(Subject)


def stamped(event: Event, seq: int) -> Event:
    """Add a number and a time to an event."""
    return msgspec.structs.replace(event, seq=seq, at=1.7e9 + seq, t=seq / 1000)


@dataclass(frozen=True)
class Asked:
    """A monitor's question to a model.

    Attributes:
        kind: the kind of step.
        inputs: the inputs: values or references.
        instruction: the instruction.
        prompt: name of the template.
        returns: the type of the answer.
        to: role of the backend.
    """

    kind: str
    inputs: tuple[Any, ...]
    instruction: str
    prompt: str
    returns: Any
    to: str


@dataclass
class Desk:
    """The context of one review.

    Attributes:
        answer: returns the model's answer; may be a coroutine function.
        stakes: how much is at stake.
        random: a seeded random source.
        asked: the questions so far.
    """

    answer: Callable[[Asked], Any]
    stakes: Stakes = "low"
    random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - repeatable on purpose
    asked: list[Asked] = field(default_factory=list)

    async def think(
        self,
        kind: str,
        *inputs: Any,
        returns: Any = str,
        instruction: str = "",
        prompt: str = "",
        to: str = "judge",
        options: Any = None,
    ) -> Thought[Any]:
        """Record the question, and return the scripted answer."""
        asked = Asked(kind, inputs, instruction, prompt, returns, to)
        self.asked.append(asked)
        value = self.answer(asked)
        if hasattr(value, "__await__"):
            value = await value
        return Thought(value, NOWHERE, key=f"judge/{len(self.asked)}", text=str(value))


def _nobody(asked: Asked) -> Any:
    raise AssertionError(f"the monitor asks the role {asked.to!r}: define its answer")


class Stage:
    """A hand-made trace as one monitor sees it; the monitor's fold follows it as in a run.

    Attributes:
        run: the run's id.
        task: the task.
        actions: the actions that exist, by name.
        state: the state of the monitor's fold.
        seq: number of the last event.
        kept: whether events are kept, for a monitor that reads them itself.
    """

    def __init__(
        self,
        monitor: Monitor,
        task: Task,
        actions: Mapping[str, ActionSpec],
        *,
        answer: Callable[[Asked], Any] = _nobody,
        run: str = "run-1",
        kept: bool = True,
    ) -> None:
        self.run = run
        self.task = task
        self.actions = actions
        self.state: Any = None
        self.seq = 0
        self.kept = kept
        self.monitor = monitor
        self.answer = answer
        self._events: list[tuple[Event, bytes]] = []
        self._folds = monitor.folds if isinstance(monitor, Folds) else frozenset()
        self._bare = monitor.bare if isinstance(monitor, FoldsBare) else frozenset()

    def add(self, event: Event, content: dict[str, Any] | None = None) -> None:
        """Add an event; as in a run, each reader decodes its own copy of the content."""
        self.take(stamped(event, self.seq + 1), canonical(content) if content else b"")

    def take(self, event: Event, body: bytes) -> None:
        """Add an event as in a trace: stamped, and with encoded content."""
        self.seq += 1
        if self.kept:
            self._events.append((event, body))
        if type(event) in self._folds:
            content = decode(body) if body and type(event) not in self._bare else {}
            self.state = self.monitor.fold(self.state, event, content)  # type: ignore[attr-defined]  # it Folds

    async def events(self, after: int = 0) -> AsyncIterator[tuple[Event, dict[str, Any]]]:
        """Yield events with their contents, in order, from the one after `after`."""
        for event, body in self._events[after:]:
            yield event, decode(body) if body else {}

    def desk(self) -> Desk:
        """Make a context for one review."""
        return Desk(self.answer)

    async def review(self, subject: Subject, desk: Desk | None = None) -> Verdict:
        """Have a copy of a subject reviewed; return the verdict as the gate would take it.

        Raises:
            TypeError, ValueError: the monitor did not return a valid verdict.
        """
        read = _subjects.decode(canonical(subject))
        return whole(await self.monitor.review(read, self, desk or self.desk()))

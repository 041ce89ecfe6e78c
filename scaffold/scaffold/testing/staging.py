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
    """An event with its number and its time."""
    return msgspec.structs.replace(event, seq=seq, at=1.7e9 + seq, t=seq / 1000)


@dataclass(frozen=True)
class Asked:
    """What a monitor asks a model.

    Attributes:
        kind: the kind of step.
        inputs: what the model is to read: values or references.
        instruction: what it is told to do with them.
        prompt: name of the template.
        returns: the type of its answer.
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
    """What a monitor may use for one review.

    Attributes:
        answer: what the model says; it may be awaited.
        stakes: how much depends on it.
        random: seeded.
        asked: what was asked so far.
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
        """Answer as told."""
        asked = Asked(kind, inputs, instruction, prompt, returns, to)
        self.asked.append(asked)
        value = self.answer(asked)
        if hasattr(value, "__await__"):
            value = await value
        return Thought(value, NOWHERE, key=f"judge/{len(self.asked)}", text=str(value))


def _nobody(asked: Asked) -> Any:
    raise AssertionError(f"it asks the model {asked.to!r}: say what that answers")


class Stage:
    """A trace made by hand, as one monitor sees it; the monitor's fold follows it as it would in a run.

    Attributes:
        run: the run's id.
        task: what was asked.
        actions: the actions that exist, by name.
        state: the monitor's own fold.
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
        """One more event; each reader decodes a copy of its content of its own, as in a run."""
        self.take(stamped(event, self.seq + 1), canonical(content) if content else b"")

    def take(self, event: Event, body: bytes) -> None:
        """One more event as a trace has it: stamped, and with its content encoded."""
        self.seq += 1
        if self.kept:
            self._events.append((event, body))
        if type(event) in self._folds:
            content = decode(body) if body and type(event) not in self._bare else {}
            self.state = self.monitor.fold(self.state, event, content)  # type: ignore[attr-defined]  # it Folds

    async def events(self, after: int = 0) -> AsyncIterator[tuple[Event, dict[str, Any]]]:
        """Events with their content, in order, from the one after `after`."""
        for event, body in self._events[after:]:
            yield event, decode(body) if body else {}

    def desk(self) -> Desk:
        """What the monitor may use for one review."""
        return Desk(self.answer)

    async def review(self, subject: Subject, desk: Desk | None = None) -> Verdict:
        """Have a copy of a subject reviewed; gives what the gate would make of the answer.

        Raises:
            TypeError, ValueError: it is no verdict.
        """
        read = _subjects.decode(canonical(subject))
        return whole(await self.monitor.review(read, self, desk or self.desk()))

"""What a monitor is given: a view of the trace, and a context to review in."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scaffold.errors import MoveError, RunEnding, TraceError
from scaffold.machinery.asking.steps import thought_from
from scaffold.trace.chain import body_of, read_content
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.models import NO_USAGE
from scaffold.vocabulary.moves import DEFAULT_OPTIONS, Options, Think
from scaffold.vocabulary.references import Provenance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from scaffold.interfaces import Elsewhere, Journal
    from scaffold.machinery.asking.steps import Steps
    from scaffold.machinery.recording.recorder import Recorder
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.moves import StepKind, Thought
    from scaffold.vocabulary.review import Stakes
    from scaffold.vocabulary.task import Task


@contextmanager
def _noted(by: View | Context) -> Iterator[None]:
    """Keep an error that ends the run, so that it is told apart from one that a monitor raises by its own word."""
    try:
        yield
    except (RunEnding, TraceError) as error:
        by.ending = error
        raise


class View:
    """One monitor's view of the run so far.

    Attributes:
        run: the run's id.
        task: the task.
        actions: the run's actions, by name.
        state: the monitor's own fold over the trace.
        ending: the error that reading the trace has raised, if it ends the run.
    """

    __slots__ = ("_journal", "_recorder", "actions", "ending", "run", "state", "task")

    def __init__(
        self, task: Task, actions: Mapping[str, ActionSpec], recorder: Recorder, journal: Journal, state: Any
    ) -> None:
        self.run = recorder.claim.run
        self.task = task
        self.actions = actions
        self.state = state
        self.ending: Exception | None = None
        self._recorder = recorder
        self._journal = journal

    async def events(self, after: int = 0) -> AsyncIterator[tuple[Event, dict[str, Any]]]:
        """Return events with their content, in order, from the one after `after`."""
        with _noted(self):
            await self._recorder.flush()
            async for record in self._journal.read(self.run, after):
                body = record.line[: record.line.rfind(b',"hash":"')] + b"}"
                yield ev.decode(body), body_of(read_content(record.content)) if record.content else {}

    def now(self) -> float:
        """Return the time by the run's clock."""
        return self._recorder._now()  # noqa: SLF001 - the recorder stamps events by the same clock

    async def elsewhere(self, since: float) -> list[Elsewhere]:
        """Return what all runs of the journal did; this run's proposals are stored first, so that others see them."""
        from scaffold.trace.elsewhere import elsewhere  # needs SQLite; only rules that look across runs use it

        with _noted(self):
            await self._recorder.flush()
            return await asyncio.to_thread(elsewhere, self._journal, since)


class Context:
    """What one monitor may use in one review.

    Attributes:
        stakes: how much depends on it.
        usage: what the models it asked have used.
        ending: the error that asking has raised, if it ends the run.
    """

    __slots__ = ("_asked", "_monitor", "_reviewed", "_run", "_steps", "ending", "stakes", "usage")

    def __init__(self, run: str, reviewed: str, monitor: str, steps: Steps, stakes: Stakes) -> None:
        self._run = run
        self._reviewed = reviewed
        self._monitor = monitor
        self._steps = steps
        self._asked = 0
        self.stakes = stakes
        self.usage = NO_USAGE
        self.ending: Exception | None = None

    @property
    def _key(self) -> str:
        return f"{self._reviewed}!{self._monitor}"

    @property
    def random(self) -> random.Random:
        """A random source seeded by run, key and monitor."""
        return random.Random(f"{self._run}:{self._key}")  # noqa: S311 - repeatable on purpose

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
        """Ask a model, charged to the oversight ledger."""
        move = Think(
            kind=kind,
            inputs=inputs,
            returns=returns,
            instruction=instruction,
            prompt=prompt,
            to=to,
            options=options or DEFAULT_OPTIONS,
        )
        key = f"{self._key}/{self._asked}"
        self._asked += 1
        # A judge reads what others wrote, so its inputs are untrusted data unless a reference says otherwise.
        history = Provenance((f"review:{self._reviewed}",), tainted=True)
        with _noted(self):
            event, body = await self._steps.ask(key, move, history, ledger="oversight")
        self.usage = self.usage + event.usage
        thought = thought_from(event, body, move)
        if isinstance(thought, MoveError):
            raise thought
        return thought

"""What the tests of all adapters share: a task with a rule, a gate around some actions, and what its trace says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from scaffold import Gate, Goal, Task
from scaffold.interfaces import Action
from scaffold.testing.judging import Story, read_story
from scaffold.trace.files import FileJournal
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.review import MonitorSpec, Verdict

TASK = Task(
    prompt="pay what is due",
    goals=(Goal(kind="constraint", statement="at most 500", rule="action.name != 'pay' || args.cents <= 500"),),
)


class Front:
    """A gate in front of another agent's tools.

    Attributes:
        done: what the tools have really done.
        task: the task, whose rule lets nothing above 500 be paid.
    """

    def __init__(self, folder: Path) -> None:
        self.done: list[Any] = []
        self.task = TASK
        self._folder = folder

    def gate(self, actions: Sequence[Action], *monitors: Any) -> Gate:
        """A gate around actions, with rules and other monitors."""
        return Gate(actions=actions, monitors=["rules", *monitors], journal=FileJournal(self._folder))

    def statuses(self, run: Any) -> list[tuple[str, str]]:
        """What became of each call, once the trace has been verified from end to end."""
        said = verify_run(self._folder / run.id)
        assert said.ok
        assert said.ended
        return [(each.name, each.status) for each in run.outcome.actions]

    def story(self, run: Any) -> Story:
        """The run's trace, to look things up in."""
        return read_story(self._folder / run.id)

    def thoughts(self, run: Any) -> list[str]:
        """What the trace says that the agent's model has said."""
        story = self.story(run)
        return [story.contents[event["seq"]]["value"] for event in story.of("step.answered")]


class Says:
    """A monitor that says one thing of plans, or of steps."""

    def __init__(self, verdict: Verdict, subject: Any = "plan") -> None:
        self.spec = MonitorSpec(name="says", watches=frozenset({subject}))
        self._verdict = verdict

    async def review(self, *_: Any) -> Verdict:
        """Say it."""
        return self._verdict


@pytest.fixture
def says() -> type[Says]:
    """Make monitors that say one thing."""
    return Says


@pytest.fixture
def front(tmp_path: Path) -> Front:
    """A gate's surroundings, of its own for each test."""
    return Front(tmp_path / "runs")


@pytest.fixture
def _a_loop() -> Iterator[None]:
    """An event loop for libraries that make one of their own when they are not awaited, and leave it open."""
    asyncio.set_event_loop(loop := asyncio.new_event_loop())
    yield
    asyncio.set_event_loop(None)
    loop.close()

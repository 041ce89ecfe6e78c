"""A world for tests of the core: whole runs in a folder of their own, with people and monitors by script."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from scaffold import Call, NotPerformed, Scaffold, Task, Verdict, action
from scaffold.actions import FunctionAction
from scaffold.interfaces import Answer, Backend, Question, ReviewContext, Surroundings, TraceView
from scaffold.testing import ManualClock, Scripted
from scaffold.testing.judging import Story, read_story
from scaffold.testing.seeded_loop import SeededLoop
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.review import MonitorSpec, Subject

T = TypeVar("T")
Says = Verdict | Exception | Callable[..., Any] | None


class Watcher:
    """A monitor by script: says one verdict, or what a function of the subject says.

    Attributes:
        seen: the subjects it has read.
    """

    def __init__(self, says: Says = None, *, name: str = "watcher", **spec: Any) -> None:
        self.spec = MonitorSpec(name=name, **spec)
        self.seen: list[Subject] = []
        self.stakes: list[str] = []
        self._says = says if says is not None else Verdict(decision="allow")

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Any:
        """Say it."""
        self.seen.append(subject)
        self.stakes.append(context.stakes)
        said = self._says(subject) if callable(self._says) else self._says
        if asyncio.iscoroutine(said):
            said = await said
        if isinstance(said, BaseException):
            raise said
        return said


class Person:
    """An approver by script: says yes, no, a text, or nothing.

    Attributes:
        asked: the questions put to them.
    """

    def __init__(self, says: Any = "yes") -> None:
        self.asked: list[Question] = []
        self._says = says

    async def ask(self, question: Question) -> Answer | None:
        """Answer a question."""
        self.asked.append(question)
        said = self._says(question) if callable(self._says) else self._says
        if said is None or isinstance(said, Answer):
            return said
        return Answer(id=question.id, digest=question.digest, granted=said == "yes", value=said, by="a person")


async def _unsynced(_descriptor: int) -> None:
    """Threads would wake nobody there."""


class World:
    """What a run happens in.

    Attributes:
        done: what actions have done, in order.
        clock: the runs' clock; it stands.
        pay: an irreversible action that acts on one invoice each.
        look: a read.
        post: an irreversible action, which can be told to fail.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = FileJournal(folder / "runs", apart=True)  # most tests pay the same invoice many times
        self.clock = ManualClock()
        self.done: list[tuple[Any, ...]] = []
        self.pay, self.look, self.post = self._actions()

    def _actions(self) -> tuple[FunctionAction, FunctionAction, FunctionAction]:
        done = self.done

        @action(effect="irreversible", identity=("invoice",), cost=2.0)
        async def pay(invoice: str, cents: int = 100, *, call: Call) -> str:
            """Pay an invoice."""
            done.append(("pay", invoice, cents, call.key))
            return f"paid {invoice}"

        @action(effect="read")
        async def look(at: str) -> str:
            """Look at something."""
            done.append(("look", at))
            return f"seen {at}"

        @action(effect="irreversible")
        async def post(text: str) -> str:
            """Post a text; `!` in front of it says how to fail."""
            if text == "!not":
                raise NotPerformed("the line was busy")
            done.append(("post", text))
            if text == "!break":
                raise OSError("the line broke")
            return "posted"

        return pay, look, post

    def agent(self, planner: Any, script: Any = "ok", *, monitors: Sequence[Any] | None = (), **more: Any) -> Scaffold:
        """An agent whose model says what a script says."""
        backend = script if isinstance(script, Backend) else Scripted(script)
        return Scaffold(
            planner,
            **{
                "journal": self.journal,
                "backends": {"default": backend},
                "monitors": monitors,
                "actions": (self.pay, self.look, self.post),
                "surroundings": Surroundings(clock=self.clock),
                **more,
            },
        )

    def solve(self, planner: Any, script: Any = "ok", *, task: Mapping[str, Any] | None = None, **more: Any) -> Outcome:
        """Solve a task; `task` holds what it has beyond its prompt."""
        return self.agent(planner, script, **more).solve_sync(Task(**{"prompt": "do it", **(task or {})}))

    def in_its_own_time(self, work: Callable[[FileJournal], Coroutine[Any, Any, T]]) -> tuple[T, float]:
        """Do it in a loop whose time passes only where everything waits; gives what came of it, and how long it took.

        Runs go into the journal that it is given, which leaves out what needs a thread.
        """
        loop = SeededLoop(random.Random(3))
        done = loop.run_until_complete(work(FileJournal(self.folder / "runs", apart=True, fsync=_unsynced)))
        took = loop.elapsed
        loop.drain()
        return done, took

    def story(self, outcome: Outcome) -> Story:
        """What the trace of a run says, read without the core's own reader."""
        return self.story_of(outcome.run)

    def story_of(self, run: str) -> Story:
        """The same, of a run by its id."""
        story = read_story(self.folder / "runs" / run)
        assert not story.faults
        return story

    def kinds(self, outcome: Outcome) -> list[str]:
        """The kinds of a run's events, in order."""
        return [event["kind"] for event in self.story(outcome).events]

    def facts(self, outcome: Outcome, kind: str) -> Iterator[dict[str, Any]]:
        """The events of one kind, each with its content."""
        story = self.story(outcome)
        for event in story.of(kind):
            yield {**event, **story.contents.get(event["seq"], {})}

    def answer(self, outcome: Outcome, *, granted: bool = True, **more: Any) -> None:
        """Have a person answer the run's last approval through its inbox."""
        asked = list(self.facts(outcome, "approval.asked"))[-1]
        said = {"id": asked["id"], "digest": asked["digest"], "granted": granted, "by": "a person", **more}
        asyncio.run(self.journal.post(outcome.run, Answer(**said)))

    def cut_after(self, outcome: Outcome, kind: str) -> None:
        """Leave a run as a kill right after its first event of a kind would have."""
        spine = self.folder / "runs" / outcome.run / "trace.jsonl"
        lines = spine.read_bytes().splitlines(keepends=True)
        place = next(place for place, line in enumerate(lines) if f'"kind":"{kind}"'.encode() in line)
        spine.write_bytes(b"".join(lines[: place + 1]))
        self.done.clear()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world of its own for each test."""
    return World(tmp_path)


@pytest.fixture
def watcher() -> type[Watcher]:
    """Make monitors by script."""
    return Watcher


@pytest.fixture
def person() -> type[Person]:
    """Make approvers by script."""
    return Person

"""What a run keeps when another process takes it over: its budget, its calibration, what people have said."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from scaffold import (
    Budget,
    Call,
    Confidence,
    Outcome,
    Planning,
    Scaffold,
    Task,
    Verdict,
    act,
    action,
    majority,
    think,
    unless_sure,
)
from scaffold.errors import ActionError
from scaffold.interfaces import Answer, ReviewContext, Surroundings, TraceView
from scaffold.testing import Scripted
from scaffold.testing.cluster import Cluster
from scaffold.testing.effects import EffectLedger
from scaffold.testing.judging import Story, overspent, read_story, wrong_approvals, wrong_clearances, wrong_effects
from scaffold.trace.postgres import PostgresJournal
from scaffold.vocabulary.confidence import Calibration, Curve
from scaffold.vocabulary.models import Delta, Request
from scaffold.vocabulary.review import MonitorSpec, Subject

_LEASE_S = 30.0  # not renewed while a test goes on; it is made to run out
_PATIENCE_S = 60.0
# Of a first owner: that its run is to be taken over now, and that it was.
_HELD: ContextVar[tuple[asyncio.Event, asyncio.Event] | None] = ContextVar("_HELD", default=None)


@dataclass
class Taken:
    """A run, its first owner that lives on, and its second.

    Attributes:
        first: what the first owner's run came to.
        second: the same of who took it over.
        story: the trace.
    """

    first: Outcome
    second: Outcome
    story: Story


@pytest.fixture
def url(cluster: Cluster) -> str:
    """A database of its own."""
    return cluster.fresh(f"taken_{os.getpid()}_{time.monotonic_ns()}")


def take_over(
    url: str,
    agent: Callable[..., Scaffold],
    task: Task,
    *,
    at: str,
    times: int = 1,
    between: Callable[[PostgresJournal, str], None] = lambda _journal, _run: None,
    **second: Any,
) -> Taken:
    """Have a run taken over once its first owner has been at a point so often.

    Args:
        url: the database.
        agent: makes an agent from a journal and surroundings.
        task: what is asked.
        at: the point.
        times: how often.
        between: what happens when the claim has run out, and nobody has the run.
        second: how the second agent differs.
    """

    async def work() -> Taken:
        there, over, points = asyncio.Event(), asyncio.Event(), 0

        def reach(point: str) -> None:
            nonlocal points
            points += point == at
            if points == times:
                there.set()

        before = _HELD.set((there, over))
        first = asyncio.ensure_future(
            agent(PostgresJournal(url, lease=_LEASE_S), Surroundings(reach=reach)).solve(task)
        )
        _HELD.reset(before)
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.wait({asyncio.ensure_future(there.wait()), first}, return_when=asyncio.FIRST_COMPLETED)
        (run,) = await asyncio.to_thread(PostgresJournal(url).runs)
        with psycopg.connect(url, autocommit=True) as connection:  # as if its owner stood still
            connection.execute("UPDATE scaffold.runs SET leased_until = clock_timestamp() - interval '1 s'")
        await asyncio.to_thread(between, PostgresJournal(url), run)
        outcome = await agent(PostgresJournal(url, lease=_LEASE_S), Surroundings(), **second).resume(run)
        over.set()
        async with asyncio.timeout(_PATIENCE_S):
            ended = await first
        return Taken(ended, outcome, await asyncio.to_thread(lambda: read_story(PostgresJournal(url).folder(run))))

    return asyncio.run(work())


class Slow(Scripted):
    """Takes a moment; that of a run that is about to be taken over, until another has gone on with it."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        await asyncio.sleep(0.05)
        there, over = _HELD.get() or (None, None)
        if there is not None and over is not None and there.is_set():
            await over.wait()
        async for delta in super().generate(request):
            yield delta


def test_a_run_that_was_taken_over_has_one_budget(url: str) -> None:
    """Steps that the first process asked are charged to the second; what was in the middle, at its worst."""
    task = Task(prompt="go on", budget=Budget(steps=7))

    def planner(_task: Task) -> Planning[int]:
        number = 0
        while True:
            yield from think("solve", str(number))
            number += 1

    def agent(journal: PostgresJournal, surroundings: Surroundings) -> Scaffold:
        return Scaffold(
            planner, backends={"default": Slow("ok")}, monitors=[], journal=journal, surroundings=surroundings
        )

    taken = take_over(url, agent, task, at="step.answered:after", times=3)
    assert (taken.first.status, taken.second.status) == ("unavailable", "exhausted")
    assert "taken over by another process" in taken.first.reason
    assert not list(overspent(taken.story, task))
    assert 3 <= len(list(taken.story.of("step.answered"))) <= 7


class Guess(BaseModel):
    """An answer that says how sure it is."""

    word: str
    sure: Confidence


SEEN = Calibration(
    (Curve(backend="scripted", model="scripted", step="solve", seen=100, stated=(0.5, 0.9), right=(0.4, 0.97)),)
)


def test_a_run_that_was_taken_over_keeps_the_calibration_it_began_with(url: str) -> None:
    """Whoever goes on with it has learned something else, or nothing, and samples as the run began to."""

    def planner(_task: Task) -> Planning[str]:
        first = yield from think("answer", "in words")
        sure = yield from think("solve", first, returns=Guess, sampling=unless_sure(majority(3), sure=0.95))
        return sure.value.word

    def agent(journal: PostgresJournal, surroundings: Surroundings, calibration: Calibration | None = SEEN) -> Scaffold:
        said = {"in words": "yes", "": Guess(word="a", sure=0.9).model_dump_json()}
        return Scaffold(
            planner,
            backends={"default": Slow(said)},
            monitors=[],
            journal=journal,
            surroundings=surroundings,
            calibration=calibration,
        )

    taken = take_over(url, agent, Task(prompt="x"), at="step.answered:after", calibration=None)
    assert (taken.second.status, taken.second.answer) == ("solved", "a")
    asked = [event for event in taken.story.of("step.answered") if event["key"] == "1"]
    assert [event.get("samples", 1) for event in asked] == [1]  # by the curve of the first event, one is enough
    assert [event["confidence"] for event in asked] == [0.97]


class Escalates:
    """Leaves every action to a person."""

    spec = MonitorSpec(name="escalates", watches=frozenset({"action"}))

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        return Verdict(decision="escalate", rationale="a person should look")


class Says:
    """A person who is asked by the first owner, and says this."""

    def __init__(self, granted: bool | None) -> None:  # noqa: FBT001 - what they say
        self.granted = granted
        self.asked = 0

    async def ask(self, question: Any) -> Answer | None:
        self.asked += 1
        if self.granted is None:
            return None
        return Answer(id=question.id, digest=question.digest, granted=self.granted, by="ann")


def paying(ledger: EffectLedger, person: Says) -> Callable[..., Scaffold]:
    """Agents that pay once, if a person lets them."""

    @action(effect="irreversible", idempotency="target_key")
    async def pay(what: str, *, call: Call) -> str:
        return str(ledger.happen_once("pay", call, {"what": what}, "paid"))

    def planner(_task: Task) -> Planning[str]:
        yield from think("solve", "shall we?")
        try:
            done = yield from act("pay", {"what": "rent"})
        except ActionError as error:
            return type(error).__name__
        return str(done.value)

    def agent(journal: PostgresJournal, surroundings: Surroundings, people: bool = True) -> Scaffold:  # noqa: FBT001, FBT002 - whether there are any
        return Scaffold(
            planner,
            backends={"default": Slow("ok")},
            monitors=[Escalates()],
            actions=[pay],
            approvers=[person] if people else [],
            journal=journal,
            surroundings=surroundings,
        )

    return agent


@pytest.mark.parametrize(("granted", "answer", "effects"), [(True, "paid", 1), (False, "ActionRefused", 0)])
def test_what_a_person_has_said_holds_for_whoever_takes_over(
    granted: bool,  # noqa: FBT001 - what they say
    answer: str,
    effects: int,
    url: str,
    tmp_path: Path,
) -> None:
    """A yes is not asked for again, and a no stays one, whichever process goes on."""
    ledger, person = EffectLedger(tmp_path / "effects"), Says(granted)
    taken = take_over(url, paying(ledger, person), Task(prompt="pay"), at="approval.given:after", people=False)
    assert (taken.second.status, taken.second.answer, person.asked) == ("solved", answer, 1)
    assert len(list(taken.story.of("approval.asked"))) == 1
    assert len(ledger.lines()) == effects
    assert not [*wrong_clearances(taken.story), *wrong_approvals(taken.story)]
    assert not list(wrong_effects(taken.story, ledger.lines()))


def test_what_was_asked_by_one_is_answered_to_another(url: str, tmp_path: Path) -> None:
    """A person answers while nobody has the run: who takes it over reads the answer, and asks no second time."""
    ledger, person = EffectLedger(tmp_path / "effects"), Says(None)

    def answer(journal: PostgresJournal, run: str) -> None:
        (asked,) = read_story(journal.folder(run)).of("approval.asked")
        said = Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann")
        asyncio.run(journal.post(run, said))

    taken = take_over(url, paying(ledger, person), Task(prompt="pay"), at="never", between=answer, people=False)
    assert (taken.first.status, taken.second.status, taken.second.answer) == ("waiting", "solved", "paid")
    assert len(list(taken.story.of("approval.asked"))) == 1
    assert len(ledger.lines()) == 1

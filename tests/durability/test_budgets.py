"""Budgets hold under concurrency, faults and crashes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from scaffold import Budget, Planning, Scaffold, Task, think, together
from scaffold.errors import BadInput
from scaffold.interfaces import Claim, Record
from scaffold.testing import Scripted
from scaffold.testing.judging import overspent, read_story
from scaffold.trace.files import FileJournal
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.models import Delta, Request, Usage
from scaffold.vocabulary.moves import Options
from scaffold.vocabulary.task import Oversight


def hundred(_task: Task) -> Planning[int]:
    """Think a hundred times at once."""
    thoughts = yield from together(
        *(think("solve", str(number), returns=str, options=Options(max_tokens=50)) for number in range(100))
    )
    return len(thoughts)


def worst_of_one(folder: Path) -> int:
    """Tokens that one such step reserves."""
    outcome = Scaffold(
        hundred, backends={"default": Scripted("ok")}, monitors=[], journal=FileJournal(folder)
    ).solve_sync(Task(prompt="x"))
    return max(int(event["tokens"]) for event in read_story(Path(outcome.trace).parent).of("step.asked"))


class Greedy:
    """Uses as many tokens as a step may."""

    profile = Scripted("ok").profile

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        await asyncio.sleep(0)
        tokens = sum(len(message.content.encode()) + 16 for message in request.messages) + request.max_tokens
        yield Delta(text="ok", finish="stop", usage=Usage(tokens, 0))

    async def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize("kills", [0, 1, 2, 3])
def test_a_hundred_steps_at_once_with_room_for_ten_never_overspend(kills: int, tmp_path: Path) -> None:
    """However often the run is cut off: what was under way is charged at worst, and stays so."""
    budget = Budget(tokens=10 * worst_of_one(tmp_path / "probe"))
    task = Task(prompt="x", budget=budget, concurrency=100)
    agent = Scaffold(hundred, backends={"default": Greedy()}, monitors=[], journal=FileJournal(tmp_path / "runs"))
    outcome = agent.solve_sync(task)
    trace = Path(outcome.trace)
    for _ in range(kills):
        kinds = [line for line in trace.read_bytes().splitlines(keepends=True) if b'"kind":"run.paused"' not in line]
        asked = [place for place, line in enumerate(kinds) if b'"kind":"step.asked"' in line]
        trace.write_bytes(b"".join(kinds[: asked[len(asked) // 2] + 1]))
        outcome = agent.resume_sync(outcome.run)
    story = read_story(trace.parent)
    answered = len(list(story.of("step.answered")))
    assert outcome.status == "exhausted"
    assert not list(overspent(story, task))
    assert answered <= 10
    assert answered == 10 or kills


def test_what_a_first_crash_left_is_charged_after_a_second_one_too(tmp_path: Path) -> None:
    """The ledger is a fold over the trace: replaying two crashes charges both."""

    def one(_task: Task) -> Planning[str]:
        thought = yield from think("solve", "it", options=Options(max_tokens=50), returns=str)
        return thought.value

    agent = Scaffold(one, backends={"default": Scripted("ok")}, monitors=[], journal=FileJournal(tmp_path / "runs"))
    outcome = agent.solve_sync(Task(prompt="x"))
    trace, used = Path(outcome.trace), [outcome.usage["model"].tokens]
    for _ in range(3):
        lines = trace.read_bytes().splitlines(keepends=True)
        last = max(place for place, line in enumerate(lines) if b'"kind":"step.asked"' in line)
        trace.write_bytes(b"".join(lines[: last + 1]))
        used.append(agent.resume_sync(outcome.run).usage["model"].tokens)
    worst = next(read_story(trace.parent).of("step.asked"))["tokens"]
    assert used == [used[0] + crashes * worst for crashes in range(4)]


class SlowToStore(FileJournal):
    """Takes a while to store, as a database would."""

    async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
        await super().append(claim, records, durable=durable)
        await asyncio.sleep(0.001)


def test_a_step_without_room_waits_for_those_under_way(tmp_path: Path) -> None:
    """There is room for one at its worst at a time: each waits for what the one before leaves."""
    journal = SlowToStore(tmp_path / "runs")
    worst = worst_of_one(tmp_path / "probe")
    agent = Scaffold(hundred, backends={"default": Scripted("ok")}, monitors=[], journal=journal)
    probe = Scaffold(
        hundred, backends={"default": Scripted("ok")}, monitors=[], journal=FileJournal(tmp_path / "probe")
    ).solve_sync(Task(prompt="x"))
    tokens = probe.usage["model"].tokens + 2 * worst
    outcome = agent.solve_sync(Task(prompt="x", budget=Budget(tokens=tokens), concurrency=100))
    assert (outcome.status, outcome.answer) == ("solved", 100)


def test_what_is_raised_holds_over_later_resumes(tmp_path: Path) -> None:
    """Oversight's own bound too; who said so is on record, and the check of budgets goes by it."""
    agent = Scaffold(hundred, backends=Greedy(), monitors=[], journal=FileJournal(tmp_path / "runs"))
    oversight = Oversight(budget=Budget(tokens=10))
    outcome = agent.solve_sync(Task(prompt="x", budget=Budget(steps=30), oversight=oversight))
    more = {"steps": 60, "oversight.tokens": 20}
    assert agent.resume_sync(outcome.run, budget=more, by="ann").status == "exhausted"
    with pytest.raises(BadInput, match="limit on steps is already 60"):
        agent.resume_sync(outcome.run, budget={"steps": 60})
    assert agent.resume_sync(outcome.run, budget={"steps": 100}).status == "solved"
    story = read_story(Path(outcome.trace).parent)
    raised = [(event["bounds"], event.get("by", "")) for event in story.of("budget.raised")]
    assert (raised, story.faults) == ([(more, "ann"), ({"steps": 100}, "")], [])
    assert verify_run(Path(outcome.trace).parent).ok


def test_seconds_are_raised_too(tmp_path: Path) -> None:
    """A run whose time was over goes on until the time that it is given."""

    def slow(_task: Task) -> Planning[str]:
        return (yield from think("solve", "x", returns=str)).value

    class Slow(Greedy):
        async def generate(self, request: Request) -> AsyncGenerator[Delta]:
            await asyncio.sleep(0.5)
            yield Delta(text="ok", finish="stop", usage=Usage(1, 1))

    agent = Scaffold(slow, backends=Slow(), monitors=[], journal=FileJournal(tmp_path / "runs"))
    outcome = agent.solve_sync(Task(prompt="x", budget=Budget(seconds=0.2)))
    assert outcome.status == "exhausted"
    assert agent.resume_sync(outcome.run).status == "exhausted"
    assert agent.resume_sync(outcome.run, budget={"seconds": 60}).status == "solved"


@pytest.mark.parametrize(
    ("name", "most", "said"),
    [
        ("usd", math.inf, "a finite number"),
        ("seconds", math.inf, "a finite number"),
        ("oversight.usd", math.inf, "a finite number"),
        ("steps", 10**400, "less than or equal to"),
    ],
)
def test_a_limit_that_a_trace_cannot_hold_is_refused(name: str, most: float, said: str, tmp_path: Path) -> None:
    """JSON has no infinity, and its readers no number of any size: nobody could read the trace any more."""
    with pytest.raises(ValidationError, match=said):
        Budget.model_validate({name.removeprefix("oversight."): most})
    budget = Budget(steps=5, usd=1.0)
    agent = Scaffold(hundred, backends=Greedy(), monitors=[], journal=FileJournal(tmp_path / "runs"))
    outcome = agent.solve_sync(Task(prompt="x", budget=budget, oversight=Oversight(budget=budget)))
    with pytest.raises(BadInput, match=f"budget {name}: should be {said}"):
        agent.resume_sync(outcome.run, budget={name: most})
    assert verify_run(Path(outcome.trace).parent).ok

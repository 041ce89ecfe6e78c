"""Early stopping: a vote is decided by a prefix of its samples, and what runs beyond it is stopped and paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scaffold import Options, Planning, Task, Thought, ahead_by, majority, think
from scaffold.errors import BackendError
from scaffold.machinery.asking.drawing import NOT_COUNTED
from scaffold.vocabulary.models import Delta, Prices, Profile, Request, Usage

if TYPE_CHECKING:
    from tests.core.conftest import World

    from scaffold.vocabulary.sampling import Sampling

ALONE = Profile(backend="timed", model="m", context=10_000, prices=Prices(1.0, 1.0), reasoning="full")
MANY = msgspec.structs.replace(ALONE, can=frozenset({"n"}))


class Timed:
    """A backend whose samples take their time, by their number among all that it was asked.

    Attributes:
        begun: how many streams were opened.
        closed: streams that were closed before they had ended.
        fourth: set when a fourth sample was asked for.
    """

    def __init__(self, *samples: tuple[float, str], profile: Profile = ALONE) -> None:
        self.profile = profile
        self.samples = samples
        self.asked = self.begun = self.closed = 0
        self.fourth = asyncio.Event()

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Give each sample after its time."""
        first, self.asked = self.asked, self.asked + request.n
        self.begun += 1
        if self.asked > 3:
            self.fourth.set()
        ended = False
        waited = 0.0
        mine = sorted((self.samples[first + index][0], index) for index in range(request.n))
        try:
            for number, (after, index) in enumerate(mine):
                await asyncio.sleep(after - waited)
                waited = after
                text = self.samples[first + index][1]
                yield Delta(index=index, text=text, finish="stop")
                if number == request.n - 1:
                    yield Delta(index=index, usage=Usage(10, request.n))
            ended = True
        finally:
            self.closed += not ended

    async def close(self) -> None:
        """Nothing to free."""


def voting(policy: Sampling, told: list[Thought[Any]] | None = None) -> Any:
    """A planner of one step."""

    def planner(task: Task) -> Planning[Any]:
        thought: Thought[Any] = yield from think(
            "solve", task.request, sampling=policy, options=Options(max_tokens=100)
        )
        if told is not None:
            told.append(thought)
        return [thought.value, round(thought.confidence, 6)]

    return planner


NEVER = 30.0


@pytest.mark.parametrize("profile", [ALONE, MANY], ids=["one at a time", "n at once"])
def test_what_runs_beyond_the_decision_is_stopped_and_charged(world: World, profile: Profile) -> None:
    """Three of five agree: the other two are cut, their streams closed, and charged at the worst they may have cost."""
    backend = Timed((0.0, "a"), (0.0, "a"), (0.01, "a"), (NEVER, "a"), (NEVER, "b"), profile=profile)
    outcome = world.solve(voting(majority(5, batch=5)), backend)
    assert outcome.answer == ["a", 1.0]
    (step,) = world.facts(outcome, "step.answered")
    assert [sample.get("flag", "") for sample in step["samples"]] == ["", "", "", NOT_COUNTED, NOT_COUNTED]
    assert (step["votes"], step.get("discarded", 0)) == (3, 0)
    assert backend.closed == (1 if "n" in profile.can else 2)
    (asked,) = world.facts(outcome, "step.asked")
    if "n" in profile.can:
        assert outcome.usage["model"].tokens == asked["tokens"]
    else:
        assert outcome.usage["model"].tokens == 3 * 11 + 2 * asked["tokens"] // 5


@pytest.mark.parametrize("profile", [ALONE, MANY], ids=["one at a time", "n at once"])
def test_the_fastest_answers_do_not_win(world: World, profile: Profile) -> None:
    """Three late samples of a batch that agree decide nothing before the first two, which come last, are in."""
    backend = Timed((0.04, "a"), (0.03, "a"), (0.0, "b"), (0.0, "b"), (0.05, "a"), (0.01, "b"), profile=profile)
    outcome = world.solve(voting(ahead_by(2, cap=6, batch=6)), backend)
    assert outcome.answer == ["a", 1.0]
    (step,) = world.facts(outcome, "step.answered")
    assert step["votes"] == 2
    assert [sample.get("flag", "") for sample in step["samples"]] == ["", "", *[NOT_COUNTED] * 4]


def test_the_outcome_is_the_same_for_every_speed_and_batch(world: World) -> None:
    """However samples are timed and batched, the same texts give the same winner, share and number of votes."""
    texts = ["b", "a", "a", "b", "a", "a", "b", "a"]
    said = set()
    for batch, times in (
        (1, [0.0] * 8),
        (8, [0.0] * 8),
        (8, [0.02 - 0.002 * i for i in range(8)]),
        (3, [0.0, 0.01] * 4),
    ):
        backend = Timed(*zip(times, texts, strict=True))
        outcome = world.solve(voting(ahead_by(2, cap=8, batch=batch)), backend)
        (step,) = world.facts(outcome, "step.answered")
        said.add((tuple(outcome.answer), step["votes"], step["winner"]))
    assert said == {(("a", round(4 / 6, 6)), 6, 1)}


def test_what_is_certain_to_find_no_winner_stops_too(world: World) -> None:
    """Four different answers of five cannot become a majority: the fifth is not waited for."""
    backend = Timed((0.0, "a"), (0.0, "b"), (0.0, "c"), (0.0, "d"), (NEVER, "a"))
    outcome = world.solve(voting(majority(5, cap=5, batch=5)), backend)
    assert outcome.status == "failed"
    assert "no answer can still have more than half of 5 votes after 4 samples" in outcome.reason
    assert backend.closed == 1


def test_samples_that_have_not_begun_never_do(world: World) -> None:
    """When the first streams decide at once, the others are not opened, and cost nothing."""

    class AtOnce(Timed):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            self.begun += 1
            yield Delta(text="a", finish="stop", usage=Usage(10, 1))

    backend = AtOnce()
    outcome = world.solve(voting(majority(9, batch=9)), backend)
    assert (outcome.answer, backend.begun) == (["a", 1.0], 5)
    assert outcome.usage["model"].tokens == 5 * 11


def test_interrupting_while_others_are_stopped_is_not_lost(world: World) -> None:
    """A stream that takes its time to close holds up the vote, and an interruption meanwhile still pauses the run."""

    class Slow(Timed):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            try:
                yield Delta(index=0, text="a", finish="stop")
                yield Delta(index=1, text="a", finish="stop")
                yield Delta(index=2, text="a")
                await asyncio.sleep(NEVER)
            finally:
                closing.set()
                await asyncio.sleep(0.2)

    closing = asyncio.Event()
    agent = world.agent(voting(majority(3, batch=3)), Slow(profile=MANY))

    async def interrupted() -> Any:
        solving = asyncio.create_task(agent.solve(Task(prompt="x")))
        await closing.wait()
        agent.interrupt()
        return await solving

    assert asyncio.run(interrupted()).status == "interrupted"


def test_a_stopped_vote_is_replayed_as_it_was(world: World) -> None:
    """A run that is resumed after a vote was stopped early is told the same, without asking again."""
    told: list[Thought[Any]] = []
    first = voting(majority(3, batch=3), told)

    def planner(task: Task) -> Planning[Any]:
        answer = yield from first(task)
        yield from think("answer", "more")
        return answer

    backend = Timed((0.0, "a"), (0.0, "a"), (NEVER, "b"), (NEVER, "never"))
    agent = world.agent(planner, backend)

    async def cut_off() -> Any:
        solving = asyncio.create_task(agent.solve(Task(prompt="x")))
        await backend.fourth.wait()
        agent.interrupt()
        return await solving

    outcome = asyncio.run(cut_off())
    again = world.agent(planner, "done").resume_sync(outcome.run)
    assert (again.status, again.answer) == ("solved", ["a", 1.0])
    assert (told[0].value, told[0].confidence) == (told[1].value, told[1].confidence)


def test_a_stream_that_breaks_once_all_is_decided_changes_nothing(world: World) -> None:
    """Its sample had ended before; that its cost is never told only makes it cost the worst."""

    class Breaks(Timed):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            self.asked += 1
            first = self.asked == 1
            if not first:
                await asyncio.sleep(0.02)
            yield Delta(text="a", finish="stop")
            if first:
                await asyncio.sleep(0.1)
                raise BackendError("gone")
            yield Delta(usage=Usage(10, 1))

    outcome = world.solve(voting(majority(3, cap=3, batch=3)), Breaks())
    assert outcome.answer == ["a", 1.0]


def test_a_slow_check_in_one_stream_does_not_disturb_the_order(world: World) -> None:
    """While the first sample is checked others end: they are counted after it, and what is alike is checked once."""
    checked: list[str] = []

    async def slowly(text: str) -> bool:
        await asyncio.sleep(0.03 if not checked else 0.0)
        checked.append(text)
        return text != "bad"

    backend = Timed((0.0, "bad"), (0.01, "b"), (0.0, "c"), (0.02, "b"), (0.0, "b"))
    outcome = world.solve(voting(ahead_by(2, cap=5, batch=5, flags=(slowly,))), backend)
    assert (outcome.answer, checked) == (["b", 0.75], ["bad", "b", "c"])

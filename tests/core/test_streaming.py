"""Watching a run as it happens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from scaffold import Gate, Outcome, Planning, Task, act, action, note, think
from scaffold.errors import TaskError
from scaffold.streaming import Feed, Happened
from scaffold.testing import Scripted
from scaffold.trace.verify import verify_run
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from tests.core.conftest import World

pytestmark = pytest.mark.anyio


def paying(task: Task) -> Planning[str]:
    """A planner of one thought and one action."""
    thought = yield from think("solve", task.prompt)
    paid = yield from act("pay", {"invoice": thought})
    return str(paid.value)


def many(_task: Task) -> Planning[int]:
    """A planner that notes a great deal without ever waiting for anything."""
    for number in range(5000):
        yield from note(f"note {number}")
    return 5000


async def test_every_event_comes_in_order_and_the_outcome_last(world: World) -> None:
    """Typed, each with its content, and the same as stand in the trace."""
    agent = world.agent(paying, "i1", monitors=["rules"])
    told = [each async for each in agent.stream(Task(prompt="pay i1"))]
    *happened, outcome = told
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.answer) == ("solved", "paid i1")
    seen = [each for each in happened if isinstance(each, Happened)]
    assert [each.event.__struct_config__.tag for each in seen] == world.kinds(outcome)
    assert [each.event.seq for each in seen] == list(range(1, len(seen) + 1))
    (intent,) = [each.event for each in seen if isinstance(each.event, ev.ActionIntent)]
    assert intent.action == "pay"
    (done,) = [each.content for each in seen if isinstance(each.event, ev.ActionOutcome)]
    assert done == {"value": "paid i1"}


async def test_an_event_is_told_while_the_run_goes_on(world: World) -> None:
    """What has begun is seen before it has ended."""
    may_end = asyncio.Event()

    @action(effect="irreversible")
    async def slow() -> str:
        """Take its time."""
        await may_end.wait()
        return "done"

    def planner(_: Task) -> Planning[str]:
        return str((yield from act("slow", {})).value)

    async for each in world.agent(planner, actions=[slow], monitors=["rules"]).stream(Task(prompt="x")):
        if isinstance(each, Happened) and isinstance(each.event, ev.ActionIntent):
            assert not may_end.is_set()
            may_end.set()
    assert may_end.is_set()


async def test_who_watches_slowly_holds_up_nothing_and_misses_nothing(world: World) -> None:
    """The run ends long before it has been watched to its end; what did not fit into memory is read back."""
    watched: list[int] = []
    async for each in world.agent(many).stream(Task(prompt="x")):
        if isinstance(each, Happened):
            if each.event.seq == 1:
                await asyncio.sleep(0.3)  # the run goes on meanwhile, further than memory reaches
            watched.append(each.event.seq)
        else:
            assert each.status == "solved"
    assert watched == list(range(1, 5003))


async def test_memory_is_bounded_by_number_and_by_size(world: World) -> None:
    """Whatever nobody takes away, a feed keeps no more than it may, and still tells everything."""
    for bound in ({"most": 10}, {"most_bytes": 1000}):
        feeds: list[Feed] = []

        def take(event: Any, body: bytes, bound: Any = bound, feeds: list[Feed] = feeds) -> None:
            if isinstance(event, ev.RunStarted):
                feeds.append(Feed(world.journal, event.run, **bound))
            feeds[0].take(event, body)
            events, held = feeds[0].held
            assert events <= bound.get("most", 100)
            assert held <= 1000

        outcome = await world.agent(many, on_event=take).solve(Task(prompt="x"))
        feeds[0].close()
        assert [each.event.seq async for each in feeds[0].happenings()] == list(range(1, 5003))
        assert outcome.status == "solved"


async def test_who_stops_watching_pauses_the_run_and_can_go_on(world: World) -> None:
    """Leaving the loop, being cancelled, and a host built on anyio: each run is paused, verified and resumed."""
    agent = world.agent(paying, Scripted("i1", delay=0.05), monitors=["rules"])
    runs: list[str] = []
    asked = asyncio.Event()

    async def watch(*, leave: bool) -> None:
        async with aclosing(agent.stream("pay i1")) as happenings:
            async for each in happenings:
                assert isinstance(each, Happened)
                if isinstance(each.event, ev.StepAsked):
                    runs.append(each.run)
                    asked.set()
                    if leave:
                        break

    await watch(leave=True)
    asked.clear()
    working = asyncio.create_task(watch(leave=False))
    await asked.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    asked.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: watch(leave=False))
        await asked.wait()
        group.cancel_scope.cancel()
    for at, run in enumerate(runs):
        said = verify_run(world.folder / "runs" / run)
        assert said.ok
        assert said.ended == "interrupted"
        told = [each async for each in agent.stream(resume=run)]
        assert isinstance(told[0], Happened)
        assert isinstance(told[0].event, ev.RunResumed)
        assert isinstance(told[-1], Outcome)
        assert told[-1].status == "solved"
        assert len(world.done) == at + 1


async def test_what_cannot_begin_says_so_and_an_error_comes_out(world: World) -> None:
    """A task that does not fit raises before there is a run."""
    with pytest.raises(TaskError, match="no action 'py'"):
        async for _ in world.agent(paying).stream(Task(prompt="x", actions=("py",))):
            pass
    assert not (world.folder / "runs").exists()


async def test_a_gates_run_can_be_watched_too(world: World) -> None:
    """By another task, until its block has ended."""
    seen: list[str] = []

    async def watch(happenings: Any) -> None:
        seen.extend([each.event.__struct_config__.tag async for each in happenings])

    gate = Gate(actions=(world.pay,), monitors=["rules"], journal=world.journal)
    async with gate.run("pay") as run:
        watching = asyncio.create_task(watch(run.events()))
        await asyncio.sleep(0)
        await run.act("pay", {"invoice": "i1"})
    await watching
    assert seen == ["action.proposed", "reviewed", "action.cleared", "action.intent", "action.outcome", "run.ended"]

"""How the run of another agent's loop ends, pauses or waits, and what becomes of the calls that are under way then."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.core.hosts import TASK, gate_of

from scaffold import Budget, Gate, Task, Verdict, action
from scaffold.errors import (
    ActionRefused,
    BadInput,
    BudgetSpent,
    RunEnding,
    Stopped,
)
from scaffold.interfaces import Answer, Question, Surroundings
from scaffold.machinery.driving.driven import Waits
from scaffold.trace.verify import verify_run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.core.conftest import Watcher, World

    from scaffold.hosting import GatedRun

pytestmark = pytest.mark.anyio


async def test_a_run_that_only_plans_ends_at_the_first_effect(world: World) -> None:
    """Reads are performed; the host is told in words why the run is over, by the error that every end is."""
    async with gate_of(world, plan_only=True).run(TASK) as run:
        await run.act("look", {"at": "a"})
        with pytest.raises(RunEnding, match="pay would change the world, and this run only plans"):
            await run.act("pay", {"invoice": "i1"})
        with pytest.raises(RunEnding, match="only plans"):
            await run.act("look", {"at": "b"})
    assert run.outcome.status == "solved"
    assert [each["name"] for each in run.outcome.answer["planned"]] == ["pay"]
    assert [done[0] for done in world.done] == ["look"]


async def test_a_monitor_that_halts_ends_the_run(world: World, watcher: type[Watcher]) -> None:
    """The call raises, later ones too, and the run has stopped."""
    gate = gate_of(world, monitors=[watcher(Verdict(decision="halt", rationale="enough"))])
    async with gate.run(TASK) as run:
        for invoice in ("i1", "i2"):
            with pytest.raises(Stopped, match="enough"):
                await run.act("pay", {"invoice": invoice})
    assert run.outcome.status == "stopped"
    assert not world.done


@pytest.mark.parametrize(("decision", "status"), [("halt", "stopped"), ("escalate", "waiting")])
async def test_a_call_within_another_may_end_the_run(
    world: World, watcher: type[Watcher], decision: Any, status: str
) -> None:
    """As where a tool is an agent with tools: the end waits for the outer effect, and that one hears of it at once."""
    runs: list[GatedRun] = []

    @action(effect="read")
    async def delegate(invoice: str) -> str:
        return str((await runs[0].act("pay", {"invoice": invoice})).value)

    def says(subject: Any) -> Verdict:
        return Verdict(decision=decision if subject.plan[0].action == "pay" else "allow")

    gate = Gate(actions=[delegate, world.pay], monitors=[watcher(says)], journal=world.journal)
    async with asyncio.timeout(20), gate.run("pay what is due") as run:
        runs.append(run)
        with pytest.raises(RunEnding):
            await run.act("delegate", {"invoice": "i1"})
    assert run.outcome.status == status
    assert world.done == []
    assert verify_run(world.folder / "runs" / run.id).ok


async def test_what_goes_on_beside_a_halt_ends_with_it(world: World, watcher: type[Watcher]) -> None:
    """Another call that is still being read is never performed."""

    async def slowly() -> Verdict:
        await asyncio.sleep(30)
        return Verdict(decision="allow")

    def says(subject: Any) -> Any:
        halts = subject.plan[0].arguments["invoice"] == "bad"
        return Verdict(decision="halt", rationale="enough") if halts else slowly()

    with pytest.raises(RunEnding):
        async with gate_of(world, monitors=[watcher(says)]).run(TASK) as run:
            await asyncio.gather(run.act("pay", {"invoice": "slow"}), run.act("pay", {"invoice": "bad"}))
    assert run.outcome.status == "stopped"
    assert not world.done
    assert verify_run(world.folder / "runs" / run.id).ok


async def test_a_call_cut_off_by_a_halt_beside_it_leaves_its_task_whole(world: World, watcher: type[Watcher]) -> None:
    """The call raises that the run is over; the task that waited for it is not cancelled, and goes on."""
    reading = asyncio.Event()

    async def slowly() -> Verdict:
        reading.set()
        await asyncio.sleep(600)
        return Verdict(decision="allow")

    def says(subject: Any) -> Any:
        halts = subject.plan[0].arguments["invoice"] == "bad"
        return Verdict(decision="halt", rationale="enough") if halts else slowly()

    async def host(run: GatedRun) -> str:
        try:
            await run.act("pay", {"invoice": "slow"})
        except RunEnding as error:
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0)
            return str(error)
        return "not cut off"

    async with gate_of(world, monitors=[watcher(says, timeout_s=600)]).run(TASK) as run:
        beside = asyncio.create_task(host(run))
        await reading.wait()
        with pytest.raises(Stopped, match="enough"):
            await run.act("pay", {"invoice": "bad"})
        assert "enough" in await beside
    assert not world.done


async def test_a_call_can_be_made_while_its_task_is_being_cancelled(world: World) -> None:
    """A host that cleans up after its own cancellation still goes through the gate, and is cancelled afterwards."""
    begun = asyncio.Event()

    async def host() -> None:
        async with gate_of(world).run(TASK) as run:
            try:
                begun.set()
                await asyncio.sleep(600)
            finally:
                await run.act("pay", {"invoice": "i1"})

    working = asyncio.create_task(host())
    await begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert [done[1] for done in world.done] == ["i1"]


async def test_a_budget_binds_the_host(world: World) -> None:
    """With room for two actions the third is refused."""
    async with gate_of(world).run(Task(prompt="x", budget=Budget(actions=2))) as run:
        await run.act("pay", {"invoice": "i1"})
        await run.act("pay", {"invoice": "i2"})
        with pytest.raises(ActionRefused, match="actions"):
            await run.act("pay", {"invoice": "i3"})
    assert len(world.done) == 2


async def test_seconds_are_counted(world: World, watcher: type[Watcher]) -> None:
    """A call that takes longer than the run has left ends it as exhausted."""

    async def slowly() -> Verdict:
        await asyncio.sleep(30)
        return Verdict(decision="allow")

    gate = gate_of(world, monitors=[watcher(lambda _: slowly(), timeout_s=60)])
    with pytest.raises(BudgetSpent, match="seconds"):
        async with gate.run(Task(prompt="x", budget=Budget(seconds=0.05))) as run:
            await run.act("pay", {"invoice": "i1"})
    assert run.outcome.status == "exhausted"
    assert not world.done


async def test_a_run_whose_seconds_are_over_makes_no_further_move(world: World) -> None:
    """They pass while the host thinks by itself, too: what it asks for then is not even proposed."""
    async with gate_of(world).run(Task(prompt="x", budget=Budget(seconds=0.05))) as run:
        await asyncio.sleep(0.1)
        with pytest.raises(BudgetSpent, match="seconds"):
            await run.act("pay", {"invoice": "i1"})
    assert run.outcome.status == "exhausted"
    assert not world.done
    assert "action.proposed" not in world.kinds(run.outcome)


async def test_a_host_that_raises_has_failed(world: World) -> None:
    """Its own error comes out of the block, and stands in the trace."""
    outcomes: list[Any] = []

    async def host() -> None:
        async with gate_of(world).run(TASK) as run:
            outcomes.append(run)
            await run.act("pay", {"invoice": "i1"})
            raise ZeroDivisionError("by zero")

    with pytest.raises(ZeroDivisionError):
        await host()
    assert outcomes[0].outcome.status == "failed"
    assert "the host raised ZeroDivisionError" in outcomes[0].outcome.reason


async def test_a_cancelled_host_pauses_and_goes_on(world: World) -> None:
    """The next block knows what was done: what came back last is told again, keys go on, nothing is paid twice."""
    gate, inside = gate_of(world), asyncio.Event()

    async def host() -> None:
        async with gate.run(TASK) as run:
            ids.append(run.id)
            await run.act("pay", {"invoice": "i1"})
            inside.set()
            await asyncio.sleep(60)

    ids: list[str] = []
    working = asyncio.create_task(host())
    await inside.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    async with gate.run("", resume=ids[0]) as run:
        assert (await run.act("pay", {"invoice": "i1"})).value == "paid i1"
        await run.act("pay", {"invoice": "i2"})
        with pytest.raises(ActionRefused, match="already done"):
            await run.act("pay", {"invoice": "i1"})
    assert [done[1] for done in world.done] == ["i1", "i2"]
    keys = [each.key for each in run.outcome.actions]
    assert keys == ["0", "1", "2"]
    with pytest.raises(BadInput, match="has ended"):
        async with gate.run("", resume=ids[0]):
            pass


async def test_an_action_waits_for_a_person_across_processes(world: World, watcher: type[Watcher]) -> None:
    """Nobody is there: the run pauses. Once approved through the inbox, the same call goes on where it stood."""
    gate = gate_of(world, monitors=[watcher(Verdict(decision="escalate", rationale="it is much"))])
    with pytest.raises(Waits, match="scaffold approvals"):
        async with gate.run(TASK) as run:
            await run.act("pay", {"invoice": "i1"})
    assert run.outcome.status == "waiting"
    assert not world.done
    (asked,) = world.facts(run.outcome, "approval.asked")
    await world.journal.post(run.id, Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann"))
    async with gate.run("", resume=run.id) as again:
        assert (await again.act("pay", {"invoice": "i1"})).value == "paid i1"
    assert len(world.done) == 1
    assert len(list(world.facts(again.outcome, "approval.asked"))) == 1


async def test_no_seconds_pass_while_a_person_is_asked(world: World, watcher: type[Watcher]) -> None:
    """Where nothing else goes on: who takes their time spends none of the run's."""

    class Slow:
        async def ask(self, question: Question) -> Answer:
            await asyncio.sleep(1.2)
            return Answer(id=question.id, digest=question.digest, granted=True, by="ann")

    monitors = [watcher(Verdict(decision="escalate"))]
    gate = gate_of(world, monitors=monitors, approvers=[Slow()], surroundings=Surroundings())
    async with gate.run(Task(prompt="x", budget=Budget(seconds=1.0))) as run:
        assert (await run.act("pay", {"invoice": "i1"})).value == "paid i1"
    assert run.outcome.status == "solved"


async def test_how_a_run_ended_is_told_once_it_has(world: World) -> None:
    """Whoever asks before is told so, in words, and can see beforehand whether it is over."""
    async with gate_of(world).run(TASK) as run:
        assert not run.over
        with pytest.raises(BadInput, match=f"the run {run.id} is still going on"):
            _ = run.outcome
    assert run.over
    assert run.outcome.status == "solved"


def test_a_block_that_is_not_async_fails_with_its_error(world: World) -> None:
    """The error comes out as it is, and the run has failed."""
    with pytest.raises(KeyError), gate_of(world).run_sync(TASK) as run:
        raise KeyError("x")
    assert run.outcome.status == "failed"


async def test_a_host_that_is_cancelled_again_and_again_still_pauses(world: World) -> None:
    """What is under way ends, its outcome is on record, and the run is let go of only then, under asyncio and anyio."""
    begun, asked, may_end = asyncio.Event(), [], asyncio.Event()

    @action(effect="irreversible")
    async def slow() -> str:
        """Take its time."""
        begun.set()
        await may_end.wait()
        return "done"

    gate = Gate(actions=[slow], monitors=["rules"], journal=world.journal)

    async def host() -> None:
        async with gate.run("x") as run:
            asked.append(run)
            await run.act("slow", {})

    working = asyncio.create_task(host())
    await begun.wait()
    for _ in range(5):
        working.cancel()
        await asyncio.sleep(0.01)
        assert not working.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert asked[0].outcome.status == "interrupted"
    assert [each.status for each in asked[0].outcome.actions] == ["performed"]

    begun.clear()
    may_end.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(host)
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        group.cancel_scope.cancel()
    assert asked[1].outcome.status == "interrupted"
    assert verify_run(world.folder / "runs" / asked[1].id).ended


async def test_a_call_that_its_host_gave_up_waiting_for_is_not_made_again(world: World) -> None:
    """It was done while the host no longer waited: asked for again, the same call gives what came of it."""
    done: list[str] = []
    begun = asyncio.Event()

    @action(effect="irreversible")
    async def slow(what: str) -> str:
        """Take its time."""
        begun.set()
        await asyncio.sleep(0.01)
        done.append(what)
        return f"{what} done"

    async with Gate(actions=[slow], monitors=["rules"], journal=world.journal).run("x") as run:
        call = asyncio.create_task(run.act("slow", {"what": "a"}))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await run.act("slow", {"what": "a"})).value == "a done"
        assert (await run.act("slow", {"what": "a"})).value == "a done"
    assert done == ["a", "a"]  # the second time it was meant
    assert [each.key for each in run.outcome.actions] == ["0", "1"]


async def test_a_block_that_is_left_with_calls_under_way_waits_for_them(world: World) -> None:
    """What has begun is done and recorded, what has not is not begun, and whoever waits hears that the run is over."""
    begun = asyncio.Barrier(4)
    done: list[int] = []

    @action(effect="irreversible")
    async def slow(number: int) -> int:
        """Take its time."""
        await begun.wait()
        await asyncio.sleep(0.05)
        done.append(number)
        return number

    async with Gate(actions=[slow], monitors=["rules"], journal=world.journal).run("x") as run:
        calls = [asyncio.create_task(run.act("slow", {"number": number})) for number in range(3)]
        await begun.wait()
    results = await asyncio.gather(*calls, run.act("slow", {"number": 9}), return_exceptions=True)
    assert all(isinstance(result, RunEnding) for result in results)
    assert sorted(done) == [0, 1, 2]
    assert [each.status for each in run.outcome.actions] == ["performed"] * 3
    assert verify_run(world.folder / "runs" / run.id).ended


async def test_a_block_in_a_generator_that_is_closed_pauses(world: World) -> None:
    """Nobody failed: whoever read from it went away, and the run can be gone on with."""
    gate = gate_of(world)

    async def reading() -> AsyncGenerator[GatedRun]:
        async with gate.run(TASK) as run:
            await run.act("pay", {"invoice": "i1"})
            yield run

    generator = reading()
    run = await anext(generator)
    await generator.aclose()
    assert run.outcome.status == "interrupted"
    async with gate.run("", resume=run.id) as again:
        await again.act("pay", {"invoice": "i2"})
    assert again.outcome.status == "solved"


def test_a_run_that_is_over_says_so_to_code_that_is_not_async(world: World) -> None:
    """Whatever is asked of it afterwards; what another thread had under way is ended with it."""
    begun, said = threading.Event(), []

    @action(effect="irreversible")
    async def slow() -> str:
        """Take its time."""
        begun.set()
        await asyncio.sleep(0.05)
        return "done"

    def act_beside(run: Any) -> None:
        try:
            run.act("slow", {})
        except RunEnding as error:
            said.append(str(error))

    runs: list[Any] = []

    def host() -> None:
        with Gate(actions=[slow], monitors=["rules"], journal=world.journal).run_sync("x") as run:
            runs.append((run, threading.Thread(target=act_beside, args=(run,))))
            runs[0][1].start()
            begun.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host()
    run, beside = runs[0]
    beside.join()
    assert run.outcome.status == "interrupted"
    assert [each.status for each in run.outcome.actions] == ["performed"]
    assert said == [f"the run {run.id} is over"]
    with pytest.raises(RunEnding, match="is over"):
        run.act("slow", {})

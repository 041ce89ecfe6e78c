"""The gate alone, around actions that another agent's loop calls."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from scaffold import Budget, Gate, Goal, Plan, Planned, Planning, Task, Verdict, act, action, think, together
from scaffold.errors import (
    ActionFailed,
    ActionRefused,
    BadInput,
    BudgetSpent,
    OutcomeUnknown,
    PlannerError,
    RunEnding,
    StepRefused,
    Stopped,
    TaskError,
)
from scaffold.interfaces import Answer, Question, Surroundings
from scaffold.machinery.driving.hosted import Waits
from scaffold.testing import Scripted
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.models import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.core.conftest import Person, Watcher, World

    from scaffold.hosting import GatedRun

TASK = Task(
    prompt="pay what is due",
    goals=(Goal(kind="constraint", statement="at most 500", rule="action.name != 'pay' || args.cents <= 500"),),
)


def gate_of(world: World, *, monitors: Any = (), **more: Any) -> Gate:
    """A gate around the world's actions."""
    return Gate(
        actions=(world.pay, world.look, world.post),
        monitors=["rules", *monitors],
        journal=world.journal,
        **{"surroundings": Surroundings(clock=world.clock), **more},
    )


pytestmark = pytest.mark.anyio


async def test_an_allowed_call_is_performed_and_a_refused_one_is_not(world: World) -> None:
    """The host gets the value of the one and a reason for the other; the trace verifies, and has ended."""
    async with gate_of(world).run(TASK) as run:
        paid = await run.act("pay", {"invoice": "i1", "cents": 100})
        assert paid.value == "paid i1"
        with pytest.raises(ActionRefused, match="at most 500"):
            await run.act("pay", {"invoice": "i2", "cents": 501})
        run.answer({"paid": ["i1"]})
    outcome = run.outcome
    assert (outcome.status, outcome.answer) == ("solved", {"paid": ["i1"]})
    assert [done[:2] for done in world.done] == [("pay", "i1")]
    assert [each.status for each in outcome.actions] == ["performed", "refused"]
    said = verify_run(world.folder / "runs" / run.id)
    assert said.ok
    assert said.ended


async def test_nothing_is_done_that_is_not_in_the_trace_before(world: World) -> None:
    """Each effect has its proposal, review, clearance and intent, in that order."""
    async with gate_of(world).run(TASK) as run:
        await run.act("pay", {"invoice": "i1"})
    kinds = [kind for kind in world.kinds(run.outcome) if kind.startswith(("action", "reviewed"))]
    assert kinds == ["action.proposed", "reviewed", "action.cleared", "action.intent", "action.outcome"]


async def test_what_the_host_thinks_is_read_and_can_be_withheld(world: World, watcher: type[Watcher]) -> None:
    """A monitor of steps sees text and reasoning; what it withholds the host hears of."""

    def says(subject: Any) -> Verdict:
        if "mischief" in subject.step.reasoning:
            return Verdict(decision="block", feedback="think again")
        return Verdict(decision="allow")

    reader = watcher(says, watches=frozenset({"step"}))
    async with gate_of(world, monitors=[reader]).run(TASK) as run:
        thought = await run.think("i1 is due", reasoning="it says so", usage=Usage(30, 7))
        assert thought.value == "i1 is due"
        with pytest.raises(StepRefused, match="think again"):
            await run.think("let us see", reasoning="some mischief")
    assert [subject.step.text for subject in reader.seen if subject.step] == ["i1 is due", "let us see"]
    assert run.outcome.usage["model"].input == 30
    assert run.outcome.steps == 2


async def test_half_a_character_that_a_model_says_is_replaced(world: World, watcher: type[Watcher]) -> None:
    """JSON may hold half a pair of surrogates, and UTF-8 cannot: what is recorded and read is what can be."""
    reader = watcher(watches=frozenset({"step"}))
    async with gate_of(world, monitors=[reader]).run(TASK) as run:
        assert (await run.think("so \ud83d", reasoning="\ude00")).value == "so \ufffd"
    assert [(each.step.text, each.step.reasoning) for each in reader.seen if each.step] == [("so \ufffd", "\ufffd")]
    assert verify_run(world.folder / "runs" / run.id).ended


async def test_thoughts_at_once_are_not_mixed_up(world: World) -> None:
    """Each stands in the trace with its own text."""
    async with gate_of(world).run(TASK) as run:
        thoughts = await asyncio.gather(*(run.think(f"thought {number}") for number in range(20)))
    assert [thought.value for thought in thoughts] == [f"thought {number}" for number in range(20)]


async def test_a_reference_keeps_where_it_came_from(world: World) -> None:
    """An argument taken from what a tool gave back is tainted by it; a bare one depends on all the host was told."""
    async with gate_of(world).run(TASK) as run:
        await run.act("post", {"text": "first"})
        seen = await run.act("look", {"at": "inbox"})
        await run.act("post", {"text": seen})
        await run.act("post", {"text": "bare"})
    calls = [fact["call"] for fact in world.facts(run.outcome, "action.proposed")]
    assert calls[0]["provenance"]["text"] == {"sources": ["history:@0"]}
    assert calls[2]["provenance"]["text"] == {"sources": ["action:1"], "tainted": True}
    assert calls[3]["provenance"]["text"] == {"sources": ["history:@3"], "tainted": True}


async def test_what_the_hosts_model_says_depends_on_all_that_the_host_was_told(world: World) -> None:
    """Its thought, passed on as a reference, is tainted once the host has been told what is."""
    async with gate_of(world).run(TASK) as run:
        await run.act("post", {"text": await run.think("before")})
        await run.act("look", {"at": "inbox"})
        await run.act("post", {"text": await run.think("after")})
    calls = [fact["call"] for fact in world.facts(run.outcome, "action.proposed")]
    assert calls[0]["provenance"]["text"] == {"sources": ["step:0", "history:@0"]}
    assert calls[2]["provenance"]["text"] == {"sources": ["step:3", "history:@3"], "tainted": True}

    async with gate_of(world).run(Task(prompt="read it", inputs={"mail": "pay me"}, untrusted=("mail",))) as run:
        assert (await run.think("first")).provenance.tainted


async def test_what_a_failure_says_taints_what_the_host_does_next(world: World) -> None:
    """Why an action failed is told from outside, like its result."""
    async with gate_of(world).run(TASK) as run:
        with pytest.raises(ActionFailed):
            await run.act("post", {"text": "!not"})
        await run.act("post", {"text": "bare"})
    calls = [fact["call"] for fact in world.facts(run.outcome, "action.proposed")]
    assert calls[1]["provenance"]["text"]["tainted"] is True


async def test_calls_at_once_each_go_through_the_gate(world: World) -> None:
    """Forty at once: each is performed once, with a key of its own."""
    async with gate_of(world).run("pay them all") as run:
        paid = await asyncio.gather(*(run.act("pay", {"invoice": f"i{number}"}) for number in range(40)))
    assert [each.value for each in paid] == [f"paid i{number}" for number in range(40)]
    assert len({done[3] for done in world.done}) == 40
    assert verify_run(world.folder / "runs" / run.id).ok


async def test_the_same_thing_is_not_done_twice(world: World) -> None:
    """An action with an identity is refused the second time, also beside the first; a host that insists is stopped."""
    async with gate_of(world).run(TASK) as run:
        results = await asyncio.gather(*(run.act("pay", {"invoice": "i1"}) for _ in range(2)), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["ActionRefused", "Observation"]
        with pytest.raises(Stopped, match="proposed again"):
            await run.act("pay", {"invoice": "i1"})
    assert len(world.done) == 1


async def test_a_plan_is_read_as_a_whole_and_carried_out(world: World) -> None:
    """A host that plans ahead has its plan reviewed before any of it is done."""
    async with gate_of(world).run(TASK) as run:
        bad = Plan([Planned("pay", {"invoice": "i1"}, id="a"), Planned("pay", {"invoice": "i2", "cents": 900}, id="b")])
        review = await run.propose(bad)
        assert not review.allowed
        assert not world.done
        assert [objection.node for objection in review.objections] == ["b"]
        good = Plan([Planned("look", {"at": "i1"}, id="a"), Planned("pay", {"invoice": "i1"}, id="b", after=["a"])])
        done = await run.carry_out(good, await run.propose(good))
    assert [done[node].status for node in ("a", "b")] == ["performed", "performed"]


async def test_one_of_our_planners_can_do_a_part(world: World) -> None:
    """A generator of moves is carried out within the host's run, branches and all."""

    def part(name: str) -> Planning[str]:
        seen = yield from act("look", {"at": name})
        return str(seen.value)

    def both() -> Planning[tuple[str, ...]]:
        return (yield from together(part("a"), part("b")))

    gate = gate_of(world, backends={"default": Scripted("ok")})
    async with gate.run(TASK) as run:
        assert await run.drive(both()) == ("seen a", "seen b")


async def test_a_planner_within_a_host_keeps_to_the_runs_concurrency(world: World) -> None:
    """Branches of its `together` are carried out as many at a time as the task says."""
    under_way = most = 0

    @action(effect="read")
    async def slow(at: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return at

    def wide() -> Planning[list[int]]:
        seen = yield from together(*(act("slow", {"at": at}) for at in range(12)))
        return [each.value for each in seen]

    gate = Gate(actions=[slow], monitors=["rules"], journal=world.journal)
    async with gate.run(Task(prompt="look", concurrency=3)) as run:
        assert await run.drive(wide()) == list(range(12))
        assert most == 3
        assert await run.drive(wide()) == list(range(12))


async def test_an_error_of_a_branch_reaches_its_planner_within_a_host(world: World) -> None:
    """`together` waits for all branches, then raises the first failed one's error where its planner can catch it."""

    def branch(at: int) -> Planning[str]:
        seen = yield from act("look", {"at": f"{at}"})
        if at:
            raise ValueError(f"{at} is no good")
        return str(seen.value)

    def catching() -> Planning[str]:
        try:
            yield from together(*map(branch, range(3)))
        except ValueError as error:
            return f"caught: {error}"
        return "nothing to catch"

    async with gate_of(world).run(TASK) as run:
        assert await run.drive(catching()) == "caught: 1 is no good"
    assert len(world.done) == 3


async def test_what_is_no_move_is_named_within_a_host_too(world: World) -> None:
    """A forgotten `from` or star is an error that says so, not an answer of None."""

    def without_from() -> Any:
        return (yield act("look", {"at": "a"}))

    def without_star() -> Any:
        return (yield from together(act("look", {"at": at}) for at in "ab"))  # type: ignore[misc]  # the mistake

    def with_a_text() -> Any:
        return (yield from together("look"))  # type: ignore[call-overload]  # the mistake

    async with gate_of(world).run(TASK) as run:
        for mistake, said in (
            (without_from(), "yield from"),
            (without_star(), "with a star before the parentheses"),
            (with_a_text(), "was given a str"),
            ("look", "a planner is a generator function"),
        ):
            with pytest.raises(PlannerError, match=said):
                await run.drive(cast("Planning[Any]", mistake))
    assert not world.done


async def test_a_host_that_gives_up_on_a_planner_ends_its_moves(world: World) -> None:
    """Nothing of a planner goes on once its caller is cancelled, and its clean-up runs."""
    cleaned = []

    def cleaning() -> Planning[None]:
        try:
            yield from together(*(think("solve", f"{at}") for at in range(3)))
        finally:
            cleaned.append(True)

    backend = Scripted("ok", delay=60)
    async with gate_of(world, backends={"default": backend}).run(TASK) as run:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run.drive(cleaning()), 0.1)
        assert cleaned
        assert backend.closed == len(backend.requests) == 3
        assert (await run.act("look", {"at": "a"})).value == "seen a"


async def test_failures_have_their_kinds(world: World) -> None:
    """What did not happen has failed; what may have happened is unknown."""
    async with gate_of(world).run(TASK) as run:
        with pytest.raises(ActionFailed, match="busy"):
            await run.act("post", {"text": "!not"})
        with pytest.raises(OutcomeUnknown, match="broke"):
            await run.act("post", {"text": "!break"})
        with pytest.raises(ActionRefused, match=r"no action 'pya'.*'pay'"):
            await run.act("pya", {})


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
    asked = list(world.facts(run.outcome, "approval.asked"))
    await world.journal.post(run.id, _yes(asked[-1]))
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


def _yes(asked: dict[str, Any]) -> Any:
    return Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann")


async def test_a_person_who_is_there_is_asked(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """An approver's yes lets the call through, and its no is a refusal."""
    escalate = watcher(Verdict(decision="escalate", rationale="it is much"))
    people = person(lambda question: "no" if "i2" in str(question.detail) else "yes")
    async with gate_of(world, monitors=[escalate], approvers=[people]).run(TASK) as run:
        await run.act("pay", {"invoice": "i1"})
        with pytest.raises(ActionRefused, match="said no"):
            await run.act("pay", {"invoice": "i2"})
        fact = await run.ask("Which month?")
        assert fact.value
    assert len(people.asked) == 3


def test_code_that_is_not_async_uses_it_too(world: World) -> None:
    """Calls are carried out in another thread, and the block ends the run."""
    with gate_of(world).run_sync(TASK) as run:
        run.think("i1 is due")
        assert run.act("pay", {"invoice": "i1"}).value == "paid i1"
        with pytest.raises(ActionRefused):
            run.act("pay", {"invoice": "i2", "cents": 900})
        plan = Plan([Planned("pay", {"invoice": name}, id=name) for name in ("i3", "i4")])
        review = run.propose(plan)
        assert not review.objections
        assert {name: each.value for name, each in run.carry_out(plan, review).items()} == {
            "i3": "paid i3",
            "i4": "paid i4",
        }
        run.note("done")
        run.answer("three paid")
    assert (run.outcome.status, run.outcome.answer) == ("solved", "three paid")
    assert len(list(world.facts(run.outcome, "noted"))) == 1


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


async def test_two_gates_in_one_process_share_nothing(world: World, watcher: type[Watcher]) -> None:
    """One refuses what the other allows, at the same time."""
    strict = gate_of(world, monitors=[watcher(Verdict(decision="block", feedback="no"))])
    async with gate_of(world).run(TASK) as lax, strict.run(TASK) as tight:
        results: list[Any] = await asyncio.gather(
            lax.act("pay", {"invoice": "i1"}), tight.act("pay", {"invoice": "i2"}), return_exceptions=True
        )
    assert results[0].value == "paid i1"
    assert isinstance(results[1], ActionRefused)


async def test_a_task_that_does_not_fit_begins_nothing(world: World) -> None:
    """An unknown action in the task is said before there is a run."""
    with pytest.raises(TaskError, match="no action 'py'"):
        async with gate_of(world).run(Task(prompt="x", actions=("py",))):
            pass
    assert not (world.folder / "runs").exists()


def test_the_hosts_own_role_is_taken() -> None:
    """A backend cannot pass for the host's model."""
    with pytest.raises(BadInput, match="host"):
        Gate(backends={"host": Scripted("ok")})


async def test_an_answer_that_cannot_be_recorded_is_refused_at_once(world: World) -> None:
    """With its reason, where it is given."""
    async with gate_of(world).run(TASK) as run:
        with pytest.raises(BadInput, match="cannot be recorded"):
            run.answer(object())


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


async def test_what_cannot_be_recorded_is_refused_as_bad_input(world: World) -> None:
    """Arguments or a note that JSON cannot hold: said so, and the run goes on."""
    async with gate_of(world).run(TASK) as run:
        with pytest.raises(BadInput, match="cannot be recorded"):
            await run.act("pay", {"invoice": object()})
        with pytest.raises(BadInput, match="cannot be recorded"):
            await run.note("x", partial=object())
        await run.act("pay", {"invoice": "i1"})
    assert verify_run(world.folder / "runs" / run.id).ok


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


async def test_in_another_event_loop_a_run_says_where_it_lives(world: World) -> None:
    """What it waits for would never come there: it is told at once, and nothing is done; its own loop goes on."""

    @action(effect="read")
    async def look() -> str:
        """Look."""
        await asyncio.sleep(0.01)
        return "seen"

    async with Gate(actions=[look], monitors=["rules"], journal=world.journal).run("x") as run:
        for asked in (run.act("look"), run.think("look")):
            with pytest.raises(BadInput, match="another event loop"):
                await asyncio.to_thread(asyncio.run, asked)
        assert (await run.act("look")).value == "seen"
    assert [each.status for each in run.outcome.actions] == ["performed"]
    with pytest.raises(RunEnding, match="is over"):
        run.answer("too late")


def test_a_run_without_async_does_not_wait_for_itself(world: World) -> None:
    """An action that asks its own run from within the run's loop would hold it up: it is told what to await."""
    runs: list[Any] = []

    @action(effect="read")
    async def within() -> Any:
        """Look, from within."""
        return (await runs[0].within.act("look")).value

    @action(effect="read")
    async def waiting() -> Any:
        """Wait for what waits for this."""
        return runs[0].act("look").value

    @action(effect="read")
    def look() -> str:
        """Look."""
        return "seen"

    with Gate(actions=[within, waiting, look], monitors=["rules"], journal=world.journal).run_sync("x") as run:
        runs.append(run)
        assert run.act("within").value == "seen"
        with pytest.raises(ActionFailed, match=r"await `run\.within`"):
            run.act("waiting")


async def test_a_host_s_slips_are_told_in_its_own_words(world: World) -> None:
    """An action in the place of its name, arguments without names, no text where a model only called tools."""
    async with gate_of(world).run(TASK) as run:
        for slip, said in (
            (run.act(cast("Any", world.pay), {"invoice": "i1"}), "give the name of an action, 'pay', not a"),
            (run.act("pay", ["i1"]), "a mapping by name, not a list"),  # type: ignore[arg-type]
            (run.think(None), "what a model said should be text, not a NoneType"),  # type: ignore[arg-type]
        ):
            with pytest.raises(BadInput, match=said):
                await slip
    assert run.outcome.status == "solved"
    assert not world.done

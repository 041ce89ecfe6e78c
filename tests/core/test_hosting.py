"""The gate alone, around actions that another agent's loop calls."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.core.hosts import TASK, gate_of

from scaffold import Gate, Plan, Planned, Planning, Task, Verdict, act, action, think, together
from scaffold.errors import (
    ActionFailed,
    ActionRefused,
    BadInput,
    OutcomeUnknown,
    PlannerError,
    RunEnding,
    StepRefused,
    Stopped,
    TaskError,
)
from scaffold.testing import Scripted
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.models import Usage

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World


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
    said = [(fact["sources"], fact.get("tainted", False)) for fact in world.facts(run.outcome, "step.answered")]
    assert said == [(["history:@0"], False), (["history:@3"], True)]  # its own result is told to it by then

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


def test_a_fork_cannot_go_on_with_its_parents_run(world: World) -> None:
    """Its event loop is the parent's: a pool's process hears what to do rather than wait for ever."""
    with gate_of(world).run_sync(TASK) as run:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)  # ends what waits
            try:
                run.act("look", {"at": "x"})
            except BadInput as refused:
                os._exit(7 if "open one here" in str(refused) else 8)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert run.act("look", {"at": "x"}).status == "performed"


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
        forgotten = run.act("pay", {})
        with pytest.raises(BadInput, match=r"act\(\.\.\.\) was called but not awaited: write `await`"):
            run.answer(forgotten)
        forgotten.close()


async def test_what_cannot_be_recorded_is_refused_as_bad_input(world: World) -> None:
    """Arguments or a note that JSON cannot hold: said so, and the run goes on."""
    async with gate_of(world).run(TASK) as run:
        with pytest.raises(BadInput, match="cannot be recorded"):
            await run.act("pay", {"invoice": object()})
        with pytest.raises(BadInput, match="cannot be recorded"):
            await run.note("x", partial=object())
        await run.act("pay", {"invoice": "i1"})
    assert verify_run(world.folder / "runs" / run.id).ok


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

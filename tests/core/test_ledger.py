"""The ledger: the worst is reserved before a call, and settled after it; what has no room ends the run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold import (
    Budget,
    Options,
    Planning,
    Task,
    Thought,
    Verdict,
    act,
    action,
    note,
    once,
    think,
    together,
)
from scaffold.errors import TaskError
from scaffold.machinery.recording.ledger import Ledger
from scaffold.machinery.recording.state import RunState
from scaffold.testing import Scripted
from scaffold.trace.bounds import Bounds
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.models import Prices, Profile, Request, Usage
from scaffold.vocabulary.task import Oversight

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

    from scaffold.trace.files import FileJournal
    from scaffold.vocabulary.outcome import Outcome

PRICED = Profile(backend="p", model="m", context=1000, prices=Prices(0.0, 1_000_000.0), can=frozenset({"n"}))
UNPRICED = Profile(backend="p", model="m-1", context=1000, prices=None)


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 300), st.floats(0, 1)), max_size=30),
)
def test_what_is_used_and_held_never_exceeds_the_budget(tokens: int, calls: list[tuple[str, int, float]]) -> None:
    """If a call is made only when there is room for its worst, and uses no more, the budget holds."""
    ledger = Ledger(Budget(tokens=tokens))
    under_way: dict[str, int] = {}
    for key, worst, share in calls:
        if key in under_way:
            ledger.settle(key, Usage(input=int(under_way.pop(key) * share)))
        elif ledger.room(tokens=worst) is None:
            ledger.reserve(key, worst, 0.0, steps=1)
            under_way[key] = worst
        assert ledger.used.tokens + sum(under_way.values()) <= tokens
    ledger.forfeit()
    assert ledger.used.tokens <= tokens


@pytest.mark.parametrize("of", ["model", "oversight"])
def test_what_is_raised_is_of_the_work_or_of_oversight(of: Literal["model", "oversight"]) -> None:
    """The other has no more, for the run and for the check of its trace, and what else is bounded stays so."""
    state = RunState(Task(prompt="p", budget=Budget(tokens=10), oversight=Oversight(budget=Budget(tokens=10))), {})
    check = Bounds().checks
    check[ev.RunStarted](ev.RunStarted(format=1, run="r", scaffold="0", planner="p", bounds=state.bounds))
    before = state.bounds
    raised = ev.BudgetRaised(bounds={"tokens" if of == "model" else "oversight.tokens": 20})
    check[ev.BudgetRaised](raised)
    state.takers[ev.BudgetRaised](raised, b"")
    assert state.bounds == {**before, **raised.bounds}
    for ledger in get_args(ev.Ledger):
        fits = ledger == of
        assert (state.ledger(ledger).room(tokens=15) is None) == fits
        assert (not check[ev.StepAsked](ev.StepAsked(key=ledger, step="solve", ledger=ledger, tokens=15))) == fits


@pytest.mark.parametrize("of", ["model", "oversight"])
def test_what_a_dead_process_had_asked_is_charged_at_its_worst(of: Literal["model", "oversight"]) -> None:
    """Whether the work's step or a judge's: nobody knows what it has cost."""
    state = RunState(Task(prompt="p", budget=Budget(tokens=100), oversight=Oversight(budget=Budget(tokens=100))), {})
    asked = ev.StepAsked(key="0", step="solve", ledger=of, tokens=60)
    for event in (asked, ev.RunResumed()):
        state.takers[type(event)](event, b"{}")
    assert state.ledger(of).used.tokens == 60
    assert state.ledger(of).room(tokens=41) is not None


def test_what_a_step_has_spent_itself_is_told_as_spent() -> None:
    """On samples that were discarded, say: what it asks for beside them is told apart."""
    ledger = Ledger(Budget(tokens=100, usd=1.0))
    ledger.reserve("0", 60, 0.5, steps=1)
    assert ledger.room(tokens=40, usd=0.5, instead_of="0", spent=Usage(input=50, output=10, usd=0.5)) is None
    tokens = ledger.room(tokens=41, instead_of="0", spent=Usage(input=50, output=10, usd=0.5))
    assert tokens is not None
    assert "41 more (60 spent, at 0)" in str(tokens)
    usd = ledger.room(usd=0.6, instead_of="0", spent=Usage(input=50, usd=0.5))
    assert usd is not None
    assert (usd.spent, usd.wanted) == (0.5, 0.6)


def steps(number: int, **more: Any) -> Any:
    """A planner of so many steps in a row, with a partial result after each."""

    def planner(_: Task) -> Planning[int]:
        for done in range(number):
            yield from think("solve", "x", **more)
            yield from note("one more", partial=done + 1)
        return number

    return planner


@pytest.mark.parametrize(
    ("budget", "done"),
    [({"steps": 3}, 3), ({"tokens": 2000}, 4), ({"usd": 20.0}, 4)],
    ids=["steps", "tokens", "usd"],
)
def test_a_spent_budget_ends_the_run_with_its_partial_result(world: World, budget: dict[str, Any], done: int) -> None:
    """What has no room is not asked; the run is exhausted, names the budget, and answers what it has."""
    backend = Scripted(" ".join(["word"] * 3), profile=PRICED)
    planner = steps(100, options=Options(max_tokens=8))
    outcome = world.solve(planner, backend, task={"budget": budget})
    (resource,) = budget
    assert outcome.status == "exhausted"
    assert f"{resource} has no room" in outcome.reason
    assert outcome.answer == len(backend.requests) >= done - 1
    assert outcome.usage["model"].tokens <= budget.get("tokens", 10**9)
    assert (outcome.usage["model"].usd or 0.0) <= budget.get("usd", 0.0) or resource != "usd"
    if resource == "usd":
        assert outcome.usage["model"].usd == 3.0 * len(backend.requests)


def test_what_has_no_room_now_waits_for_what_is_running(world: World) -> None:
    """What only the worst case of another step stands against is asked once that has settled."""
    backend = Scripted("x", delay=0.02)

    def planner(_: Task) -> Planning[int]:
        thoughts: tuple[Thought[str], ...] = yield from together(
            *(think("solve", "x", options=Options(max_tokens=600)) for _ in range(4))
        )
        return len(thoughts)

    outcome = world.solve(planner, backend, task={"budget": {"tokens": 2000}})
    assert (outcome.status, outcome.answer) == ("solved", 4)


def test_a_redrawn_sample_needs_room_for_itself_only(world: World) -> None:
    """What a step reserved for its last sample does not stand in the way of its next."""
    script = ["bad", "bad", "7"]
    planner = steps(1, returns=int, options=Options(max_tokens=600), sampling=once(tries=3))
    outcome = world.solve(planner, script, task={"budget": {"tokens": 1400}})
    assert outcome.status == "solved", outcome.reason


def test_a_money_budget_with_an_unknown_price_refuses_to_start(world: World) -> None:
    """Both the work's and oversight's budget need prices; the error names the backend and the cure."""
    for task in ({"budget": {"usd": 1.0}}, {"oversight": {"budget": {"usd": 1.0}}}):
        with pytest.raises(TaskError, match=r"the price of the backend default \(m-1\) is not known: give it `prices`"):
            world.solve(steps(1), Scripted("x", profile=UNPRICED), task=task)
    assert world.journal.runs() == []


def test_actions_are_counted_and_their_cost_is_money(world: World, watcher: type[Watcher]) -> None:
    """The budgets of actions and of dollars bound what is done; a refusal is the planner's to handle."""

    def planner(_: Task) -> Planning[None]:
        for number in range(5):
            yield from act("pay", {"invoice": str(number)})

    for budget in ({"actions": 2}, {"usd": 5.0}):
        world.done.clear()
        outcome = world.solve(planner, monitors=[watcher()], task={"budget": budget})
        assert len(world.done) == 2
        assert "has no room" in outcome.reason


def test_reads_of_branches_do_not_outrun_the_budget_of_actions(world: World) -> None:
    """Branches that act at the same time share one count."""

    def planner(_: Task) -> Planning[None]:
        yield from together(*(act("look", {"at": str(number)}) for number in range(9)))

    world.solve(planner, task={"budget": {"actions": 4}})
    assert len(world.done) == 4


def test_seconds_end_the_run_but_never_an_action(world: World, watcher: type[Watcher]) -> None:
    """When time is over what thinks is cut; an action under way is waited for, and recorded."""
    finished: list[str] = []

    @action(effect="irreversible")
    async def slow() -> str:
        await asyncio.sleep(20)
        finished.append("done")
        return "done"

    def planner(_: Task) -> Planning[None]:
        yield from together(act("slow", {}), think("solve", "x"))

    async def solve(journal: FileJournal) -> Outcome:
        allowing = [watcher(Verdict(decision="allow"))]
        agent = world.agent(planner, Scripted("x", delay=30.0), monitors=allowing, actions=[slow], journal=journal)
        return await agent.solve(Task(prompt="x", budget=Budget(seconds=10)))

    outcome, took = world.in_its_own_time(solve)
    assert 20 <= took < 21
    assert (outcome.status, finished) == ("exhausted", ["done"])
    assert "seconds" in outcome.reason
    assert [each.status for each in outcome.actions] == ["performed"]
    assert world.kinds(outcome).count("step.cut") == 1


def test_a_resumed_run_may_go_on_under_what_is_left(world: World) -> None:
    """What was spent before a pause is spent: resuming an exhausted run ends as exhausted again."""
    agent = world.agent(steps(9), Scripted(lambda _request: "x"))
    first = agent.solve_sync(Task(prompt="x", budget=Budget(steps=4)))
    again = agent.resume_sync(first.run)
    assert (first.status, again.status) == ("exhausted", "exhausted")
    assert (first.steps, again.steps, again.answer) == (4, 4, 4)


def test_a_script_counts_words_and_their_price() -> None:
    """The scripted backend charges by its profile's prices, so that money can be tested without a model."""

    async def spent() -> Usage | None:
        request = Request(messages=())
        return [delta.usage async for delta in Scripted("a b", profile=PRICED).generate(request)][-1]

    assert asyncio.run(spent()) == Usage(0, 2, usd=2.0)

"""The monitor `budget`: plans that would run out in the middle are refused before they start."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold.interfaces import Folds, Monitor
from scaffold.vocabulary import events
from scaffold.vocabulary.models import Usage
from scaffold.vocabulary.task import Task
from scaffold_monitors.budget import BudgetMonitor, Spent


def view(kit: Any, **budget: Any) -> Any:
    """A task with a budget."""
    task = Task.model_validate({"prompt": "pay", "budget": budget})
    return kit.View(task, BudgetMonitor())


def begin(under: Any, key: str, call: Any) -> None:
    """An action that was begun."""
    under.propose(key, call)
    under.add(events.ActionIntent(key=key, action=call.action, effect="read", digest="", idempotency="none"))


def test_is_a_monitor() -> None:
    """It keeps to the interfaces that it claims to keep to."""
    assert isinstance(BudgetMonitor(), Monitor)
    assert isinstance(BudgetMonitor(), Folds)


def test_a_plan_that_fits(kit: Any) -> None:
    """A plan that uses the budget up exactly is allowed."""
    assert view(kit, actions=2).plan(kit.call("read"), kit.call("read", "b")).decision == "allow"


def test_too_many_actions(kit: Any) -> None:
    """The planner learns how much room there is."""
    under = view(kit, actions=3)
    begin(under, "1", kit.call("read"))
    begin(under, "2", kit.call("read"))
    verdict = under.plan(kit.call("read"), kit.call("read", "b"))
    assert verdict.decision == "block"
    assert verdict.feedback == "the plan needs 2 actions, but the budget has room for 1 more"


def test_what_a_person_has_raised_counts(kit: Any) -> None:
    """A bound that was raised since the run began is the one that plans are held against."""
    under = view(kit, actions=1)
    under.add(events.BudgetRaised(bounds={"actions": 2}, by="ann"))
    assert under.plan(kit.call("read"), kit.call("read", "b")).decision == "allow"
    assert under.plan(*(kit.call("read", each) for each in "abc")).decision == "block"


def test_a_further_attempt_is_no_further_action(kit: Any) -> None:
    """What is tried again is counted once."""
    under = view(kit, actions=2)
    begin(under, "1", kit.call("read"))
    under.add(events.ActionIntent(key="1", action="read", effect="read", digest="", idempotency="none", attempt=2))
    assert under.plan(kit.call("read")).decision == "allow"


def test_too_dear(kit: Any) -> None:
    """Declared costs are held against the money that is left."""
    under = view(kit, usd=1.0)
    four = [kit.call("pay", f"a{number}") for number in range(4)]
    assert under.plan(*four).decision == "allow"
    under.add(events.StepAsked(key="s", step="solve", usd=0.5))
    verdict = under.plan(*four)
    assert verdict.feedback == "the plan needs 1.00 USD of actions, but the budget has 0.50 USD left"
    under.add(events.StepAnswered(key="s", usage=Usage(usd=0.0)))
    assert under.plan(*four).decision == "allow"


@pytest.mark.parametrize(("status", "decision"), [("performed", "block"), ("unknown", "block"), ("failed", "allow")])
def test_what_was_done_and_what_may_have_been_is_spent(kit: Any, status: Any, decision: str) -> None:
    """Its cost is gone from the money that is left; what failed for certain has cost nothing."""
    under = view(kit, usd=0.25)
    begin(under, "1", kit.call("pay"))
    under.outcome("1", "pay", status)
    assert under.plan(kit.call("pay", "b")).decision == decision


def test_oversight_has_its_own_budget(kit: Any) -> None:
    """What judges cost is not the plan's."""
    under = view(kit, usd=0.25)
    under.add(events.StepAsked(key="s", step="evaluate", usd=5.0, ledger="oversight"))
    under.add(events.StepAnswered(key="s", usage=Usage(usd=5.0), ledger="oversight"))
    assert under.plan(kit.call("pay")).decision == "allow"


def test_an_unknown_price_counts_as_the_worst(kit: Any) -> None:
    """What a step may have cost at worst stays spent when nobody knows what it did cost."""
    under = view(kit, usd=0.5)
    under.add(events.StepAsked(key="s", step="solve", usd=0.3))
    under.add(events.StepAnswered(key="s", usage=Usage(usd=None)))
    assert under.plan(kit.call("pay")).decision == "block"


def test_an_action_on_its_way(kit: Any) -> None:
    """It does not count besides itself; what failed for certain has cost nothing."""
    under = view(kit, usd=0.5, actions=10)
    begin(under, "1", kit.call("pay"))
    under.outcome("1", "pay", "failed")
    begin(under, "2", kit.call("pay"))
    under.outcome("2", "pay")
    assert under.act(kit.call("pay"), key="3").decision == "allow"
    assert (
        under.act(kit.call("pay"), key="4").feedback
        == "this needs 0.25 USD of actions, but the budget has 0.00 USD left"
    )


def test_without_a_bound_nothing_is_checked(kit: Any) -> None:
    """No budget is no pass."""
    assert view(kit, actions=None).plan(kit.call("pay")).status == "abstain"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=40), st.integers(0, 40))
def test_folding_on_is_folding_anew(steps: list[tuple[int, int]], cut: int) -> None:
    """A state taken up again after any event is the state folded from the start."""
    story: list[events.Event] = []
    for key, kind in steps:
        at: dict[str, Any] = {"key": str(key)}
        of: dict[str, Any] = {**at, "action": "pay", "digest": ""}
        story.append(
            [
                events.StepAsked(step="solve", usd=0.25, **at),
                events.StepAnswered(usage=Usage(usd=0.125), **at),
                events.StepCut(usage=Usage(usd=None), **at),
                events.ActionProposed(effect="read", cost=0.5, **of),
                events.ActionIntent(effect="read", idempotency="none", **of),
                events.ActionOutcome(status="performed", **of),
                events.ActionRefused(decision="block", **of),
            ][kind]
        )
    monitor = BudgetMonitor()
    state: Any = None
    for event in [*story[:cut], *story[cut:]]:
        state = monitor.fold(state, event, {})
    fresh = Spent()
    for event in story:
        fresh.follow(event)
    assert (state or Spent()) == fresh
    assert fresh.usd >= 0

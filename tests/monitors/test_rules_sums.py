"""`count` and `total`: over what was done, may have been done, and is planned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold.vocabulary import events
from scaffold.vocabulary.task import Task
from scaffold_monitors.cel.tally import History
from scaffold_monitors.rules import Rules


def view(kit: Any, rule: str) -> Any:
    """A task with one rule."""
    task = Task.model_validate({"prompt": "pay", "goals": [{"constraint": "not too much", "rule": rule}]})
    monitor = Rules()
    monitor.check(task, kit.actions)
    return kit.View(task, monitor)


def pay(kit: Any, cents: Any, node: str = "a0", invoice: str = "") -> Any:
    """A payment."""
    return kit.call("pay", node, invoice=invoice or f"i-{node}-{cents}", cents=cents)


MOST = "total('pay', 'cents') <= 1000"


def test_a_plan_is_summed(kit: Any) -> None:
    """No single payment is too much, all together are."""
    under = view(kit, MOST)
    assert under.plan(pay(kit, 400), pay(kit, 600, "b")).decision == "allow"
    assert under.plan(pay(kit, 400), pay(kit, 601, "b")).decision == "block"


def test_what_was_performed_counts(kit: Any) -> None:
    """Plans and actions add to what was done before; other actions do not count."""
    under = view(kit, MOST)
    under.perform("1", pay(kit, 900))
    under.perform("2", kit.call("read", invoice="i"))
    assert under.plan(pay(kit, 100, "b")).decision == "allow"
    assert under.plan(pay(kit, 101, "b")).decision == "block"
    assert under.act(pay(kit, 101, "b"), key="3").decision == "block"


@pytest.mark.parametrize(("ended", "decision"), [("unknown", "block"), ("failed", "allow"), ("performed", "block")])
def test_what_may_have_happened_counts(kit: Any, ended: str, decision: str) -> None:
    """An unknown outcome counts as done; what is known not to have happened does not."""
    under = view(kit, MOST)
    under.propose("1", pay(kit, 900))
    under.outcome("1", "pay", ended)
    assert under.plan(pay(kit, 200, "b")).decision == decision
    assert under.act(pay(kit, 200, "b"), key="2").decision == decision


def test_what_was_refused_does_not_count(kit: Any) -> None:
    """A refused action has not happened."""
    under = view(kit, MOST)
    under.propose("1", pay(kit, 900))
    under.refuse("1", "pay")
    assert under.plan(pay(kit, 200, "b")).decision == "allow"


def test_an_unknown_outcome_that_clears_up_counts_once(kit: Any) -> None:
    """Asked again and found to have happened, it is not counted twice."""
    under = view(kit, MOST)
    under.propose("1", pay(kit, 500))
    under.outcome("1", "pay", "unknown")
    under.outcome("1", "pay", "performed")
    under.outcome("1", "pay", "performed")
    assert under.plan(pay(kit, 500, "b")).decision == "allow"


def test_of_two_at_once_one_goes_through(kit: Any) -> None:
    """Two actions under review at the same time do not both slip through, and do not block each other."""
    under = view(kit, MOST)
    under.propose("1", pay(kit, 600))
    under.propose("2", pay(kit, 600, "b"))
    assert under.action(pay(kit, 600), key="1").decision == "allow"
    assert under.action(pay(kit, 600, "b"), key="2").decision == "block"


def test_a_plan_proposed_again_does_not_count_what_it_has_done(kit: Any) -> None:
    """A call that names its target and was performed in just this form is the same effect."""
    under = view(kit, MOST)
    done = pay(kit, 600)
    under.perform("1", done)
    assert under.plan(done, pay(kit, 400, "b")).decision == "allow"
    assert under.plan(pay(kit, 601, "a0", invoice="i-a0-600"), pay(kit, 400, "b")).decision == "block"


def test_a_repeated_action_without_identity_counts_again(kit: Any) -> None:
    """Two reminders are two reminders."""
    under = view(kit, "count('remind') <= 2")
    remind = kit.call("remind", who="ann", hours=1.0)
    under.perform("1", remind)
    assert under.plan(remind).decision == "allow"
    assert under.plan(remind, kit.call("remind", "b", who="ann", hours=1.0)).decision == "block"


def test_an_action_on_its_way_is_not_counted_besides_itself(kit: Any) -> None:
    """The gate has it reviewed as a plan of one too, after it was proposed."""
    under = view(kit, MOST)
    under.propose("1", pay(kit, 600))
    assert under.plan(pay(kit, 600), key="1").decision == "allow"


def test_fractions_add_up_as_they_are_written(kit: Any) -> None:
    """0.1 and 0.2 make 0.3."""
    under = view(kit, "total('remind', 'hours') <= 0.3")
    calls = [kit.call("remind", f"a{number}", who="ann", hours=hours) for number, hours in enumerate((0.1, 0.2))]
    assert under.plan(*calls).decision == "allow"


@pytest.mark.parametrize("cents", ["500", None, True, [500]])
def test_what_is_no_number_is_not_left_out_of_a_sum(kit: Any, cents: Any) -> None:
    """A payment whose amount cannot be added makes the sum unknown, now and from then on."""
    under = view(kit, MOST)
    verdict = under.plan(pay(kit, cents))
    assert (verdict.decision, verdict.status) == ("block", "error")
    under.perform("1", pay(kit, cents))
    assert under.plan(pay(kit, 1, "b")).status == "error"


def test_an_amount_to_come_is_added_when_it_is_known(kit: Any) -> None:
    """The sum waits for the real arguments."""
    under = view(kit, MOST)
    assert under.plan(pay(kit, 500), pay(kit, {"$later": ["a0"]}, "b")).decision == "allow"
    under.perform("1", pay(kit, 500), plan="0")
    assert under.act(pay(kit, 501, "b"), key="2", plan="0").decision == "block"


def test_an_amount_below_zero_makes_no_room_before_it_is_settled(kit: Any) -> None:
    """A credit that was performed does; one that is planned, waits for somebody or is unknown need never come."""
    under = view(kit, MOST)
    assert under.plan(pay(kit, -500), pay(kit, 1500, "b")).decision == "block"
    assert under.plan(pay(kit, -500), pay(kit, 1000, "b")).decision == "allow"
    assert under.plan(pay(kit, -500), pay(kit, -700, "b")).decision == "allow"
    under.propose("1", pay(kit, -500))
    assert under.act(pay(kit, 1500, "b"), key="2").decision == "block"
    under.refuse("2", "pay")
    under.outcome("1", "pay", "unknown")
    assert under.act(pay(kit, 1500, "c"), key="3").decision == "block"
    under.refuse("3", "pay")
    under.outcome("1", "pay", "performed")
    assert under.act(pay(kit, 1500, "d"), key="4").decision == "allow"


def test_a_sum_that_is_still_open_is_looked_at_from_both_ends(kit: Any) -> None:
    """A floor is not held up by what need not come either."""
    under = view(kit, "total('pay', 'cents') >= -1000")
    assert under.plan(pay(kit, -1500), pay(kit, 600, "b")).decision == "block"
    assert under.plan(pay(kit, -900), pay(kit, 600, "b")).decision == "allow"


def test_a_sum_that_cannot_be_told_says_why(kit: Any) -> None:
    """In words about the rule, not about the library."""
    under = view(kit, MOST)
    verdict = under.plan(pay(kit, "400"))
    assert (verdict.decision, verdict.status) == ("block", "error")
    assert "total() cannot tell: some call has no number there" in verdict.rationale
    assert "Python" not in verdict.rationale


def test_counts(kit: Any) -> None:
    """`count` counts calls by the action's name."""
    under = view(kit, "count('pay') <= 2")
    under.perform("1", pay(kit, 1))
    assert under.plan(pay(kit, 2, "b")).decision == "allow"
    assert under.plan(pay(kit, 2, "b"), pay(kit, 3, "c")).decision == "block"


def _story(steps: list[tuple[int, str]]) -> list[tuple[events.Event, dict[str, Any]]]:
    told: list[tuple[events.Event, dict[str, Any]]] = []
    for seq, (key, what) in enumerate(steps):
        facts: dict[str, Any] = {"seq": seq, "key": str(key), "action": "pay", "digest": ""}
        if what == "proposed":
            call = {"id": "a", "action": "pay", "arguments": {"cents": seq, "part": 0.5}}
            told.append((events.ActionProposed(effect="read", **facts), {"call": call}))
        elif what == "refused":
            told.append((events.ActionRefused(decision="block", **facts), {}))
        else:
            told.append((events.ActionOutcome(status=what, **facts), {}))  # type: ignore[arg-type] # one of three texts
    return told


steps_of_runs = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["proposed", "performed", "failed", "unknown", "refused"])),
    max_size=40,
)


@given(steps_of_runs, st.integers(0, 40))
def test_folding_on_is_folding_anew(steps: list[tuple[int, str]], cut: int) -> None:
    """A state taken up again after any event is the state folded from the start."""
    monitor, told = Rules(), _story(steps)
    state: Any = None
    for event, content in told[:cut]:
        state = monitor.fold(state, event, content)
    for event, content in told[cut:]:
        state = monitor.fold(state, event, content)
    fresh = History()
    for event, content in told:
        fresh.follow(event, content)
    assert (state or History()) == fresh


@given(steps_of_runs)
def test_each_effect_counts_at_most_once(steps: list[tuple[int, str]]) -> None:
    """However outcomes repeat, no more is settled than was proposed."""
    history = History()
    for event, content in _story(steps):
        history.follow(event, content)
    proposed = sum(what == "proposed" for _, what in steps)
    assert history.settled.calls.get("pay", 0) + len(history.pending) <= proposed

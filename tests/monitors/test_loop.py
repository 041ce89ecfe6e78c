"""The monitor `loop`: what comes out the same again and again is no progress."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold.errors import BadInput
from scaffold.interfaces import Folds, Monitor
from scaffold.vocabulary import events
from scaffold.vocabulary.review import StepRecord, Subject, Verdict
from scaffold.vocabulary.task import Task
from scaffold_monitors.loop import Loop, Repeats


def view(kit: Any, **limits: int) -> Any:
    """A run that is watched with these limits."""
    return kit.View(Task(prompt="do"), Loop(**limits))


def do(under: Any, key: str, call: Any, value: Any) -> None:
    """An action that was proposed and gave something back."""
    under.propose(key, call)
    under.add(events.ActionOutcome(key=key, action=call.action, digest="", status="performed"), value=value)


def answer(under: Any, key: str, asked: str, value: str) -> Verdict:
    """A step that was asked and answered, and what is said of it."""
    under.add(events.StepAsked(key=key, step="solve"), asked=[asked])
    under.add(events.StepAnswered(key=key, final=False), value=value)
    record = StepRecord(kind="solve", inputs=[], value=value, text=value, reasoning="")
    verdict: Verdict = under.review(Subject(kind="step", key=key, step=record))
    under.add(events.Released(key=key, subject="step"))
    return verdict


def test_is_a_monitor() -> None:
    """It keeps to the interfaces that it claims to keep to."""
    assert isinstance(Loop(), Monitor)
    assert isinstance(Loop(), Folds)


def test_the_same_call_with_the_same_result_is_refused_in_the_end(kit: Any) -> None:
    """The planner learns what it did too often."""
    under = view(kit, effects=3)
    for number in range(3):
        assert under.act(kit.call("backup"), key=str(number)).decision == "allow"
        do(under, str(number), kit.call("backup"), "nothing to do")
    verdict = under.act(kit.call("backup"), key="9")
    assert verdict.decision == "revise"
    assert "backup with the same arguments has given the same result 3 times in a row" in verdict.feedback


def test_another_result_is_progress(kit: Any) -> None:
    """Only results in a row that are the same count."""
    under = view(kit, effects=2)
    for number in range(6):
        do(under, str(number), kit.call("backup"), number // 2)
        assert under.act(kit.call("backup"), key="x").decision == ("revise" if number % 2 else "allow")


def test_other_arguments_are_another_call(kit: Any) -> None:
    """What differs is not repeated."""
    under = view(kit, effects=1)
    do(under, "0", kit.call("delete", path="a"), "gone")
    assert under.act(kit.call("delete", path="b")).decision == "allow"
    assert under.act(kit.call("delete", path="a")).decision == "revise"


def test_reads_may_wait_longer(kit: Any) -> None:
    """To look again until something has changed is common."""
    under = view(kit, effects=1, reads=5)
    for number in range(5):
        assert under.act(kit.call("read"), key=str(number)).decision == "allow"
        do(under, str(number), kit.call("read"), "pending")
    assert under.act(kit.call("read"), key="9").decision == "revise"


def test_a_question_that_always_gets_one_answer_is_flagged_and_then_halts(kit: Any) -> None:
    """A thought that comes back is harmless for a while, and then it is not."""
    under = view(kit, steps=2)
    said = [answer(under, str(number), "what next?", "wait").decision for number in range(10)]
    assert said == ["allow", *["flag"] * 8, "halt"]


def test_oversights_own_questions_do_not_count(kit: Any) -> None:
    """A judge may be asked the same as often as it takes."""
    under = view(kit, steps=1)
    for number in range(3):
        under.add(events.StepAsked(key=str(number), step="evaluate", ledger="oversight"), asked=["ok?"])
        under.add(events.StepAnswered(key=str(number), ledger="oversight"), value="yes")
    assert not under.state.questions.times


@pytest.mark.parametrize("name", ["effects", "reads", "steps"])
def test_a_limit_below_one_is_refused(name: str) -> None:
    """It would refuse what was never done."""
    with pytest.raises(BadInput, match=f"the setting '{name}' of monitor 'loop' should be at least 1, not 0"):
        Loop(**{name: 0})


@given(st.lists(st.tuples(st.binary(max_size=1), st.binary(max_size=1)), max_size=60))
def test_only_results_in_a_row_count(story: list[tuple[bytes, bytes]]) -> None:
    """It counts what a look back over all that happened would count."""
    repeats = Repeats()
    for what, result in story:
        repeats.add(what, result)
    for what, _ in story:
        results = [result for each, result in story if each == what]
        row = next((place for place, each in enumerate(reversed(results)) if each != results[-1]), len(results))
        assert repeats.of(what) == row


def test_what_is_withheld_repeats_nothing() -> None:
    """Of a stored run, calls, questions and what came of them may have been pruned: they are not all the same."""
    monitor = Loop(steps=1)
    state: Any = None
    for number in range(3):
        key = str(number)
        for event in (
            events.ActionProposed(key=key, content="ab", action="pay", effect="reversible", digest=""),
            events.ActionOutcome(key=key, content="ab", action="pay", digest="", status="performed"),
            events.StepAsked(key=f"{key}/0", content="ab", step="solve"),
            events.StepAnswered(key=f"{key}/0", content="ab"),
        ):
            state = monitor.fold(state, event, {})
    assert not state.calls.times
    assert not state.questions.times
    assert not state.open


def test_memory_is_bounded(kit: Any) -> None:
    """A long run of different questions keeps the latest only, and nothing open."""
    under = view(kit)
    for number in range(5000):
        answer(under, str(number), f"what is after {number}?", "more")
    assert len(under.state.questions.times) == 4096
    assert not under.state.open

"""The monitor `prediction_error`: a plan whose effects surprise is not carried on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold import Outcome, Plan, Planned, Planning, Scaffold, Task, action, carry_out, propose
from scaffold.interfaces import Folds, Monitor
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.review import ObservationRecord, Subject, Verdict
from scaffold_monitors.expectations import compare
from scaffold_monitors.prediction_error import PredictionError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def seen(kit: Any, predicted: Any, value: Any, action_name: str = "pay", **settings: Any) -> Verdict:
    """What the monitor says of one observation."""
    under = kit.View(Task(prompt="pay"), PredictionError(**settings))
    record = ObservationRecord(call=kit.call(action_name), value=value, tainted=True, predicted=predicted)
    verdict: Verdict = under.review(Subject(kind="observation", key="0", observation=record))
    return verdict


def test_is_a_monitor() -> None:
    """It keeps to the interfaces that it claims to keep to."""
    assert isinstance(PredictionError(), Monitor)
    assert isinstance(PredictionError(), Folds)


@pytest.mark.parametrize(
    ("predicted", "value", "holds"),
    [
        ("paid", "Paid", True),
        ("paid", "refused", False),
        ({"cents": 1200}, {"cents": 1200, "id": 7}, True),
        ({"cents": 1200}, {"cents": 1250}, False),
        ({"cents": 1200}, {}, False),
        ({"cents": 1200}, "done", False),
        ({"cents": {"about": 1200}}, {"cents": 1250}, True),
        ({"cents": {"about": 1200, "within": 0.01}}, {"cents": 1250}, False),
        ({"rows": {"at_least": 1, "at_most": 3}}, {"rows": 2}, True),
        ({"rows": {"at_most": 3}}, {"rows": 4}, False),
        ({"rows": {"at_most": 3}}, {"rows": "none"}, False),
        ({"rows": {"at_most": "three"}}, {"rows": 1}, False),
        ({"state": {"one_of": ["paid", "queued"]}}, {"state": "queued"}, True),
        ({"state": {"one_of": ["paid", "queued"]}}, {"state": "held"}, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [1], False),
        (True, 1, False),
        (1, True, False),
        ("the invoice will have been paid in full", "ok", None),
    ],
)
def test_what_agrees_with_a_prediction(predicted: Any, value: Any, holds: Any) -> None:
    """Only named parts are compared; prose is left to a judge."""
    said = {each.holds for each in compare(predicted, value)}
    assert False not in said if holds else holds in said, said


@given(JSON)
def test_what_happened_is_as_predicted_when_it_is_the_same(value: Any) -> None:
    """Nothing surprises that is exactly what was said."""
    assert all(each.holds is not False for each in compare(value, value) if not isinstance(each.predicted, dict))


def test_a_surprise_is_flagged_with_what_was_there(kit: Any) -> None:
    """The verdict says where, what, and how much of the prediction failed."""
    verdict = seen(kit, {"cents": 1200, "state": "paid"}, {"cents": 12, "state": "paid"})
    assert (verdict.decision, verdict.score, verdict.property) == ("flag", 0.5, "surprise")
    assert verdict.rationale == "pay returned /cents: 12, but 1200 was predicted"
    assert [(each.path, each.quote) for each in verdict.evidence] == [("observation/value/cents", "12")]


@pytest.mark.parametrize(
    ("predicted", "name"), [(None, "pay"), ("all five invoices are going to be paid", "pay"), ("x", "read")]
)
def test_what_cannot_be_compared_is_not_called_fine(kit: Any, predicted: Any, name: str) -> None:
    """No prediction, one in prose, or one about reading: it abstains."""
    assert seen(kit, predicted, "y", name).status == "abstain"


def test_what_was_not_performed_is_not_compared(kit: Any) -> None:
    """The planner learns from the outcome itself that the rest of its plan rests on nothing."""
    under = kit.View(Task(prompt="pay"), PredictionError())
    record = ObservationRecord(
        call=kit.call("pay"), value=None, tainted=True, predicted="x", status="failed", reason="busy"
    )
    assert under.review(Subject(kind="observation", key="0", observation=record)).status == "abstain"


def test_reads_surprise_when_told_so(kit: Any) -> None:
    """A plan may rest on what it reads."""
    assert seen(kit, "x", "y", "read", reads=True).decision == "flag"


def carried_out(folder: Path, gives: dict[str, Any], *, monitors: Any) -> tuple[Outcome, list[str]]:
    """Carry a plan of two transfers out, one after the other, the first of which gives this back."""
    done: list[str] = []

    @action(effect="irreversible")
    async def transfer(to: str) -> dict[str, Any]:
        done.append(to)
        return gives

    def planner(_: Task) -> Planning[str]:
        plan = Plan(
            [
                Planned("transfer", {"to": "rent"}, id="first", predicted={"state": "paid"}),
                Planned("transfer", {"to": "power"}, id="second", after=["first"]),
            ]
        )
        review = yield from propose(plan)
        results = yield from carry_out(plan, review)
        return json.dumps({node: [each.status, each.reason] for node, each in results.items()})

    agent = Scaffold(planner, monitors=monitors, actions=[transfer], journal=FileJournal(folder))
    return agent.solve_sync(Task(prompt="pay")), done


def test_the_rest_of_a_surprised_plan_is_not_done(tmp_path: Path) -> None:
    """What comes after rests on what is not so; the planner is told to propose anew."""
    outcome, done = carried_out(tmp_path, {"state": "held"}, monitors=[PredictionError()])
    second = json.loads(outcome.answer)["second"]
    assert second[0] == "refused"
    assert "did not turn out as predicted" in second[1]
    assert done == ["rent"]


def test_a_plan_that_goes_as_predicted_goes_on(tmp_path: Path) -> None:
    """No surprise, no objection."""
    outcome, done = carried_out(tmp_path, {"state": "paid"}, monitors=[PredictionError()])
    assert json.loads(outcome.answer)["second"][0] == "performed"
    assert done == ["rent", "power"]


def test_numbers_beyond_all_fractions_are_compared() -> None:
    """An integer of hundreds of digits is a surprise, or none, and no fault of the check."""
    huge = 10**400
    assert [
        each.holds for each in compare({"a": 5, "b": huge, "c": {"about": 5}}, {"a": huge, "b": huge, "c": huge})
    ] == [
        False,
        True,
        False,
    ]

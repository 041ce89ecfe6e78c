"""Deliberate, from end to end: what is weighed, decided, refused, revised, done and reported."""

from __future__ import annotations

from typing import Any

import pytest

from scaffold.actions import action
from scaffold.errors import NotPerformed
from scaffold.testing import Scripted
from scaffold.vocabulary.review import ALLOW, MonitorSpec, Objection, Subject, Verdict
from scaffold.vocabulary.task import Goal, Oversight, Task

from .thinking import Mind, way

PAY = way("pay it", ("pay", {"invoice": "7", "cents": 120}))
TWICE = way("pay double to be sure", ("pay", {"invoice": "7", "cents": 240}))
ASK = way("ask first", ("lookup", {"invoice": "7"}))
GOALS = (
    Goal(kind="constraint", statement="never overpay", name="exact"),
    Goal(kind="principle", statement="be honest", name="honest"),
    Goal(kind="objective", statement="invoice 7 is paid", name="paid", weight=3),
    Goal(kind="objective", statement="little work", name="lean"),
)
UNWATCHED = Oversight(unmonitored=True)
TASK = Task(prompt="Pay invoice 7", goals=GOALS, oversight=UNWATCHED)


@action(effect="irreversible", identity=("invoice",))
async def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    if cents > 1000:
        raise NotPerformed("the account holds less")
    return f"paid {invoice}: {cents}"


@action(effect="read")
async def lookup(invoice: str) -> dict[str, Any]:
    """Look an invoice up."""
    return {"invoice": invoice, "cents": 120}


class Guard:
    """Objects to plans that pay some amounts, and keeps what it read."""

    spec = MonitorSpec(name="guard", watches=frozenset({"plan"}))

    def __init__(self, *unwanted: int) -> None:
        self.read: list[Subject] = []
        self._unwanted = unwanted

    async def review(self, subject: Subject, _view: Any, _context: Any) -> Verdict:
        self.read.append(subject)
        bad = [call for call in subject.plan if call.arguments.get("cents") in self._unwanted]
        said = tuple(Objection(call.id, f"{call.arguments['cents']} is the wrong amount") for call in bad)
        return Verdict(decision="revise", objections=said) if said else ALLOW


@pytest.fixture
def think_about(solve: Any) -> Any:
    """Deliberate about a task with some mind, and the two actions."""

    def run(mind: Mind, task: Task = TASK, **more: Any) -> Any:
        return solve("deliberate", task, Scripted(mind), **{"actions": [pay, lookup], **more})

    return run


def test_the_way_that_meets_the_goals_best_is_done(think_about: Any) -> None:
    """Objectives count by their weight: doing the thing beats little work."""
    judged = {("Option: ask first", "is paid"): "no", ("Option: pay it", "little work"): "partly"}
    outcome = think_about(Mind([ASK, PAY, PAY], judged))
    assert outcome.status == "solved"
    assert outcome.answer["decided"] == "pay it"
    assert outcome.answer["done"] == [
        {"action": "pay", "arguments": {"invoice": "7", "cents": 120}, "result": "paid 7: 120", "why": ""}
    ]
    assert outcome.answer["not_done"] == outcome.answer["surprises"] == outcome.answer["conflicts"] == []


@pytest.mark.parametrize("name", ["never overpay", "be honest"])
def test_what_breaks_a_constraint_or_principle_is_out_whatever_it_achieves(think_about: Any, name: str) -> None:
    """Constraints come first; then even a poor way wins over one that is out, and the report says why."""
    judged = {("Option: pay double", name): "breaks", ("Option: ask first", "objective"): "no"}
    outcome = think_about(Mind([TWICE, ASK, ASK], judged))
    assert outcome.answer["decided"] == "ask first"
    assert [each["way"] for each in outcome.answer["rejected"]] == ["pay double to be sure"]


def test_a_conflict_of_goals_is_reported_by_name(think_about: Any) -> None:
    """An objective that only a way which is out meets is said to conflict with what that way breaks."""
    judged = {
        ("Option: pay double", "never overpay"): "breaks",
        ("Option: ask first", "is paid"): "no",
    }
    outcome = think_about(Mind([TWICE, ASK, ASK], judged))
    assert outcome.answer["conflicts"] == [{"objective": "paid", "breaks": ["exact"]}]


def test_ways_that_are_out_are_not_asked_what_others_meet(think_about: Any) -> None:
    """No step is spent on objectives of a way that is out, as long as a way that is not meets them fully."""
    mind = Mind([TWICE, PAY, PAY], {("Option: pay double", "never overpay"): "breaks"})
    think_about(mind)
    assert not [each for each in mind.prompts("evaluate") if "pay double" in each and "this objective" in each]


def test_each_goal_is_weighed_by_itself(think_about: Any) -> None:
    """A judging step sees one way, what it leads to, and one goal; no request and no other way."""
    mind = Mind([PAY, ASK, ASK])
    think_about(mind)
    for prompt in mind.prompts("evaluate"):
        assert sum(goal.statement in prompt for goal in GOALS) == 1
        assert sum(f"Option: {summary}" in prompt for summary in ("pay it", "ask first")) == 1
        assert "Pay invoice 7" not in prompt


def test_a_goal_that_cannot_be_judged_counts_as_broken(think_about: Any) -> None:
    """A failed check is never a pass."""
    judged = {("Option: pay it", "never overpay"): "hard to say"}
    outcome = think_about(Mind([PAY, ASK, ASK], judged))
    assert outcome.answer["decided"] == "ask first"
    assert outcome.answer["rejected"] == [{"way": "pay it", "breaks": ["exact"]}]


def test_a_goal_that_could_not_be_judged_is_not_said_to_be_broken(think_about: Any) -> None:
    """Whoever reads why nothing was done learns that a check failed, not that a way is bad."""
    judged = {("Option: pay it", "never overpay"): "hard to say", ("Option: pay double", "never overpay"): "breaks"}
    outcome = think_about(Mind([PAY, TWICE, PAY], judged), options={"revisions": 0})
    assert "pay it (at 1/0/0): it could not be told whether it satisfies 'exact': never overpay" in outcome.reason
    assert "pay double to be sure (at 1/1/0): it breaks 'exact': never overpay" in outcome.reason


def test_unsound_ways_are_drawn_again(think_about: Any) -> None:
    """Unknown actions, and arguments that lack or are unknown, are flagged before anything is weighed."""
    unsound = [
        way("?", ("pey", {})),
        way("?", ("pay", {"invoice": "7"})),
        way("?", ("pay", {"invoice": "7", "cents": 1, "tip": 1})),
    ]
    outcome = think_about(Mind([*unsound, PAY]), options={"ways": 1})
    assert outcome.answer["decided"] == "pay it"
    outcome = think_about(Mind(unsound), options={"ways": 1, "tries": 2})
    assert outcome.status == "failed"
    assert "'pay' needs the argument 'cents'" in outcome.reason


def test_oversight_reads_the_plan_with_what_is_predicted(think_about: Any) -> None:
    """Monitors see the calls, where their arguments came from and what each is expected to bring."""
    guard = Guard()
    think_about(Mind([PAY]), monitors=[guard])
    call = guard.read[0].plan[0]
    assert call.predicted == 'as pay(cents=120, invoice="7")'
    assert guard.read[0].reason == "pay it"
    assert all(each.sources[0].startswith("step:") for each in call.provenance.values())
    assert len(call.because) == 2


def test_objections_lead_to_a_revised_plan(think_about: Any) -> None:
    """What oversight says is input of the next proposal, which is weighed like any other and then done."""
    guard, mind = Guard(240), Mind([TWICE, PAY])
    outcome = think_about(mind, monitors=[guard], options={"ways": 1})
    assert outcome.answer["decided"] == "pay it"
    assert outcome.answer["objections"] == ["call-1: 240 is the wrong amount"]
    first, second = mind.prompts("propose")
    assert "wrong amount" not in first
    assert "Turned down: pay double to be sure" in second
    assert "Objection: call-1: 240 is the wrong amount" in second
    assert len(mind.prompts("predict")) == 2


def test_what_was_turned_down_is_never_proposed_again(think_about: Any) -> None:
    """The same calls in other words are flagged, so that the planner does not insist."""
    again = way("pay twice as much", *[(call["action"], call["arguments"]) for call in TWICE["calls"]])
    outcome = think_about(Mind([TWICE, again, again, PAY]), monitors=[Guard(240)], options={"ways": 1})
    assert (outcome.status, outcome.answer["decided"]) == ("solved", "pay it")


def test_the_next_best_way_is_taken_when_none_better_is_found(think_about: Any) -> None:
    """If nothing new comes to mind after an objection, a way that stood from the beginning is proposed."""
    worse = {("Option: ask first", "is paid"): "no"}
    outcome = think_about(Mind([TWICE, ASK, TWICE], worse), monitors=[Guard(240)])
    assert (outcome.status, outcome.answer["decided"]) == ("solved", "ask first")
    assert outcome.answer["objections"] == ["call-1: 240 is the wrong amount"]


def test_what_oversight_refuses_to_the_end_is_given_up_with_reasons(think_about: Any) -> None:
    """Rounds are limited; nothing was done, and the reasons and the report remain."""
    ways = [way(f"pay {cents}", ("pay", {"invoice": "7", "cents": cents})) for cents in (1, 2, 3, 4)]
    outcome = think_about(Mind(ways), monitors=[Guard(1, 2, 3, 4)], options={"ways": 1, "revisions": 2})
    assert outcome.status == "failed"
    assert "pay 3 (at 9/0/0): call-1: 3 is the wrong amount" in outcome.reason
    assert not [each for each in outcome.actions if each.status != "refused"]
    assert len(outcome.answer["objections"]) == 3


def test_when_every_way_breaks_a_goal_nothing_is_done(think_about: Any) -> None:
    """The goals themselves turn ways down; who reads the outcome learns which and by what."""
    outcome = think_about(Mind([PAY, TWICE, ASK], {("never overpay",): "breaks"}), options={"revisions": 1})
    assert outcome.status == "failed"
    assert "it breaks 'exact': never overpay" in outcome.reason
    assert outcome.answer["conflicts"][0] == {"objective": "paid", "breaks": ["exact"]}
    assert not [each for each in outcome.actions if each.status != "refused"]


def test_of_equal_ways_the_first_counts_also_when_it_is_proposed_again(think_about: Any) -> None:
    """Who says the same as an earlier one does not move it behind others."""
    other = way("pay it at once", ("pay", {"invoice": "7", "cents": 121}))
    assert think_about(Mind([PAY, other, PAY])).answer["decided"] == "pay it"


def test_contradictory_goals_are_an_error_that_names_them(think_about: Any) -> None:
    """Each is kept by some way and no way keeps both: the reason, and the answer, say which."""
    judged = {("Option: pay it", "be honest"): "breaks", ("Option: pay double", "never overpay"): "breaks"}
    outcome = think_about(Mind([PAY, TWICE, PAY], judged), options={"revisions": 0})
    assert outcome.status == "failed"
    assert outcome.reason.startswith("no way was found that satisfies 'honest' and 'exact': pay it (at 1/0/0): it")
    assert outcome.answer["contradictions"] == [{"goals": ["honest", "exact"]}]
    assert not outcome.actions


def test_objectives_that_cost_one_another_are_told_by_name(think_about: Any) -> None:
    """No way meets both as far as each can be met: the answer names the pair, and the heavier one decides."""
    judged = {("Option: ask first", "is paid"): "no", ("Option: pay it", "little work"): "partly"}
    outcome = think_about(Mind([ASK, PAY, PAY], judged))
    assert outcome.answer["decided"] == "pay it"
    assert outcome.answer["tensions"] == [{"objectives": ["paid", "lean"]}]
    assert think_about(Mind([PAY, ASK, ASK])).answer["tensions"] == []


def test_surprises_are_told(think_about: Any) -> None:
    """What happened is compared with what was predicted, call by call."""
    mind = Mind([PAY], surprise="a fee was taken")
    outcome = think_about(mind)
    assert outcome.answer["surprises"] == ["call-1 (pay): a fee was taken"]
    assert "paid 7: 120" in mind.prompts("verify")[0]
    assert 'Expected: as pay(cents=120, invoice="7")' in mind.prompts("verify")[0]


def test_what_could_not_be_done_is_no_success(think_about: Any) -> None:
    """The run fails with the reason; its answer still says what was done and what was not."""
    calls = [("pay", {"invoice": "8", "cents": 9999}), ("pay", {"invoice": "7", "cents": 120})]
    outcome = think_about(Mind([way("pay both", ("lookup", {"invoice": "8"}), *calls)]))
    assert outcome.status == "failed"
    assert "the account holds less" in outcome.reason
    assert [each["action"] for each in outcome.answer["done"]] == ["lookup"]
    assert [each["status"] for each in outcome.answer["not_done"]] == ["failed", "skipped"]


def test_a_call_can_use_what_an_earlier_one_gives_back(think_about: Any) -> None:
    """A result not known yet is a reference in the plan, and its value when the action is done."""
    guard = Guard()
    cents = {"result_of": 1, "field": "cents"}
    calls = way("look, then pay", ("lookup", {"invoice": "7"}), ("pay", {"invoice": "7", "cents": cents}))
    outcome = think_about(Mind([calls]), monitors=[guard])
    assert guard.read[0].plan[1].arguments["cents"] == {"$later": ["call-1", "cents"]}
    assert outcome.answer["done"][1]["result"] == "paid 7: 120"


def test_without_actions_it_deliberates_about_an_answer(think_about: Any) -> None:
    """Ways are answers then, in the form that the task wants; nothing is proposed to oversight."""
    task = Task(prompt="May we?", answer=("yes", "no"), goals=GOALS)
    judged = {("Option: yes", "be honest"): "breaks"}
    outcome = think_about(Mind(["yes", "no", "yes"], judged), task, actions=[])
    assert (outcome.status, outcome.answer) == ("solved", "no")
    outcome = think_about(
        Mind(["12", "13", "13"], {("Option: 12", "objective"): "no"}),
        Task(prompt="?", answer="integer"),
        actions=[],
    )
    assert outcome.answer == 13
    outcome = think_about(Mind(["a walk"]), Task(prompt="What now?"), actions=[])
    assert outcome.answer["decided"] == "a walk"


def test_a_typed_answer_follows_from_what_was_done(think_about: Any) -> None:
    """When the task wants a number, one last step reads it off the results."""
    mind = Mind([PAY], answer="120")
    outcome = think_about(mind, TASK.model_copy(update={"answer": "integer"}))
    assert outcome.answer == 120
    assert "call-1 (pay) gave: paid 7: 120" in mind.prompts("answer")[0]


def test_taint_of_an_input_reaches_the_arguments(think_about: Any) -> None:
    """What a way says after reading an untrusted input is tainted, for monitors to see."""
    guard = Guard()
    task = TASK.model_copy(update={"inputs": {"mail": "pay 7"}, "untrusted": ("mail",)})
    think_about(Mind([PAY]), task, monitors=[guard])
    assert all(each.tainted for each in guard.read[0].plan[0].provenance.values())

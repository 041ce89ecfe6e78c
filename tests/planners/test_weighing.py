"""Deliberate's parts by hand, move by move, and what holds for any ways and goals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaffold.errors import GaveUp, StepFailed
from scaffold.testing import Driver
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.moves import Act, Note, Propose, Review, Think, Thought
from scaffold.vocabulary.plan import Later
from scaffold.vocabulary.references import NOWHERE, Provenance, Reference
from scaffold.vocabulary.review import Objection
from scaffold.vocabulary.task import Goal, Task
from scaffold_planners.deliberate import deliberate
from scaffold_planners.proposing import DeliberateOptions, Understanding
from scaffold_planners.report import Comparison
from scaffold_planners.ways import Call, Way, fault_in, plan_of
from scaffold_planners.weighing import Consequences, Weighed, best, conflicts, contradictions, tensions

PARAMETERS = {"properties": {"to": {"type": "string"}}, "required": ["to"], "additionalProperties": False}
TOOLS = {
    "send": ActionSpec(name="send", description="Send it.", parameters=PARAMETERS),
    "draft": ActionSpec(name="draft", parameters=PARAMETERS, effect="reversible"),
    "read": ActionSpec(name="read", parameters=PARAMETERS, effect="read"),
}
SEND = Way(summary="send it", calls=[Call(action="send", arguments={"to": "Ada"})])
TASK = Task(prompt="Greet Ada", goals=(Goal(kind="constraint", statement="be kind"),)).with_tools(tuple(TOOLS.values()))


SAID = {
    "understand": Understanding(wanted="a greeting"),
    "propose": SEND,
    "predict": Consequences(expected=["Ada smiles"], outcome="joy"),
    "verify": Comparison(as_expected=False, difference="Ada frowns"),
}


def mind(_key: str, move: Any) -> Any:
    """Answer each move as if all were well."""
    if _is(move, "evaluate"):
        return move.options.choices[0 if "constraint" in move.instruction else -1]
    if isinstance(move, Think):
        return SAID[move.kind]
    return True if isinstance(move, Propose) else "sent" if isinstance(move, Act) else None


def test_the_moves_in_their_order() -> None:
    """Three equal ways are weighed once; then plan, action, comparison, and the report."""
    driver = Driver(deliberate(TASK))
    report = driver.run(mind)
    kinds = [move.kind if isinstance(move, Think) else type(move).__name__ for _, move in driver.moves]
    thinking = ["understand", "propose", "propose", "propose", "predict", "evaluate", "evaluate"]
    assert kinds == [*thinking, "Propose", "Act", "Note", "verify", "Note"]
    assert (report.decided, report.surprises) == ("send it", ["call-1 (send): Ada frowns"])


def test_actions_name_their_plan_and_carry_the_prediction() -> None:
    """What is done refers to the proposal that was allowed, and to the thoughts it rests on."""
    driver = Driver(deliberate(TASK))
    driver.run(mind)
    proposal = next(key for key, move in driver.moves if isinstance(move, Propose))
    act = next(move for _, move in driver.moves if isinstance(move, Act))
    assert act.plan == proposal
    assert act.planned.predicted.value == "Ada smiles"
    assert isinstance(act.planned.arguments["to"], Reference)


def test_no_way_at_all_is_the_steps_own_error() -> None:
    """If nothing can be proposed there is nothing to report: the step's error goes up."""
    driver = Driver(deliberate(TASK, DeliberateOptions(ways=1)))
    with pytest.raises(StepFailed, match="no idea"):
        driver.run(lambda key, move: StepFailed("no idea", key) if _is(move, "propose") else mind(key, move))


def test_one_way_that_cannot_be_foreseen_is_left_out() -> None:
    """The others are still weighed."""
    ways = iter([SEND, Way(summary="draft it", calls=[Call(action="draft", arguments={"to": "Ada"})]), SEND])

    def answer(key: str, move: Any) -> Any:
        if _is(move, "propose"):
            return next(ways)
        if _is(move, "predict") and "send" in str(move.inputs):
            return StepFailed("cannot tell", key)
        return mind(key, move)

    assert Driver(deliberate(TASK)).run(answer).decided == "draft it"


def test_refusals_end_in_giving_up_with_the_report_as_partial_answer() -> None:
    """The last note before giving up holds what was objected."""
    driver = Driver(deliberate(TASK, DeliberateOptions(revisions=0)))
    no = Review("1", allowed=False, objections=(Objection("", "not today"),))
    with pytest.raises(GaveUp, match=r"send it \(at 1/0/0\): the plan: not today"):
        driver.run(lambda key, move: no if isinstance(move, Propose) else mind(key, move))
    note = driver.moves[-1][1]
    assert isinstance(note, Note)
    assert note.partial.objections == ["the plan: not today"]


def _is(move: Any, kind: str) -> bool:
    return isinstance(move, Think) and move.kind == kind


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (Call(action="sned"), "call-2: there is no action 'sned'; did you mean 'send'?"),
        (Call(action="send"), "call-2: 'send' needs the argument 'to'"),
        (Call(action="send", arguments={"to": 1, "cc": 2}), "call-2: 'send' has no argument 'cc'"),
        (Call(action="send", arguments={"to": {"result_of": 2}}), "call-2: 2 is not an earlier call"),
        (Call(action="send", arguments={"to": [{"result_of": "1"}]}), "call-2: '1' is not an earlier call"),
        (Call(action="send", arguments={"to": [{"result_of": 1}]}), ""),
    ],
)
def test_what_is_wrong_with_a_way_is_said(call: Call, said: str) -> None:
    """Each fault that code can see has words of its own; a result of an earlier call is none."""
    way = Way(summary="?", calls=[Call(action="read", arguments={"to": "x"}), call])
    assert fault_in(way, tools=TOOLS) == said


def test_nested_results_become_later_and_the_rest_keeps_its_reference() -> None:
    """Only what names a result is taken apart."""
    calls = [
        Call(action="read", arguments={"to": "x"}),
        Call(action="send", arguments={"to": ["a", {"result_of": 1}]}),
    ]
    source = Provenance(("step:9",))
    plan = plan_of(Reference(Way(summary="?", calls=calls), source), Reference(["", ""], NOWHERE), TOOLS)
    plain, later = plan["call-2"].arguments["to"]
    assert (plain.value, plain.provenance) == ("a", source)
    assert isinstance(later, Later)
    assert later.node == "call-1"


@given(st.lists(st.sampled_from(sorted(TOOLS)), max_size=8))
def test_changes_happen_in_order_and_reads_wait_only_for_changes(names: list[str]) -> None:
    """Whatever the calls: a change waits for all before it, a read for the changes before it."""
    way = Way(summary="?", calls=[Call(action=name, arguments={"to": "x"}) for name in names])
    plan = plan_of(Reference(way, NOWHERE), Reference([""] * len(names), NOWHERE), TOOLS)
    for place, planned in enumerate(plan):
        before = [f"call-{number + 1}" for number in range(place)]
        changes = [each for each in before if plan[each].action != "read"]
        assert planned.needs() == set(changes if planned.action == "read" else before)


GOALS = [Goal(statement="a", name="a", weight=2), Goal(statement="b", name="b")]
degrees = st.fixed_dictionaries({"a": st.sampled_from([0.0, 0.5, 1.0]), "b": st.sampled_from([0.0, 0.5, 1.0])})
ways = st.lists(
    st.builds(
        lambda name, met, broken: Weighed(
            Reference(Way(summary=name, calls=[Call(action=name, arguments={"to": "x"})]), NOWHERE),
            Thought(Consequences(outcome=""), NOWHERE, key="0"),
            broken,
            met,
        ),
        st.sampled_from(sorted(TOOLS)),
        degrees,
        st.sampled_from([(), ("law",)]),
    ),
    max_size=6,
)


@given(ways)
def test_what_breaks_a_goal_is_never_chosen_nor_a_worse_way_before_a_better(
    weighed: list[Weighed],
) -> None:
    """The choice breaks nothing; no other such way scores higher, and equals are not easier to undo."""
    choice = best(weighed, GOALS, TOOLS)
    sound = [each for each in weighed if not each.broken]
    assert (choice is None) == (not sound)
    if choice is not None:
        assert not choice.broken
        assert _score(choice) == max(map(_score, sound))
        equals = {each.way.value.summary for each in sound if _score(each) == _score(choice)}
        assert choice.way.value.summary == min(equals, key=["read", "draft", "send"].index)


@given(ways)
def test_a_conflict_is_told_exactly_where_only_what_is_out_reaches_further(weighed: list[Weighed]) -> None:
    """An objective conflicts if a way that is out meets it further than any that is not."""
    told = {each.objective for each in conflicts(weighed, GOALS)}
    for goal in GOALS:
        kept = max((each.met[goal.name] for each in weighed if not each.broken), default=0.0)
        out = max((each.met[goal.name] for each in weighed if each.broken), default=0.0)
        assert (goal.name in told) == (out > kept)


laws = st.lists(
    st.lists(st.sampled_from(["x", "y", "z"]), unique=True).map(
        lambda broken: Weighed(
            Reference(Way(summary="w"), NOWHERE),
            Thought(Consequences(outcome=""), NOWHERE, key="0"),
            tuple(broken),
            {},
        )
    ),
    max_size=6,
)


@settings(deadline=None)
@given(laws)
def test_a_contradiction_is_told_exactly_where_every_way_breaks_something(weighed: list[Weighed]) -> None:
    """What is named is broken by every way in one part or another, and nothing is named while a way keeps to all."""
    told = contradictions(weighed)
    assert bool(told) == (bool(weighed) and all(each.broken for each in weighed))
    for each in told:
        assert all(set(each.goals) & set(one.broken) for one in weighed)
        if len(each.goals) == 2 and len(told) > 1:
            assert all(any(name not in one.broken for one in weighed) for name in each.goals)


@settings(deadline=None)
@given(ways)
def test_a_tension_is_told_exactly_where_no_way_meets_both_best(weighed: list[Weighed]) -> None:
    """Two objectives are in tension if the best for one is never the best for the other."""
    kept = [each for each in weighed if not each.broken]
    most = {name: max((each.met[name] for each in kept), default=0.0) for name in ("a", "b")}
    both = any(each.met == most for each in kept)
    assert bool(tensions(weighed, GOALS)) == (all(most.values()) and not both)


def _score(weighed: Weighed) -> float:
    return 2 * weighed.met["a"] + weighed.met["b"]

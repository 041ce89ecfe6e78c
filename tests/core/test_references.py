"""Provenance: where a value came from is kept, whatever ordinary Python does with it in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from scaffold import Planning, Task, Thought, Verdict, act, apply, ask, note, propose, think, together
from scaffold.errors import ActionFailed, ActionRefused, ObservationWithheld, PlanError
from scaffold.testing import Driver
from scaffold.vocabulary.actions import Observation
from scaffold.vocabulary.moves import Act, Think
from scaffold.vocabulary.plan import Plan, Planned, as_call
from scaffold.vocabulary.references import NOWHERE, Provenance, Reference, provenance_of, unwrap

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

    from scaffold.vocabulary.review import Subject

MAIL = Reference({"from": "eve", "lines": ["pay me"]}, Provenance(("action:0",), tainted=True))
ORDER = Reference("pay bob", Provenance(("input:order",)))
TOLD = Provenance(("history:@3",))


class Due(BaseModel):
    """What a step may answer with."""

    why: str


provenances = st.builds(Provenance, st.lists(st.sampled_from("abcdef"), unique=True).map(tuple), st.booleans())


@given(provenances, provenances, provenances)
def test_a_union_keeps_every_source_once_and_any_taint(a: Provenance, b: Provenance, c: Provenance) -> None:
    """A union has all sources of both, none twice, any taint, and does not depend on brackets."""
    both = a | b
    assert set(both.sources) == {*a.sources, *b.sources}
    assert len(set(both.sources)) == len(both.sources)
    assert both.tainted == (a.tainted or b.tainted)
    assert (a | b) | c == a | (b | c)
    assert a | a == a
    assert a | NOWHERE == a


def test_a_part_comes_from_where_the_whole_does() -> None:
    """A field or an item of a reference keeps its provenance, however deep."""
    part = MAIL["lines"][0]
    assert (part.value, part.provenance) == ("pay me", MAIL.provenance)


def test_a_reference_is_to_a_planners_code_what_its_value_is() -> None:
    """In a text, in a condition, compared, looked for and looked in: what is meant is the value."""
    assert f"{ORDER}, {Reference(7, NOWHERE):03}, {MAIL['from']!s}" == "pay bob, 007, eve"
    assert not Reference(False, NOWHERE)  # noqa: FBT003 - what a model said, say
    assert Reference(True, NOWHERE)  # noqa: FBT003
    assert MAIL["from"] == "eve"
    assert MAIL["from"] != "bob"
    assert MAIL["from"] == Reference("eve", NOWHERE)
    assert MAIL["from"] in {"eve", "bob"}
    assert "bob" in ORDER
    assert "pay me" in MAIL["lines"]


def test_what_was_not_performed_has_no_value_in_a_text_either() -> None:
    """The error says why there is none, as that of `value` does."""
    refused: Observation[Any] = Observation(None, NOWHERE, key="0", action="pay", status="refused", reason="not today")
    for use in (str, bool, hash, lambda seen: seen == "paid"):
        with pytest.raises(ActionRefused, match="not today"):
            use(refused)


def test_a_result_to_come_does_not_go_into_a_text() -> None:
    """Nobody knows it yet: as an argument of its own it is filled in."""
    with pytest.raises(PlanError, match=r"what 'look' will return is not known yet: .* an argument of its own"):
        f"It said {Planned('look').result}"


def test_apply_unites_where_its_inputs_came_from() -> None:
    """What code makes of references comes from all of them, whether they stand alone or in a container."""
    made = apply(lambda order, name: f"{order} {name}", ORDER, MAIL["from"])
    assert made.value == "pay bob eve"
    assert made.provenance == ORDER.provenance | MAIL.provenance
    listed = apply(lambda words: " ".join([*words]), [ORDER, MAIL["from"]])
    assert listed.value == "pay bob eve"
    assert provenance_of(listed, TOLD) == ORDER.provenance | MAIL.provenance | TOLD


def test_a_bare_input_of_apply_depends_on_the_history() -> None:
    """A value without a reference makes the result, and its parts, depend on all its generator was told."""
    made = apply(lambda order, name: [order, name], ORDER, "eve")
    assert provenance_of(made, TOLD) == ORDER.provenance | TOLD
    assert provenance_of(made[0], TOLD) == ORDER.provenance | TOLD
    assert provenance_of(apply(str.upper, ORDER), TOLD) == ORDER.provenance


def _closing_over(name: Reference[str]) -> Callable[[str], str]:
    return lambda order: order + name.value


@pytest.mark.parametrize(
    "launder",
    [
        lambda: apply(lambda name=MAIL["from"]: name.value),
        lambda: apply(partial(lambda name, order: order + name.value, MAIL["from"]), ORDER),
        lambda: apply(_closing_over(MAIL["from"]), ORDER),
        lambda: apply(partial(_closing_over(MAIL["from"])), ORDER),
        lambda: apply(MAIL["from"].__getitem__, Reference(0, NOWHERE)),
        lambda: apply(str.upper, apply(lambda: "bare")),
    ],
    ids=["default", "partial", "closure", "closure in a partial", "method", "nothing but code"],
)
def test_references_that_a_function_holds_are_inputs_too(launder: Callable[[], Reference[Any]]) -> None:
    """A reference reaches code by a closure, a default or a method as it does by an argument."""
    assert provenance_of(launder(), Provenance(("history:@1",), tainted=True)).tainted


def test_a_bare_value_depends_on_all_its_generator_was_told() -> None:
    """What holds no reference depends on the history; a container depends on it beside its references."""
    for bare in ("x", 7, None, {}, [], object()):
        assert provenance_of(bare, TOLD) == TOLD
    assert provenance_of({"a": ORDER, "b": [MAIL]}, TOLD) == TOLD | ORDER.provenance | MAIL.provenance
    assert unwrap({"a": ORDER, "b": (MAIL["from"], 1)}) == {"a": "pay bob", "b": ["eve", 1]}


def test_a_task_input_is_tainted_when_the_task_says_so() -> None:
    """An untrusted input is tainted from the start, and so is all that a planner of such a task says bare."""
    task = Task(prompt="read", inputs={"mail": "hi", "name": "bob"}, untrusted=("mail",))
    assert task.input("mail").provenance == Provenance(("input:mail",), tainted=True)
    assert task.input("name").provenance == Provenance(("input:name",))
    with pytest.raises(KeyError, match="no input 'nam'"):
        task.input("nam")


def test_an_input_of_a_part_comes_from_where_it_came_from() -> None:
    """Also in a part of the part; what is given bare is not trusted, unless it is the whole's own."""
    whole = Task(prompt="x", inputs={"mail": ["hi"], "depth": 7}, untrusted=("mail",))
    read = Reference("an account", Provenance(("step:0",), tainted=True))
    known = Reference("a name", Provenance(("answer:1",)))
    given = {"read": read, "known": known, "bare": "an account", "depth": whole.inputs["depth"]}
    part = whole.part(whole.request, inputs=given)
    for each in (part, part.part(known)):
        assert {name: each.input(name).value for name in each.inputs} == {
            "read": "an account",
            "known": "a name",
            "bare": "an account",
            "depth": 7,
        }
        assert [each.input(name).provenance for name in ("read", "known")] == [read.provenance, known.provenance]
        assert each.input("bare").provenance.tainted
        assert each.input("depth").provenance == Provenance(("input:depth",))
        assert each.untrusted == ("read", "bare")
    doubted = whole.part(known, inputs={"known": known}, untrusted=("known",))
    assert doubted.input("known").provenance == Provenance(("answer:1",), tainted=True)


def test_branches_have_histories_of_their_own_joined_on_return() -> None:
    """What one branch is told taints no sibling, begun or not; after the join it taints the parent."""
    seen: dict[str, bool] = {}

    def reader() -> Planning[str]:
        mail = yield from act("look", {"at": "mail"})
        return str(mail.value)

    def thinker() -> Planning[str]:
        thought: Thought[str] = yield from think("decide", "bare")
        return str(thought.value)

    def planner() -> Planning[str]:
        yield from together(reader(), thinker())
        thought: Thought[str] = yield from think("decide", "bare")
        return str(thought.value)

    driver = Driver(planner())

    while (move := driver.next()) is not None:
        key = driver.moves[-1][0]
        seen[key] = driver._waiting[key].history.tainted  # noqa: SLF001 - what a bare value would depend on
        driver.reply("x", key=key, tainted=isinstance(move, Act))
    assert seen == {"0/0/0": False, "0/1/0": False, "1": True}


def test_a_branch_begins_with_its_parents_taint() -> None:
    """A branch that a tainted generator starts is tainted too."""

    def child() -> Planning[Thought[str]]:
        return (yield from think("decide", "bare"))

    def planner() -> Planning[Thought[str]]:
        yield from act("look", {"at": "mail"})
        (thought,) = yield from together(child())
        return thought

    driver = Driver(planner())
    driver.next()
    driver.reply("evil", tainted=True)
    driver.next()
    driver.reply("x")
    assert driver.result.provenance.tainted


# --- the property: Python cannot wash

_rewritings: list[Callable[[Any], Any]] = [
    lambda value: value,
    unwrap,
    lambda value: [value],
    lambda value: {"k": value},
    lambda value: str(unwrap(value)),
    lambda value: apply(lambda inner: [inner], value),
    lambda value: apply(lambda inner, other: [inner, other], value, ORDER),
    lambda value: apply(lambda: unwrap(value)),
    lambda value: Reference(value, NOWHERE) if not isinstance(value, Reference) and not value else value,
    lambda value: ORDER if isinstance(value, Reference) and value.value is None else value,
    lambda value: f"{unwrap(value)}!"[:-1],
    lambda value: (value, 1),
]


@given(st.lists(st.sampled_from(_rewritings), max_size=6), st.lists(st.sampled_from(_rewritings), max_size=6))
def test_taint_never_decreases_whatever_python_does(
    first: list[Callable[[Any], Any]], second: list[Callable[[Any], Any]]
) -> None:
    """A step fed with what was made from tainted text is tainted, and so is an action fed with that."""

    def planner() -> Planning[Any]:
        mail = yield from act("look", {"at": "mail"})
        value: Any = mail
        for rewrite in first:
            value = rewrite(value)
        thought: Any = yield from think("propose", value)
        for rewrite in second:
            thought = rewrite(thought)
        yield from act("pay", {"to": thought})

    driver = Driver(planner())
    assert isinstance(driver.next(), Act)
    driver.reply({"text": "evil"}, tainted=True)
    step = driver.next()
    assert isinstance(step, Think)
    history = driver._waiting["1"].history  # noqa: SLF001 - what the engine would go by
    assert all(provenance_of(value, history).tainted for value in step.inputs)
    driver.reply("bob")
    pay = driver.next()
    assert isinstance(pay, Act)
    call = as_call(pay.planned, driver._waiting["2"].history)  # noqa: SLF001 - as above
    assert call.provenance["to"].tainted
    assert call.control.tainted


def test_a_result_not_known_yet_is_tainted_until_its_action_says_otherwise() -> None:
    """A planned call that rests on another's result is reviewed as resting on something from outside."""
    look = Planned("look", {"at": "mail"}, id="look")
    pay = Planned("pay", {"to": look["sender"], "cents": 5}, id="pay")
    calls = Plan([look, pay]).calls(TOLD)
    assert calls[1].arguments == {"to": {"$later": ["look", "sender"]}, "cents": 5}
    assert calls[1].provenance["to"] == Provenance(("action:look",), tainted=True)
    assert calls[1].provenance["cents"] == TOLD


def test_planned_actions_can_refer_to_one_another_before_the_plan_names_them() -> None:
    """Ids that the plan gives are known to references and orders made before."""
    look = Planned("look", {"at": "mail"})
    pay = Planned("pay", {"to": look["sender"]})
    last = Planned("post", {"text": "done"}, after=[pay])
    plan = Plan([look, pay, last])
    assert plan.order == ("a0", "a1", "a2")
    assert plan.calls(TOLD)[1].arguments == {"to": {"$later": ["a0", "sender"]}}


@pytest.mark.parametrize("resumed", [False, True], ids=["live", "resumed"])
def test_what_a_failure_says_taints_what_follows(world: World, watcher: type[Watcher], *, resumed: bool) -> None:
    """Why an action failed is told from outside, like its result; what a planner does about it depends on that."""

    def planner(_: Task) -> Planning[str]:
        try:
            yield from act("post", {"text": "!not"})
        except ActionFailed:
            yield from act("pay", {"invoice": "i1"})
        return "paid"

    outcome = world.solve(planner, monitors=[watcher()])
    if resumed:
        world.cut_after(outcome, "action.outcome")
        outcome = world.agent(planner, monitors=[watcher()]).resume_sync(outcome.run)
    assert outcome.answer == "paid"
    posted, paid = (each["call"]["provenance"] for each in world.facts(outcome, "action.proposed"))
    assert posted["text"].get("tainted", False) is False
    assert paid["invoice"]["tainted"] is True


@pytest.mark.parametrize("resumed", [False, True], ids=["live", "resumed"])
def test_a_branch_taken_because_a_result_was_withheld_is_tainted(
    world: World, watcher: type[Watcher], *, resumed: bool
) -> None:
    """Whoever wrote a result decides whether it is withheld, and so what the planner does then."""

    def planner(_: Task) -> Planning[str]:
        try:
            yield from act("look", {"at": "x"})
        except ObservationWithheld:
            yield from act("pay", {"invoice": "i1"})
        return "paid"

    def says(read: Subject) -> Verdict:
        return Verdict(decision="block" if read.call is not None and read.call.action == "look" else "allow")

    def withholding() -> list[Watcher]:
        return [watcher(), watcher(says, name="reader", watches=frozenset({"observation"}))]

    outcome = world.solve(planner, monitors=withholding())
    if resumed:
        world.cut_after(outcome, "released")
        outcome = world.agent(planner, monitors=withholding()).resume_sync(outcome.run)
    assert outcome.answer == "paid"
    _, paid = (each["call"] for each in world.facts(outcome, "action.proposed"))
    assert paid["provenance"]["invoice"]["tainted"] is True
    assert paid["control"]["tainted"] is True


def test_a_move_takes_a_reference_where_it_takes_words_or_a_partial_answer(world: World) -> None:
    """A thought or an observation stands for its value in a note, a partial answer, a question and a plan's reason."""

    def planner(_: Task) -> Planning[str]:
        thought = yield from think("solve", "what is due?", returns=Due)
        seen = yield from act("look", {"at": "x"})
        review = yield from propose(Plan([Planned("look", {"at": "y"})], reason=thought["why"]))
        assert review.allowed
        yield from note(thought["why"], partial={"due": thought, "seen": [seen]})
        return str((yield from ask(thought["why"], seen)))

    outcome = world.solve(planner, '{"why": "it is due"}')
    assert (outcome.status, outcome.answer) == ("waiting", {"due": {"why": "it is due"}, "seen": ["seen x"]})
    (noted,) = world.facts(outcome, "noted")
    assert noted["text"] == "it is due"
    (asked,) = world.facts(outcome, "question.asked")
    assert asked["title"] == "it is due"

"""The gate: a fixed order for every action, and no action without a clearance for exactly that call."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import (
    Call,
    GaveUp,
    NotPerformed,
    Plan,
    Planned,
    Planning,
    Task,
    Verdict,
    act,
    action,
    carry_out,
    propose,
    think,
    together,
)
from scaffold.errors import ActionError, ActionRefused, ClearanceError
from scaffold.interfaces import Answer, Surroundings
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.clearance import Clearance, Mint
from scaffold.vocabulary.moves import Act, Review
from scaffold.vocabulary.review import Objection, Subject

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World

ALLOW = Verdict(decision="allow")
BLOCK = Verdict(decision="block", rationale="it reeks", feedback="not this one")


def doing(name: str = "pay", /, **arguments: Any) -> Any:
    """A planner that does one thing, and answers what became of it."""

    def planner(_: Task) -> Planning[str]:
        try:
            observation = yield from act(name, arguments or {"invoice": "i1"})
        except ActionError as error:
            return f"{type(error).__name__}: {error.message}"
        return str(observation.value)

    return planner


# --- the order


def test_every_action_takes_the_same_steps_in_the_same_order(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """Schema, monitors by tier, people, clearance, intent on disk, the effect, outcome, result review."""
    steps: list[str] = []

    def says(name: str, decision: Any = "allow") -> Any:
        def review(subject: Subject) -> Verdict:
            steps.append(f"{name} reads {subject.kind}")
            return Verdict(decision=decision if subject.kind != "observation" else "allow")

        return review

    everything = frozenset({"plan", "action", "observation"})
    monitors = [
        watcher(says("dear", "escalate"), name="dear", tier=2, watches=everything),
        watcher(says("rules"), name="rules", tier=0, watches=everything),
        watcher(says("cheap"), name="cheap", tier=1, watches=everything),
    ]

    @action(effect="irreversible", cost=200.0)
    async def pay(invoice: str) -> str:
        steps.append("the effect")
        return f"paid {invoice}"

    validate = pay.validate

    def heard(arguments: Any) -> dict[str, Any]:
        steps.append("schema")
        return validate(arguments)

    pay.validate = heard  # type: ignore[method-assign]  # to hear it

    def asked(_: Any) -> str:
        steps.append("a person")
        return "yes"

    points = {
        "approval.given:after": "the answer is on disk",
        "action.intent:before": "intent",
        "action.intent:after": "the intent is on disk",
        "action.outcome:before": "outcome",
        "released:after": "released",
    }
    surroundings = Surroundings(
        clock=world.clock, reach=lambda point: steps.append(points[point]) if point in points else None
    )
    outcome = world.solve(
        doing(), monitors=monitors, actions=[pay], approvers=[person(asked)], surroundings=surroundings
    )
    assert outcome.answer == "paid i1"
    assert steps == [
        "schema",
        "rules reads plan",
        "cheap reads plan",
        "dear reads plan",
        "a person",
        "the answer is on disk",
        "intent",
        "the intent is on disk",
        "the effect",
        "outcome",
        "rules reads observation",
        "cheap reads observation",
        "dear reads observation",
        "released",
    ]
    kinds = world.kinds(outcome)
    assert kinds.index("reviewed") < kinds.index("approval.asked") < kinds.index("approval.given")
    assert kinds.index("approval.given") < kinds.index("action.cleared")
    assert kinds[kinds.index("action.cleared") + 1 : kinds.index("action.cleared") + 3] == [
        "action.intent",
        "action.outcome",
    ]


def test_what_the_schema_refuses_no_monitor_and_no_person_is_asked_about(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """Arguments that do not fit are refused first, and the planner is told which and why."""
    monitor, boss = watcher(Verdict(decision="escalate")), person()
    outcome = world.solve(doing(invoice="i1", cents="many"), monitors=[monitor], approvers=[boss])
    assert "ActionRefused: its arguments do not fit: cents: " in outcome.answer
    assert (monitor.seen, boss.asked, world.done) == ([], [], [])


@pytest.mark.parametrize(
    ("name", "arguments", "task", "said"),
    [
        ("play", {}, {}, "there is no action 'play'; did you mean 'pay'?"),
        ("pay", {"invoice": "i1"}, {"actions": ("look",)}, "there is no action 'pay'"),
        (
            "pay",
            {"invoice": "i1", "more": 1},
            {},
            "its arguments do not fit: more: Extra inputs are not permitted",
        ),
        ("pay", {}, {}, "its arguments do not fit: invoice: Field required"),
        ("pay", {"invoice": "i1"}, {"budget": {"actions": 0}}, "budget of 0 actions has no room"),
        ("pay", {"invoice": "i1"}, {"budget": {"usd": 1.5}}, "budget of 1.5 usd has no room for 2 more"),
    ],
)
def test_the_cores_own_rules_come_before_any_monitor(
    world: World,
    watcher: type[Watcher],
    name: str,
    arguments: dict[str, Any],
    task: dict[str, Any],
    said: str,
) -> None:
    """Unknown and forbidden actions, arguments that do not fit and spent budgets are refused unread."""
    monitor = watcher()
    outcome = world.solve(doing(name, **arguments) if arguments else _bare(name), monitors=[monitor], task=task)
    assert said in outcome.answer
    assert monitor.seen == []
    assert world.done == []
    assert outcome.actions[0].status == "refused"


def _bare(name: str) -> Any:
    def planner(_: Task) -> Planning[str]:
        try:
            yield from act(name, {})
        except ActionRefused as error:
            return error.message
        return "done"

    return planner


# --- clearances


def _clearance(arguments: dict[str, Any]) -> Clearance:
    return Clearance(Mint(), "pay", canonical(arguments), Call(run="r", key="k"))


def test_rule_3_no_action_without_a_clearance(world: World, watcher: type[Watcher]) -> None:
    """Whatever is performed has, before it in the log, a clearance and an intent of the same digest."""

    def planner(_: Task) -> Planning[None]:
        yield from together(*(act("pay", {"invoice": str(number)}) for number in range(5)))

    outcome = world.solve(planner, monitors=[watcher()])
    assert len(world.done) == 5
    events = world.story(outcome).events
    for effect in [event for event in events if event["kind"] == "action.outcome"]:
        before = [event for event in events if event.get("key") == effect["key"] and event["seq"] < effect["seq"]]
        kinds = [event["kind"] for event in before]
        assert kinds[-2:] == ["action.cleared", "action.intent"]
        assert {event["digest"] for event in before if event["kind"] != "reviewed"} == {effect["digest"]}


def test_an_action_cannot_be_called(world: World) -> None:
    """Calling a decorated function raises, and says how it is done."""
    with pytest.raises(TypeError, match=r"propose it from a planner with act\('pay', ...\)"):
        world.pay("i1")
    assert world.done == []


def test_a_clearance_cannot_be_minted_without_the_gates_right() -> None:
    """What is no mint makes no clearance."""
    with pytest.raises(ClearanceError, match="only the gate gives clearances"):
        Clearance(object(), "pay", b"{}", Call(run="r", key="k"))  # type: ignore[arg-type]  # the point


def test_a_clearance_is_spent_once_on_its_own_call() -> None:
    """It fits one action and one set of arguments, and only once; a wrong try spends nothing."""
    clearance = _clearance({"invoice": "i1"})
    for name, arguments in (("post", {"invoice": "i1"}), ("pay", {"invoice": "i2"}), ("pay", {})):
        with pytest.raises(ClearanceError, match="for another call"):
            clearance.redeem(name, canonical(arguments))
    assert clearance.redeem("pay", canonical({"invoice": "i1"})).key == "k"
    with pytest.raises(ClearanceError, match="spent already"):
        clearance.redeem("pay", canonical({"invoice": "i1"}))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda each: each.__name__)
def test_a_clearance_cannot_be_copied(duplicate: Any) -> None:
    """A copy would be a second right to the same call."""
    with pytest.raises(ClearanceError, match="copied"):
        duplicate(_clearance({}))


def test_perform_redeems_before_anything_happens(world: World) -> None:
    """An action given a clearance for other arguments raises before its function runs."""
    with pytest.raises(ClearanceError):
        asyncio.run(world.pay.perform({"invoice": "i2"}, _clearance({"invoice": "i1"})))
    assert world.done == []


# --- what runs without being read


def test_rule_4_without_a_monitor_only_reads_run(world: World) -> None:
    """Nothing that changes the world runs unread unless the task says so."""
    assert "no monitor would read it" in world.solve(doing()).answer
    assert world.solve(doing("look", at="x")).answer == "seen x"
    assert world.done == [("look", "x")]
    assert world.solve(doing(), task={"oversight": {"unmonitored": True}}).answer == "paid i1"


def test_a_monitor_that_only_observes_or_reads_steps_does_not_guard(world: World, watcher: type[Watcher]) -> None:
    """A gate that no verdict can close is no oversight."""
    for monitor in (watcher(mode="observe"), watcher(watches=frozenset({"step"}))):
        assert "no monitor would read it" in world.solve(doing(), monitors=[monitor]).answer
    assert world.done == []


# --- plans, and what comes after them


def planning(*planned: Planned, then: Any = None) -> Any:
    """A planner that has a plan read and carries it out whatever the review says."""

    def planner(_: Task) -> Planning[Any]:
        plan = Plan(planned)
        review = yield from propose(plan)
        if then is not None:
            return (yield from then(plan, review))
        results = yield from carry_out(plan, review)
        return {node: observation.status for node, observation in results.items()}

    return planner


def test_an_action_that_its_plan_was_allowed_with_is_read_as_an_action_only(
    world: World, watcher: type[Watcher]
) -> None:
    """A plan is read as a whole; its actions are read again by those who read actions."""
    whole = watcher(name="whole", watches=frozenset({"plan"}))
    both = watcher(name="both")
    each = watcher(name="each", watches=frozenset({"action"}))
    outcome = world.solve(
        planning(Planned("pay", {"invoice": "a"}), Planned("pay", {"invoice": "b"})),
        monitors=[whole, both, each],
    )
    assert outcome.answer == {"a0": "performed", "a1": "performed"}
    assert [len(subject.plan) for subject in whole.seen] == [2]
    assert [subject.kind for subject in both.seen] == ["plan", "action", "action"]
    assert [subject.kind for subject in each.seen] == ["action", "action"]


def test_arguments_that_were_not_known_with_the_plan_are_read_when_they_are(
    world: World, watcher: type[Watcher]
) -> None:
    """A result put into a later call is read by monitors of plans too."""
    monitor = watcher(
        lambda subject: BLOCK if any(call.arguments.get("text") == "seen x" for call in subject.plan) else ALLOW,
        watches=frozenset({"plan"}),
    )
    look = Planned("look", {"at": "x"}, id="look")
    outcome = world.solve(planning(look, Planned("post", {"text": look.result}, id="post")), monitors=[monitor])
    assert outcome.answer == {"look": "performed", "post": "refused"}
    assert world.done == [("look", "x")]


def test_a_deviation_from_the_planned_arguments_is_read_again(world: World, watcher: type[Watcher]) -> None:
    """A call that names an allowed plan but is another is read as a plan of its own."""

    def deviate(_plan: Plan, review: Review) -> Planning[str]:
        try:
            yield Act(Planned("pay", {"invoice": "a", "cents": 999}, id="a0"), plan=review.key)
        except ActionRefused as error:
            return error.message
        return "done"

    monitor = watcher(
        lambda subject: BLOCK if subject.plan[0].arguments.get("cents") == 999 else ALLOW,
        watches=frozenset({"plan"}),
    )
    outcome = world.solve(planning(Planned("pay", {"invoice": "a"}), then=deviate), monitors=[monitor])
    assert outcome.answer == "not this one"
    assert world.done == []


def test_a_node_of_a_plan_is_done_once_under_its_review(world: World, watcher: type[Watcher]) -> None:
    """Carrying out a plan twice has the second time read again: its review was for one time each."""

    def again(plan: Plan, review: Review) -> Planning[list[str]]:
        said: list[str] = []
        for _ in range(2):
            results = yield from carry_out(plan, review)
            said += [results["a0"].status]
        return said

    monitor = watcher(watches=frozenset({"plan"}))
    outcome = world.solve(planning(Planned("post", {"text": "hi"}), then=again), monitors=[monitor])
    assert outcome.answer == ["performed", "performed"]
    assert [subject.key for subject in monitor.seen] == ["0", "2/0/0"]


def test_a_mark_for_a_later_result_is_no_argument(world: World, watcher: type[Watcher]) -> None:
    """A value that looks like a result not known yet, whoever made it, is never performed unchecked."""
    performed: list[Any] = []

    class Lenient:
        spec = world.post.spec

        def validate(self, arguments: Any) -> dict[str, Any]:
            if not isinstance(arguments["text"], str):
                raise ValueError("text is no text")  # noqa: TRY004 - what the Protocol asks for
            return dict(arguments)

        async def perform(self, arguments: Any, clearance: Clearance) -> None:
            clearance.redeem("post", canonical(arguments))
            performed.append(arguments)

    outcome = world.solve(doing("post", text={"$later": ["x"]}), monitors=[watcher()], actions=[Lenient()])
    assert performed == []
    assert outcome.actions[0].status == "refused"


def test_what_was_not_allowed_as_a_plan_is_read_when_it_is_done(world: World, watcher: type[Watcher]) -> None:
    """A refused plan clears nothing: its actions are reviewed one by one."""
    monitor = watcher(lambda subject: BLOCK if len(subject.plan) == 2 else ALLOW)
    outcome = world.solve(
        planning(Planned("pay", {"invoice": "a"}), Planned("pay", {"invoice": "b"})), monitors=[monitor]
    )
    assert outcome.answer == {"a0": "performed", "a1": "performed"}
    assert [(subject.kind, len(subject.plan)) for subject in monitor.seen].count(("plan", 1)) == 2


def test_the_same_thing_is_done_once_in_a_run(world: World, watcher: type[Watcher]) -> None:
    """A second payment of one invoice is refused: alone, side by side, in one plan, with another amount."""

    def planner(_: Task) -> Planning[Any]:
        yield from act("pay", {"invoice": "i1"})
        said = []
        for arguments in ({"invoice": "i1", "cents": 7}, {"invoice": "i2"}):
            try:
                yield from act("pay", arguments)
                said += ["done"]
            except ActionRefused as error:
                said += [error.message]
        review = yield from propose(Plan([Planned("pay", {"invoice": "i3"}), Planned("pay", {"invoice": "i3"})]))
        said += [objection.feedback for objection in review.objections]
        results = yield from carry_out(
            Plan([Planned("pay", {"invoice": "i4", "cents": n}, id=f"n{n}") for n in (1, 2)])
        )
        return [*said, sorted(each.status for each in results.values())]

    outcome = world.solve(planner, monitors=[watcher()])
    twice = "it was done already, or may have been"
    assert outcome.answer == [twice, "done", "it does the same as a0", ["performed", "refused"]]
    assert [each[1] for each in world.done] == ["i1", "i2", "i4"]


def test_what_failed_may_be_tried_again_and_what_is_unknown_may_not(world: World, watcher: type[Watcher]) -> None:
    """Identity is taken by what may have happened, and free again when it is known not to have."""
    tries: list[str] = []

    @action(effect="irreversible", identity=("invoice",))
    async def pay(invoice: str) -> str:
        tries.append(invoice)
        if len(tries) == 1:
            raise NotPerformed("busy")
        raise OSError("gone")

    def planner(_: Task) -> Planning[list[str]]:
        said = []
        for _time in range(3):
            try:
                yield from act("pay", {"invoice": "i1"})
            except ActionError as error:
                said += [type(error).__name__]
        return said

    outcome = world.solve(planner, monitors=[watcher()], actions=[pay])
    assert outcome.answer == ["ActionFailed", "OutcomeUnknown", "ActionRefused"]
    assert tries == ["i1", "i1"]


# --- refusals


def test_the_planner_is_told_the_feedback_and_never_the_rationale(world: World, watcher: type[Watcher]) -> None:
    """Why a verdict fell stays in the trace, since it teaches evasion; what to do about it is passed on."""
    objections = (Objection("a0", "use the account on file"),)
    monitor = watcher(Verdict(decision="revise", rationale="SECRET", objections=objections))

    def planner(_: Task) -> Planning[Any]:
        review = yield from propose(Plan([Planned("pay", {"invoice": "i1"})]))
        told = [f"{objection.node}|{objection.feedback}" for objection in review.objections]
        try:
            yield from act("pay", {"invoice": "i2"})
        except ActionRefused as error:
            told += [str(error), repr(error.data)]
        return told

    outcome = world.solve(planner, monitors=[monitor])
    assert outcome.answer[:2] == ["a0|use the account on file", "use the account on file (at 1)"]
    assert "SECRET" not in repr(outcome.answer)
    assert any("SECRET" in repr(each) for each in world.facts(outcome, "reviewed"))


def test_a_plan_refused_twice_unchanged_ends_the_run(world: World, watcher: type[Watcher]) -> None:
    """Insisting is no revision: the second time the run is stopped, other reasons or not."""

    def planner(_: Task) -> Planning[None]:
        for number in range(3):
            yield from propose(Plan([Planned("pay", {"invoice": "i1"})], reason=f"reason {number}"))

    outcome = world.solve(planner, monitors=[watcher(BLOCK)])
    assert (outcome.status, outcome.reason) == (
        "stopped",
        "the planner proposed again what was refused: not this one",
    )
    assert world.kinds(outcome).count("plan.decided") == 2


def test_too_many_refused_proposals_end_the_run(world: World, watcher: type[Watcher]) -> None:
    """Revising is bounded by the task's rounds."""

    def planner(_: Task) -> Planning[None]:
        for number in range(10):
            yield from propose(Plan([Planned("pay", {"invoice": str(number)})]))

    outcome = world.solve(planner, monitors=[watcher(BLOCK)], task={"oversight": {"rounds": 3}})
    assert (outcome.status, outcome.reason) == ("stopped", "3 proposals were refused: not this one")
    assert world.kinds(outcome).count("plan.proposed") == 3


@pytest.mark.parametrize("kind", ["plan", "action", "observation", "step"])
def test_halt_stops_the_run_wherever_it_is_said(world: World, watcher: type[Watcher], kind: Any) -> None:
    """A halt ends the run as stopped, with the monitor's name, and nothing more happens."""

    def planner(_: Task) -> Planning[str]:
        try:
            yield from think("solve", "x")
            yield from act("look", {"at": "x"})
            yield from act("post", {"text": "x"})
        except GaveUp:
            return "caught"
        return "went on"

    monitors = [watcher(Verdict(decision="halt", rationale="enough"), watches=frozenset({kind}))]
    outcome = world.solve(planner, monitors=monitors, task={"oversight": {"unmonitored": True}})
    assert outcome.status == "stopped"
    assert "watcher halted the run: enough" in outcome.reason
    assert ("post", "x") not in world.done


def test_a_run_is_stopped_before_its_next_action(world: World, watcher: type[Watcher]) -> None:
    """Whoever stops a run from outside stops it before the next action, also one that is under review."""

    def stopping(subject: Subject) -> Any:
        async def review() -> Verdict:
            if subject.kind == "plan" and subject.plan[0].arguments["invoice"] == "i2":
                (run,) = world.journal.runs()
                await world.journal.post(run, Answer(id="stop", digest="", by="ann"))
                await asyncio.sleep(0)
            return ALLOW

        return review()

    def planner(_: Task) -> Planning[None]:
        for number in range(5):
            yield from act("pay", {"invoice": f"i{number}"})

    outcome = world.solve(planner, monitors=[watcher(stopping)])
    assert (outcome.status, outcome.reason) == ("stopped", "stopped by ann")
    assert [each[1] for each in world.done] == ["i0", "i1"]


# --- modes


def test_observe_suspends_monitors_and_the_clearance_says_so(world: World, watcher: type[Watcher]) -> None:
    """With observe, verdicts are recorded and do not bind, and the record of the clearance says so."""
    outcome = world.solve(doing(), monitors=[watcher(BLOCK)], observe=True)
    assert outcome.answer == "paid i1"
    assert next(world.facts(outcome, "action.cleared"))["observed"] is True
    assert [verdict.decision for verdict in outcome.verdicts] == ["block"]


def test_observe_does_not_suspend_rules_schema_or_budget(world: World, watcher: type[Watcher]) -> None:
    """Monitors of tier 0, the schema and the budget bind in any mode."""
    assert "ActionRefused" in world.solve(doing(), monitors=[watcher(BLOCK, tier=0)], observe=True).answer
    assert "do not fit" in world.solve(doing(invoice=7), monitors=[watcher()], observe=True).answer
    tight = {"budget": {"actions": 0}}
    assert "no room" in world.solve(doing(), monitors=[watcher()], observe=True, task=tight).answer
    assert world.done == []


def test_plan_only_ends_before_anything_changes_the_world(world: World, watcher: type[Watcher]) -> None:
    """Reads run, so that planning can go on; the first other action ends the run, with what was planned."""

    def planner(_: Task) -> Planning[None]:
        yield from act("look", {"at": "x"})
        yield from act("pay", {"invoice": "i1"})

    outcome = world.solve(planner, monitors=[watcher()], plan_only=True)
    assert outcome.status == "solved"
    assert [each["name"] for each in outcome.answer["planned"]] == ["pay"]
    assert world.done == [("look", "x")]


# --- nobody changes what was reviewed


@pytest.mark.parametrize("who", ["monitor", "approver", "planner", "beside"])
def test_what_was_reviewed_is_what_is_performed(
    world: World, watcher: type[Watcher], person: type[Person], who: str
) -> None:
    """Arguments that a monitor, an approver or the planner changes during the review stay as they were."""
    mine: dict[str, Any] = {"invoice": "i1", "cents": 5}

    def review(subject: Subject) -> Verdict:
        if who == "monitor":
            for call in subject.plan:
                call.arguments["cents"] = 666
        if who == "planner":
            mine["cents"] = 666
        return Verdict(decision="escalate")

    def asked(question: Any) -> str:
        if who == "approver":
            question.detail["calls"][0]["arguments"]["cents"] = 666
        return "yes"

    def meddler() -> Planning[None]:
        yield from act("look", {"at": "x"})
        if who == "beside":
            mine["cents"] = 666

    def planner(_: Task) -> Planning[None]:
        planned = Planned("pay", {})
        planned.arguments = mine
        yield from together(act(planned), meddler())

    world.solve(planner, monitors=[watcher(review)], approvers=[person(asked)])
    assert [each[:3] for each in world.done if each[0] == "pay"] == [("pay", "i1", 5)]


def test_a_call_that_is_changed_while_it_waits_for_a_person_is_not_performed(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """What was approved is what was asked about: a planner that changes it meanwhile is told so, loudly."""
    away = person(None)
    mine: dict[str, Any] = {"invoice": "i1", "cents": 5}

    def review(subject: Subject) -> Any:
        return Verdict(decision="escalate" if subject.plan[0].action == "pay" else "allow")

    def meddler() -> Planning[None]:
        yield from act("look", {"at": "x"})
        mine["cents"] = 666
        yield from act("look", {"at": "y"})

    @action(effect="read")
    async def look(at: str) -> str:
        (run,) = world.journal.runs()
        while not away.asked:  # noqa: ASYNC110 - it is another's doing
            await asyncio.sleep(0.01)
        if at == "y":
            await asyncio.sleep(0.02)
            said = Answer(id=away.asked[0].id, digest=away.asked[0].digest, granted=True, by="ann")
            await world.journal.post(run, said)
        return "seen"

    def planner(_: Task) -> Planning[None]:
        planned = Planned("pay", {})
        planned.arguments = mine
        yield from together(act(planned), meddler())

    outcome = world.solve(planner, monitors=[watcher(review)], actions=[world.pay, look], approvers=[away])
    assert world.done == []
    assert "was changed while it waited" in outcome.reason

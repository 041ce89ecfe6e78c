"""The gate: a fixed order for every action, what it does with verdicts, and when it ends the run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scaffold import (
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
from scaffold.errors import ActionError, ActionRefused
from scaffold.interfaces import Answer, Question, Surroundings
from scaffold.vocabulary.review import Objection, Subject

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World

from tests.core.doing import ALLOW, BLOCK, doing

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
    assert "ActionRefused: its arguments are not valid: cents: " in outcome.answer
    assert (monitor.seen, boss.asked, world.done) == ([], [], [])


@pytest.mark.parametrize("said", ["NaN", "Infinity", "-1e999"])
def test_a_number_that_canonical_bytes_cannot_hold_is_refused(world: World, watcher: type[Watcher], said: str) -> None:
    """It would be reviewed as null, and not performed as what the schema let through, wherever it stands."""

    @action(effect="irreversible")
    async def move(way: list[float]) -> str:
        world.done.append(tuple(way))
        return "moved"

    outcome = world.solve(doing("move", way=["1", said]), monitors=[watcher()], actions=[move])
    assert "are not valid: JSON cannot hold a number that is not finite" in outcome.answer
    assert [each.status for each in outcome.actions] == ["refused"]
    assert not world.done


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_number_is_not_taken_for_nothing(world: World, watcher: type[Watcher], number: float) -> None:
    """What a planner gives an argument that may be left out is refused, as a plan and as a call: it would be null."""

    @action(effect="irreversible")
    async def withdraw(at_most: float | None = None) -> str:
        world.done.append((at_most,))
        return "withdrawn"

    def planner(_: Task) -> Planning[str]:
        review = yield from propose(Plan([Planned("withdraw", {"at_most": number})]))
        try:
            yield from act("withdraw", {"at_most": number})
        except ActionRefused as refused:
            return f"{review.objections[0].feedback}; {refused}"
        return "done"

    outcome = world.solve(planner, monitors=[watcher()], actions=[withdraw])
    assert outcome.answer.count("are not valid: JSON cannot hold a number that is not finite") == 2
    assert not world.done


@pytest.mark.parametrize(
    ("name", "arguments", "task", "said"),
    [
        ("play", {}, {}, "there is no action 'play'; did you mean 'pay'?"),
        ("pay", {"invoice": "i1"}, {"actions": ("look",)}, "there is no action 'pay'"),
        (
            "pay",
            {"invoice": "i1", "more": 1},
            {},
            "its arguments are not valid: more: Extra inputs are not permitted",
        ),
        ("pay", {}, {}, "its arguments are not valid: invoice: Field required"),
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


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"actions": 1}, "budget of 1 actions has no room for 2 more"),
        ({"usd": 3.5}, "budget of 3.5 usd has no room for 4"),
    ],
)
def test_a_plan_that_costs_more_than_the_budget_is_refused_unread(
    world: World, watcher: type[Watcher], budget: dict[str, Any], said: str
) -> None:
    """All its actions together have to fit: nothing of it is begun, and a part that fits may be proposed again."""
    monitor = watcher()

    def planner(_: Task) -> Planning[Any]:
        calls = [Planned("pay", {"invoice": name}) for name in ("i1", "i2")]
        whole = yield from propose(Plan(calls))
        part = yield from propose(Plan(calls[:1]))
        return [each.feedback for each in whole.objections], whole.allowed, part.allowed

    outcome = world.solve(planner, monitors=[monitor], task={"budget": budget})
    (feedback,), whole, part = outcome.answer
    assert said in feedback
    assert (whole, part) == (False, True)
    assert [len(subject.plan) for subject in monitor.seen] == [1]


class Together:
    """An approver who says yes to all once so many were asked about."""

    def __init__(self, number: int) -> None:
        self._all = asyncio.Barrier(number)

    async def ask(self, question: Question) -> Answer:
        """Wait for the others."""
        await self._all.wait()
        return Answer(id=question.id, digest=question.digest, granted=True, by="ann")


@pytest.mark.parametrize(
    ("name", "arguments", "task", "said"),
    [
        ("pay", {"invoice": "i1"}, {}, "it was already done, or may have been, by this run"),
        ("post", {"text": "hello"}, {"budget": {"actions": 1}}, "budget of 1 actions has no room"),
    ],
)
def test_what_another_branch_did_while_a_call_waited_for_a_person_counts(
    world: World, watcher: type[Watcher], name: str, arguments: dict[str, Any], task: dict[str, Any], said: str
) -> None:
    """Two calls are approved at once, and there is room for one: it is done once, and the other is refused."""

    def planner(_: Task) -> Planning[Any]:
        return (yield from together(doing(name, **arguments)(_), doing(name, **arguments)(_)))

    monitors = [watcher(Verdict(decision="escalate"))]
    outcome = world.solve(planner, monitors=monitors, approvers=[Together(2)], task=task)
    assert len(world.done) == 1
    (refused,) = (each for each in outcome.answer if each.startswith("ActionRefused"))
    assert said in refused


def _bare(name: str) -> Any:
    def planner(_: Task) -> Planning[str]:
        try:
            yield from act(name, {})
        except ActionRefused as error:
            return error.message
        return "done"

    return planner


# --- clearances


# --- what runs without being read


def test_rule_4_without_a_monitor_only_reads_run(world: World) -> None:
    """Nothing that changes the world runs unread unless the task says so."""
    assert "no monitor would check it" in world.solve(doing()).answer
    assert world.solve(doing("look", at="x")).answer == "seen x"
    assert world.done == [("look", "x")]
    assert world.solve(doing(), task={"oversight": {"unmonitored": True}}).answer == "paid i1"


def test_a_monitor_that_only_observes_or_reads_steps_does_not_guard(world: World, watcher: type[Watcher]) -> None:
    """A gate that no verdict can close is no oversight."""
    for monitor in (watcher(mode="observe"), watcher(watches=frozenset({"step"}))):
        assert "no monitor would check it" in world.solve(doing(), monitors=[monitor]).answer
    assert world.done == []


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
    assert outcome.answer[:2] == ["a0|use the account on file", "use the account on file (pay at 1)"]
    assert "SECRET" not in repr(outcome.answer)
    assert any("SECRET" in repr(each) for each in world.facts(outcome, "reviewed"))


@pytest.mark.parametrize(("decision", "status"), [("revise", "solved"), ("escalate", "waiting"), ("block", "solved")])
@pytest.mark.parametrize("strict", ["plan", "action"])
def test_who_reads_the_call_lifts_nothing_that_a_reader_of_plans_said(
    world: World, watcher: type[Watcher], decision: Any, status: str, strict: Any
) -> None:
    """The strictest of all who read a call counts, whichever of them reads it as a plan and which as an action."""
    says = {strict: Verdict(decision=decision, feedback="not this")}
    monitors = [watcher(says.get(kind, ALLOW), name=kind, watches=frozenset({kind})) for kind in ("plan", "action")]
    outcome = world.solve(doing(), monitors=monitors)
    assert (outcome.status, world.done) == (status, [])


def test_what_a_person_might_lift_is_no_objection(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """One call is refused, both would be put to a person: the planner hears of the one, and they see what is left."""

    def strict(subject: Subject) -> Verdict:
        bad = tuple(Objection(call.id, "not to them") for call in subject.plan if call.arguments["invoice"] == "bad")
        return Verdict(decision="block", objections=bad) if bad else ALLOW

    def planner(_: Task) -> Planning[Any]:
        calls = [Planned("pay", {"invoice": name}, id=name) for name in ("good", "bad")]
        review = yield from propose(Plan(calls))
        again = yield from propose(Plan(calls[:1]))
        return [[each.node, each.feedback] for each in review.objections], again.allowed

    boss = person("yes")
    careful = watcher(Verdict(decision="escalate", feedback="a person sees it"), name="careful")
    outcome = world.solve(planner, monitors=[careful, watcher(strict, name="strict")], approvers=[boss])
    assert outcome.answer == [[["bad", "not to them"]], True]
    assert [len(asked.detail["calls"]) for asked in boss.asked] == [1]


def test_a_plan_is_read_as_it_would_be_done(world: World, watcher: type[Watcher]) -> None:
    """Reviewers see what its actions would fill in, which the planner left out."""
    monitor = watcher()

    def planner(_: Task) -> Planning[bool]:
        return (yield from propose(Plan([Planned("pay", {"invoice": "i1"})]))).allowed

    assert world.solve(planner, monitors=[monitor]).answer is True
    assert [call.arguments for call in monitor.seen[0].plan] == [{"invoice": "i1", "cents": 100}]


def test_a_plan_refused_twice_unchanged_ends_the_run(world: World, watcher: type[Watcher]) -> None:
    """Insisting is no revision: the second time the run is stopped, other reasons or not."""

    def planner(_: Task) -> Planning[None]:
        for number in range(3):
            yield from propose(Plan([Planned("pay", {"invoice": "i1"})], reason=f"reason {number}"))

    outcome = world.solve(planner, monitors=[watcher(BLOCK)])
    assert (outcome.status, outcome.reason) == (
        "stopped",
        "the planner proposed again what was refused: not this one (the plan at 1)",
    )
    assert world.kinds(outcome).count("plan.decided") == 2


@pytest.mark.parametrize(
    ("times", "said"),
    [(1, "not this one (pay at 0)"), (2, "the planner proposed again what was refused: not this one (pay at 1)")],
)
def test_a_run_stopped_by_a_refusal_says_which_action_was_refused_and_where(
    world: World, watcher: type[Watcher], times: int, said: str
) -> None:
    """Whoever reads the reason alone learns what was not allowed, whether the planner insists or gives up."""

    def planner(_: Task) -> Planning[None]:
        for _again in range(times - 1):
            with contextlib.suppress(ActionRefused):
                yield from act("pay", {"invoice": "i1"})
        yield from act("pay", {"invoice": "i1"})

    outcome = world.solve(planner, monitors=[watcher(BLOCK)])
    assert (outcome.status, outcome.reason) == ("stopped", said)


def test_too_many_refused_proposals_end_the_run(world: World, watcher: type[Watcher]) -> None:
    """Revising is bounded by the task's rounds."""

    def planner(_: Task) -> Planning[None]:
        for number in range(10):
            yield from propose(Plan([Planned("pay", {"invoice": str(number)})]))

    outcome = world.solve(planner, monitors=[watcher(BLOCK)], task={"oversight": {"rounds": 3}})
    assert (outcome.status, outcome.reason) == ("stopped", "3 proposals were refused: not this one (the plan at 2)")
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


@pytest.mark.parametrize(
    ("decision", "answer"),
    [
        ("flag", "seen x"),
        ("revise", "ObservationWithheld: not that"),
        ("resample", "ObservationWithheld: not that"),
        ("block", "ObservationWithheld: not that"),
    ],
)
def test_what_came_back_is_withheld_by_any_objection(
    world: World, watcher: type[Watcher], decision: Any, answer: str
) -> None:
    """A planner is told no value that a monitor objects to, however mildly; a flag objects to nothing."""
    monitor = watcher(Verdict(decision=decision, feedback="not that"), watches=frozenset({"observation"}))
    assert world.solve(doing("look", at="x"), monitors=[monitor]).answer == answer


@pytest.mark.parametrize(
    ("text", "said", "error"),
    [
        ("!not", "the line was busy", "ActionFailed"),
        ("!break", "OSError: the line broke", "OutcomeUnknown"),
    ],
)
def test_an_error_message_is_read_before_the_planner_is_told_it(
    world: World, watcher: type[Watcher], text: str, said: str, error: str
) -> None:
    """What an action says when it fails is read like a result; withheld, the planner still learns what happened."""
    reader = watcher(watches=frozenset({"observation"}))
    assert world.solve(doing("post", text=text), monitors=["rules", reader]).answer.startswith(f"{error}: {said}")
    (seen,) = [each.observation for each in reader.seen if each.observation is not None]
    assert (seen.said, seen.value) == (seen.reason, None)
    assert seen.reason.startswith(said)
    assert seen.status == {"ActionFailed": "failed", "OutcomeUnknown": "unknown"}[error]

    strict = watcher(Verdict(decision="block", feedback="not that"), watches=frozenset({"observation"}))
    outcome = world.solve(doing("post", text=text), monitors=["rules", strict])
    assert outcome.answer == f"{error}: its error message is withheld: not that"
    assert [each.status for each in outcome.actions] == [seen.status]


def test_a_person_may_let_an_error_message_be_read(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """They are asked about the message itself; their no withholds it."""
    unsure = watcher(Verdict(decision="escalate"), watches=frozenset({"observation"}))
    asked = person("no")
    refused = world.solve(doing("post", text="!not"), monitors=["rules", unsure], approvers=[asked])
    assert refused.answer == "ActionFailed: its error message is withheld: a person said no"
    (question,) = asked.asked
    assert (question.title, question.detail["error"]) == ("the error message of post", "the line was busy")
    assert "value" not in question.detail
    allowed = world.solve(doing("post", text="!not"), monitors=["rules", unsure], approvers=[person("yes")])
    assert allowed.answer == "ActionFailed: the line was busy"


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
    assert "are not valid" in world.solve(doing(invoice=7), monitors=[watcher()], observe=True).answer
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


def test_plan_only_asks_nobody_for_what_it_will_not_do(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """An action that a person would be asked about ends the planning too; the verdict says that they would be."""
    boss = person()
    escalates = watcher(Verdict(decision="escalate"), watches=frozenset({"action"}))
    outcome = world.solve(doing(), monitors=[escalates], approvers=[boss], plan_only=True)
    assert [each["name"] for each in outcome.answer["planned"]] == ["pay"]
    assert (outcome.verdicts[0].decision, boss.asked) == ("escalate", [])


def test_plan_only_asks_nobody_about_a_plan(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """A plan that a person would be asked about is the answer, call by call; one that only reads is asked about."""

    def planner(_: Task) -> Planning[Any]:
        looked = yield from propose(Plan([Planned("look", {"at": "x"})]))
        yield from propose(Plan([Planned("look", {"at": "x"}), Planned("pay", {"invoice": "i1"})]))
        return looked

    boss = person()
    escalates = watcher(Verdict(decision="escalate"), watches=frozenset({"plan"}))
    outcome = world.solve(planner, monitors=[escalates], approvers=[boss], plan_only=True)
    planned = [(each["name"], each["arguments"]) for each in outcome.answer["planned"]]
    assert planned == [("look", {"at": "x"}), ("pay", {"invoice": "i1"})]
    assert (outcome.status, len(boss.asked), world.done) == ("solved", 1, [])


@pytest.mark.parametrize(
    ("error", "answer", "times"),
    [
        (OSError("the line broke"), "it was already done, or may have been, by this run at 0", 1),
        (NotPerformed("the line was busy"), "done", 2),
    ],
)
def test_a_run_does_not_try_again_what_may_have_happened(
    world: World, watcher: type[Watcher], error: Exception, answer: str, times: int
) -> None:
    """A planner that is told so little may insist; only what is known to have failed is done again."""

    @action(effect="irreversible", identity=("invoice",))
    async def pay(invoice: str) -> str:
        world.done.append((invoice,))
        if len(world.done) == 1:
            raise error
        return "done"

    def planner(_: Task) -> Planning[str]:
        said = ""
        for _attempt in range(2):
            try:
                said = str((yield from act("pay", {"invoice": "i1"})).value)
            except ActionError as failed:
                said = failed.message
        return said

    outcome = world.solve(planner, monitors=[watcher()], actions=[pay])
    assert (outcome.answer, len(world.done)) == (answer, times)


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


@pytest.mark.parametrize(("planned", "made"), [(1, True), (0.0, -0.0), (2, 2.0)])
def test_a_call_that_only_python_takes_for_the_planned_one_is_reviewed_on_its_own(
    world: World, watcher: type[Watcher], planned: Any, made: Any
) -> None:
    """What a plan was allowed with is held against the bytes that are performed: there 1 is not true, and 2.0 not 2."""

    @action(effect="irreversible")
    async def put(it: Any) -> None:
        world.done.append((it,))

    def planner(_: Task) -> Planning[None]:
        plan = Plan([Planned("put", {"it": planned}, id="a")])
        review = yield from propose(plan)
        plan["a"].arguments = {"it": made}
        yield from carry_out(plan, review)

    reads = watcher(watches=frozenset({"plan"}))
    world.solve(planner, monitors=[reads], actions=[put])
    assert [repr(subject.plan[0].arguments["it"]) for subject in reads.seen] == [repr(planned), repr(made)]


def test_an_action_that_changes_after_its_plan_was_allowed_is_refused(world: World, watcher: type[Watcher]) -> None:
    """The plan was allowed with what the action declared then; what it declares now nobody has read."""

    @action(effect="reversible")
    async def put(what: str) -> None:
        world.done.append((what,))

    def planner(_: Task) -> Planning[list[str]]:
        plan = Plan([Planned("put", {"what": "it"})])
        review = yield from propose(plan)
        put.spec = msgspec.structs.replace(put.spec, effect="irreversible")
        return [each.reason for each in (yield from carry_out(plan, review)).values()]

    reads = watcher(watches=frozenset({"plan"}))
    (reason,) = world.solve(planner, monitors=[reads], actions=[put]).answer
    assert "has changed since the run started" in reason
    assert world.done == []


def test_another_action_than_the_planned_one_is_reviewed_on_its_own(world: World, watcher: type[Watcher]) -> None:
    """A plan was allowed with an action and its arguments: the same arguments for another were read by nobody."""

    @action(effect="irreversible")
    async def refund(invoice: str, cents: int = 100) -> None:
        world.done.append(("refund", invoice, cents))

    def review(subject: Subject) -> Verdict:
        return BLOCK if subject.plan[0].action == "refund" else ALLOW

    def planner(_: Task) -> Planning[list[str]]:
        plan = Plan([Planned("pay", {"invoice": "i1"}, id="a")])
        allowed = yield from propose(plan)
        plan["a"].action = "refund"
        return [each.status for each in (yield from carry_out(plan, allowed)).values()]

    reads = watcher(review, watches=frozenset({"plan"}))
    outcome = world.solve(planner, monitors=[reads], actions=[world.pay, refund])
    assert (outcome.answer, world.done) == (["refused"], [])


@pytest.mark.parametrize("what", ["its arguments", "its action"])
def test_a_call_that_is_changed_while_it_waits_for_a_person_is_not_performed(
    world: World, watcher: type[Watcher], person: type[Person], what: str
) -> None:
    """What was approved is what was asked about: a planner that changes it meanwhile is told so, loudly."""
    away = person(None)
    mine: dict[str, Any] = {"invoice": "i1", "cents": 5}

    def review(subject: Subject) -> Any:
        return Verdict(decision="escalate" if subject.plan[0].action == "pay" else "allow")

    def meddler() -> Planning[None]:
        yield from act("look", {"at": "x"})
        if what == "its action":
            planned.action = "give"
        else:
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

    @action(effect="irreversible", identity=("invoice",))
    async def give(invoice: str, cents: int = 100) -> None:
        world.done.append(("give", invoice, cents))

    planned = Planned("pay", {})
    planned.arguments = mine

    def planner(_: Task) -> Planning[None]:
        yield from together(act(planned), meddler())

    outcome = world.solve(planner, monitors=[watcher(review)], actions=[world.pay, give, look], approvers=[away])
    assert world.done == []
    assert "was changed while it waited" in outcome.reason


def test_a_plan_that_is_changed_while_it_waits_for_a_person_is_not_allowed(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """A plan is approved as it was shown: what is written into its arguments meanwhile was not."""
    away = person(None)
    mine: dict[str, Any] = {"invoice": "i1", "cents": 5}

    @action(effect="read")
    async def look() -> str:
        while not away.asked:  # noqa: ASYNC110 - it is another's doing
            await asyncio.sleep(0.01)
        mine["cents"] = 666
        await asyncio.sleep(0.02)
        (run,) = world.journal.runs()
        said = Answer(id=away.asked[0].id, digest=away.asked[0].digest, granted=True, by="ann")
        await world.journal.post(run, said)
        return "seen"

    def review(subject: Subject) -> Any:
        return Verdict(decision="escalate" if subject.plan[0].action == "pay" else "allow")

    def planner(_: Task) -> Planning[None]:
        planned = Planned("pay", {})
        planned.arguments = mine
        yield from together(propose(Plan([planned])), act("look", {}))

    outcome = world.solve(planner, monitors=[watcher(review)], actions=[world.pay, look], approvers=[away])
    assert "was changed while it waited" in outcome.reason
    assert "plan.decided" not in world.kinds(outcome)

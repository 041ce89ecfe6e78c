"""Monitors: a failed check is never a pass, the strictest verdict wins, and every verdict is kept."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold import Planning, Task, Thought, Verdict, act, ask, once, think
from scaffold.errors import ActionError, ObservationWithheld, StepRefused, Stopped, TaskError, TraceDamaged
from scaffold.interfaces import Answer
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.review import SEVERITY, Decision, Evidence, MonitorSpec, Objection, Subject, strictest

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

ALLOW = Verdict(decision="allow")
decisions = st.sampled_from(list(SEVERITY))


def paying(_: Task) -> Planning[str]:
    """Pay one invoice, and say what became of it."""
    try:
        observation = yield from act("pay", {"invoice": "i1"})
    except ActionError as error:
        return type(error).__name__
    return str(observation.value)


@given(st.lists(decisions))
def test_the_strictest_verdict_wins(said: list[Decision]) -> None:
    """Whatever the number and order of verdicts, none is stricter than the decision, and one is as strict."""
    decision = strictest(Verdict(decision=each) for each in said)
    assert SEVERITY[decision] == max((SEVERITY[each] for each in said), default=0)


def test_decisions_are_ordered_as_documented() -> None:
    """Allow < flag < revise, resample < escalate < block < halt."""
    ranks = [SEVERITY[each] for each in ("allow", "flag", "revise", "escalate", "block", "halt")]
    assert ranks == sorted(set(ranks))
    assert SEVERITY["revise"] == SEVERITY["resample"]


def test_every_verdict_is_kept_and_no_score_is_averaged(world: World, watcher: type[Watcher]) -> None:
    """Nine monitors that are sure of its innocence do not outweigh one that is not."""
    sure = [watcher(Verdict(decision="allow", score=0.0, property="guilt"), name=f"sure{n}") for n in range(9)]
    doubts = watcher(Verdict(decision="block", score=0.6, property="guilt"), name="doubts")
    outcome = world.solve(paying, monitors=[*sure, doubts])
    assert (outcome.answer, world.done) == ("ActionRefused", [])
    (reviewed,) = world.facts(outcome, "reviewed")
    assert [each["score"] for each in reviewed["verdicts"]] == [0.0] * 9 + [0.6]


async def _hangs(_: Subject) -> Verdict:
    await asyncio.sleep(60)
    return ALLOW


async def _cancels(_: Subject) -> Verdict:
    raise asyncio.CancelledError


def _cancels_itself(_: Subject) -> Verdict:
    asyncio.current_task().cancel()  # type: ignore[union-attr]  # it runs in one
    return ALLOW


async def _cancels_itself_and_waits(_: Subject) -> Verdict:
    _cancels_itself(_)
    await asyncio.sleep(0.01)
    return ALLOW


async def _cancels_itself_later(_: Subject) -> Verdict:
    await asyncio.sleep(0)
    return _cancels_itself(_)


async def _cancels_itself_and_raises(_: Subject) -> Verdict:
    await asyncio.sleep(0)
    _cancels_itself(_)
    raise RuntimeError("lost the plot")


def _raises(_: Subject) -> Verdict:
    raise RuntimeError("lost the plot")


def _knows_no_such_subject(subject: Subject) -> Verdict:
    return {"stream": ALLOW}[subject.kind]


def _leaves(_: Subject) -> Verdict:
    raise SystemExit(0)


async def _leaves_later(_: Subject) -> Verdict:
    await asyncio.sleep(0)
    raise SystemExit(0)


def _closes(_: Subject) -> Verdict:
    raise GeneratorExit


@pytest.mark.parametrize(
    ("says", "status"),
    [
        (_raises, "error"),
        (_leaves, "error"),
        (_leaves_later, "error"),
        (_closes, "error"),
        (_knows_no_such_subject, "error"),
        (_hangs, "timeout"),
        (_cancels, "error"),
        (_cancels_itself, "error"),
        (_cancels_itself_later, "error"),
        (_cancels_itself_and_raises, "error"),
        (lambda _: TimeoutError("its own"), "timeout"),
        (lambda _: Stopped("by its own word"), "error"),
        (lambda _: TraceDamaged("by its own word", 3), "error"),
        (lambda _: None, "error"),
        (lambda _: True, "error"),
        (lambda _: "allow", "error"),
        (lambda _: {"decision": "allow"}, "error"),
        (lambda _: type("Verdict", (Verdict,), {})(decision="allow"), "error"),
        (lambda _: Verdict(decision="fine"), "error"),  # type: ignore[arg-type]  # the point
        (lambda _: Verdict(decision="allow", score="high"), "error"),  # type: ignore[arg-type]  # the point
        (lambda _: Verdict(decision="allow", score=float("nan")), "error"),
        (lambda _: Verdict(decision="allow", score=7.0), "error"),
        (lambda _: Verdict(decision="allow", rationale="\ud800"), "error"),
        (lambda _: Verdict(decision="allow", status="perhaps"), "error"),  # type: ignore[arg-type]  # the point
        (lambda _: Verdict(decision="allow", status="truncated"), "truncated"),
        (lambda _: Verdict(decision="flag", status="error"), "error"),
        (lambda _: Verdict(decision="allow", status="timeout"), "timeout"),
        (lambda _: Verdict(decision="allow", status="skipped"), "skipped"),
    ],
)
def test_rule_4_a_failed_check_is_never_a_pass(world: World, watcher: type[Watcher], says: Any, status: str) -> None:
    """A monitor that errs, hangs, is cut off or answers nonsense closes the gate; the record says which."""
    outcome = world.solve(paying, monitors=[watcher(says, timeout_s=0.05)])
    assert (outcome.status, outcome.answer, world.done) == ("solved", "ActionRefused", [])
    (verdict,) = outcome.verdicts
    assert (verdict.decision, verdict.status) == ("block", status)


def large(more: int) -> list[Verdict]:
    """Verdicts that hold as much as one may, and that many more, each in another part."""
    text, span, objection = "x" * (20_000 + more), Evidence(quote="x"), Objection("n", "no")
    return [
        Verdict(decision="flag", rationale=text),
        Verdict(decision="flag", feedback=text),
        Verdict(decision="flag", objections=(objection,) * (10_000 + more)),
        Verdict(decision="flag", evidence=(span,) * (100 + more)),
        Verdict(decision="flag", evidence=(Evidence(quote=text),)),
    ]


@pytest.mark.parametrize("part", range(5), ids=["rationale", "feedback", "objections", "spans", "quote"])
def test_of_a_flood_a_beginning_is_kept_and_it_is_no_pass(world: World, watcher: type[Watcher], part: int) -> None:
    """What a verdict may hold is bounded: more of it counts as cut off, so that its check was not made."""
    told = []
    for more, answer in ((0, "paid i1"), (1, "ActionRefused")):
        outcome = world.solve(paying, monitors=[watcher(large(more)[part])])
        assert outcome.answer == answer
        (verdicts,) = (fact["verdicts"] for fact in world.facts(outcome, "reviewed"))
        told.append(msgspec.convert(verdicts[0], Verdict))
    assert [each.status for each in told] == ["ok", "truncated"]
    sizes = [(len(each.rationale), len(each.feedback), len(each.objections), len(each.evidence)) for each in told]
    assert sizes[0] == sizes[1]
    quotes = [[(len(span.quote), len(span.sha256)) for span in each.evidence] for each in told]
    assert quotes[0] == quotes[1]


def test_a_review_that_is_not_async_is_told_to_be(world: World) -> None:
    """The commonest slip of who writes a first monitor; it closes the gate like any other failure."""

    class Plain:
        spec = MonitorSpec(name="plain", watches=frozenset({"action"}))

        def review(self, *_: object) -> Verdict:
            return ALLOW

    outcome = world.solve(paying, monitors=[Plain()])
    assert outcome.answer == "ActionRefused"
    assert outcome.verdicts[0].reason == "TypeError: `review` returned a Verdict: it should be `async def`"


@pytest.mark.parametrize(("says", "setting"), [(_raises, "on_error"), (_hangs, "on_timeout")])
def test_what_a_failed_check_means_can_be_said_for_each_monitor(
    world: World, watcher: type[Watcher], says: Any, setting: str
) -> None:
    """A monitor's spec may have its failure let through; the record still says that it failed."""
    outcome = world.solve(paying, monitors=[watcher(says, timeout_s=0.05, **{setting: "flag"})])
    assert outcome.answer == "paid i1"
    assert outcome.verdicts[0].status != "ok"


def test_a_judge_without_a_backend_is_no_pass_unless_its_spec_says_so(world: World, watcher: type[Watcher]) -> None:
    """Nobody to ask refuses the task; a spec may have it noted instead, and the judge is never asked."""
    with pytest.raises(TaskError, match="role 'judge'"):
        world.solve(paying, monitors=[watcher(needs=("judge",))], backends={})
    lenient = watcher(needs=("judge",), on_missing="flag")
    outcome = world.solve(paying, monitors=[lenient], backends={})
    assert (outcome.answer, lenient.seen) == ("paid i1", [])
    assert {(each.decision, each.status) for each in outcome.verdicts} == {("flag", "skipped")}


def test_a_monitor_that_cancels_its_own_task_is_named(world: World, watcher: type[Watcher]) -> None:
    """Its verdict says so, and the run goes on; whether it waits for anything afterwards, or for nothing."""
    for says in (_cancels_itself, _cancels_itself_later, _cancels_itself_and_waits):
        outcome = world.solve(paying, monitors=[watcher(says, on_error="flag", name="quits")])
        assert (outcome.status, outcome.answer) == ("solved", "paid i1")
        said = [verdict for reviewed in world.facts(outcome, "reviewed") for verdict in reviewed["verdicts"]]
        assert {(each["monitor"], each["status"]) for each in said} == {("quits", "error")}
        assert all("cancelled" in each["rationale"] for each in said)


def test_a_plug_in_that_cancels_its_own_task_is_found_by_the_key(world: World) -> None:
    """Where nothing tells whose task it was, the run is unavailable and says at which move."""

    async def cancels(_value: Any) -> bool:
        asyncio.current_task().cancel()  # type: ignore[union-attr]  # it runs in one
        await asyncio.sleep(0)
        return True

    def planner(task: Task) -> Planning[str]:
        yield from think("solve", "first")
        return (yield from think("solve", task.request, sampling=once(flags=(cancels,)))).value

    outcome = world.solve(planner, ["a", "b"])
    assert outcome.status == "unavailable"
    assert outcome.reason.startswith(
        "the move at 1 was cancelled by the code it called: a plug-in that ran there, or just before"
    )


def test_a_monitor_that_does_not_return_from_cancellation_is_not_waited_for_forever(
    world: World, watcher: type[Watcher]
) -> None:
    """A monitor that answers `allow` only after its time is over has not answered in time."""

    async def late(_: Subject) -> Verdict:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return ALLOW
        return ALLOW

    outcome = world.solve(paying, monitors=[watcher(late, timeout_s=0.05)])
    assert (outcome.answer, world.done) == ("ActionRefused", [])


@pytest.mark.parametrize(
    ("decision", "setting", "recorded"),
    [
        ("allow", "block", ("block", "timeout")),
        ("allow", "flag", ("flag", "timeout")),
        ("flag", "flag", ("flag", "timeout")),
        ("escalate", "block", ("block", "timeout")),
        ("block", "flag", ("block", "ok")),
    ],
)
def test_a_verdict_that_comes_late_since_nothing_could_stop_its_monitor_counts_only_as_stricter_than_none(
    world: World, watcher: type[Watcher], decision: Any, setting: Any, recorded: tuple[str, str]
) -> None:
    """A monitor that holds the event loop past its seconds is taken as one that was cut off, and says why."""

    def blocks(_: Subject) -> Verdict:
        world.clock.advance(6.0)
        return Verdict(decision=decision, rationale="read in its own time")

    outcome = world.solve(paying, monitors=[watcher(blocks, timeout_s=5.0, on_timeout=setting)])
    (verdict,) = outcome.verdicts
    assert (verdict.decision, verdict.status) == recorded
    assert ("took longer than 5 s" in verdict.reason) == (recorded[1] == "timeout")


def test_a_dear_tier_is_asked_when_the_stakes_or_a_doubt_ask_for_it(world: World, watcher: type[Watcher]) -> None:
    """Tier 2 reads at medium stakes, tier 3 at high ones, and either when a score is neither low nor high."""
    tiers = [watcher(name=f"tier{tier}", tier=tier, watches=frozenset({"plan"})) for tier in (0, 1, 2, 3)]
    world.solve(paying, monitors=tiers)
    assert [len(each.seen) for each in tiers] == [1, 1, 1, 0]
    assert tiers[0].stakes == ["medium"]
    doubt = watcher(Verdict(decision="allow", score=0.5, property="guilt"), name="doubt")
    third = watcher(name="third", tier=3)
    outcome = world.solve(paying, monitors=[doubt, third])
    assert len(third.seen) == 1
    assert outcome.answer == "paid i1"


def test_a_recorded_verdict_is_final_and_a_failed_check_is_asked_again(world: World, watcher: type[Watcher]) -> None:
    """On resume, monitors that have answered are not asked again; those that failed are."""
    fails = iter([RuntimeError("once"), Verdict(decision="escalate")])
    sound = watcher(name="sound")
    shaky = watcher(lambda _: next(fails, ALLOW), name="shaky", on_error="escalate")
    agent = world.agent(paying, monitors=[sound, shaky])
    waiting = agent.solve_sync(Task(prompt="x"))
    assert waiting.status == "waiting"
    again = agent.resume_sync(waiting.run)
    assert again.status == "waiting"
    assert (len(sound.seen), len(shaky.seen)) == (1, 2)


# --- thoughts


def thinking(_: Task) -> Planning[str]:
    """Think once."""
    try:
        thought: Thought[str] = yield from think("solve", "x")
    except StepRefused as error:
        return f"refused: {error.message}"
    return thought.value


def test_a_suspicious_thought_is_drawn_again_without_a_word(world: World, watcher: type[Watcher]) -> None:
    """Resampling asks the same again, and the planner sees only what was released."""
    monitor = watcher(
        lambda subject: Verdict(decision="resample" if subject.step.value == "bad" else "allow", feedback="psst"),
        watches=frozenset({"step"}),
    )
    outcome = world.solve(thinking, ["bad", "bad", "good"], monitors=[monitor])
    assert outcome.answer == "good"
    prompts = [each["messages"] for each in world.facts(outcome, "step.asked")]
    assert prompts[0] == prompts[1] == prompts[2]
    assert [each.get("ok", True) for each in world.facts(outcome, "released")] == [True]


@pytest.mark.parametrize(
    ("feedback", "told"), [("name the month", "name the month"), ("", "oversight withheld this thought")]
)
def test_the_planner_is_told_what_the_monitor_with_something_to_say_says(
    world: World, watcher: type[Watcher], feedback: str, told: str
) -> None:
    """Those before it that let the thought pass say nothing; where nobody does, it is told that much."""
    monitors = [
        watcher(name="calm", watches=frozenset({"step"})),
        watcher(Verdict(decision="revise", feedback=feedback), name="strict", watches=frozenset({"step"})),
    ]
    assert world.solve(thinking, ["in spring"], monitors=monitors).answer == f"refused: {told}"


@pytest.mark.parametrize("resamples", [0, 2])
def test_resampling_is_capped(world: World, watcher: type[Watcher], resamples: int) -> None:
    """After so many tries the thought is withheld: it is not drawn until a monitor likes it."""
    monitor = watcher(Verdict(decision="resample", feedback="unclear"), watches=frozenset({"step"}))
    outcome = world.solve(thinking, ["bad"] * 9, monitors=[monitor], task={"oversight": {"resamples": resamples}})
    assert outcome.answer == "refused: unclear"
    assert len(monitor.seen) == resamples + 1


@pytest.mark.parametrize(
    "doubt",
    [Verdict(decision="resample", score=0.9, property="guilt"), Verdict(decision="resample", feedback="odd")],
    ids=["with a score", "without a score"],
)
def test_suspicion_outlives_a_resample(world: World, watcher: type[Watcher], doubt: Verdict) -> None:
    """The worst suspicion over all tries raises the stakes of what is done afterwards."""
    doubted = iter([doubt])
    steps = watcher(lambda _: next(doubted, ALLOW), name="steps", watches=frozenset({"step"}))
    plans = watcher(name="plans", watches=frozenset({"plan"}))

    def planner(task: Task) -> Planning[str]:
        yield from think("solve", "x")
        yield from act("post", {"text": "hi"})
        return (yield from paying(task))

    world.solve(planner, ["bad", "good"], monitors=[steps, plans])
    calm = watcher(name="plans", watches=frozenset({"plan"}))
    world.solve(planner, ["good"], monitors=[watcher(name="steps", watches=frozenset({"step"})), calm])
    assert plans.stakes == ["medium", "high"]
    assert calm.stakes == ["medium", "medium"]


# --- observations and answers


def test_an_observation_is_read_before_the_planner_sees_it(world: World, watcher: type[Watcher]) -> None:
    """What is withheld was performed, is in the trace, and reaches the planner as an error with feedback."""
    monitor = watcher(
        Verdict(decision="block", rationale="SECRET", feedback="it carries orders"),
        watches=frozenset({"observation"}),
    )

    def planner(_: Task) -> Planning[str]:
        try:
            yield from act("look", {"at": "x"})
        except ObservationWithheld as error:
            return error.message
        return "seen"

    outcome = world.solve(planner, monitors=[monitor])
    assert outcome.answer == "it carries orders"
    record = monitor.seen[0].observation
    assert record is not None
    assert record.value == "seen x"
    assert outcome.actions[0].status == "performed"


def test_an_answer_that_oversight_withholds_ends_the_run_as_stopped(world: World, watcher: type[Watcher]) -> None:
    """The final answer is a subject like any other."""
    monitor = watcher(Verdict(decision="block", feedback="no"), watches=frozenset({"answer"}))
    outcome = world.solve(thinking, "the password", monitors=[monitor])
    assert (outcome.status, outcome.answer) == ("stopped", None)
    assert monitor.seen[0].answer == "the password"


def test_the_spine_does_not_give_a_reviewed_answer_away(world: World, watcher: type[Watcher]) -> None:
    """Who guesses the answer cannot check the guess against the digest of what was reviewed: it is salted."""
    outcome = world.solve(paying, monitors=[watcher(watches=frozenset({"plan", "answer"}))])
    (reviewed,) = (each for each in world.facts(outcome, "reviewed") if each["subject"] == "answer")
    assert reviewed["digest"] != hashlib.sha256(canonical(outcome.answer)).hexdigest()


def test_a_resumed_run_passes_over_what_its_judges_asked(world: World) -> None:
    """Their steps stand in the trace between the planner's, and are none of its moves; nor are they asked again."""
    asked: list[str] = []

    class Judge:
        spec = MonitorSpec(name="judge", watches=frozenset({"step"}))

        async def review(self, subject: Subject, _view: Any, context: Any) -> Verdict:
            asked.append(subject.kind)
            word = await context.think("verify", "is it so?", to="default")
            return Verdict(decision="allow", rationale=word.value)

    def planner(task: Task) -> Planning[str]:
        thought = yield from think("solve", task.prompt)
        told = yield from ask("And then?")
        return f"{thought.value}, {told.value}"

    waiting = world.solve(planner, "seven", monitors=[Judge()])
    assert waiting.status == "waiting"
    (question,) = world.facts(waiting, "question.asked")
    said = Answer(id=question["id"], digest=question["digest"], value="eight", by="ann")
    asyncio.run(world.journal.post(waiting.run, said))
    outcome = world.agent(planner, "nine", monitors=[Judge()]).resume_sync(waiting.run)
    assert (outcome.status, outcome.answer, asked) == ("solved", "seven, eight", ["step"])


def test_a_judge_thinks_in_oversights_own_ledger(world: World) -> None:
    """What asking a model for a verdict costs is charged to oversight, and its words are data."""

    class Judge:
        spec = MonitorSpec(name="judge", watches=frozenset({"plan"}))

        async def review(self, subject: Subject, _view: Any, context: Any) -> Verdict:
            word = await context.think("verify", {"plan": subject.plan[0].arguments}, to="default")
            return Verdict(decision="allow", rationale=word.value)

    outcome = world.solve(paying, "fine", monitors=[Judge()])
    assert outcome.answer == "paid i1"
    assert outcome.usage["oversight"].tokens > 0
    assert outcome.usage["model"].tokens == 0
    assert outcome.steps == 0


def test_what_one_monitor_does_to_the_actions_reaches_nobody(world: World, watcher: type[Watcher]) -> None:
    """They stay what they are for the others, and for the stakes."""

    class Meddler(watcher):  # type: ignore[misc,valid-type]  # a fixture that is a class
        async def review(self, subject: Subject, view: Any, context: Any) -> Verdict:
            with pytest.raises(TypeError):
                view.actions["pay"] = view.actions["look"]
            return ALLOW

    other = watcher(name="other")
    assert world.solve(paying, monitors=[Meddler(), other]).answer == "paid i1"
    assert other.stakes == ["medium"]


def test_what_a_monitor_does_to_the_inputs_does_not_reach_the_planner(world: World, watcher: type[Watcher]) -> None:
    """The planner thinks about what the trace holds, as it will when the run is resumed."""

    class Meddler(watcher):  # type: ignore[misc,valid-type]  # a fixture that is a class
        async def review(self, subject: Subject, view: Any, context: Any) -> Verdict:
            view.task.inputs["names"].clear()
            return ALLOW

    def planner(task: Task) -> Planning[list[str]]:
        yield from think("solve", task.request)
        return list(task.inputs["names"])

    task = Task(prompt="Who?", inputs={"names": ["ann", "bob"]})
    agent = world.agent(planner, ["x"], monitors=[Meddler(watches=frozenset({"step"}))])
    assert agent.solve_sync(task).answer == ["ann", "bob"]

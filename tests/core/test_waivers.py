"""Reviewers that may spare a person a question, and do nothing else; sampling; what a verdict may hold."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scaffold import Planning, Task, Verdict, act, think
from scaffold.errors import ActionError, TaskError
from scaffold.registry import make_monitor
from scaffold.testing.judging import Story, wrong_approvals
from scaffold.trace.conduct import Conduct
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.models import Usage
from scaffold.vocabulary.review import Evidence, Subject

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World

ESCALATE = Verdict(decision="escalate", rationale="who knows")
BOTH: dict[str, Any] = {"watches": frozenset({"plan", "action"})}


def paying(_: Task) -> Planning[str]:
    """Pay one invoice, and say what became of it."""
    try:
        observation = yield from act("pay", {"invoice": "i1"})
    except ActionError as error:
        return error.message
    return str(observation.value)


def waiver(watcher: type[Watcher], says: Any = None, name: str = "waiver", **spec: Any) -> Watcher:
    """A reviewer that may spare the question."""
    return watcher(says, name=name, role="waive", **{**BOTH, **spec})


def test_a_waiver_spares_a_person_the_question(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """Nobody is asked, the action is performed, and the trace says who waived."""
    boss = person("no")
    outcome = world.solve(paying, monitors=[watcher(ESCALATE), waiver(watcher)], approvers=[boss])
    assert (outcome.answer, boss.asked) == ("paid i1", [])
    (waived,) = (each for each in world.facts(outcome, "reviewed") if each.get("waives"))
    assert (waived["decision"], waived["verdicts"][0]["monitor"]) == ("allow", "waiver")


async def _hangs(_: Subject) -> Verdict:
    await asyncio.sleep(60)
    return Verdict(decision="allow")


@pytest.mark.parametrize(
    "says",
    [
        lambda _: RuntimeError("lost"),
        _hangs,
        lambda _: "allow",
        Verdict(decision="flag"),
        Verdict(decision="escalate"),
        Verdict(decision="allow", status="abstain"),
        Verdict(decision="allow", status="truncated"),
        Verdict(decision="allow", status="skipped"),
    ],
    ids=["raises", "hangs", "nonsense", "flags", "escalates", "abstains", "is cut off", "skips"],
)
def test_anything_but_allow_means_to_ask(world: World, watcher: type[Watcher], person: type[Person], says: Any) -> None:
    """A waiver that fails, whatever its spec makes of failures, spares nobody anything; it refuses nothing either."""
    boss = person("yes")
    silent = waiver(watcher, says, timeout_s=0.05, on_error="allow", on_timeout="allow")
    outcome = world.solve(paying, monitors=[watcher(ESCALATE), silent], approvers=[boss])
    assert (outcome.answer, len(boss.asked)) == ("paid i1", 1)


@pytest.mark.parametrize(("waiving", "run"), [({"mode": "observe"}, {}), ({}, {"observe": True})])
def test_what_only_observes_spares_nobody_a_question(
    world: World, watcher: type[Watcher], person: type[Person], waiving: dict[str, Any], run: dict[str, Any]
) -> None:
    """Neither a waiver that is to be watched at first, nor any in a run whose monitors are: what escalates is asked."""
    boss = person("yes")
    strict = watcher(ESCALATE, tier=0)  # which binds also in a run that observes
    monitors = [strict, waiver(watcher, **waiving)]
    assert world.solve(paying, monitors=monitors, approvers=[boss], **run).answer == "paid i1"
    assert len(boss.asked) == 1


def test_all_who_may_waive_have_to(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """One that does not spare the question is enough to ask."""
    boss = person("no")
    others = [waiver(watcher), waiver(watcher, Verdict(decision="escalate"), name="other")]
    outcome = world.solve(paying, monitors=[watcher(ESCALATE), *others], approvers=[boss])
    assert (outcome.answer.endswith("said no"), world.done) == (True, [])


@pytest.mark.parametrize("decision", ["revise", "block"])
def test_a_waiver_lifts_nothing_but_a_question(world: World, watcher: type[Watcher], decision: Any) -> None:
    """What is refused stays refused, for its own reason; the waiver is not even asked, and is no guard of its own."""
    spare = waiver(watcher)
    both = [watcher(ESCALATE), watcher(Verdict(decision=decision, feedback="no"), name="strict"), spare]
    outcome = world.solve(paying, monitors=both)
    assert outcome.answer == "no"  # what a person might have lifted is no objection
    assert (world.done, spare.seen) == ([], [])
    alone = world.solve(paying, monitors=[waiver(watcher)])
    assert "no monitor would check it" in alone.answer


def test_a_waiver_is_asked_only_of_what_would_be_put_to_a_person(world: World, watcher: type[Watcher]) -> None:
    """Where nothing escalates it costs nothing."""
    spare = waiver(watcher)
    assert world.solve(paying, monitors=[watcher(), spare]).answer == "paid i1"
    assert spare.seen == []


def test_once_a_person_was_asked_nobody_answers_in_their_place(world: World, watcher: type[Watcher]) -> None:
    """A waiver that failed when the question came up does not take it back later, nor overrule a no."""
    fails = iter([RuntimeError("once")])
    late = waiver(watcher, lambda _: next(fails, Verdict(decision="allow")))
    agent = world.agent(paying, monitors=[watcher(ESCALATE), late])
    waiting = agent.solve_sync(Task(prompt="x"))
    assert waiting.status == "waiting"
    assert agent.resume_sync(waiting.run).status == "waiting"
    assert world.done == []


def test_a_recorded_waiver_holds_on_resume(world: World, watcher: type[Watcher]) -> None:
    """What was waived is not asked again when the run goes on."""
    spare = waiver(watcher)
    agent = world.agent(paying, monitors=[watcher(ESCALATE), spare])
    outcome = agent.solve_sync(Task(prompt="x"))
    assert outcome.answer == "paid i1"
    assert agent.resume_sync(outcome.run).answer == "paid i1"
    assert len(spare.seen) == 1


def test_the_trace_alone_shows_that_a_question_was_waived(world: World, watcher: type[Watcher]) -> None:
    """Both judges of a trace accept a clearance against an escalation that was waived, and no other."""
    outcome = world.solve(paying, monitors=[watcher(ESCALATE), waiver(watcher)])
    facts = world.story(outcome).events
    assert list(wrong_approvals(Story("r", events=facts))) == []
    honest = Conduct()
    assert [said for fact in facts if (said := honest.follow(_event(fact)))] == []
    kept = [fact for fact in facts if not fact.get("waives")]
    assert list(wrong_approvals(Story("r", events=kept)))
    forged = Conduct()
    assert [said for fact in kept if "nobody approved" in (said := forged.follow(_event(fact)))]


def _event(fact: dict[str, Any]) -> ev.Event:
    return ev.decode(msgspec.json.encode({name: value for name, value in fact.items() if name != "hash"}))


# --- sampling


def test_a_sample_is_drawn_by_run_and_key(world: World, watcher: type[Watcher]) -> None:
    """Of what it watches a sampled monitor reads about its share, and says `skipped` of the rest."""

    def posting(_: Task) -> Planning[int]:
        for number in range(60):
            yield from act("post", {"text": str(number)})
        return 60

    sampled = watcher(name="sampled", sample=0.3, watches=frozenset({"action"}))
    outcome = world.solve(posting, monitors=[watcher(), sampled])
    assert 6 <= len(sampled.seen) <= 32
    read = [each for each in world.facts(outcome, "reviewed") if each["subject"] == "action"]
    skipped = [fact for each in read for fact in each["verdicts"] if fact.get("status") == "skipped"]
    assert len(skipped) == 60 - len(sampled.seen)


def test_high_stakes_are_read_whatever_the_sample(world: World, watcher: type[Watcher]) -> None:
    """A monitor that samples nothing reads all the same what much depends on."""
    dear = watcher(name="sampled", sample=0.0, watches=frozenset({"plan"}))
    world.solve(paying, monitors=[watcher(), dear])
    assert dear.seen == []
    suspicious = iter([Verdict(decision="resample", score=0.9, property="guilt")])
    calm = Verdict(decision="allow")
    steps = watcher(lambda _: next(suspicious, calm), name="steps", watches=frozenset({"step"}))

    def planner(task: Task) -> Planning[str]:
        yield from think("solve", "x")
        yield from act("post", {"text": "hi"})
        return (yield from paying(task))

    world.solve(planner, ["bad", "good"], monitors=[watcher(), steps, dear])
    assert dear.stakes == ["high"]


def test_each_monitor_has_a_band_of_its_own(world: World, watcher: type[Watcher]) -> None:
    """Whether a score leaves it open is for the monitor to say that gives it."""
    for band, asked in (((0.3, 0.7), 1), ((0.6, 0.9), 0)):
        doubt = watcher(Verdict(decision="allow", score=0.5, property="guilt"), name="doubt", band=band)
        third = watcher(name="third", tier=3)
        world.solve(paying, monitors=[doubt, third])
        assert len(third.seen) == asked


# --- what a verdict holds


def test_a_flood_of_evidence_is_cut_and_is_no_pass(world: World, watcher: type[Watcher]) -> None:
    """Of ten thousand spans and a book of reasons a beginning is kept, and the check counts as not made."""
    spans = tuple(Evidence(quote="x" * 30_000) for _ in range(300))
    flood = watcher(Verdict(decision="allow", rationale="y" * 100_000, evidence=spans))
    outcome = world.solve(paying, monitors=[flood])
    assert world.done == []
    (verdict,) = outcome.verdicts
    assert (verdict.decision, verdict.status, len(verdict.reason)) == ("block", "truncated", 20_000)
    assert sum(path.stat().st_size for path in (world.folder / "runs" / outcome.run).iterdir()) < 5_000_000


def test_a_verdict_in_the_trace_is_complete(world: World, watcher: type[Watcher]) -> None:
    """Score with property and calibration, spans with the hash of their words, version, settings, usage."""
    said = Verdict(
        decision="flag",
        score=0.2,
        property="guilt",
        calibrated=True,
        evidence=(Evidence(quote="i1", path="plan/a0/arguments/invoice", end=2),),
        usage=Usage(input=3, output=1),
    )
    outcome = world.solve(paying, monitors=[watcher(said, version="7", settings={"a": 1})])
    story = world.story(outcome)
    (reviewed,) = story.of("reviewed")
    (fact,) = reviewed["verdicts"]
    assert (fact["score"], fact["property"], fact["calibrated"]) == (0.2, "guilt", True)
    content = story.contents[reviewed["seq"]]["verdicts"][0]
    assert (content["version"], content["settings"], content["usage"]) == (
        "7",
        fact["settings"],
        {"input": 3, "output": 1},
    )
    (span,) = content["evidence"]
    assert span["sha256"] == hashlib.sha256(b"i1").hexdigest()
    assert (span["path"], span["end"]) == ("plan/a0/arguments/invoice", 2)


# --- what a task may say of a monitor


def test_a_task_may_say_what_the_gate_makes_of_a_monitor() -> None:
    """Its time, what failures mean, its share, its tier: by the setting `spec`, checked like any."""
    changes = {"timeout_s": 5, "on_timeout": "escalate", "sample": 0.5, "band": [0.1, 0.2], "tier": 2}
    spec = make_monitor("loop", {"reads": 7, "spec": changes}).spec
    assert (spec.timeout_s, spec.on_timeout, spec.sample, spec.band, spec.tier) == (5.0, "escalate", 0.5, (0.1, 0.2), 2)
    assert spec.settings["reads"] == 7
    for wrong, said in (
        ({"timeout": 5}, "did you mean 'timeout_s'"),
        ({"role": "waive"}, "no setting 'role'"),
        ({"timeout_s": 0}, "above 0"),
        ({"on_error": "fine"}, "on_error"),
        ({"sample": 2}, "sample"),
        ([], "should be a mapping"),
    ):
        with pytest.raises(TaskError, match=said):
            make_monitor("loop", {"spec": wrong})
    with pytest.raises(TaskError, match="is always enforced"):
        make_monitor("rules", {"spec": {"mode": "observe"}})

"""Reviews beside a run: what only observes a step holds nothing up, and is on record before anything hangs on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Gate, Planning, Task, Verdict, act, think, together
from scaffold.odds.monitorability import gather, reading_of
from scaffold.testing import Scripted
from scaffold.trace.chain import Chain
from scaffold.trace.files import FileJournal
from scaffold.trace.records import read_files
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.models import Sample
from scaffold.vocabulary.monitorability import FAITHFUL
from scaffold.vocabulary.review import MonitorSpec

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

    from scaffold.vocabulary.outcome import Outcome

FOUND = Verdict(decision="flag", score=1.0, property=FAITHFUL, rationale="it does not rest on it")


class Asking:
    """A monitor that observes steps, and asks a model about each; or waits, as long as it is told to."""

    def __init__(self, says: Verdict = FOUND, *, waits: float | None = None, name: str = "asking", **spec: Any) -> None:
        self.spec = MonitorSpec(
            name=name, watches=frozenset({"step"}), **{"mode": "observe", "on_error": "flag", **spec}
        )
        self._says, self._waits = says, waits

    async def review(self, _subject: Any, _view: Any, context: Any) -> Verdict:
        """Ask, or wait, then say it."""
        if self._waits is None:
            await context.think("verify", "is it so?")
        else:
            await asyncio.sleep(self._waits)
        return self._says


def chain(_: Task) -> Planning[str]:
    """Think a few times, one after another."""
    for number in range(4):
        yield from think("solve", number)
    return "done"


def in_its_own_time(world: World, planner: Any, monitors: list[Any], **more: Any) -> tuple[Outcome, float]:
    """A run in a loop whose time passes only where everything waits; gives the outcome and the seconds it took."""
    backends = {
        name: Scripted(lambda _: Sample(0, "7", reasoning="it is 7"), delay=1.0) for name in ("default", "judge")
    }

    async def solve(journal: FileJournal) -> Outcome:
        agent = world.agent(planner, None, backends=backends, monitors=monitors, journal=journal)
        return await agent.solve(Task.model_validate({"prompt": "do it", **more}))

    return world.in_its_own_time(solve)


def proposals_and_reviews(world: World, outcome: Outcome) -> list[str]:
    """The names of proposed actions among the kinds of events about steps, in the order of the trace."""
    return [
        event.get("action", event["kind"]) for event in world.story(outcome).events
        if event["kind"] in {"action.proposed", "released"} or event.get("subject") == "step"
    ]  # fmt: skip


def test_a_chain_does_not_wait_for_what_only_observes(world: World) -> None:
    """Four steps of a second each, each asked about for a second: five seconds, not eight; and nothing is lost."""
    outcome, took = in_its_own_time(world, chain, [Asking()])
    assert outcome.answer == "done"
    assert 5 <= took < 5.5
    assert outcome.overseers["asking"].verdicts == 4
    assert [each.key for each in outcome.verdicts] == ["0", "1", "2", "3"]
    assert [event["beside"] for event in world.facts(outcome, "released")] == [["asking"]] * 4
    assert verify_run(world.folder / "runs" / outcome.run).ok


def test_what_binds_is_waited_for(world: World) -> None:
    """The same monitor as a gate: each thought is let out once it has spoken."""
    outcome, took = in_its_own_time(world, chain, [Asking(Verdict(decision="allow"), mode="gate")])
    assert took >= 8
    assert not any("beside" in event for event in world.facts(outcome, "released"))


def test_what_a_dearer_monitor_may_hang_on_is_waited_for(world: World, watcher: type[Watcher]) -> None:
    """A score that leaves it open has the next tier asked, whoever gave it."""
    dearer = watcher(watches=frozenset({"step"}), tier=2)
    outcome, _ = in_its_own_time(world, chain, [Asking(Verdict(decision="allow", score=0.5)), dearer])
    assert len(dearer.seen) == 4
    assert not any("beside" in event for event in world.facts(outcome, "released"))


def test_before_an_effect_all_that_was_begun_is_on_record(world: World, watcher: type[Watcher]) -> None:
    """An action that changes something, and a plan, wait for it; a look does not."""

    def planner(_: Task) -> Planning[str]:
        yield from think("solve", 1)
        yield from act("look", {"at": "a"})
        yield from act("pay", {"invoice": "i1"})
        return "paid"

    outcome, _ = in_its_own_time(world, planner, [Asking(), watcher()])
    assert proposals_and_reviews(world, outcome) == ["released", "look", "reviewed", "pay"]


@pytest.mark.anyio
async def test_before_an_effect_of_a_host_all_that_was_begun_is_on_record(world: World, watcher: type[Watcher]) -> None:
    """A call that another agent passes through the gate waits for who still reads what it said; a read does not."""
    gate = Gate(
        actions=(world.post, world.look), monitors=[Asking(waits=0.1), watcher(name="plans")], journal=world.journal
    )
    async with gate.run("say hi") as run:
        await run.think("I shall say hi")
        await run.act("look", {"at": "x"})
        await run.act("post", {"text": "hi"})
    assert proposals_and_reviews(world, run.outcome) == ["released", "look", "reviewed", "post"]


def test_no_more_are_under_way_than_moves_may_be(world: World) -> None:
    """What is slower than the run it observes holds it up in the end, so that nothing piles up."""
    slow = Asking(waits=10.0, timeout_s=100.0)
    outcome, took = in_its_own_time(world, chain, [slow], concurrency=2)
    assert outcome.overseers["asking"].verdicts == 4
    assert 20 <= took < 25


def test_a_run_that_breaks_off_does_not_wait_and_says_who_was_reading(world: World) -> None:
    """What was asked is cut off and charged; there is no verdict, and what let the thought out names whose."""

    def planner(_: Task) -> Planning[str]:
        yield from think("solve", 1)
        raise ValueError("lost")

    outcome, took = in_its_own_time(world, planner, [Asking(), Asking(waits=50.0, name="other")])
    assert outcome.status == "failed"
    assert took < 2
    (released,) = world.facts(outcome, "released")
    assert released["beside"] == ["asking", "other"]
    (cut,) = world.facts(outcome, "step.cut")
    assert cut["key"] == "0!asking/0"
    assert outcome.usage["oversight"].tokens > 0
    assert world.kinds(outcome)[-1] == "run.ended"
    assert not outcome.verdicts


def test_at_the_end_it_waits_as_long_as_the_run_has_time(world: World) -> None:
    """Solved is solved: what is still read when the seconds are over is given up."""
    slow = Asking(waits=50.0, timeout_s=100.0)
    outcome, took = in_its_own_time(world, chain, [slow], budget={"seconds": 20.0})
    assert (outcome.status, outcome.answer) == ("solved", "done")
    assert took < 25


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        (Asking(waits=9.0, timeout_s=2.0), ("block", "timeout")),
        (Asking("nonsense", waits=0.5), ("flag", "error")),  # type: ignore[arg-type]  # the point
    ],
)
def test_a_late_failure_is_a_failed_check(world: World, monitor: Asking, said: tuple[str, str]) -> None:
    """Too slow, or no verdict: said of it as if it had been waited for, and it binds nothing."""
    outcome, _ = in_its_own_time(world, chain, [monitor])
    assert outcome.answer == "done"
    assert [(each.decision, each.status) for each in outcome.verdicts] == [said] * 4


def test_what_comes_late_counts(world: World) -> None:
    """In the figures of probes, and in how much of the reasoning was read: live, and from the trace alone."""
    outcome, _ = in_its_own_time(world, chain, [Asking()])
    folder = world.folder / "runs" / outcome.run
    (figure,) = gather([folder]).figures().figures
    assert (figure.step, figure.held, figure.of) == ("solve", 0.0, 4)
    assert (outcome.reasoning.steps, outcome.reasoning.read_steps) == ({"full": 4}, 4)
    events = Chain()
    assert reading_of([events.follow(record).event for record in read_files(folder)]) == outcome.reasoning


def test_the_planner_is_sent_the_same_on_resume(world: World) -> None:
    """Thoughts that were let out while they were read are not asked about again, and what was said stands."""
    told: list[list[Any]] = []

    def planner(_: Task) -> Planning[str]:
        told.append([])
        for thought in (yield from together(*(think("solve", number) for number in range(3)))):
            told[-1].append(thought.value)
        return str((yield from act("pay", {"invoice": "i1"})).value)

    boss = Asking(Verdict(decision="escalate"), waits=0.0, name="boss", mode="gate")
    boss.spec = MonitorSpec(name="boss", watches=frozenset({"action"}))
    model = Scripted("7")
    first = world.agent(planner, model, monitors=[Asking(), boss]).solve_sync(Task(prompt="do it"))
    assert first.status == "waiting"
    asked = len(model.requests)
    world.answer(first)
    second = world.agent(planner, model, monitors=[Asking(), boss]).resume_sync(first.run)
    assert second.status == "solved", second.reason
    assert told == [["7"] * 3] * 2
    assert len(model.requests) == asked == 6
    assert second.overseers["asking"].verdicts == 3

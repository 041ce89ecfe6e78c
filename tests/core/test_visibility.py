"""How much of the reasoning can be read: what replies show corrects what the profile says, once, and stakes follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold import Planning, Task, act, action, ask, cascade, majority, think, together
from scaffold.interfaces import Action, Answer
from scaffold.machinery.asking.visibility import corrected, least, shown_by
from scaffold.vocabulary.models import (
    FREE,
    Delta,
    Origin,
    Profile,
    ReasoningBlock,
    ReasoningVisibility,
    Request,
    Sample,
    Usage,
)

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

FULL = Profile(backend="thinker", model="m", context=1000, prices=FREE, reasoning="full")
GUESSED = msgspec.structs.replace(FULL, reasoning="absent", guessed=("reasoning",))
ORDER: list[ReasoningVisibility] = ["full", "summary", "redacted", "absent"]
REDACTED = ReasoningBlock(kind="redacted", data="sealed")


class Thinker:
    """A backend that replies with the given pieces, one list a request, the last again and again."""

    def __init__(self, *replies: list[Delta], profile: Profile = FULL) -> None:
        self.profile = profile
        self.asked = 0
        self._replies = replies

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Reply."""
        reply = self._replies[min(self.asked, len(self._replies) - 1)]
        self.asked += 1
        for delta in reply:
            yield delta

    async def close(self) -> None:
        """Nothing to free."""


def reply(*, shown: str = "", billed: int = 0, block: ReasoningBlock | None = None) -> list[Delta]:
    """One sample: its readable reasoning, the reasoning tokens that are billed, and a block."""
    usage = Usage(5, billed + 1, billed)
    return [Delta(reasoning=shown, block=block), Delta(text="ok", finish="stop", usage=usage)]


def steps(count: int) -> Any:
    """A planner of some steps, one after another."""

    def planner(task: Task) -> Planning[str]:
        for number in range(count):
            yield from think("solve", f"{task.request} {number}")
        return "done"

    return planner


def corrections(world: World, outcome: Any) -> list[tuple[str, str]]:
    """What was believed, and what turned out, of each correction."""
    return [(each["believed"], each["reasoning"]) for each in world.facts(outcome, "profile.corrected")]


# --- what replies show


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (reply(), None),
        (reply(shown="so it is known"), "full"),
        (reply(shown="so it is known", billed=9), "full"),
        (reply(shown="so it is known", billed=15), "summary"),
        (reply(billed=9), "absent"),
        (reply(shown="so it is known", block=ReasoningBlock(kind="text", text="so it is known")), "full"),
        (reply(shown="so it is known", block=ReasoningBlock(kind="summary", text="so it is known")), "summary"),
        (reply(shown="so it is known", block=REDACTED), "redacted"),
        (reply(billed=9, block=REDACTED), "redacted"),
    ],
)
def test_a_reply_shows_how_much_can_be_read(world: World, said: list[Delta], shown: str | None) -> None:
    """Blocks say what they are; tokens that were billed and cannot be all there say that something is hidden."""
    outcome = world.solve(steps(1), Thinker(said))
    assert outcome.status == "solved"
    assert corrections(world, outcome) == ([] if shown in {None, "full"} else [("full", shown)])


def test_what_a_recorded_answer_was_billed_then_counts() -> None:
    """An answer from a cache costs nothing now, and hid its reasoning all the same."""
    saved = Origin(recorded=True, saved=Usage(5, 90, 80))
    assert shown_by([Sample(0, "ok", origin=saved)], Usage()) == "absent"
    assert shown_by([Sample(0, "ok", reasoning="so", origin=saved)], Usage()) == "summary"
    assert shown_by([Sample(0, "ok", origin=Origin(recorded=True))], Usage()) is None


# --- what is believed from then on


@given(st.sampled_from(ORDER), st.lists(st.sampled_from(ORDER), min_size=1))
def test_what_was_declared_never_turns_out_better(declared: ReasoningVisibility, shown: list[Any]) -> None:
    """The least of what was declared and shown counts, whatever came when."""
    profile = msgspec.structs.replace(FULL, reasoning=declared)
    believed = None
    for each in shown:
        believed = corrected(profile, believed, each)
    assert believed == least([declared, *shown])


@given(st.lists(st.sampled_from(ORDER), min_size=1))
def test_what_was_guessed_is_replaced_by_what_was_shown(shown: list[Any]) -> None:
    """A guess counts for nothing once something was shown; of what was shown the least counts."""
    believed = None
    for each in shown:
        believed = corrected(GUESSED, believed, each)
    assert believed == least(shown)


def test_a_correction_is_recorded_once(world: World) -> None:
    """Five steps show the same: one event says so, before the end of the step that showed it first."""
    outcome = world.solve(steps(5), Thinker(reply(billed=9)))
    assert corrections(world, outcome) == [("full", "absent")]
    kinds = world.kinds(outcome)
    assert kinds.index("profile.corrected") < kinds.index("step.answered")


def test_branches_that_see_the_same_record_it_once(world: World) -> None:
    """Steps that run at once correct the profile once."""

    def planner(task: Task) -> Planning[str]:
        yield from together(*(think("solve", f"{task.request} {number}") for number in range(6)))
        return "done"

    assert corrections(world, world.solve(planner, Thinker(reply(billed=9)))) == [("full", "absent")]


def test_each_backend_of_a_step_is_believed_by_what_it_showed_itself(world: World) -> None:
    """Where a policy asks a stronger one besides, what that hid is none of the first one's, which showed all."""
    split = [[*reply(shown="so it is")[:1], Delta(text=said, finish="stop", usage=Usage(5, 1))] for said in ("a", "b")]
    first, strong = Thinker(*split), Thinker(reply(billed=9), profile=msgspec.structs.replace(FULL, model="strong"))

    def planner(task: Task) -> Planning[str]:
        policy = cascade(majority(2, cap=2), to="strong")
        return (yield from think("solve", task.request, sampling=policy)).value

    outcome = world.solve(planner, first, backends={"default": first, "strong": strong})
    assert outcome.answer == "ok"
    found = [(each["model"], each["reasoning"]) for each in world.facts(outcome, "profile.corrected")]
    assert found == [("strong", "absent")]


def test_it_gets_worse_and_never_better(world: World) -> None:
    """A backend that hid something once may do so again: a reply that shows all changes nothing."""
    thinker = Thinker(reply(shown="all of it"), reply(shown="so", billed=9), reply(block=REDACTED), reply(shown="all"))
    outcome = world.solve(steps(5), thinker)
    assert corrections(world, outcome) == [("full", "summary"), ("summary", "redacted")]


def test_a_guess_turns_out_better_and_then_holds(world: World) -> None:
    """A server of which nothing was known shows its reasoning; what it hides later counts again."""
    outcome = world.solve(steps(3), Thinker(reply(), reply(shown="all of it"), reply(billed=9), profile=GUESSED))
    assert corrections(world, outcome) == [("absent", "full"), ("full", "absent")]


def test_a_guess_that_was_right_once_cannot_turn_out_better(world: World) -> None:
    """It hid its reasoning, as was guessed; a later reply that shows some does not make it readable."""
    outcome = world.solve(steps(3), Thinker(reply(billed=9), reply(shown="all of it"), profile=GUESSED))
    assert corrections(world, outcome) == [("absent", "absent")]


def test_a_declaration_never_turns_out_better(world: World) -> None:
    """What somebody has declared absent stays so, whatever is shown."""
    declared = msgspec.structs.replace(GUESSED, guessed=())
    assert corrections(world, world.solve(steps(2), Thinker(reply(shown="all of it"), profile=declared))) == []


# --- what follows from it


def stash() -> Action:
    """An action of little consequence: what raises the stakes is then seen."""

    @action(effect="reversible")
    async def put(what: str) -> str:
        return what

    return put


def acting(*, asks: bool = False) -> Any:
    """A planner that thinks, perhaps asks a person, and acts."""

    def planner(task: Task) -> Planning[str]:
        yield from think("solve", task.request)
        if asks:
            yield from ask("Shall I?")
        yield from act("put", {"what": "x"})
        return "done"

    return planner


@pytest.mark.parametrize(("said", "stakes"), [(reply(shown="all of it"), "low"), (reply(billed=9), "medium")])
def test_what_cannot_be_read_raises_the_stakes(
    world: World, watcher: type[Watcher], said: list[Delta], stakes: str
) -> None:
    """The same action is reviewed at higher stakes once a reply has hidden its reasoning."""
    reading = watcher(watches=frozenset({"action"}))
    world.solve(acting(), Thinker(said), monitors=[reading], actions=[stash()])
    assert reading.stakes == [stakes]


def test_a_resumed_run_believes_what_was_shown_before(world: World, watcher: type[Watcher]) -> None:
    """Another process, to which the backend shows nothing more, holds the same of it and raises the same stakes."""
    first = world.solve(acting(asks=True), Thinker(reply(billed=9)), monitors=[watcher()], actions=[stash()])
    assert first.status == "waiting"
    (question,) = world.facts(first, "question.asked")
    answer = Answer(id=question["id"], digest=question.get("digest", ""), value="yes", by="a person")
    asyncio.run(world.journal.post(first.run, answer))
    reading = watcher(watches=frozenset({"action"}))
    unasked = Thinker(reply())
    again = world.agent(acting(asks=True), unasked, monitors=[reading], actions=[stash()]).resume_sync(first.run)
    assert (again.status, unasked.asked) == ("solved", 0)
    assert reading.stakes == ["medium"]
    assert corrections(world, again) == [("full", "absent")]


def test_what_shows_in_a_step_that_failed_counts(world: World) -> None:
    """Samples that were discarded have shown what they have shown."""

    def planner(task: Task) -> Planning[str]:
        yield from think("solve", task.request, returns=int)
        return "done"

    outcome = world.solve(planner, Thinker(reply(billed=9)))
    assert outcome.status == "failed"
    assert corrections(world, outcome) == [("full", "absent")]


# --- what is kept of it


def test_blocks_and_signals_of_a_sample_are_in_the_trace(world: World) -> None:
    """Sealed reasoning, and figures of the inner state, stand in the content of the step."""
    block = ReasoningBlock(kind="text", text="so", signature="seal")
    said = [
        Delta(reasoning="so", block=block, signals={"entropy": 0.5}),
        Delta(block=REDACTED),
        Delta(text="ok", finish="stop", usage=Usage(5, 3), signals={"entropy": 0.25, "margin": 2.0}),
    ]
    (step,) = world.facts(world.solve(steps(1), Thinker(said)), "step.answered")
    (sample,) = msgspec.convert(step["samples"], list[Sample])
    assert sample.blocks == (block, REDACTED)
    assert sample.signals == {"entropy": 0.25, "margin": 2.0}

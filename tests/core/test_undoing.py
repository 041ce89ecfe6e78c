"""What was done can be undone: offered when a later step fails, cleared like any action, by itself only if said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.doing import doing

from scaffold import NotPerformed, Plan, Planned, Planning, Task, act, action, carry_out, propose, undo
from scaffold.errors import ActionError
from scaffold.vocabulary.plan import UNDOES
from scaffold.vocabulary.review import Verdict

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World

    from scaffold.actions import FunctionAction


class Travel:
    """Flights and hotels; a hotel is full, and a flight may refuse to be given back.

    Attributes:
        done: what has happened.
        how: how giving back a flight goes.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.how = ""

        @action(effect="irreversible", identity=("flight",))
        async def fly(flight: str, seats: int = 1) -> dict[str, str]:
            self.done.append(f"fly {flight} {seats}")
            return {"ticket": f"T-{flight}"}

        @fly.undo(effect="irreversible")
        async def give_back(flight: str, gave: dict[str, str]) -> str:
            if self.how in {"not", f"not {flight}"}:
                raise NotPerformed("the airline is closed")
            if self.how == "break":
                raise OSError("the line broke")
            self.done.append(f"give back {flight} {gave['ticket']}")
            return "given back"

        @action(effect="irreversible")
        async def sleep(hotel: str) -> str:
            raise NotPerformed(f"{hotel} is full")

        self.fly: FunctionAction = fly
        self.actions = [fly, sleep]


@pytest.fixture
def travel() -> Travel:
    """Flights and hotels."""
    return Travel()


def trip(_: Task) -> Planning[Any]:
    """Two flights and a hotel, as a plan; gives what became of each, and of undoing it."""
    plan = Plan(
        [
            Planned("fly", {"flight": "A"}, id="out"),
            Planned("fly", {"flight": "B"}, id="back", after=["out"]),
            Planned("sleep", {"hotel": "Ritz"}, id="stay", after=["back"]),
        ]
    )
    review = yield from propose(plan)
    done = yield from carry_out(plan, review)
    return {name: [each.status, each.undone, each.reason] for name, each in done.items()}


FULL = "Ritz is full; what was done before can be undone: fly at 1/0/1 by give_back, fly at 1/0/0 by give_back"


def test_a_failure_offers_to_undo_what_its_plan_has_done(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """The planner is told, the last first, and nothing is undone by itself; the undoing comes with its action."""
    outcome = world.solve(trip, actions=travel.actions, monitors=[watcher()])
    assert outcome.answer["stay"] == ["failed", "", FULL]
    assert travel.done == ["fly A 1", "fly B 1"]
    assert travel.fly.spec.undo == "give_back"


@pytest.mark.parametrize("undoes", ["offer", "always"])
def test_what_an_earlier_plan_has_done_stands(
    world: World, watcher: type[Watcher], travel: Travel, undoes: str
) -> None:
    """A failure says nothing of what was planned apart from it: it is neither offered nor undone by itself."""

    def planned(*calls: Planned) -> Planning[Any]:
        plan = Plan(calls)
        return (yield from carry_out(plan, (yield from propose(plan))))

    def planner(_: Task) -> Planning[Any]:
        yield from planned(Planned("fly", {"flight": "A"}))
        done = yield from planned(Planned("sleep", {"hotel": "Ritz"}))
        return [each.reason for each in done.values()]

    outcome = world.solve(planner, actions=travel.actions, monitors=[watcher()], task={"oversight": {"undo": undoes}})
    assert outcome.answer == ["Ritz is full"]
    assert travel.done == ["fly A 1"]


def test_always_undoes_in_the_reverse_order(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """Where the task says so; each is reviewed, with the arguments of what it undoes, and recorded as undoing it."""
    reader = watcher(watches=frozenset({"action"}))
    outcome = world.solve(trip, actions=travel.actions, monitors=[reader], task={"oversight": {"undo": "always"}})
    assert travel.done == ["fly A 1", "fly B 1", "give back B T-B", "give back A T-A"]
    assert [outcome.answer[name][1] for name in ("out", "back", "stay")] == ["performed", "performed", ""]
    calls = [subject.call for subject in reader.seen if subject.call is not None and subject.call.compensates]
    assert [(call.compensates, call.arguments) for call in calls] == [
        ("1/0/1", {"flight": "B", "gave": {"ticket": "T-B"}}),
        ("1/0/0", {"flight": "A", "gave": {"ticket": "T-A"}}),
    ]
    assert calls[0].provenance["gave"].tainted
    recorded = [each.get("compensates") for each in world.facts(outcome, "action.proposed")]
    assert recorded == [None, None, None, "1/0/1", "1/0/0"]
    assert [each.undone for each in outcome.actions] == ["performed", "performed", "", "", ""]


@pytest.mark.parametrize(("says", "given_back"), [("yes", 2), ("no", 0)])
def test_a_person_is_asked_about_each(
    world: World, person: type[Person], watcher: type[Watcher], travel: Travel, says: str, given_back: int
) -> None:
    """With `ask` it is offered to a person, who sees what would be undone; a no leaves it as it is."""
    somebody = person(says)
    outcome = world.solve(
        trip, actions=travel.actions, monitors=[watcher()], approvers=[somebody], task={"oversight": {"undo": "ask"}}
    )
    assert len(travel.done) == 2 + given_back
    assert [each.detail["reasons"] for each in somebody.asked] == [
        ["gate: it undoes what was done at 1/0/1: a person decides"],
        ["gate: it undoes what was done at 1/0/0: a person decides"],
    ]
    assert outcome.answer["out"][1] == ("performed" if says == "yes" else "refused")


@pytest.mark.parametrize(("how", "status"), [("not", "failed"), ("break", "unknown")])
def test_an_undo_that_fails_is_reported_as_such(
    world: World, watcher: type[Watcher], travel: Travel, how: str, status: str
) -> None:
    """The observation, the outcome and the error say that it is not undone; what it rests on is left, too."""
    travel.how = how
    outcome = world.solve(trip, actions=travel.actions, monitors=[watcher()], task={"oversight": {"undo": "always"}})
    assert [outcome.answer[name][1] for name in ("out", "back")] == ["", status]
    assert [each.undone for each in outcome.actions[:2]] == ["", status]
    last = list(world.facts(outcome, "action.outcome"))[-1]
    assert (last["status"], last["compensates"]) == (status, "1/0/1")
    assert "1/0/0" in outcome.undoable  # which a person is told at the end


def test_what_does_not_rest_on_it_is_undone_all_the_same(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """An undoing that fails keeps only what it rests on, however far down."""
    travel.how = "not B"

    def planner(_: Task) -> Planning[Any]:
        plan = Plan(
            [
                Planned("fly", {"flight": "A"}, id="first"),
                Planned("look", {"at": "the weather"}, id="look", after=["first"]),
                Planned("fly", {"flight": "B"}, id="second", after=["look"]),
                Planned("fly", {"flight": "C"}, id="aside"),
                Planned("sleep", {"hotel": "Ritz"}, id="stay", after=["second", "aside"]),
            ]
        )
        done = yield from carry_out(plan, (yield from propose(plan)))
        return {name: each.undone for name, each in done.items()}

    actions = [world.look, *travel.actions]
    outcome = world.solve(planner, actions=actions, monitors=[watcher()], task={"oversight": {"undo": "always"}})
    assert outcome.answer == {"first": "", "look": "", "second": "failed", "aside": "performed", "stay": ""}


def test_what_may_have_happened_keeps_what_it_rests_on(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """An outcome that nobody knows is no failure: nothing is taken away below it by itself, and a person may do so."""

    @action(effect="irreversible")
    async def pay() -> str:
        raise OSError("the line broke")

    def planner(_: Task) -> Planning[Any]:
        plan = Plan([Planned("fly", {"flight": "A"}, id="out"), Planned("pay", id="pay", after=["out"])])
        done = yield from carry_out(plan, (yield from propose(plan)))
        return {name: [each.status, each.undone] for name, each in done.items()}

    outcome = world.solve(
        planner, actions=[*travel.actions, pay], monitors=[watcher()], task={"oversight": {"undo": "always"}}
    )
    assert outcome.answer == {"out": ["performed", ""], "pay": ["unknown", ""]}
    assert (travel.done, list(outcome.undoable)) == (["fly A 1"], ["1/0/0"])


def undoing(*undone: Any) -> Any:
    """A planner that flies, and then undoes what it is told to; gives what it was told of each."""

    def planner(_: Task) -> Planning[list[str]]:
        flown = yield from act("fly", {"flight": "A", "seats": 2})
        said = []
        for each in undone:
            try:
                done = yield from (undo(flown) if each is None else undo(*each))
            except ActionError as error:
                said.append(error.message)
            else:
                said.append(str(done.value))
        return said

    return planner


def test_what_was_undone_is_not_undone_again(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """Once; and what nobody did, or another action undoes, not at all."""
    outcome = world.solve(
        undoing(("9", "give_back"), ("0", "sleep"), None, None), actions=travel.actions, monitors=[watcher()]
    )
    assert outcome.answer == [
        "nothing that was done at '9' can be undone; what was done before can be undone: fly at 0 by give_back",
        "fly at 0 is undone by 'give_back', not by 'sleep'; what was done before can be undone: fly at 0 by give_back",
        "given back",
        "nothing that was done at '0' can be undone",
    ]
    assert travel.done == ["fly A 2", "give back A T-A"]


def test_a_key_that_is_no_text_names_nothing(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """As a model may write one, where its planner hands on what it says."""

    def planner(_: Task) -> Planning[str]:
        yield from act("fly", {"flight": "A"})
        try:
            done = yield from act("give_back", {UNDOES: ["0"]})
        except ActionError as error:
            return error.message
        return str(done.value)

    outcome = world.solve(planner, actions=travel.actions, monitors=[watcher()])
    assert outcome.answer.startswith("nothing that was done at ['0'] can be undone")
    assert travel.done == ["fly A 1"]


def test_only_what_the_same_plan_did_is_offered(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """What came of an earlier plan stands, also where the task says to undo by itself."""

    def planner(_: Task) -> Planning[list[str]]:
        first = Plan([Planned("fly", {"flight": "A"}, id="fly")])
        yield from carry_out(first, (yield from propose(first)))
        second = Plan([Planned("fly", {"flight": "B"}, id="fly"), Planned("sleep", {"hotel": "Ritz"}, after=["fly"])])
        done = yield from carry_out(second, (yield from propose(second)))
        return [each.reason for each in done.values()]

    outcome = world.solve(planner, actions=travel.actions, monitors=[watcher()], task={"oversight": {"undo": "always"}})
    assert outcome.answer[-1].startswith("Ritz is full; what was done before can be undone: fly at 3/0/0 by give_back")
    assert travel.done == ["fly A 1", "fly B 1", "give back B T-B"]


def test_one_that_failed_may_be_tried_again_and_one_in_doubt_not(
    world: World, watcher: type[Watcher], travel: Travel
) -> None:
    """An undoing that may have happened is a person's matter."""
    travel.how = "break"
    outcome = world.solve(undoing(None, None), actions=travel.actions, monitors=[watcher()])
    broke, after = outcome.answer
    assert re.fullmatch(
        r"OSError: the line broke \(test_undoing\.py:\d+\); what was done at 0 has not been undone", broke
    )
    assert after == "nothing that was done at '0' can be undone"
    travel.how = "not"
    outcome = world.solve(undoing(None, None), actions=travel.actions, monitors=[watcher()])
    assert outcome.answer == ["the airline is closed; what was done at 0 has not been undone"] * 2


def test_what_was_undone_may_be_done_anew(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """Undoing gives the identity back, within the run."""

    def again(_: Task) -> Planning[str]:
        first = yield from act("fly", {"flight": "A"})
        yield from undo(first)
        second = yield from act("fly", {"flight": "A"})
        return second.status

    assert world.solve(again, actions=travel.actions, monitors=[watcher()]).answer == "performed"


def test_an_undoing_is_refused_like_any_action(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """A monitor may forbid it."""

    def no(subject: Any) -> Verdict:
        bad = any(call.compensates for call in subject.plan)
        return Verdict(decision="block" if bad else "allow", feedback="keep it")

    outcome = world.solve(undoing(None), actions=travel.actions, monitors=[watcher(no)])
    assert outcome.answer == ["keep it; what was done at 0 has not been undone"]


def test_an_undo_takes_what_its_action_takes(travel: Travel) -> None:
    """Anything else has nowhere to come from."""

    async def other(flight: str, reason: str) -> None: ...

    with pytest.raises(TypeError, match="other undoes fly, which has no parameter 'reason'"):
        travel.fly.undo(other)


def test_where_nothing_undoes_it_nothing_is_offered(world: World, watcher: type[Watcher], travel: Travel) -> None:
    """Nor where the task does not allow the action that would."""
    task = {"actions": ["fly", "sleep"]}
    outcome = world.solve(trip, actions=travel.actions, monitors=[watcher()], task=task)
    assert outcome.answer["stay"] == ["failed", "", "Ritz is full"]
    assert "undo" not in world.solve(doing("post", text="!not"), monitors=[watcher()]).answer

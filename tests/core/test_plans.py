"""Plans: what was read as a whole is done once, as it was read, and what deviates is read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold import (
    NotPerformed,
    Plan,
    Planned,
    Planning,
    Task,
    act,
    action,
    carry_out,
    propose,
)
from scaffold.errors import ActionError, ActionRefused
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.clearance import Clearance
from scaffold.vocabulary.moves import Act, Review

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

from tests.core.doing import ALLOW, BLOCK, doing, planning


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


def test_a_refused_plan_is_not_carried_out(world: World, watcher: type[Watcher]) -> None:
    """Each of its actions alone might pass: a planner that forgets to ask `review.allowed` does none of them."""
    monitor = watcher(lambda subject: BLOCK if len(subject.plan) == 2 else ALLOW)

    def heedless(plan: Plan, review: Review) -> Planning[Any]:
        results = yield from carry_out(plan, review)
        return [[each.action, each.status, each.reason] for each in results.values()]

    pays = planning(Planned("pay", {"invoice": "a"}), Planned("pay", {"invoice": "b"}), then=heedless)
    outcome = world.solve(pays, monitors=[monitor])
    assert outcome.answer == [["pay", "refused", "its plan was refused; not this one"]] * 2
    assert world.done == []


def test_what_was_not_allowed_as_a_plan_is_read_when_it_is_done(world: World, watcher: type[Watcher]) -> None:
    """A refused plan clears nothing: done without its review, its actions are reviewed one by one."""
    monitor = watcher(lambda subject: BLOCK if len(subject.plan) == 2 else ALLOW)

    def insists(plan: Plan, _: Review) -> Planning[Any]:
        results = yield from carry_out(plan)
        return {node: observation.status for node, observation in results.items()}

    pays = planning(Planned("pay", {"invoice": "a"}), Planned("pay", {"invoice": "b"}), then=insists)
    outcome = world.solve(pays, monitors=[monitor])
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
    twice = "it was already done, or may have been, by this run at 0"
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

"""A clearance: for one exact call, from the gate alone, spent once."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import (
    Call,
    Planning,
    Task,
    act,
    together,
)
from scaffold.errors import ClearanceError
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.clearance import Clearance, Mint

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World


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
    with pytest.raises(ClearanceError, match="only the gate can make clearances"):
        Clearance(object(), "pay", b"{}", Call(run="r", key="k"))  # type: ignore[arg-type]  # the point


def test_a_clearance_is_spent_once_on_its_own_call() -> None:
    """It fits one action and one set of arguments, and only once; a wrong try spends nothing."""
    clearance = _clearance({"invoice": "i1"})
    for name, arguments in (("post", {"invoice": "i1"}), ("pay", {"invoice": "i2"}), ("pay", {})):
        with pytest.raises(ClearanceError, match="for another call"):
            clearance.redeem(name, canonical(arguments))
    assert clearance.redeem("pay", canonical({"invoice": "i1"})).key == "k"
    with pytest.raises(ClearanceError, match="already been used"):
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

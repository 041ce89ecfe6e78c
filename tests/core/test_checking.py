"""Checks of samples: some have to be awaited, and one that fails is told apart from one that refuses."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Planning, Task, think, verified
from scaffold.critics import equations, every, limited
from scaffold.errors import CheckFailed
from scaffold.vocabulary.sampling import once

if TYPE_CHECKING:
    from tests.core.conftest import World


def step(**more: Any) -> Any:
    """A planner of one step, which says what went wrong with it."""

    def planner(task: Task) -> Planning[str]:
        try:
            return str((yield from think("solve", task.request, **more)).value)
        except CheckFailed as error:
            return f"unchecked at {error.key}: {error.message}"

    return planner


def test_a_critic_that_waits_counts_like_any_other(world: World) -> None:
    """What an awaited critic refuses is drawn again; what it accepts is the answer."""
    critic = every(equations(), limited(lambda text: "7" in text or "mentions no seven"))
    outcome = world.solve(step(sampling=verified(critic)), ["2 + 2 = 5", "2 + 2 = 4", "3 + 4 = 7"])
    assert outcome.answer == "3 + 4 = 7"
    (answered,) = world.facts(outcome, "step.answered")
    assert [sample.get("flag", "") for sample in answered["samples"]] == [
        "'2 + 2 = 5' is wrong: 4 is not 5\nmentions no seven",
        "mentions no seven",
        "",
    ]


def _raises(_value: Any) -> Any:
    raise ZeroDivisionError("oh")


@pytest.mark.parametrize(
    ("critic", "said"),
    [
        (_raises, "ZeroDivisionError: oh"),
        (limited(_raises), "ZeroDivisionError: oh"),
        (every(_raises), "ZeroDivisionError: oh"),
        (limited(lambda _: time.sleep(1), timeout_s=0.05, name="slow"), "TimeoutError: slow took longer than 0.05 s"),
    ],
)
@pytest.mark.parametrize("how", ["verified", "flags"])
def test_a_critic_that_raises_or_hangs_is_an_error_of_its_own(world: World, critic: Any, said: str, how: str) -> None:
    """It is no pass and no refusal: the step's error is another one, and names the step and the fault."""
    sampling = verified(critic, tries=2) if how == "verified" else once(tries=2, flags=(critic,))
    outcome = world.solve(step(sampling=sampling), "x")
    assert outcome.answer == f"unchecked at 0: no acceptable answer in 2 samples: check failed: {said}"


def test_a_critic_may_say_what_cannot_be_recorded(world: World) -> None:
    """Half a character in its words is replaced, and the step fails as any other whose samples are refused."""
    outcome = world.solve(step(sampling=once(tries=1, flags=(lambda _: "no \ud83d",))), "x")
    assert (outcome.status, "the last was discarded: no \ufffd" in outcome.reason) == ("failed", True)


def test_a_critic_that_never_ends_is_ended_by_verified(world: World) -> None:
    """It is called beside the run, which goes on when its time is over, and names it with the step."""
    hanging = threading.Event()

    def stuck(_value: Any) -> Any:
        hanging.wait(60)

    outcome = world.solve(step(sampling=verified(stuck, tries=1, timeout_s=0.05)), "x")
    hanging.set()
    assert "check failed: TimeoutError: " in outcome.answer
    assert "stuck took longer than 0.05 s" in outcome.answer
    assert outcome.answer.startswith("unchecked at 0: ")

"""Planners that go wrong: each has an end of its own, which names the fault and the place, and a whole trace."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import math
import re
import runpy
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

import scaffold
from scaffold import Options, Plan, Planned, Planning, Task, act, action, ask, note, propose, think, together
from scaffold.errors import PlannerError, TaskError
from scaffold.interfaces import Surroundings
from scaffold.vocabulary.moves import Together
from scaffold.vocabulary.references import NOWHERE, Reference

if TYPE_CHECKING:
    from tests.core.conftest import World


def ended(world: World, planner: Any, **task: Any) -> tuple[str, str]:
    """Status and reason of a run, whose trace has to be whole and to end with just that."""
    outcome = world.solve(planner, task=task, surroundings=Surroundings())
    last = world.story(outcome).events[-1]  # which has checked the chain
    assert last["status"] == outcome.status
    return outcome.status, outcome.reason


def test_a_planner_that_loops_ends_with_its_steps(world: World) -> None:
    """Asking the same for ever spends the budget of steps; the run can be resumed with another."""

    def loops(_: Task) -> Planning[str]:
        while True:
            yield from think("solve", "again")

    assert ended(world, loops, budget={"steps": 7}) == (
        "exhausted",
        "budget of 7 steps has no room for 1 more (7 spent, at 7)",
    )


def test_a_planner_that_only_takes_notes_ends_with_its_time(world: World) -> None:
    """Moves that cost nothing cannot go on for ever either."""

    def notes(_: Task) -> Planning[str]:
        while True:
            yield from note("still here")

    status, reason = ended(world, notes, budget={"seconds": 0.3})
    assert status == "exhausted"
    assert re.fullmatch(r"budget of 0\.3 seconds is over \(\d+\.\d spent, at \d+\)", reason)


def test_a_planner_that_never_yields_ends_with_its_time(world: World) -> None:
    """A turn that does not end holds up everything; it is ended when the run's time is over, and named."""

    def never(_: Task) -> Planning[str]:
        yield from think("solve", "once")
        count = 0
        while True:
            count += 1

    started = time.monotonic()
    status, reason = ended(world, never, budget={"seconds": 1.5})
    assert (status, reason) == (
        "failed",
        "the planner did not give back control before the run's time was over (after its move at 0)",
    )
    assert time.monotonic() - started < 20


def test_a_planner_that_is_slow_within_its_time_is_left_alone(world: World) -> None:
    """Long turns are no fault as long as there is time; a run after another is not mistaken for it."""

    def slow(_: Task) -> Planning[str]:
        thought = yield from think("solve", "once")
        time.sleep(1.5)
        return thought.value

    assert ended(world, slow, budget={"seconds": 60})[0] == "solved"


def test_more_time_than_a_clock_can_tell_is_still_watched(world: World) -> None:
    """The thread that watches all runs goes on, also for those that have less time."""
    assert ended(world, _asks_once, budget={"seconds": 1e300})[0] == "solved"
    assert next(each for each in threading.enumerate() if each.name == "scaffold watchdog").is_alive()


def _asks_once(_: Task) -> Planning[str]:
    return (yield from think("solve", "once")).value


def _foreign(_: Task) -> Any:
    while True:
        try:
            yield "think harder"
        except PlannerError:
            continue


def _empty(_: Task) -> Any:
    while True:
        yield Together([])


def _branches_of_nothing(_: Task) -> Any:
    def nothing() -> Any:
        return 1
        yield

    while True:
        yield Together([nothing()])


@pytest.mark.parametrize(
    ("planner", "said"),
    [
        (_foreign, "the planner yielded a str at 1000: yield only moves"),
        (_empty, "together at 1000 was given no sub-planners"),
        (_branches_of_nothing, "together at 1000 was given no sub-planners"),
    ],
)
def test_a_planner_that_insists_on_asking_nothing_is_ended(world: World, planner: Any, said: str) -> None:
    """What is no move, or moves nothing, a thousand times in a row ends the planner, whatever it catches."""
    status, reason = ended(world, planner)
    assert status == "failed"
    assert reason.startswith(said)
    assert reason.endswith("(for the 1001th time in a row)")


def test_together_after_together_is_no_idling(world: World) -> None:
    """Branches that ask something count, however deep."""

    def inner() -> Planning[int]:
        yield from together(think("solve", "x"))
        yield from together()
        return 1

    def planner(_: Task) -> Planning[int]:
        for _round in range(1200):
            yield from together(inner())
        return 1200

    assert ended(world, planner)[0] == "solved"


def test_a_foreign_object_is_named_with_its_place(world: World) -> None:
    """The run fails, and says what was yielded where, and what to yield."""

    def foreign(_: Task) -> Any:
        yield from think("solve", "x")
        yield 42

    status, reason = ended(world, foreign)
    assert status == "failed"
    assert reason == "the planner yielded a int at 1: yield only moves, with `yield from think(...)` and the like"


def test_what_a_planner_raises_is_told_with_its_place(world: World) -> None:
    """The error's own words, its line, and the key of the move after which it came, in a branch too."""

    def branch() -> Planning[int]:
        yield from think("solve", "x")
        raise KeyError("no such thing")

    line = branch.__code__.co_firstlineno + 2

    def planner(_: Task) -> Planning[Any]:
        return (yield from together(think("solve", "y"), branch()))

    assert ended(world, planner) == (
        "failed",
        f"the planner raised KeyError: 'no such thing' (test_planner_faults.py:{line}, after its move at 0/1/0)",
    )


def test_the_line_is_that_of_the_planners_author(world: World) -> None:
    """Not that of a library, or of ours, which the planner's code has called wrongly; of a plan that is none too."""

    def decoding(_: Task) -> Planning[str]:
        return str(json.loads("no JSON"))
        yield

    def planning(_: Task) -> Planning[str]:
        Plan([Planned("look", after=["nothing"])])
        yield from note("never")
        return ""

    assert "'a0' refers to 'nothing', which the plan does not have; it has a0 (" in ended(world, planning)[1]
    for planner in (decoding, planning):
        line = planner.__code__.co_firstlineno + 1
        assert ended(world, planner)[1].endswith(f" (test_planner_faults.py:{line}, before its first move)")


@pytest.mark.parametrize("in_branch", [False, True], ids=["at its root", "in a branch"])
def test_a_planner_cannot_end_the_process(world: World, *, in_branch: bool) -> None:
    """A call of `sys.exit` in a planner fails the run, with the place, and is no status of the command."""

    def leaves() -> Planning[str]:
        yield from think("solve", "x")
        sys.exit(0)

    def planner(_: Task) -> Planning[Any]:
        return (yield from together(leaves()) if in_branch else leaves())

    key = "0/0/0" if in_branch else "0"
    said = f"the planner raised SystemExit(0) after its move at {key}: return an answer, or raise an error"
    assert ended(world, planner) == ("failed", said)


def test_a_step_that_is_only_called_is_told_how_to_ask_it(world: World) -> None:
    """Without `yield from` nothing is asked: the commonest slip has its cure in the reason."""

    def planner(_: Task) -> Planning[Any]:
        answer: Any = think("solve", "x")
        return answer.value
        yield

    status, reason = ended(world, planner)
    assert status == "failed"
    assert reason.endswith(
        ", before its first move); a step is asked with `yield from think(...)`, not by calling think(...) alone"
    )


def forgetful(_: Task) -> Planning[str]:
    """Take a note in a part of its own, and forget to ask for it there."""
    yield from partly()
    return "done"


def partly() -> Planning[None]:
    """Ask, and only call."""
    yield from note("begun")
    scaffold.act("pay", {"invoice": "i1"})


def test_a_move_that_is_made_and_not_yielded_is_told_before_the_run_begins(world: World) -> None:
    """An action that is only called would never be done, and nothing else would say so; in the parts it calls too."""

    def planner(_: Task) -> Planning[str]:
        act("pay", {"invoice": "i1"})
        return (yield from think("solve", "x")).value

    with pytest.raises(TaskError, match=r"_faults.py:\d+: act\(...\) does nothing by itself: write `yield from act"):
        world.agent(planner)
    with pytest.raises(TaskError, match=r": scaffold.act\(...\) does nothing by itself"):
        world.agent(forgetful)


def traced(planner: Callable[[Task], Planning[Any]]) -> Callable[[Task], Planning[Any]]:
    """A planner, said to be begun."""

    @functools.wraps(planner)
    def begun(task: Task) -> Planning[Any]:
        return (yield from planner(task))

    return begun


def test_of_planners_with_one_decorator_each_is_looked_at_for_itself(world: World) -> None:
    """What is wrong with one is no fault of the next."""

    @traced
    def bad(_: Task) -> Planning[str]:
        note("x")
        return (yield from think("solve", "x")).value

    @traced
    def good(_: Task) -> Planning[str]:
        return (yield from think("solve", "x")).value

    with pytest.raises(TaskError, match=r"_faults.py:\d+: note\(...\) does nothing by itself"):
        world.agent(bad)
    world.agent(good)


def test_a_name_of_the_planner_s_own_is_no_move(world: World) -> None:
    """It stands for what the planner makes of it, whatever has that name elsewhere."""
    noted: list[str] = []

    def planner(_: Task) -> Planning[str]:
        note = noted.append
        note("begun")
        return (yield from think("solve", "x")).value

    world.agent(planner)


@pytest.mark.parametrize("text", ["\n\n\n\nx = said(\n", "'''\n\n\n\n\n", "\n\n\n\n\0\n", "\n\n\n\n  x\n y"])
def test_a_planner_whose_file_was_changed_since_is_taken_as_it_is(text: str, world: World, tmp_path: Path) -> None:
    """As while it is edited: what its file says by now need not be Python."""
    path = tmp_path / "edited.py"
    path.write_text(
        "from scaffold import think\n\n\n\ndef planner(_):\n    return (yield from think('solve', 'x')).value\n"
    )
    planner = runpy.run_path(str(path))["planner"]
    path.write_text(text)
    world.agent(planner)


def test_a_kind_of_step_that_does_not_exist_is_named(world: World) -> None:
    """A word misspelt would be answered all the same, by a template for any step."""

    def planner(_: Task) -> Planning[str]:
        return (yield from think("slove", "x")).value  # type: ignore[call-overload,no-any-return]  # that is the point

    status, reason = ended(world, planner)
    assert (status, "there is no kind of step 'slove'; did you mean 'solve'?" in reason) == ("failed", True)


def test_what_cannot_be_written_down_is_told_with_its_place(world: World) -> None:
    """A step's inputs have to be JSON values: the reason names the move that had another."""

    def planner(_: Task) -> Planning[Any]:
        first = yield from think("solve", "x")
        yield from think("solve", first, object())

    said = "the planner raised TypeError: a object cannot be recorded: use JSON values, pydantic models or dataclasses"
    assert ended(world, planner) == ("failed", f"{said} (in its move at 1)")


def test_what_is_nested_too_deeply_is_told_with_its_place(world: World) -> None:
    """It is the value that is too deep, and not the planner's own calls; the reason says which move holds it."""
    holds_itself: list[Any] = []
    holds_itself.append(holds_itself)

    def planner(_: Task) -> Planning[Any]:
        yield from note("first")
        yield from think("solve", holds_itself)

    def answering(_: Task) -> Planning[Any]:
        yield from note("first")
        return holds_itself

    assert ended(world, planner)[1].endswith(" (in its move at 1: it is nested too deeply, or contains itself)")
    said = "the planner's answer cannot be recorded: it is nested too deeply, or contains itself"
    assert ended(world, answering) == ("failed", said)


class Mean(BaseModel):
    """What a planner computed."""

    value: float
    of: str | None = None


@pytest.mark.parametrize("found", [{"mean": math.nan}, [None, math.inf], Mean(value=math.nan)])
def test_a_number_that_is_none_is_not_written_down_as_nothing(world: World, found: Any) -> None:
    """NaN would be null in a step, a question, a note and an answer: who computed it hears of it instead."""

    def told_by(move: Any) -> str:
        def planner(_: Task) -> Planning[Any]:
            return (yield from move()) if move is not None else found
            yield

        return ended(world, planner)[1]

    said = " is not a number that can be recorded"
    assert f"{said} (in its move at 0)" in told_by(lambda: think("solve", found))
    assert f"{said} (in its move at 0)" in told_by(lambda: ask("Is it so?", found))
    assert f"{said} (in its move at 0)" in told_by(lambda: note("so far", partial=found))
    assert told_by(None).startswith("the planner's answer cannot be recorded: ")


WORDS = Reference("the words of somebody", NOWHERE)


@action(effect="read")
def look() -> int:
    """Look."""
    return 1


def asking(**options: Any) -> Planning[Any]:
    """A step that is asked so."""
    return think("solve", "x", options=Options(**options))


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (
            lambda: think("solve", think("solve", "x")),
            "think(...) was called but not run: write `yield from` before it",
        ),
        (lambda: note("so far", partial=act("look")), "act(...) was called but not run: write `yield from` before it"),
        (lambda: act(look), "give the name of an action, 'look', not a FunctionAction"),  # type: ignore[arg-type]
        (lambda: propose(Plan([Planned(look)])), "give the name of an action, 'look', not a FunctionAction"),  # type: ignore[arg-type]
        (lambda: think("solve", "x", sampling=3), "`sampling` should be a policy, such as majority(3), not 3"),  # type: ignore[call-overload]
        (lambda: think("solve", "x", options={"stop": "."}), "`options` should be made by Options(...), such as "),  # type: ignore[call-overload]
        (lambda: think("solve", "x", instruction=WORDS), "`instruction` should be a text of the planner's own"),  # type: ignore[call-overload]
        (lambda: think("solve", "x", to=WORDS), "not a Reference: what a model, a tool or the user said"),  # type: ignore[call-overload]
        (lambda: act("look", because=["a text"]), "`because` should be a list of thoughts, or of other references, "),  # type: ignore[list-item]
        (lambda: act("look", because=WORDS), "`because` should be a list of thoughts, or of oth"),  # type: ignore[arg-type]
        (lambda: asking(stop="END"), "`stop` of Options should be a tuple of texts, such as ('END',), not 'END'"),
        (lambda: asking(stop=(b"x",)), "`stop` of Options should be a tuple of texts"),
        (lambda: asking(stop=("",)), "`stop` of Options contains an empty text"),
        (lambda: asking(choices="yes"), "`choices` of Options should be a tuple of texts"),
        (lambda: asking(max_tokens=0), "`max_tokens` of Options should be a whole number of at least 1, not 0"),
        (lambda: asking(max_tokens=1.5), "`max_tokens` of Options should be a whole number of at least 1, not 1.5"),
        (lambda: asking(temperature=-0.1), "`temperature` of Options should be a number of at least 0, not -0.1"),
        (lambda: asking(temperature=math.nan), "`temperature` of Options should be a number of at least 0, not nan"),
        (lambda: asking(temperature="hot"), "`temperature` of Options should be a number of at least 0, not 'hot'"),
    ],
)
def test_a_slip_in_a_move_is_told_with_its_cure(world: World, move: Any, said: str) -> None:
    """What is given for what it should be, or is made and never run, is named."""

    def planner(_: Task) -> Planning[Any]:
        return (yield from move())

    status, reason = ended(world, planner)
    assert (status, said in reason) == ("failed", True)


def test_a_planner_that_fails_at_once_has_made_no_move(world: World) -> None:
    """There is no key to name then, and the reason says so."""

    def planner(_: Task) -> Planning[str]:
        raise KeyError("no such thing")
        yield

    line = planner.__code__.co_firstlineno + 1
    said = f"the planner raised KeyError: 'no such thing' (test_planner_faults.py:{line}, before its first move)"
    assert ended(world, planner) == ("failed", said)


def test_a_planner_that_catches_even_its_end_is_let_go_in_silence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that catches everything and goes on ends with its budget; Python has nothing to complain of afterwards."""

    def clings(_: Task) -> Planning[str]:
        while True:
            with contextlib.suppress(BaseException):
                yield from think("solve", "again")

    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    status, reason = ended(world, clings, budget={"steps": 3})
    gc.collect()
    assert (status, reason) == ("exhausted", "budget of 3 steps has no room for 1 more (3 spent, at 3)")
    assert told == []


def test_an_answer_of_no_choices_is_refused() -> None:
    """A list of nothing to choose from would restrict nothing."""
    with pytest.raises(ValidationError, match="an empty list"):
        Task(prompt="x", answer=())


@pytest.mark.parametrize("how", ["ended", "closed"])
def test_a_step_that_is_taken_up_again_gives_a_hint(world: World, how: str) -> None:
    """Python gives None for a generator that has ended; the reason says what that may come from."""

    def planner(_: Task) -> Planning[str]:
        step = think("solve", "x")
        if how == "ended":
            yield from step
        else:
            yield from think("solve", "y")
            step.close()
        again = yield from step
        return again.value

    status, reason = ended(world, planner)
    assert status == "failed"
    assert "'NoneType' object has no attribute 'value' (test_planner_faults.py:" in reason
    assert ", after its move at 0); a step that was already started" in reason
    assert reason.endswith("a step that was already started, ended or closed gives None: call its function again")

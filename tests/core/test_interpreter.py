"""The interpreter: planners are generators, driven by hand, whose results no order of arrival changes."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold import GaveUp, Planning, Thought, note, think, together
from scaffold.errors import PlannerError, StepFailed
from scaffold.machinery.interpreter import Interpreter
from scaffold.testing import Driver
from scaffold.vocabulary.moves import Think, Together

Tree = list["Tree"] | int


def ask(name: str) -> Planning[str]:
    """One step, whose input says which."""
    thought: Thought[str] = yield from think("solve", name)
    return thought.value


def planner_of(tree: Tree, path: str = "r") -> Planning[Any]:
    """A number is so many steps in a row; a list is a step, a fan of its items, and a step after it."""
    if isinstance(tree, int):
        told = []
        for number in range(tree):
            value = yield from ask(f"{path}.{number}")
            told += [value]
        return told
    first = yield from ask(f"{path}<")
    inner = yield from together(*(planner_of(item, f"{path}.{at}") for at, item in enumerate(tree)))
    last = yield from ask(f"{path}>")
    return [first, *inner, last]


trees = st.recursive(st.integers(0, 3), lambda inner: st.lists(inner, max_size=3), max_leaves=8)


def test_keys_are_the_path_of_branches_and_the_moves_place() -> None:
    """The sixth move of branch 0 of the third move stands at 2/0/5."""

    def branch() -> Planning[None]:
        for number in range(6):
            yield from note(str(number))

    def planner() -> Planning[None]:
        yield from note("a")
        yield from note("b")
        yield from together(branch(), note("z"))

    driver = Driver(planner())
    driver.run(lambda _key, _move: None)
    keys = [key for key, _ in driver.moves]
    assert keys == ["0", "1", *(f"2/0/{place}" for place in range(6)), "2/1/0"]


@given(trees, st.randoms(use_true_random=False), st.randoms(use_true_random=False))
def test_no_order_of_arrival_changes_keys_or_results(tree: Tree, one: random.Random, other: random.Random) -> None:
    """Whatever order outcomes come in, each key asks the same and the planner answers the same."""

    def drive(order: random.Random) -> tuple[dict[str, Any], Any]:
        driver = Driver(planner_of(tree))
        asked: dict[str, Any] = {}
        while not driver.done:
            while (move := driver.next()) is not None and order.random() < 0.7:
                asked[driver.moves[-1][0]] = move.inputs if isinstance(move, Think) else None
            if driver.waiting:
                asked[driver.moves[-1][0]] = driver.moves[-1][1].inputs
                key = order.choice(driver.waiting)
                driver.reply(f"told {key}", key=key)
        return asked, driver.result

    assert drive(one) == drive(other)


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_error_of_the_lowest_branch_is_raised_after_all_have_ended(fails: list[bool], order: random.Random) -> None:
    """All branches end; then the error of the first that failed, by place and not by time, is raised."""
    ended: set[int] = set()

    def branch(place: int) -> Planning[int]:
        yield from ask(str(place))
        ended.add(place)
        if fails[place]:
            raise GaveUp(str(place))
        return place

    def planner() -> Planning[Any]:
        try:
            return (yield from together(*(branch(place) for place in range(len(fails)))))
        except GaveUp as error:
            assert ended == set(range(len(fails)))
            return str(error)

    driver = Driver(planner())
    while driver.next() is not None:
        pass
    while driver.waiting:
        driver.reply("x", key=order.choice(driver.waiting))
        driver.next()
    assert driver.result == (str(fails.index(True)) if any(fails) else tuple(range(len(fails))))


def test_what_goes_wrong_in_a_move_is_thrown_to_where_it_was_made() -> None:
    """A planner catches a step's error with an ordinary try."""

    def planner() -> Planning[str]:
        try:
            return (yield from ask("x"))
        except StepFailed as error:
            return f"caught: {error.message}"

    driver = Driver(planner())
    driver.next()
    driver.reply(StepFailed("no", "0"))
    assert driver.result == "caught: no"


def test_a_planner_that_raises_ends_with_its_own_error() -> None:
    """Whatever a planner raises, before or after its first move, is what its driver raises."""

    def planner() -> Planning[str]:
        yield from note("x")
        raise ZeroDivisionError("mine")

    driver = Driver(planner())
    driver.next()
    driver.reply(None)
    with pytest.raises(ZeroDivisionError, match="mine"):
        _ = driver.result


@pytest.mark.parametrize("thing", [None, 7, "think", object(), [], think], ids=lambda each: type(each).__name__)
def test_a_foreign_object_is_refused_where_it_was_yielded(thing: object) -> None:
    """Yielding what is no move raises in the planner, and names the key and the cure."""

    def planner() -> Generator[Any, Any, str]:
        yield from note("first")
        try:
            yield thing
        except PlannerError as error:
            return str(error)
        return "not refused"

    said = Driver(planner()).run(lambda _key, _move: None)
    assert f"yielded a {type(thing).__name__} at 1" in said
    assert "yield from think(...)" in said


@pytest.mark.parametrize("branch", [think, None, [1], Together([])], ids=lambda each: type(each).__name__)
def test_together_refuses_what_is_no_sub_planner(branch: Any) -> None:
    """A function that was not called, or a list, raises in the planner that gave it."""

    def planner() -> Planning[Any]:
        return (yield from together(note("fine"), branch))

    with pytest.raises(PlannerError, match=r"together at 0 was given a .*: give it sub-planners"):
        Driver(planner()).run(lambda _key, _move: None)


def test_together_says_that_a_star_was_forgotten() -> None:
    """One generator of sub-planners in their place is the commonest slip."""

    def planner() -> Planning[Any]:
        return (yield from together(note(word) for word in ("one", "two")))  # type: ignore[misc]  # that is the slip

    with pytest.raises(PlannerError, match=r"yielded a generator at 0/0/0: .* with a star before"):
        Driver(planner()).run(lambda _key, _move: None)


def test_together_takes_any_sequence_of_branches() -> None:
    """A hand-made Together whose branches stand in a tuple is no fault of the interpreter."""

    def planner() -> Generator[Any, Any, Any]:
        return (yield Together((ask("a"), ask("b"))))  # type: ignore[arg-type]  # as a user may write it

    assert Driver(planner()).run(lambda key, _move: key) == ("0/0/0", "0/1/0")


def test_an_empty_together_gives_nothing_at_once() -> None:
    """No branches: an empty tuple, and no move is made."""

    def planner() -> Planning[Any]:
        return (yield from together())

    driver = Driver(planner())
    assert driver.result == ()
    assert driver.moves == []


@pytest.mark.parametrize("how", ["twice", "begun", "ended", "closed"])
def test_a_sub_planner_runs_in_one_place_and_from_its_beginning(how: str) -> None:
    """A generator given twice, or that has been begun, ended or closed, is refused rather than misled."""
    told: list[Any] = []

    def branch() -> Planning[None]:
        told.append((yield from ask("x")))

    def planner() -> Planning[Any]:
        one = branch()
        if how == "twice":
            return (yield from together(one, one))
        if how == "closed":
            one.close()
        else:
            next(one)
        if how == "ended":
            with pytest.raises(StopIteration):
                one.send(type("Thought", (), {"value": "hand"}))
            told.clear()
        return (yield from together(one))

    driver = Driver(planner())
    with pytest.raises(PlannerError, match=r"at 0/[01]/.* has already been started"):
        driver.run(lambda key, _move: key)
    assert told == (["0/0/0"] if how == "twice" else [])


def test_what_is_no_generator_is_no_planner() -> None:
    """A planner that returns rather than yields is refused before it runs."""
    with pytest.raises(PlannerError, match="a planner is a generator function; this one returned a str"):
        Interpreter("answer")  # type: ignore[arg-type]  # the point


def test_closing_ends_every_generator() -> None:
    """Closing runs the clean-up of the root and of branches under way, inner ones first."""
    cleaned: list[str] = []

    def branch(name: str) -> Planning[None]:
        try:
            yield from ask(name)
        finally:
            cleaned.append(name)

    def planner() -> Planning[None]:
        try:
            yield from together(branch("a"), branch("b"), branch("c"))
        finally:
            cleaned.append("root")

    interpreter = Interpreter(planner())
    waiting = [interpreter.next(), interpreter.next()]
    interpreter.close()
    assert cleaned == ["b", "a", "root"]
    assert waiting[0] is not None
    interpreter.send(waiting[0], "late")
    with pytest.raises(PlannerError, match="has ended"):
        interpreter.next()


def test_closing_survives_a_generator_that_will_not_close() -> None:
    """A planner that yields or raises while it is closed changes nothing."""

    def stubborn() -> Planning[None]:
        try:
            yield from note("x")
        finally:
            yield from note("again")

    interpreter = Interpreter(stubborn())
    interpreter.next()
    interpreter.close()


def test_a_wide_fan_takes_less_than_a_kilobyte_a_branch() -> None:
    """The peak memory of a wide fan is bounded by its generators and results, not by what its steps did."""
    wide = 25_000

    def small() -> Planning[int]:
        yield from note("x")
        return 1

    def planner() -> Planning[int]:
        results = yield from together(*(small() for _ in range(wide)))
        return sum(results)

    gc.collect()
    tracemalloc.start()
    try:
        interpreter = Interpreter(planner())
        while (pending := interpreter.next()) is not None:
            interpreter.send(pending, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert interpreter.result == wide
    assert peak / wide <= 1024


def test_a_long_row_of_steps_takes_no_memory_that_grows() -> None:
    """A long sequence of moves keeps nothing of those that are over."""

    def planner() -> Planning[int]:
        for _ in range(20_000):
            yield from note("x")
        return 1

    tracemalloc.start()
    try:
        interpreter = Interpreter(planner())
        while (pending := interpreter.next()) is not None:
            interpreter.send(pending, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


def test_few_branches_are_under_way_at_once_when_answered_as_they_come() -> None:
    """Inner branches go before outer ones that are not begun, so a deep plan does not unfold as a whole."""
    begun = 0
    most = 0

    def leaf() -> Planning[None]:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        yield from note("x")
        begun -= 1

    def middle() -> Planning[None]:
        yield from together(*(leaf() for _ in range(10)))

    def planner() -> Planning[None]:
        yield from together(*(middle() for _ in range(10)))

    Driver(planner()).run(lambda _key, _move: None)
    assert most == 1


def test_rule_1_a_planner_is_a_generator_driven_by_hand_without_an_event_loop() -> None:
    """A planner runs to its end with nothing but a function that answers its moves."""
    answered = Driver(planner_of([2, [1]])).run(lambda key, _move: key)
    assert answered == ["0", ["1/0/0", "1/0/1"], ["1/1/0", ["1/1/1/0/0"], "1/1/2"], "2"]

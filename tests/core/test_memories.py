"""Monitors that fold a run alike share one memory of it; those that wait for nothing take no task of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scaffold import Planning, Task, Verdict, act
from scaffold.vocabulary import events
from scaffold.vocabulary.review import ALLOW, MonitorSpec, Subject

if TYPE_CHECKING:
    import pytest
    from tests.core.conftest import Watcher, World

folded: list[int] = []


def count(state: Any, event: events.Event, _content: dict[str, Any]) -> int:
    """How many actions were proposed."""
    folded.append(event.seq)
    return (state or 0) + 1


class Counting:
    """A monitor that folds by a plain function, and notes the state that it is given."""

    folds: frozenset[type[events.Event]] = frozenset({events.ActionProposed})
    fold = staticmethod(count)

    def __init__(self, name: str) -> None:
        self.spec = MonitorSpec(name=name, watches=frozenset({"action"}))
        self.states: list[Any] = []

    async def review(self, _subject: Subject, view: Any, _context: Any) -> Verdict:
        """Note it."""
        self.states.append(view.state)
        return ALLOW


class OfItsOwn(Counting):
    """The same by a method."""

    def fold(self, state: Any, event: events.Event, content: dict[str, Any]) -> int:
        """How many actions were proposed, by tens."""
        return (state or 0) + 10


class OfOther(Counting):
    """The same function, of other events."""

    folds = frozenset({events.ActionOutcome})


def posting(_: Task) -> Planning[str]:
    """Post twice."""
    yield from act("post", {"text": "a"})
    yield from act("post", {"text": "b"})
    return "posted"


def test_one_memory_is_kept_of_what_is_folded_alike(world: World) -> None:
    """A plain function is called once an event for all that have it; a method for its own monitor only."""
    folded.clear()
    one, other, own, late = Counting("one"), Counting("other"), OfItsOwn("own"), OfOther("late")
    world.solve(posting, monitors=[one, other, own, late])
    assert (one.states, other.states, own.states, late.states) == ([1, 2], [1, 2], [10, 20], [None, 1])
    assert len(folded) == len(set(folded)) == 4  # two actions proposed, two outcomes
    world.solve(posting, monitors=[one])
    assert one.states == [1, 2, 1, 2]  # another run begins anew


def test_what_waits_for_nothing_takes_no_task(
    world: World, watcher: type[Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitors that answer at once are asked one after another; those that have had to wait, all at once."""
    together: list[int] = []
    under_way = 0

    async def slow(_: Subject) -> Verdict:
        nonlocal under_way
        under_way += 1
        await asyncio.sleep(0.01)
        together.append(under_way)
        under_way -= 1
        return ALLOW

    quick = [watcher(name=f"quick{number}", watches=frozenset({"action"})) for number in range(3)]
    made: list[Any] = []
    ensure = asyncio.ensure_future

    def noted(work: Any) -> Any:
        made.append(work)
        return ensure(work)

    monkeypatch.setattr(asyncio, "ensure_future", noted)
    world.solve(posting, monitors=quick)
    assert not [work for work in made if "_ask" in str(work)]
    slower = [watcher(slow, name=f"slow{number}", watches=frozenset({"action"})) for number in range(2)]
    world.solve(posting, monitors=slower)
    assert together[:2] == [1, 1]  # nobody knew yet
    assert max(together[2:]) == 2


class Contents:
    """A monitor that remembers what content it was given."""

    folds: frozenset[type[events.Event]] = frozenset({events.ActionProposed, events.ActionOutcome})

    def __init__(self, name: str, bare: frozenset[type[events.Event]] | None = None) -> None:
        self.spec = MonitorSpec(name=name, watches=frozenset({"action"}))
        self.given: list[bool] = []
        if bare is not None:
            self.bare = bare

    def fold(self, state: Any, event: events.Event, content: dict[str, Any]) -> int:
        """Note whether there was any."""
        self.given.append(bool(content))
        return 0

    async def review(self, _subject: Subject, view: Any, _context: Any) -> Verdict:
        """Nothing is wrong with anything."""
        return ALLOW


def test_content_is_given_of_the_kinds_that_are_not_folded_bare(world: World) -> None:
    """Which kinds a monitor folds by their facts alone is its own matter: others have their content all the same."""
    whole, half = Contents("whole"), Contents("half", frozenset({events.ActionOutcome}))
    world.solve(posting, monitors=[whole, half])
    assert (whole.given, half.given) == ([True] * 4, [True, False, True, False])
    alone = Contents("alone", Contents.folds)
    world.solve(posting, monitors=[alone])
    assert alone.given == [False] * 4

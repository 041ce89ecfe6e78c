"""Drives planner generators: no event loop and no I/O, so that tests can drive a planner by hand.

The interpreter holds the tree of generators that `together` makes. It hands out `Pending` moves, each with its key, and
takes back their outcomes in any order. A live run, a replay and a test differ only in where the outcomes come from.
"""

from __future__ import annotations

import sys
from collections import deque
from inspect import GEN_CREATED, getgeneratorstate, isgenerator
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import PlannerError
from scaffold.vocabulary.moves import Act, Ask, Note, Propose, Think, Together
from scaffold.vocabulary.references import Provenance

if TYPE_CHECKING:
    from collections.abc import Generator

    from scaffold.vocabulary.moves import Move

_LEAVES = frozenset({Think, Propose, Act, Ask, Note})
_MOST_IDLE = 1000  # most moves in a row that are invalid or ask for nothing


class Frame:
    """One generator: the root, or a branch of a `together`."""

    __slots__ = ("asks", "generator", "idle", "index", "ordinal", "parent", "path", "results", "tainted", "waiting")

    def __init__(
        self, generator: Generator[Move, Any, Any], path: str, parent: Frame | None, index: int, *, tainted: bool
    ) -> None:
        self.generator: Generator[Move, Any, Any] | None = generator
        self.path = path
        self.parent = parent
        self.index = index
        self.tainted = tainted
        self.ordinal = -1
        self.asks = False
        self.idle = 0
        self.waiting = 0
        self.results: list[Any] = []

    def history(self) -> Provenance:
        """Return the provenance of all that this generator was told before its current move."""
        return Provenance((f"history:{self.path}@{self.ordinal}",), self.tainted)


class Pending(msgspec.Struct, gc=False):
    """A move that waits for its outcome, with its key."""

    key: str
    move: Think | Propose | Act | Ask | Note
    frame: Frame

    @property
    def history(self) -> Provenance:
        """What a value without a reference depends on here."""
        return self.frame.history()


class _Fan:
    """The branches of one `together` that have not been started, last first."""

    __slots__ = ("branches", "next_index", "parent", "path", "tainted")

    def __init__(self, branches: list[Any], path: str, parent: Frame) -> None:
        self.branches = branches
        self.path = path
        self.parent = parent
        self.tainted = parent.tainted  # as of now: a branch that ends early does not taint its siblings
        self.next_index = 0

    def start(self) -> Frame:
        index = self.next_index
        self.next_index += 1
        return Frame(self.branches.pop(), f"{self.path}{index}/", self.parent, index, tainted=self.tainted)


class _Failure:
    """The error a branch raised, kept until all branches have ended."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Interpreter:
    """A tree of running generators.

    Branches are started only when `next` is called, so that a wide `together` costs little more than its generators.

    Attributes:
        done: whether the root generator has ended.
        result: what it returned.
        error: what it raised.
        latest: key of the last move any generator made; empty if there was none.
        failed_at: key of the last move of the generator that raised the error; empty if it had made none.
        advancing: incremented when a generator gets control and again when it gives control back; odd while it has it.
    """

    def __init__(self, planning: Generator[Move, Any, Any], *, tainted: bool = False) -> None:
        _must_be_generator(planning)
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None
        self.latest = ""
        self.failed_at = ""
        self.advancing = 0
        root = Frame(planning, "", None, 0, tainted=tainted)
        # Generators that have begun and not ended, outer ones first.
        self._begun: dict[Frame, None] = {root: None}
        # What to send to which generator next. Generators that were sent something come before unstarted ones, and
        # inner branches before outer ones, so that few are active at once.
        self._ready: deque[tuple[Frame, Any, BaseException | None] | _Fan] = deque([(root, None, None)])

    def has_ready(self) -> bool:
        """Whether a generator can continue now."""
        return bool(self._ready)

    def next(self) -> Pending | None:
        """Advance until a generator yields a move that must be carried out; None if none can now."""
        while self._ready:
            ready = self._ready.popleft()
            if isinstance(ready, _Fan):
                frame, value, error = ready.start(), None, None
                if ready.branches:
                    self._ready.appendleft(ready)
                if getgeneratorstate(frame.generator) != GEN_CREATED:  # type: ignore[arg-type]  # a new frame has one
                    said = (
                        f"the sub-planner at {frame.path} has already been started: call its function again for a "
                        "new one"
                    )
                    self._ended(frame, _Failure(PlannerError(said)))
                    continue
                self._begun[frame] = None
            else:
                frame, value, error = ready
            pending = self._advance(frame, value, error)
            if pending is not None:
                return pending
        return None

    def send(self, pending: Pending, value: Any, *, tainted: bool = False) -> None:
        """Send a generator the outcome of its move."""
        frame = pending.frame
        if tainted:
            frame.tainted = True
        self._ready.appendleft((frame, value, None))

    def throw(self, pending: Pending, error: BaseException, *, tainted: bool = False) -> None:
        """Throw an error into a generator as the outcome of its move."""
        frame = pending.frame
        if tainted:
            frame.tainted = True
        self._ready.appendleft((frame, None, error))

    def close(self) -> None:
        """Close every generator that has not ended; nothing can be sent afterwards."""
        self._ready.clear()
        while self._begun:
            frame, _ = self._begun.popitem()
            _close(frame)

    def _advance(self, frame: Frame, value: Any, error: BaseException | None) -> Pending | None:
        generator = frame.generator
        if generator is None:
            raise PlannerError(f"the planner at {frame.path or 'its root'!r} has ended")
        self.advancing += 1
        try:
            move = generator.send(value) if error is None else generator.throw(error)
        except StopIteration as stop:
            self._ended(frame, stop.value)
            return None
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - whatever a planner raises belongs to its parent
            if raised is not error:
                self.failed_at = f"{frame.path}{frame.ordinal}" if frame.ordinal >= 0 else ""
            self._ended(frame, _Failure(raised if isinstance(raised, Exception) else _staying(raised, self.failed_at)))
            return None
        finally:
            self.advancing += 1
        frame.ordinal += 1
        key = self.latest = f"{frame.path}{frame.ordinal}"
        kind = type(move)
        if kind in _LEAVES:
            frame.asks = True
            frame.idle = 0
            return Pending(key, move, frame)  # type: ignore[arg-type]  # _LEAVES holds just these
        if kind is Together:
            self._branch(frame, key, move)  # type: ignore[arg-type]  # as above
            return None
        said = f"the planner yielded a {kind.__name__} at {key}"
        if isgenerator(generator) and generator.gi_code.co_name == "<genexpr>":
            self._fault(frame, f"{said}: write `together(*(... for ...))`, with a star before the parentheses")
        else:
            self._fault(frame, f"{said}: yield only moves, with `yield from think(...)` and the like")
        return None

    def _fault(self, frame: Frame, said: str) -> None:
        """Throw an error about its own invalid move into a generator; end a generator that keeps making them."""
        frame.idle += 1
        if frame.idle > _MOST_IDLE:
            self._give_up(frame, said)
            return
        self._ready.appendleft((frame, None, PlannerError(said)))

    def _give_up(self, frame: Frame, said: str) -> None:
        self.failed_at = f"{frame.path}{frame.ordinal}"
        _close(frame)
        self._ended(frame, _Failure(PlannerError(f"{said} (for the {frame.idle}th time in a row)")))

    def _branch(self, frame: Frame, key: str, move: Together) -> None:
        branches = move.branches if type(move.branches) is list else list(move.branches)
        foreign = next((type(branch).__name__ for branch in branches if not isgenerator(branch)), "")
        if foreign:
            self._fault(frame, f"together at {key} was given a {foreign}: give it sub-planners, such as think(...)")
            return
        frame.idle += 1
        if frame.idle > _MOST_IDLE:
            self._give_up(frame, f"together at {key} was given no sub-planners")
            return
        if not branches:
            self._ready.appendleft((frame, (), None))
            return
        frame.waiting = len(branches)
        frame.results = [None] * len(branches)
        # Taken over, not copied, so that a branch that has ended can be freed.
        branches.reverse()
        self._ready.appendleft(_Fan(branches, f"{key}/", frame))

    def _ended(self, frame: Frame, result: Any) -> None:
        frame.generator = None
        self._begun.pop(frame, None)
        parent = frame.parent
        if parent is None:
            self.done = True
            if isinstance(result, _Failure):
                self.error = result.error
            else:
                self.result = result
            return
        parent.results[frame.index] = result
        parent.waiting -= 1
        if frame.tainted:
            parent.tainted = True
        if frame.asks:
            parent.asks = True
            parent.idle = 0
        if parent.waiting == 0:
            results, parent.results = parent.results, []
            failure = next((item for item in results if isinstance(item, _Failure)), None)
            if failure is not None:
                self._ready.appendleft((parent, None, failure.error))
            else:
                self._ready.appendleft((parent, tuple(results), None))


def _must_be_generator(planning: object) -> None:
    if not isgenerator(planning):
        raise PlannerError(f"a planner is a generator function; this one returned a {type(planning).__name__}")


def _staying(left: SystemExit, key: str) -> PlannerError:
    """Return the error for a planner that raised SystemExit: ending the process is not its decision."""
    said = f"the planner raised SystemExit({', '.join(map(repr, left.args))})"
    error = PlannerError(f"{said}{f' after its move at {key}' if key else ''}: return an answer, or raise an error")
    error.__cause__ = left
    return error


def _close(frame: Frame) -> None:
    """End a frame's generator and drop it; a planner's clean-up cannot change how its run ended."""
    generator, frame.generator = frame.generator, None
    if generator is None:
        return
    try:
        generator.close()
    except RuntimeError:  # it caught GeneratorExit and went on: Python would print that when it is freed
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            del generator
        finally:
            sys.unraisablehook = hook
    except (Exception, SystemExit):  # noqa: BLE001, S110 - as said
        pass

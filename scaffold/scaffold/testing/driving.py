"""Drives a planner by hand: no event loop, no backend, one move at a time.

    driver = Driver(mine(task))
    move = driver.next()
    assert isinstance(move, Think)
    driver.reply("42")
    assert driver.result == "42"

`next` may be skipped if you do not look at the move; `reply` then takes the next one itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.machinery.driving.replay import deliver
from scaffold.machinery.interpreter import Interpreter, Pending
from scaffold.vocabulary.actions import Observation
from scaffold.vocabulary.moves import Act, Ask, Note, Propose, Review, Think, Thought
from scaffold.vocabulary.references import Provenance, Reference, provenance_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.vocabulary.moves import Planning


class Driver:
    """Drives one planner by hand.

    Attributes:
        moves: every move so far, with its key.
    """

    def __init__(self, planning: Planning[Any], *, tainted: bool = False) -> None:
        self._interpreter = Interpreter(planning, tainted=tainted)
        self._waiting: dict[str, Pending] = {}
        self.moves: list[tuple[str, Any]] = []

    def next(self) -> Think | Propose | Act | Ask | Note | None:
        """Return the planner's next move; None if it has ended or all branches wait."""
        pending = self._interpreter.next()
        if pending is None:
            return None
        self._waiting[pending.key] = pending
        self.moves.append((pending.key, pending.move))
        return pending.move

    @property
    def waiting(self) -> list[str]:
        """Keys of the moves that wait for a reply."""
        return list(self._waiting)

    @property
    def done(self) -> bool:
        """Whether the planner has ended."""
        return self._interpreter.done

    @property
    def result(self) -> Any:
        """The planner's answer; raises what the planner raised.

        Raises:
            RuntimeError: it has not ended.
        """
        if not self._interpreter.done:
            self.next()
        if not self._interpreter.done:
            raise RuntimeError(
                f"the planner has not ended: it waits at {', '.join(self._waiting) or 'a move not yet asked for'}"
            )
        if self._interpreter.error is not None:
            raise self._interpreter.error
        return self._interpreter.result

    def reply(self, value: Any, *, key: str | None = None, tainted: bool = False) -> None:
        """Send the result of the oldest waiting move, or of the one at `key`; an exception is thrown into the planner.

        For a step sampled by `several`, a list holds its candidates. If no move waits, the next one is taken.

        Raises:
            RuntimeError: the planner has ended, or waits for nothing at that key.
        """
        if not self._waiting:
            self.next()
        if key is None:
            key = next(iter(self._waiting), "")
        if key not in self._waiting:
            waits = f"waits at {', '.join(self._waiting)}" if self._waiting else "has ended"
            raise RuntimeError(f"there is no move {key!r} to reply to: the planner {waits}")
        pending = self._waiting.pop(key)
        deliver(
            self._interpreter,
            pending,
            value if isinstance(value, Exception) else _told(pending, value, tainted=tainted),
        )

    def run(self, answer: Callable[[str, Any], Any]) -> Any:
        """Drive to the end, with `answer(key, move)` saying what comes of each move."""
        while (move := self.next()) is not None:
            key = self.moves[-1][0]
            self.reply(answer(key, move), key=key)
        return self.result


def _told(pending: Pending, value: Any, *, tainted: bool) -> Any:
    """Wrap a bare value as the engine would."""
    key, move = pending.key, pending.move
    match move:
        case Think() if not isinstance(value, Thought):
            taint = tainted or any(provenance_of(each, pending.history).tainted for each in move.inputs)
            provenance = Provenance((f"step:{key}",), taint)
            if isinstance(value, list) and getattr(move.sampling, "keeps_all", False):
                candidates = tuple(Thought(each, provenance, key=key, text=str(each)) for each in value)
                thought = Thought(value[0], provenance, key=key, text=str(value[0]))
                thought.candidates = candidates
                return thought
            return Thought(value, provenance, key=key, text=str(value))
        case Act() if not isinstance(value, Observation):
            return Observation(value, Provenance((f"action:{key}",), tainted), key=key, action=move.planned.action)
        case Propose() if not isinstance(value, Review):
            return Review(key, bool(value))
        case Ask() if not isinstance(value, Reference):
            return Reference(value, Provenance((f"answer:{key}",)))
        case _:
            return value

"""What a puzzle's rules are made of, so that a march can go through it; those of each stand in `gym_puzzles`.

A puzzle knows its notation and its rules, never an instance: that it reads from the question. Positions are tuples of
numbers and texts, moves are texts.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from scaffold import Task

Position = tuple[Any, ...]


class State(NamedTuple):
    """Where a march stands: the position at first, the one now, and the moves between."""

    first: Position
    now: Position
    moves: tuple[str, ...] = ()


class Puzzle(ABC):
    """The rules of a puzzle, as `march` takes them.

    Attributes:
        name: as in reasoning-gym.
        orderly: whether the moves that lead on form a tree, which is searched depth first.
    """

    name: ClassVar[str]
    orderly: ClassVar[bool] = False
    returns = str

    # --- what each puzzle says

    @abstractmethod
    def read(self, question: str) -> Position:
        """Read the first position from the question."""

    @abstractmethod
    def legal(self, position: Position) -> Iterator[str]:
        """Give the moves that the rules allow."""

    @abstractmethod
    def after(self, position: Position, move: str) -> Position:
        """Make a legal move."""

    @abstractmethod
    def solved(self, position: Position) -> bool:
        """Whether this is the end."""

    @abstractmethod
    def written(self, first: Position, moves: Sequence[str]) -> str:
        """Write moves as the question wants its answer."""

    @abstractmethod
    def notation(self, position: Position) -> list[str]:
        """Give all moves that can be written down, legal or not."""

    def worth_trying(self, position: Position) -> Iterator[str]:
        """Give legal moves among which there is one that leads on, if any does."""
        return self.legal(position)

    # --- what a march asks

    def start(self, task: Task) -> State:
        """Read the question."""
        first = self.read(task.prompt)
        return State(first, first)

    def done(self, state: State) -> bool:
        """Whether the position is the end."""
        return self.solved(state.now)

    def show(self, state: State) -> str:
        """The position, and nothing of how it came about."""
        return f"{self.name} at {json.dumps(state.now, separators=(',', ':'))}"

    def fault(self, state: State, move: str) -> str:
        """Say that a move is illegal."""
        return "" if move in set(self.legal(state.now)) else "is against the rules"

    def next(self, state: State, move: str) -> State:
        """Make a move."""
        return State(state.first, self.after(state.now, move), (*state.moves, move))

    def answer(self, state: State) -> str:
        """Write the answer."""
        return self.written(state.first, state.moves)


def shown(text: str) -> Position:
    """Read a position back from what a step was shown."""
    position: Position = frozen(json.loads(text.partition(" at ")[2]))
    return position


def frozen(value: Any) -> Any:
    """The same with tuples for lists."""
    return tuple(frozen(item) for item in value) if isinstance(value, list) else value

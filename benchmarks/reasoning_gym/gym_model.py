"""A stand-in for a model that knows what to do and errs: at a stated rate, at every decision that it writes down.

It works out the right decision by searching; nothing here is seen by planners. What a benchmark with it measures is how
reliable a planner makes unreliable steps, not how able a model is.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator
from functools import partial

from gym_rules import Position, Puzzle, shown

from scaffold.errors import BackendError
from scaffold.testing import Noisy
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage

SEPARATOR = "; "


class Competent:
    """Says the right next move for a position, or, asked a whole question, all right moves at once.

    Attributes:
        at: the positions of what it said last, for who makes it err.
    """

    profile = Profile(backend="competent", model="by search", prices=FREE, can=frozenset({"n", "seed"}))

    def __init__(self, puzzle: Puzzle) -> None:
        self._puzzle = puzzle
        self._known: dict[Position, str] = {}
        self.at: list[Position] = []

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer as often as asked, always the same."""
        text = self._text(request.messages[-1].content.strip())
        for index in range(request.n):
            usage = Usage(len(request.messages[-1].content) // 4, request.n * len(text) // 4)
            yield Delta(index=index, text=text, finish="stop", usage=usage if index == request.n - 1 else None)

    def _text(self, prompt: str) -> str:
        puzzle = self._puzzle
        if prompt.startswith(f"{puzzle.name} at "):
            self.at = [shown(prompt)]
            return self._next(self.at[0])
        position = puzzle.read(prompt)
        moves = []
        self.at = []
        while not puzzle.solved(position):
            self.at.append(position)
            moves.append(self._next(position))
            position = puzzle.after(position, moves[-1])
        return SEPARATOR.join(moves)

    def _next(self, position: Position) -> str:
        if position not in self._known:
            self._search(position)
        if position not in self._known:
            raise BackendError("nothing leads on from here")
        return self._known[position]

    def _search(self, position: Position) -> None:
        """Find moves to the end, and remember the right one for each position on the way."""
        moves = _depth_first(self._puzzle, position) if self._puzzle.orderly else _breadth_first(self._puzzle, position)
        for move in moves or ():
            self._known[position] = move
            position = self._puzzle.after(position, move)

    async def close(self) -> None:
        """Nothing to free."""


def erring(puzzle: Puzzle, rate: float, seed: int) -> Noisy:
    """A competent model, each of whose decisions is wrong with some probability."""
    inner = Competent(puzzle)
    return Noisy(inner, 1.0, seed=seed, spoil=partial(_spoiled, puzzle, inner, rate))


def _spoiled(puzzle: Puzzle, model: Competent, rate: float, text: str, source: random.Random) -> str:
    """Put something else in the place of some decisions.

    As often as not that is another legal move, and else anything that can be written in the puzzle's notation.
    """
    said = text.split(SEPARATOR)
    for place, (right, position) in enumerate(zip(said, model.at, strict=True)):
        if source.random() < rate:
            others = list(puzzle.legal(position)) if source.random() < 0.5 else puzzle.notation(position)
            wrong = [move for move in others if move != right]
            said[place] = source.choice(wrong) if wrong else "?"
    return SEPARATOR.join(said)


def _breadth_first(puzzle: Puzzle, start: Position) -> list[str] | None:
    """The shortest way to the end; where the moves are exhausted, what says so, if the notation has a word for it."""
    before: dict[Position, tuple[Position, str] | None] = {start: None}
    waiting = deque([start])
    dead_end: list[str] | None = None
    while waiting:
        position = waiting.popleft()
        for move in puzzle.legal(position):
            after = puzzle.after(position, move)
            if after in before:
                continue
            if puzzle.solved(after):
                if move in {"No", "infeasible"}:  # true only when nothing else is found
                    dead_end = [move]
                    continue
                return [*_back(before, position), move]
            before[after] = (position, move)
            waiting.append(after)
    return dead_end


def _back(before: dict[Position, tuple[Position, str] | None], position: Position) -> list[str]:
    moves: list[str] = []
    while (step := before[position]) is not None:
        position, move = step
        moves.append(move)
    return moves[::-1]


def _depth_first(puzzle: Puzzle, start: Position) -> list[str] | None:
    """Any way to the end, where each move takes one nearer and none has to be taken back."""
    dead: set[object] = set()

    def seek(position: Position) -> list[str] | None:
        if puzzle.solved(position):
            return []
        same = _likeness(puzzle, position)
        if same in dead:
            return None
        for move in puzzle.worth_trying(position):
            rest = seek(puzzle.after(position, move))
            if rest is not None:
                return [move, *rest]
        dead.add(same)
        return None

    return seek(start)


def _likeness(puzzle: Puzzle, position: Position) -> object:
    """What makes two positions the same to a search; how a number was made is not."""
    if puzzle.name == "countdown":
        return tuple(sorted(value for value, _ in position[1]))
    return position

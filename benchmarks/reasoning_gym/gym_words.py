"""Puzzles in the words of a real model: told in prose, or in the notation that `xlstm:hanoi` was trained on."""

from __future__ import annotations

import re

from gym_rules import Puzzle, State

PEGS = "ABC"


class Told:
    """A puzzle's rules for a model that has to be told what the question is, and which moves there are."""

    returns = str

    def __init__(self, puzzle: Puzzle, question: str) -> None:
        self._question = question
        self._puzzle = puzzle
        self.start, self.done, self.fault = puzzle.start, puzzle.done, puzzle.fault
        self.next, self.answer = puzzle.next, puzzle.answer

    def show(self, state: State) -> str:
        """The question, the position, and the moves that the rules allow."""
        moves = "; ".join(self._puzzle.legal(state.now))
        made = "; ".join(state.moves) or "none"
        return (
            f"{self._question}\n\nMoves made so far: {made}\nMoves that are allowed now: {moves}\nThe best next move:"
        )


class Towers:
    """The towers as `xlstm:hanoi` knows them: from peg A to peg C by way of B, three pegs of those in the question."""

    returns = str

    def __init__(self, puzzle: Puzzle) -> None:
        self._puzzle = puzzle
        self.start, self.done, self.answer = puzzle.start, puzzle.done, puzzle.answer

    def show(self, state: State) -> str:
        """The state in the model's words: how many disks, which moved last, and where each is, the largest first."""
        numbers = self._numbers(state)
        place = {disk: letter for letter in PEGS for disk in state.now[1][numbers[letter] - 1]}
        last = re.findall(r"\d+", state.moves[-1])[0] if state.moves else "0"
        where = " ".join(f"{disk}{place[disk]}" for disk in sorted(place, reverse=True))
        return f"disks:{len(place)} last:{last} {where} move"

    def fault(self, state: State, said: str) -> str:
        """Say that a move is illegal, or none."""
        move = self._move(state, said)
        return self._puzzle.fault(state, move) if move else "is no move"

    def next(self, state: State, said: str) -> State:
        """Make a move."""
        return self._puzzle.next(state, self._move(state, said))

    def _move(self, state: State, said: str) -> str:
        """A move in the question's words; nothing, where the model has not said one."""
        words = re.fullmatch(r"(\d+) ([ABC]) ([ABC])", said.strip())
        if words is None:
            return ""
        numbers = self._numbers(state)
        return f"Move disk {words[1]} from Peg {numbers[words[2]]} to Peg {numbers[words[3]]}"

    @staticmethod
    def _numbers(state: State) -> dict[str, int]:
        """The question's numbers of the model's three pegs."""
        wanted, pegs = state.first
        begun = next(number for number, disks in enumerate(pegs, 1) if disks)
        free = next(number for number in range(1, len(pegs) + 1) if number not in {wanted, begun})
        return {"A": begun, "B": free, "C": wanted}

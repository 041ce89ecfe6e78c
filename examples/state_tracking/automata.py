"""Two states to track: whether the number of ones is even or odd, and under which of five cups the ball is.

Both are automata: a state, and symbols that each change it. Parity is the simplest of all; the swaps of five cups
generate all permutations of five elements, which no fixed number of transformer layers is believed to track over any
length (Merrill and Sabharwal, 2023, arXiv 2207.00729; Merrill et al., 2024, arXiv 2404.08819).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Automaton:
    """A state to track.

    Attributes:
        name: for the plot.
        states: what the answer may be.
        symbols: what may happen.
        table: the next state, by state and symbol.
        beginnings: how each state is written at the beginning of a prompt.
    """

    name: str
    states: tuple[str, ...]
    symbols: tuple[str, ...]
    table: Numbers
    beginnings: tuple[str, ...]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words, in a fixed order."""
        return tuple(dict.fromkeys([*self.symbols, *self.beginnings, *self.states]))

    def draw(self, rng: np.random.Generator, count: int, length: int) -> tuple[Numbers, Numbers]:
        """Draw prompts of a beginning and `length` symbols.

        Returns:
            Tokens (count, 1 + length), and after each of them the token of the right answer, likewise.
        """
        places = {word: place for place, word in enumerate(self.vocabulary)}
        begin, symbol, answer = (
            np.array([places[word] for word in words]) for words in (self.beginnings, self.symbols, self.states)
        )
        states = rng.integers(0, len(self.states), count)
        happened = rng.integers(0, len(self.symbols), (count, length))
        tokens, answers = [begin[states]], [answer[states]]
        for now in happened.T:
            states = self.table[states, now]
            tokens.append(symbol[now])
            answers.append(answer[states])
        return np.stack(tokens, axis=1), np.stack(answers, axis=1)

    def texts(self, tokens: Numbers) -> list[str]:
        """Write rows of tokens as texts."""
        return [" ".join(self.vocabulary[token] for token in row) for row in np.atleast_2d(tokens)]


def parity() -> Automaton:
    """Ones among bits; a beginning is itself a bit, so that the shipped checkpoint `parity` can be asked."""
    return Automaton("parity of bits", ("even", "odd"), ("0", "1"), np.array([[0, 1], [1, 0]]), ("0", "1"))


def cups() -> Automaton:
    """A ball under one of five cups, two of which are swapped at a time."""
    swaps = list(combinations(range(5), 2))
    table = np.array([[b if at == a else a if at == b else at for a, b in swaps] for at in range(5)])
    names = tuple(str(cup + 1) for cup in range(5))
    return Automaton("ball under five cups", names, tuple(f"{a + 1}-{b + 1}" for a, b in swaps), table, names)

"""Samples the next word: temperature, seeds, and restriction to given choices."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from math import isfinite, log
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scaffold.errors import BadRequest, BadResponse
from scaffold_backends.xlstm.functions import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold_backends.xlstm.tokens import Vocabulary

Tokens: TypeAlias = NDArray[np.int64]
Trie: TypeAlias = "dict[int, Trie]"

_GAMMA = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_STEP = 2.0**-53


def _mixed(x: int) -> int:
    """SplitMix64's mixing of 64 bits (Steele, Lea and Flood, 2014, doi 10.1145/2660193.2660195)."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def stream_of(seed: int) -> int:
    """Return the random stream of a seed; neighbouring seeds have unrelated streams."""
    return _mixed((seed + _GAMMA) & _MASK)


def uniform(stream: int, place: int) -> float:
    """Return a stream's number at a place, in [0, 1); without state, so any sample can be redrawn alone."""
    return (_mixed((stream + (place + 1) * _GAMMA) & _MASK) >> 11) * _STEP


class Weighed:
    """The weights of the words that may come next, for each row of logits (B, V).

    In float64, since the rounding error of the sum would otherwise fall to the last word.
    """

    def __init__(self, logits: Array, temperature: float, places: Sequence[Trie] | None = None) -> None:
        """Weigh all words, or with `places` only those that may follow there; temperature 0 leaves the likeliest.

        Raises:
            BadResponse: some of the logits are no numbers.
        """
        self._scaled: NDArray[np.float64] = logits.astype(np.float64)
        self._scaled -= np.maximum.reduce(self._scaled, axis=1, keepdims=True)
        weights = np.exp(self._scaled)
        cumulative = np.add.accumulate(weights, axis=1)
        self._totals: list[float] = cumulative[:, -1].tolist()
        if not isfinite(sum(self._totals)):
            raise BadResponse(
                "the model's scores are not numbers: its weights are too large to compute with, or damaged"
            )
        self._likeliest: list[int] | None = None
        if temperature != 1 or places is not None:
            shifted = self._scaled if places is None else _only(self._scaled, places)
            if temperature == 0:
                self._likeliest = np.argmax(shifted, axis=1).tolist()
                return
            # Again from the largest: all choices could be what the model would never say.
            shifted = (shifted - np.maximum.reduce(shifted, axis=1, keepdims=True)) / temperature
            cumulative = np.add.accumulate(np.exp(shifted), axis=1)
        self._cumulative: list[list[float]] = cumulative.tolist()
        self._last = [bisect_left(weights, weights[-1]) for weights in self._cumulative]  # that have any weight

    def choose(self, row: int, u: float) -> int:
        """Choose a row's word by a number in [0, 1): the first whose cumulative weight exceeds that share of all."""
        if self._likeliest is not None:
            return self._likeliest[row]
        weights = self._cumulative[row]
        # The product may be rounded up to the total: then it is the last word that has any weight.
        return min(bisect_right(weights, u * weights[-1]), self._last[row])

    def logprob(self, row: int, token: int) -> float:
        """Return the logarithm of a word's probability at temperature 1, whatever may follow."""
        return float(self._scaled[row, token]) - log(self._totals[row])


def _only(logits: NDArray[np.float64], places: Sequence[Trie]) -> NDArray[np.float64]:
    """Leave in each row of logits (B, V) only the words that may follow at its place."""
    kept = np.full_like(logits, -np.inf)
    for row, place in enumerate(places):
        words = list(place)
        kept[row, words] = logits[row, words]
    return kept


def trie_of(choices: Sequence[str], vocabulary: Vocabulary, *, end: int | None) -> Trie:
    """Arrange choices by their tokens: what may follow what.

    Raises:
        BadRequest: a choice has words that the model does not know, or begins another in a model without a last word.
    """
    trie: Trie = {}
    known: dict[tuple[int, ...], str] = {}
    for choice in choices:
        tokens = vocabulary.tokens(choice, "a choice")
        if not tokens:
            raise BadRequest("an empty text cannot be a choice")
        known[tuple(tokens)] = choice
        place = trie
        for token in [*tokens, end] if end is not None else tokens:
            place = place.setdefault(token, {})
    if end is None:
        _no_beginnings(known)
    return trie


def _no_beginnings(known: dict[tuple[int, ...], str]) -> None:
    ordered = sorted(known)  # a prefix of another comes right before one that it begins
    for short, long in pairwise(ordered):
        if long[: len(short)] == short:
            raise BadRequest(
                f"the choice {known[short]!r} is the beginning of the choice {known[long]!r}, and the model "
                "cannot mark where a choice ends"
            )

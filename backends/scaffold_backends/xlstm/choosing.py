"""Choosing the next word: temperature, seeds, and keeping to given choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scaffold.errors import BadRequest
from scaffold_backends.xlstm.functions import Array, softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold_backends.xlstm.tokens import Vocabulary

# SplitMix64 (Steele, Lea and Flood, 2014, doi 10.1145/2660193.2660195).
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST = np.uint64(31)
_TO_FLOAT = np.uint64(11)

Seeds: TypeAlias = NDArray[np.uint64]
Tokens: TypeAlias = NDArray[np.int64]
Trie: TypeAlias = "dict[int, Trie]"


def _mixed(x: Seeds) -> Seeds:
    for shift, factor in _MIX:
        x = (x ^ (x >> shift)) * factor
    return x ^ (x >> _LAST)


def stream_seeds(seed: int, count: int) -> Seeds:
    """Give the seeds of samples: sample i has the stream of seed + i, in whatever batch it is drawn."""
    numbers = np.array([(seed + each) % 2**64 for each in range(count)], np.uint64)
    return _mixed(numbers + _GAMMA)


def uniforms(seeds: Seeds, place: int) -> NDArray[np.float64]:
    """Give each stream's number at a place, in [0, 1): no state, so that a sample can be drawn again by itself."""
    # In Python's whole numbers: numpy warns of what is meant to overflow when it multiplies two single numbers.
    step = np.uint64((place + 1) * int(_GAMMA) % 2**64)
    return (_mixed(seeds + step) >> _TO_FLOAT).astype(np.float64) * 2.0**-53


def choose(logits: Array, temperature: float, u: NDArray[np.float64]) -> Tokens:
    """Choose a token for each row.

    Args:
        logits: (B, V).
        temperature: 0 takes the likeliest.
        u: a number in [0, 1) for each row: the first token whose cumulative probability exceeds it is taken.
    """
    if temperature == 0:
        likeliest: Tokens = np.argmax(logits, axis=1)
        return likeliest
    # From here on in float64: what is left of the sum after rounding would otherwise fall to the last word.
    shifted = (logits - np.maximum.reduce(logits, axis=1, keepdims=True)).astype(np.float64) / temperature
    cumulative = np.add.accumulate(np.exp(shifted), axis=1)
    chosen: Tokens = np.argmax(cumulative > (u * cumulative[:, -1])[:, None], axis=1)
    return chosen


def log_probabilities(logits: Array, chosen: Tokens) -> Array:
    """Give the logarithm of each chosen token's probability at temperature 1, (B,)."""
    p: Array = np.take_along_axis(softmax(logits), chosen[:, None], axis=1)[:, 0]
    return np.log(np.maximum(p, np.float32(1e-30)))


def trie_of(choices: Sequence[str], vocabulary: Vocabulary, *, end: int | None) -> Trie:
    """Arrange choices by their tokens: what may follow what.

    Raises:
        BadRequest: a choice has words that the model does not know, or begins another in a model without a last word.
    """
    trie: Trie = {}
    known: dict[tuple[int, ...], str] = {}
    for choice in choices:
        tokens = vocabulary.tokens(choice, f"the choice {choice!r}")
        if not tokens:
            raise BadRequest("an empty text cannot be a choice")
        known[tuple(tokens)] = choice
        place = trie
        for token in [*tokens, end] if end is not None else tokens:
            place = place.setdefault(token, {})
    for short, choice in known.items():
        for long, longer in known.items():
            if end is None and len(long) > len(short) and long[: len(short)] == short:
                raise BadRequest(
                    f"the choice {choice!r} begins the choice {longer!r}, and the model cannot say where it ends"
                )
    return trie


def allow_only(logits: Array, places: Sequence[Trie]) -> Array:
    """Give logits (B, V) in which each row has only the words that may follow at its place."""
    kept = np.full_like(logits, -np.inf)
    for row, place in enumerate(places):
        words = list(place)
        kept[row, words] = logits[row, words]
    return kept

"""The mLSTM cell: a matrix memory that is written with a covariance update (arXiv 2405.04517, section 2.3).

In the paper's words, with value v, key k, query q, and gates i and f (equations 19 to 27):

    C_t = f_t C_{t-1} + i_t v_t k_t^T         the memory
    n_t = f_t n_{t-1} + i_t k_t               the normaliser: what the memory holds in all
    h_t = C_t q_t / max(|n_t . q_t|, 1)       what is read

The normaliser is the memory of a value that is always 1. So here every value has a 1 after its last entry, and the last
column of the memory is the normaliser: one update and one product do for both.

The input gate is exp(i~), which soon overflows; so memory and normaliser are kept divided by exp(m), where the
stabiliser m is the largest logarithm of a weight so far (equations 15 to 17). The division cancels in h, save
that the bound 1 becomes exp(-m). It starts at -1e4: nothing written yet weighs anything.

Shapes: B sequences, T tokens, H heads, P width of a head's keys, V width of a head's values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scaffold_backends.xlstm.functions import Array, log_sigmoid

STABILISER_START = -1e4
EPS = np.float32(1e-6)  # keeps a memory that holds nothing for a query from dividing by nothing
CHUNK = 64  # tokens read at once: the work inside a chunk grows with its square


class Memory(NamedTuple):
    """What an mLSTM cell remembers; its size does not hang on how much was read.

    Attributes:
        matrix: memory and, in its last column, normaliser, divided by exp(stabiliser): (B, H, P, V + 1).
        stabiliser: (B, H).
        forget: the forget gate of the last token, its logarithm: (B, H).
    """

    matrix: Array
    stabiliser: Array
    forget: Array


def empty(batch: int, heads: int, keys: int, values: int) -> Memory:
    """Give the memory before the first token."""
    return Memory(
        np.zeros((batch, heads, keys, values + 1), np.float32),
        np.full((batch, heads), STABILISER_START, np.float32),
        np.zeros((batch, heads), np.float32),
    )


def step(q: Array, k: Array, v: Array, i: Array, f: Array, memory: Memory) -> tuple[Array, Memory]:
    """Read one token.

    Args:
        q: queries (B, H, P).
        k: keys (B, H, P), already divided by sqrt(P).
        v: values with a 1 at their end (B, H, V + 1).
        i: pre-activation of the input gate (B, H).
        f: pre-activation of the forget gate (B, H).

    Returns:
        What is read, h (B, H, V), and the new memory.
    """
    log_f = log_sigmoid(f)
    kept = log_f + memory.stabiliser
    m = np.maximum(kept, i)  # (15)
    kept -= m
    np.exp(kept, out=kept)  # (17)
    written = k * np.exp(i - m)[..., None]  # (16)
    matrix = memory.matrix * kept[..., None, None]
    matrix += written[..., :, None] * v[..., None, :]  # (19) and, in the last column, (20)
    new = Memory(matrix, m, log_f)
    return read(q, new), new


def write(k: Array, v: Array, i: Array, f: Array, memory: Memory) -> Memory:
    """Read several tokens at once of which nobody wants to know what is read before the last.

    Token s stands in the memory after the last, T, with the weight i_s f_{s+1} ... f_T.

    Args:
        k: keys (B, H, T, P), already divided by sqrt(P).
        v: values with a 1 at their end (B, H, T, V + 1).
        i: pre-activation of the input gate (B, H, T).
        f: pre-activation of the forget gate (B, H, T).
    """
    log_f = log_sigmoid(f)
    b: Array = np.add.accumulate(log_f, axis=-1)
    weights = b[..., -1:] - b
    weights += i
    before = b[..., -1] + memory.stabiliser  # (B, H)
    m: Array = np.maximum(before, np.maximum.reduce(weights, axis=-1))
    weights -= m[..., None]
    np.exp(weights, out=weights)
    before -= m
    np.exp(before, out=before)
    matrix: Array = memory.matrix * before[..., None, None]
    matrix += np.swapaxes(k * weights[..., None], -1, -2) @ v
    return Memory(matrix, m, log_f[..., -1].copy())


def read(q: Array, memory: Memory) -> Array:
    """Read from the memory with queries q (B, H, P): equation 21. Gives h (B, H, V)."""
    return _normalised((q[..., None, :] @ memory.matrix)[..., 0, :], memory.stabiliser)


def chunk(q: Array, k: Array, v: Array, i: Array, f: Array, memory: Memory) -> tuple[Array, Memory]:
    """Read several tokens at once: the same as `step` after `step`, as products of matrices.

    Token t reads what token s <= t wrote with the weight i_s f_{s+1} ... f_t, and the memory from before with
    f_1 ... f_t. With b_t = log f_1 + ... + log f_t these are exp(b_t - b_s + i~_s) and exp(b_t): the parallel form
    (appendix A.3), inside a chunk.

    Args:
        q: queries (B, H, T, P).
        k: keys (B, H, T, P), already divided by sqrt(P).
        v: values with a 1 at their end (B, H, T, V + 1).
        i: pre-activation of the input gate (B, H, T).
        f: pre-activation of the forget gate (B, H, T).

    Returns:
        What is read at each token, h (B, H, T, V), and the memory after the last.
    """
    log_f = log_sigmoid(f)
    b: Array = np.add.accumulate(log_f, axis=-1)  # (B, H, T)
    weights = b[..., :, None] - b[..., None, :] + i[..., None, :] + _causal(q.shape[-2])  # (B, H, T, T), logarithms
    before = b + memory.stabiliser[..., None]  # (B, H, T)
    m: Array = np.maximum(before, np.maximum.reduce(weights, axis=-1))
    weights -= m[..., None]
    np.exp(weights, out=weights)
    before -= m
    np.exp(before, out=before)
    scores = q @ np.swapaxes(k, -1, -2)  # (B, H, T, T)
    scores *= weights
    found: Array = q @ memory.matrix  # (B, H, T, V + 1)
    found *= before[..., None]
    found += scores @ v
    # The weights of the last row are those with which the tokens stand in the memory at the end.
    written = k * weights[..., -1, :, None]  # (B, H, T, P)
    matrix: Array = memory.matrix * before[..., -1, None, None]
    matrix += np.swapaxes(written, -1, -2) @ v
    # Copies, since views would keep the whole chunk in memory.
    return _normalised(found, m), Memory(matrix, m[..., -1].copy(), log_f[..., -1].copy())


def _normalised(found: Array, m: Array) -> Array:
    """Divide what was found by max(|n . q|, 1), the 1 being exp(-m) at this scale."""
    below: Array = np.maximum(np.abs(found[..., -1]), np.exp(-m))
    below += EPS
    return found[..., :-1] / below[..., None]


_masks: dict[int, Array] = {}


def _causal(length: int) -> Array:
    """Minus infinity where a token would read a later one: (T, T)."""
    mask = _masks.get(length)
    if mask is None:
        mask = _masks[length] = np.triu(np.full((length, length), -np.inf, np.float32), 1)
    return mask

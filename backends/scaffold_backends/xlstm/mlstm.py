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


def read(q: Array, memory: Memory) -> Array:
    """Read from the memory with queries q (B, H, P): equation 21. Gives h (B, H, V)."""
    return _normalised((q[..., None, :] @ memory.matrix)[..., 0, :], memory.stabiliser)


class _Weights(NamedTuple):
    """With what weights tokens are read together, as logarithms.

    Token t reads what token s <= t wrote with the weight i_s f_{s+1} ... f_t, and the memory from before with
    f_1 ... f_t. With b_t = log f_1 + ... + log f_t and g_s = i~_s - b_s, the logarithms of these are b_t + g_s and b_t;
    the largest of them, together with the memory's own scale m_0, is the stabiliser m_t = b_t + c_t with
    c_t = max(m_0, g_1, ..., g_t). Divided by exp(m_t) the weights are exp(g_s - c_t) and exp(m_0 - c_t).
    """

    forget: Array  # log f, (B, H, T)
    sums: Array  # b
    gains: Array  # g
    largest: Array  # c


def _weights(i: Array, f: Array, memory: Memory) -> _Weights:
    forget = log_sigmoid(f)
    sums: Array = np.add.accumulate(forget, axis=-1)
    gains = i - sums
    largest: Array = np.maximum.accumulate(gains, axis=-1)
    np.maximum(largest, memory.stabiliser[..., None], out=largest)
    return _Weights(forget, sums, gains, largest)


def write(k: Array, v: Array, i: Array, f: Array, memory: Memory) -> Memory:
    """Read several tokens at once of which nobody wants to know what is read before the last.

    Args:
        k: keys (B, H, T, P), already divided by sqrt(P).
        v: values with a 1 at their end (B, H, T, V + 1).
        i: pre-activation of the input gate (B, H, T).
        f: pre-activation of the forget gate (B, H, T).
    """
    return _written(k, v, _weights(i, f, memory), memory)


def _written(k: Array, v: Array, by: _Weights, memory: Memory) -> Memory:
    """Give the memory after the last token."""
    largest = by.largest[..., -1]
    kept = np.exp(memory.stabiliser - largest)
    matrix: Array = memory.matrix * kept[..., None, None]
    weighed = k * np.exp(by.gains - largest[..., None])[..., None]
    matrix += np.swapaxes(weighed, -1, -2) @ v
    # Sums and copies, since views would keep the whole chunk in memory.
    return Memory(matrix, by.sums[..., -1] + largest, by.forget[..., -1].copy())


def chunk(q: Array, k: Array, v: Array, i: Array, f: Array, memory: Memory) -> tuple[Array, Memory]:
    """Read several tokens at once: the same as `step` after `step`, as products of matrices (appendix A.3).

    Args:
        q: queries (B, H, T, P).
        k: keys (B, H, T, P), already divided by sqrt(P).
        v: values with a 1 at their end (B, H, T, V + 1).
        i: pre-activation of the input gate (B, H, T).
        f: pre-activation of the forget gate (B, H, T).

    Returns:
        What is read at each token, h (B, H, T, V), and the memory after the last.
    """
    by = _weights(i, f, memory)
    weights = by.gains[..., None, :] - by.largest[..., :, None]  # (B, H, T, T), logarithms
    weights += _causal(q.shape[-2])
    np.exp(weights, out=weights)
    weights *= q @ np.swapaxes(k, -1, -2)
    found: Array = q @ memory.matrix  # (B, H, T, V + 1)
    found *= np.exp(memory.stabiliser[..., None] - by.largest)[..., None]
    found += weights @ v
    return _normalised(found, by.sums + by.largest), _written(k, v, by, memory)


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

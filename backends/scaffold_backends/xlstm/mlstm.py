"""The mLSTM cell: a matrix memory with a covariance update (arXiv 2405.04517, section 2.3).

With value v, key k, query q, and gates i and f (equations 19 to 27):

    C_t = f_t C_{t-1} + i_t v_t k_t^T         the memory
    n_t = f_t n_{t-1} + i_t k_t               the normaliser: the total weight in the memory
    h_t = C_t q_t / max(|n_t . q_t|, 1)       what is read

The normaliser is the memory of a value that is always 1. So every value here has a 1 after its last entry, and the last
column of the memory is the normaliser: one update and one product serve both.

The input gate exp(i~) overflows easily, so memory and normaliser are stored divided by exp(m), where the stabiliser m
is the largest log-weight so far (equations 15 to 17). The division cancels in h, except that the bound 1 becomes
exp(-m). m starts at -1e4, since an empty memory has no weight.

Shapes: B sequences, T tokens, H heads, P width of a head's keys, V width of a head's values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scaffold_backends.xlstm.functions import Array

STABILISER_START = -1e4
EPS = np.float32(1e-6)  # keeps a memory that holds nothing for a query from dividing by nothing
_ZERO = np.float32(0)
CHUNK = 64  # tokens read at once: the work inside a chunk grows with its square


class Memory(NamedTuple):
    """What an mLSTM cell remembers; its size does not hang on how much was read.

    Attributes:
        matrix: memory and, in its last column, normaliser, divided by exp(stabiliser): (B, H, P, V + 1).
        stabiliser: (B, H).
        decay: -log f of the last token: (B, H).
    """

    matrix: Array
    stabiliser: Array
    decay: Array

    @property
    def forget(self) -> Array:
        """The forget gate of the last token, its logarithm."""
        return -self.decay


def empty(batch: int, heads: int, keys: int, values: int) -> Memory:
    """Return the memory before the first token: one zero, seen from everywhere, until something is written."""
    return Memory(
        np.broadcast_to(np.float32(0), (batch, heads, keys, values + 1)),
        np.full((batch, heads), STABILISER_START, np.float32),
        np.zeros((batch, heads), np.float32),
    )


def is_empty(memory: Memory) -> bool:
    """Whether it is known that nothing was written, so that there is nothing to keep or to read."""
    return memory.matrix.strides[-1] == 0


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
    new = write(k[..., None, :], v[..., None, :], np.stack((i, -f), axis=1), memory)
    found: Array = (q[..., None, :] @ new.matrix)[..., 0, :]
    return normalised(found, new.stabiliser), new


def write(k: Array, v: Array, gates: Array, memory: Memory) -> Memory:
    """Write one token.

    Args:
        k: keys (B, H, 1, P), already divided by sqrt(P).
        v: values with a last entry for the normaliser (B, H, 1, V + 1).
        gates: pre-activations i and -f, (B, 2, H), which are used up.
    """
    decay: Array = np.logaddexp(_ZERO, gates[:, 1])  # -log sigmoid(f)
    np.subtract(memory.stabiliser, decay, out=gates[:, 1])
    m: Array = np.maximum.reduce(gates, axis=1)  # (15)
    gates -= m[:, None]
    np.exp(gates, out=gates)  # (16) and (17)
    weighed = gates[..., None, None]
    matrix = memory.matrix * weighed[:, 1]
    matrix += (k * weighed[:, 0]).swapaxes(-1, -2) * v  # (19) and, in the last column, (20)
    return Memory(matrix, m, decay)


def normalised(found: Array, m: Array) -> Array:
    """Divide what was found (..., V + 1) by max(|n . q|, 1), the 1 being exp(-m) at this scale: equation 21."""
    below: Array = np.maximum(np.abs(found[..., -1]), np.exp(-m))
    below += EPS
    return found[..., :-1] / below[..., None]


class Weights(NamedTuple):
    """With what weights tokens are read together, as logarithms.

    Token t reads what token s <= t wrote with the weight i_s f_{s+1} ... f_t, and the memory from before with
    f_1 ... f_t. With d_t = -log f_t, b_t = d_1 + ... + d_t and g_s = i~_s + b_s, the logarithms of these are g_s - b_t
    and -b_t; the largest of them, together with the memory's own scale m_0, is the stabiliser m_t = c_t - b_t with
    c_t = max(m_0, g_1, ..., g_t). Divided by exp(m_t) the weights are exp(g_s - c_t) and exp(m_0 - c_t).
    """

    decay: Array  # d, (B, H, T)
    sums: Array  # b
    gains: Array  # g
    largest: Array  # c


def weights_of(i: Array, minus_f: Array, memory: Memory) -> Weights:
    """Return the weights of tokens with the gates' pre-activations i and -f, both (B, H, T)."""
    decay: Array = np.logaddexp(_ZERO, minus_f)
    sums: Array = np.add.accumulate(decay, axis=-1)
    gains = i + sums
    largest: Array = np.maximum.accumulate(gains, axis=-1)
    np.maximum(largest, memory.stabiliser[..., None], out=largest)
    return Weights(decay, sums, gains, largest)


def write_all(k: Array, v: Array, by: Weights, memory: Memory) -> Memory:
    """Write several tokens at once: keys (B, H, T, P) with values (B, H, T, V + 1)."""
    largest = by.largest[..., -1]
    last = by.gains - largest[..., None]
    np.exp(last, out=last)
    matrix: Array = (k * last[..., None]).swapaxes(-1, -2) @ v
    if not is_empty(memory):
        matrix += memory.matrix * np.exp(memory.stabiliser - largest)[..., None, None]
    # A difference and a copy, since views would keep the whole chunk in memory.
    return Memory(matrix, largest - by.sums[..., -1], by.decay[..., -1].copy())


def find_all(q: Array, k: Array, v: Array, by: Weights, memory: Memory) -> Array:
    """Return C q and, in the last column, n . q after each token, (B, H, T, V + 1), as products (appendix A.3)."""
    weights: Array = by.gains[..., None, :] - by.largest[..., None]  # (B, H, T, T), logarithms
    weights += _causal(q.shape[-2])
    np.exp(weights, out=weights)
    weights *= q @ k.swapaxes(-1, -2)
    found: Array = weights @ v
    if not is_empty(memory):
        before = q @ memory.matrix  # (B, H, T, V + 1)
        before *= np.exp(memory.stabiliser[..., None] - by.largest)[..., None]
        found += before
    return found


def chunk(q: Array, k: Array, v: Array, i: Array, f: Array, memory: Memory) -> tuple[Array, Memory]:
    """Read several tokens at once: the same as `step` after `step`.

    Args:
        q: queries (B, H, T, P).
        k: keys (B, H, T, P), already divided by sqrt(P).
        v: values with a 1 at their end (B, H, T, V + 1).
        i: pre-activation of the input gate (B, H, T).
        f: pre-activation of the forget gate (B, H, T).

    Returns:
        What is read at each token, h (B, H, T, V), and the memory after the last.
    """
    by = weights_of(i, -f, memory)
    found = find_all(q, k, v, by, memory)
    return normalised(found, by.largest - by.sums), write_all(k, v, by, memory)


_masks: dict[int, Array] = {}


def _causal(length: int) -> Array:
    """Minus infinity where a token would read a later one: (T, T)."""
    mask = _masks.get(length)
    if mask is None:
        mask = _masks[length] = np.triu(np.full((length, length), -np.inf, np.float32), 1)
    return mask

"""The sLSTM cell: scalar memories with exponential gates that mix within a head (arXiv 2405.04517, section 2.2).

With r_t = R h_{t-1} mixing the memories of one head, and x~ what comes from the token (equations 8 to 14):

    z_t = tanh(z~ + r)    i_t = exp(i~ + r)    f_t = sigmoid(f~ + r)    o_t = sigmoid(o~ + r)
    c_t = f_t c_{t-1} + i_t z_t               the memory
    n_t = f_t n_{t-1} + i_t                   the normaliser
    h_t = o_t c_t / n_t                       what is read

Memory and normaliser are stored divided by exp(m), the stabiliser (equations 15 to 17), which cancels in h. Each
token's gates need the output at the token before, so tokens can only be read one by one.

Shapes: B sequences, T tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scaffold_backends.xlstm.functions import Array, log_sigmoid, sigmoid
from scaffold_backends.xlstm.mlstm import STABILISER_START


class Memory(NamedTuple):
    """What an sLSTM cell remembers.

    Attributes:
        hidden: what was read last, h: (B, D).
        cell: c, divided by exp(stabiliser): (B, D).
        normaliser: n, divided likewise: (B, D).
        stabiliser: m: (B, D).
        forget: the forget gate of the last token, its logarithm: (B, D).
    """

    hidden: Array
    cell: Array
    normaliser: Array
    stabiliser: Array
    forget: Array


def empty(batch: int, width: int) -> Memory:
    """Return the memory before the first token."""
    zeros = np.zeros((batch, width), np.float32)
    return Memory(zeros, zeros, zeros, np.full((batch, width), STABILISER_START, np.float32), zeros)


def step(x: Array, mixing: Array, memory: Memory) -> Memory:
    """Read one token.

    Args:
        x: what the token gives to the gates i, f, z and o, biases included: (B, 4D).
        mixing: R of all heads and gates, block-diagonal: (D, 4D).

    Returns:
        The new memory; what is read is its `hidden`.
    """
    raw = memory.hidden @ mixing
    raw += x
    width = mixing.shape[0]
    i, f, z, o = (raw[:, at : at + width] for at in range(0, 4 * width, width))
    log_f = log_sigmoid(f)
    kept = log_f + memory.stabiliser
    m = np.maximum(kept, i)  # (15)
    kept -= m
    np.exp(kept, out=kept)  # (17)
    written = np.exp(i - m)  # (16)
    cell = kept * memory.cell
    cell += written * np.tanh(z)  # (8)
    normaliser = kept * memory.normaliser
    normaliser += written  # (9)
    hidden = sigmoid(o)
    hidden *= cell
    hidden /= normaliser  # (10); never 0: the larger of the two weights is 1
    return Memory(hidden, cell, normaliser, m, log_f)


def run(x: Array, mixing: Array, memory: Memory) -> tuple[Array, Memory]:
    """Read several tokens, one by one.

    Args:
        x: as in `step`, of each token: (B, T, 4D).

    Returns:
        What is read at each token, h (B, T, D), and the memory after the last.
    """
    read = np.empty((*x.shape[:2], mixing.shape[0]), np.float32)
    for t in range(x.shape[1]):
        memory = step(x[:, t], mixing, memory)
        read[:, t] = memory.hidden
    return read, memory

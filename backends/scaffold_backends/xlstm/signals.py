"""Signals of a model's inner state, from which a monitor can tell that an answer is likely wrong.

| name | what |
|---|---|
| `entropy` | of the next word, in nats |
| `margin` | the likeliest word's probability less the second's |
| `memory.N` | of block N: the logarithm of its memory's norm, in the cell's own scale |
| `saturation.N` | of block N: the share of forget gates within 1 % of 0 or of 1, at the last token |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scaffold_backends.xlstm.functions import softmax
from scaffold_backends.xlstm.mlstm import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold_backends.xlstm import slstm
    from scaffold_backends.xlstm.functions import Array

_NEARLY = 0.01


def entropy_and_margin(logits: Array) -> tuple[Array, Array]:
    """Return the entropy and the margin of each row, (B,), for logits (B, V)."""
    p = softmax(logits)
    entropy: Array = -np.einsum("bv,bv->b", p, np.log(np.maximum(p, np.float32(1e-30))))
    best = np.partition(p, p.shape[1] - 2, axis=1)[:, -2:]
    return entropy, best[:, 1] - best[:, 0]


def memory_norm(cell: Memory | slstm.Memory) -> Array:
    """Return the logarithm of the norm of each sequence's memory, (B,), undone the stabiliser.

    A memory M with stabiliser m stands for M exp(m), so heads are weighed by exp(2m) and added as logarithms.
    """
    if isinstance(cell, Memory):
        matrix = cell.matrix[..., :-1]
        square = np.einsum("bhpv,bhpv->bh", matrix, matrix)
    else:
        square = cell.cell * cell.cell
    logs = np.log(np.maximum(square, np.float32(1e-30))) + 2 * cell.stabiliser
    norm: Array = np.logaddexp.reduce(logs, axis=1) / 2
    return norm


def saturation(cell: Memory | slstm.Memory) -> Array:
    """Return the share of each sequence's forget gates that are nearly shut or nearly open, (B,)."""
    gate = np.exp(cell.forget)
    share: Array = np.mean((gate < _NEARLY) | (gate > 1 - _NEARLY), axis=1, dtype=np.float32)
    return share


def signals_of(cells: Sequence[Memory | slstm.Memory], logits: Array) -> list[dict[str, float]]:
    """Return the figures of each sequence."""
    entropy, margin = entropy_and_margin(logits)
    columns = {"entropy": entropy, "margin": margin}
    for number, cell in enumerate(cells):
        columns[f"memory.{number}"] = memory_norm(cell)
        columns[f"saturation.{number}"] = saturation(cell)
    return [{name: float(column[row]) for name, column in columns.items()} for row in range(len(logits))]

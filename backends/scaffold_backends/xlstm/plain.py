"""The mLSTM block as in the paper, token by token: the reference for the block that runs.

    x' = LayerNorm(x)        a, z = up(x')          c = SiLU(conv(a))
    q = W_q c                k = W_k c / sqrt(P)    v = W_v a
    i~, f~ = gates(q, k, v)  h = cell(q, k, v, i~, f~)
    x + down((LayerNorm by heads(h) + skip * c) * SiLU(z))

`block_mlstm` computes the same in fewer calls; the tests compare the two at every token.

Shapes: B sequences, T tokens, D width, I inner width, H heads, P width of a head, K tokens that a convolution sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scaffold_backends.xlstm import mlstm
from scaffold_backends.xlstm.blocks import diagonal
from scaffold_backends.xlstm.functions import Array, layer_norm, silu

if TYPE_CHECKING:
    from scaffold_backends.xlstm.blocks import Weights
    from scaffold_backends.xlstm.specs import MLSTMSpec


def read(spec: MLSTMSpec, weights: Weights, eps: float, x: Array) -> Array:
    """Read tokens x (B, T, D) from the first on, one by one; give the stream after the block, (B, T, D)."""
    memory = mlstm.empty(len(x), spec.heads, spec.inner // spec.heads, spec.inner // spec.heads)
    seen = np.zeros((len(x), spec.kernel, spec.inner), np.float32)
    stream = []
    for token in np.swapaxes(x, 0, 1):
        normed = layer_norm(token, weights["norm.weight"], eps)
        a, z = np.split(normed @ weights["up.weight"].T, 2, axis=1)
        seen = np.concatenate((seen[:, 1:], a[:, None]), axis=1)  # (B, K, I)
        c = silu(np.einsum("bki,ik->bi", seen, weights["conv.weight"]) + weights["conv.bias"])
        h, memory = _cell(spec, weights, a, c, memory)
        by_head = layer_norm(h, weights["heads_norm.weight"].reshape(spec.heads, -1), eps)
        gated = (by_head.reshape(c.shape) + weights["skip.weight"] * c) * silu(z)
        stream.append(token + gated @ weights["down.weight"].T)
    return np.stack(stream, axis=1)


def _cell(spec: MLSTMSpec, weights: Weights, a: Array, c: Array, memory: mlstm.Memory) -> tuple[Array, mlstm.Memory]:
    """Return what the cell reads, (B, H, P), and its new memory, for a and c, both (B, I)."""
    q, k, v = c @ diagonal(weights["q.weight"]), c @ diagonal(weights["k.weight"]), a @ diagonal(weights["v.weight"])
    gates = np.concatenate((q, k, v), axis=1) @ weights["gates.weight"].T + weights["gates.bias"]  # (B, 2H)
    i, f = np.split(gates, 2, axis=1)
    q, k, v = (each.reshape(len(a), spec.heads, -1) for each in (q, k, v))
    with_one = np.concatenate((v, np.ones_like(v[..., :1])), axis=2)
    return mlstm.step(q, k / np.float32(k.shape[-1] ** 0.5), with_one, i, f, memory)

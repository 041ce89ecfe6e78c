"""The block of xLSTM 7B (Beck et al., 2025, arXiv 2503.13427), as transformers' `xLSTMForCausalLM` has it.

It differs from the first paper's mLSTM block: there is no convolution or widening before the cell; an output gate and
a SwiGLU network follow it; the norms do not centre. The cell is the same.

Shapes: B sequences, T tokens, N = B * T, D width, H heads, P and V widths of a head's keys and values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scaffold_backends.xlstm import mlstm
from scaffold_backends.xlstm.functions import Array, layer_norm, rms_norm, sigmoid, silu, soft_cap

if TYPE_CHECKING:
    from scaffold_backends.xlstm.blocks import Weights
    from scaffold_backends.xlstm.specs import MLSTM7BSpec


class MLSTM7BBlock:
    """An mLSTM layer and a feed-forward network, each with its norm and its residual."""

    def __init__(self, spec: MLSTM7BSpec, weights: Weights, eps: float) -> None:
        self.heads, self.eps, self.cap = spec.heads, eps, spec.gate_cap
        self.keys, self.values = spec.keys // self.heads, spec.values // self.heads  # of one head: P, V
        self.norm, self.ffn_norm = weights["norm.weight"], weights["ffn_norm.weight"]
        self.heads_norm = weights["heads_norm.weight"].reshape(self.heads, -1)
        width = len(self.norm)
        # Each head's value has a last entry that is always 1: no weight, and a bias of 1.
        values = np.zeros((width, self.heads, self.values + 1), np.float32)
        values[..., :-1] = weights["v.weight"].T.reshape(width, self.heads, self.values)
        ones = np.zeros((self.heads, self.values + 1), np.float32)
        ones[:, -1] = 1
        parts = [
            (weights["q.weight"].T, np.zeros(spec.keys, np.float32)),
            (weights["k.weight"].T / np.float32(self.keys**0.5), np.zeros(spec.keys, np.float32)),
            (values.reshape(width, -1), ones.reshape(-1)),
            (weights["gates.weight"].T, weights["gates.bias"]),
            (weights["o.weight"].T, np.zeros(spec.values, np.float32)),
        ]
        self.projection = np.concatenate([weight for weight, _ in parts], axis=1)
        self.bias = np.concatenate([bias for _, bias in parts])
        self.places = np.cumsum([len(bias) for _, bias in parts])[:-1].tolist()
        self.out = np.ascontiguousarray(weights["out.weight"].T)  # (H * V, D)
        self.up = np.ascontiguousarray(weights["ffn.up.weight"].T)  # (D, 2F)
        self.down = np.ascontiguousarray(weights["ffn.down.weight"].T)  # (F, D)

    def empty(self, batch: int) -> mlstm.Memory:
        return mlstm.empty(batch, self.heads, self.keys, self.values)

    def cell(self, memory: mlstm.Memory) -> mlstm.Memory:
        return memory

    def local(self, x: Array) -> Array:
        """Return queries, keys, values with a 1 for each head, gates, and the output gate: side by side."""
        local: Array = rms_norm(x, self.norm, self.eps) @ self.projection
        local += self.bias
        gates = local[:, self.places[2] : self.places[3]]
        gates[...] = soft_cap(gates, self.cap)
        return local

    def step(self, x: Array, local: Array, memory: mlstm.Memory) -> tuple[Array, mlstm.Memory]:
        return self.encode(x, local, memory)

    def absorb(self, x: Array, local: Array, memory: mlstm.Memory) -> tuple[Array, mlstm.Memory]:
        stream, memory = self.encode(x, local, memory)
        length = len(stream) // len(memory.stabiliser)
        return stream[length - 1 :: length], memory

    def encode(self, x: Array, local: Array, memory: mlstm.Memory) -> tuple[Array, mlstm.Memory]:
        batch = len(memory.stabiliser)
        q, k, v, gates, o = np.split(local, self.places, axis=1)

        def by_head(flat: Array) -> Array:  # (B * T, H * p) to (B, H, T, p)
            return flat.reshape(batch, len(x) // batch, self.heads, -1).swapaxes(1, 2)

        gates = gates.reshape(batch, -1, 2 * self.heads).swapaxes(1, 2)  # (B, 2H, T)
        i, f = gates[:, : self.heads], gates[:, self.heads :]
        h, memory = mlstm.chunk(by_head(q), by_head(k), by_head(v), i, f, memory)
        h = h.swapaxes(1, 2).reshape(len(x), self.heads, self.values)
        normed = layer_norm(h, self.heads_norm, self.eps).reshape(len(x), -1)
        normed *= sigmoid(o)
        stream = x + normed @ self.out
        gate, up = np.split(rms_norm(stream, self.ffn_norm, self.eps) @ self.up, 2, axis=1)
        widened = silu(gate)
        widened *= up
        stream += widened @ self.down
        return stream, memory

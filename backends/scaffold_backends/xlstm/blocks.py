"""Residual blocks around the cells; each reads from a stream of vectors and adds to it.

A block's memory is an immutable value: `step` reads one token, `encode` several, and both return a new one. Weights
applied to the same vector are joined into one matrix when the block is made, for fewer and larger products.

Streams are flat, one row per token, since one large product is cheaper than one per sequence.

Shapes: B sequences, T tokens, N = B * T, D width, I inner width, K tokens that a convolution sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from scaffold_backends.xlstm import mlstm, slstm
from scaffold_backends.xlstm.functions import Array, NormedProjection, gelu, layer_norm, silu_of_half

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold_backends.xlstm.specs import SLSTMSpec

Weights: TypeAlias = "Mapping[str, Array]"


class Block(Protocol):
    """The interface of all blocks; each understands only its own memories."""

    def empty(self, batch: int) -> Any:
        """Return the memory before the first token."""
        ...

    def local(self, x: Array) -> Array:
        """Return what the block makes of each token by itself, (N, L) for x (N, D), before tokens meet."""
        ...

    def step(self, x: Array, local: Array, memory: Any) -> tuple[Array, Any]:
        """Read one token of each sequence: x (B, D); give the stream (B, D) and the new memory."""
        ...

    def encode(self, x: Array, local: Array, memory: Any) -> tuple[Array, Any]:
        """Read T tokens of each sequence: x (B * T, D); give the stream (B * T, D) and the new memory."""
        ...

    def absorb(self, x: Array, local: Array, memory: Any) -> tuple[Array, Any]:
        """As `encode`, for a last block: give the stream after each sequence's last token alone, (B, D)."""
        ...

    def cell(self, memory: Any) -> mlstm.Memory | slstm.Memory:
        """Return the memory of the block's cell."""
        ...


def diagonal(weight: Array) -> Array:
    """Write a head-wise projection (G, b, a) as the one matrix (G*a, G*b) that it amounts to."""
    groups, outputs, inputs = weight.shape
    whole = np.zeros((groups, inputs, groups, outputs), np.float32)
    for group in range(groups):
        whole[group, :, group] = weight[group].T
    return whole.reshape(groups * inputs, groups * outputs)


class Convolution:
    """A causal convolution of each feature by itself, then SiLU.

    Its memory is the last K - 1 tokens: (B, K - 1, I).
    """

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight = np.ascontiguousarray(weight.T) / 2  # (K, I); halved, as SiLU wants it
        self.bias = bias / 2

    def empty(self, batch: int) -> Array:
        kernel, features = self.weight.shape
        return np.zeros((batch, kernel - 1, features), np.float32)

    def step(self, x: Array, before: Array) -> tuple[Array, Array]:
        """Return c (B, I) for x (B, I)."""
        seen = np.concatenate((before, x[:, None]), axis=1)  # (B, K, I)
        half: Array = np.add.reduce(seen * self.weight, axis=1)
        half += self.bias
        return silu_of_half(half), seen[:, 1:]

    def encode(self, x: Array, before: Array) -> tuple[Array, Array]:
        """Return c (B, T, I) for x (B, T, I)."""
        batch, length, features = x.shape
        seen = np.concatenate((before, x), axis=1)
        sequence, token, feature = seen.strides
        # Token t sees the rows t to t + K - 1: a view, nothing is copied.
        shape, strides = (batch, length, len(self.weight), features), (sequence, token, token, feature)
        windows: Array = np.ndarray(shape, np.float32, seen, 0, strides)
        half: Array = np.einsum("btki,ki->bti", windows, self.weight)
        half += self.bias
        return silu_of_half(half), seen[:, length:].copy()  # a view would keep all of it in memory


class SLSTMBlockMemory(NamedTuple):
    """Memory of an sLSTM block; nothing is kept in `seen` when the block does not convolve."""

    seen: Array
    cell: slstm.Memory


class SLSTMBlock:
    """The sLSTM block with a gated feed-forward network after the cell (arXiv 2405.04517, appendix A.4)."""

    def __init__(self, spec: SLSTMSpec, weights: Weights, eps: float) -> None:
        self.heads, self.eps = spec.heads, eps
        self.norm = weights["norm.weight"]
        self.width = len(self.norm)
        self.heads_norm = weights["heads_norm.weight"].reshape(self.heads, -1)
        self.conv = Convolution(weights["conv.weight"], weights["conv.bias"]) if spec.kernel else None
        gates = [diagonal(weight) for weight in weights["gates.weight"]]  # i, f, z, o: each (D, D)
        self.from_c = np.concatenate(gates[:2], axis=1)  # (D, 2D): input and forget gate see the convolution
        self.from_a = np.concatenate(gates[2:], axis=1)  # (D, 2D)
        self.mixing = np.concatenate([diagonal(weight) for weight in weights["recurrent.weight"]], axis=1)  # (D, 4D)
        self.bias = weights["bias"].reshape(-1)
        self.widen = NormedProjection(weights["ffn_norm.weight"], weights["ffn.up.weight"].T, eps)  # to 2F
        self.down = np.ascontiguousarray(weights["ffn.down.weight"].T)  # (F, D)

    def empty(self, batch: int) -> SLSTMBlockMemory:
        seen = self.conv.empty(batch) if self.conv else np.zeros((batch, 0, self.width), np.float32)
        return SLSTMBlockMemory(seen, slstm.empty(batch, self.width))

    def cell(self, memory: SLSTMBlockMemory) -> slstm.Memory:
        return memory.cell

    def local(self, x: Array) -> Array:
        """Return the normed token a (N, D) and, beside it, what it gives to the gates z and o (N, 2D)."""
        a = layer_norm(x, self.norm, self.eps)
        gates = a @ self.from_a
        gates += self.bias[2 * self.width :]
        return np.concatenate((a, gates), axis=1)

    def step(self, x: Array, local: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        c, seen = local[:, : self.width], memory.seen
        if self.conv:
            c, seen = self.conv.step(c, seen)
        cell = slstm.step(self._gates(c, local), self.mixing, memory.cell)
        return self._out(x, cell.hidden), SLSTMBlockMemory(seen, cell)

    def encode(self, x: Array, local: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        h, memory = self._run(local, memory)
        return self._out(x, h.reshape(-1, self.width)), memory

    def absorb(self, x: Array, local: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        h, memory = self._run(local, memory)
        length = h.shape[1]
        return self._out(x[length - 1 :: length], memory.cell.hidden), memory

    def _run(self, local: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        """Run the cell over tokens; give what it read at each, h (B, T, D)."""
        batch, width = len(memory.seen), self.width
        c, seen = local[:, :width], memory.seen
        if self.conv:
            convolved, seen = self.conv.encode(c.reshape(batch, -1, width), seen)
            c = convolved.reshape(-1, width)
        h, cell = slstm.run(self._gates(c, local).reshape(batch, -1, 4 * width), self.mixing, memory.cell)
        return h, SLSTMBlockMemory(seen, cell)

    def _gates(self, c: Array, local: Array) -> Array:
        """What the tokens give to the gates i, f, z and o: (N, 4D)."""
        seen = c @ self.from_c
        seen += self.bias[: 2 * self.width]
        return np.concatenate((seen, local[:, self.width :]), axis=1)

    def _out(self, x: Array, h: Array) -> Array:
        """Add what was read, h (N, D), to the stream x (N, D), then what the feed-forward network makes of it."""
        normed = layer_norm(h.reshape(len(h), self.heads, -1), self.heads_norm, self.eps)
        x = x + normed.reshape(x.shape)
        gate, up = np.split(self.widen(x), 2, axis=1)
        widened = gelu(gate)
        widened *= up
        x += widened @ self.down
        return x

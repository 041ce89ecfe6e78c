"""Residual blocks around the cells. Each reads from a stream of vectors and adds to it.

A block has a memory that is a value: `step` reads one token and `encode` several, and both give a new one. Weights
that are applied to the same vector are put into one matrix when the block is made: fewer, larger products.

Shapes: B sequences, T tokens, D width, I inner width, H heads, P width of a head, K tokens that a convolution sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from scaffold_backends.xlstm import mlstm, slstm
from scaffold_backends.xlstm.functions import Array, NormedProjection, gelu, layer_norm, rms_norm, silu

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold_backends.xlstm.specs import MLSTMSpec, SLSTMSpec

Weights: TypeAlias = "Mapping[str, Array]"


class Block(Protocol):
    """What a block of any kind can do; each understands only its own memories."""

    def empty(self, batch: int) -> Any:
        """Give the memory before the first token."""
        ...

    def step(self, x: Array, memory: Any) -> tuple[Array, Any]:
        """Read one token of each sequence: x (B, D); give the stream (B, D) and the new memory."""
        ...

    def encode(self, x: Array, memory: Any) -> tuple[Array, Any]:
        """Read T tokens of each sequence: x (B, T, D); give the stream (B, T, D) and the new memory."""
        ...

    def absorb(self, x: Array, memory: Any) -> tuple[Array, Any]:
        """As `encode`, for a last block: give the stream after the last token alone, (B, D)."""
        ...

    def cell(self, memory: Any) -> mlstm.Memory | slstm.Memory:
        """Give the memory of the block's cell."""
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

    Its memory is what the tokens that were read still add to the next K - 1 outputs: (B, K - 1, I).
    """

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight = np.ascontiguousarray(weight.T[::-1])  # (K, I): what a token adds to now, next, ...
        self.bias = bias

    def empty(self, batch: int) -> Array:
        kernel, features = self.weight.shape
        return np.zeros((batch, kernel - 1, features), np.float32)

    def step(self, x: Array, pending: Array) -> tuple[Array, Array]:
        """Give c (B, I) for x (B, I)."""
        adds = x[:, None] * self.weight  # (B, K, I)
        adds[:, :-1] += pending
        return silu(adds[:, 0] + self.bias), adds[:, 1:]

    def encode(self, x: Array, pending: Array) -> tuple[Array, Array]:
        """Give c (B, T, I) for x (B, T, I)."""
        batch, length, features = x.shape
        later = len(self.weight) - 1
        out = np.zeros((batch, length + later, features), np.float32)
        out[:, :later] = pending
        for ahead, weight in enumerate(self.weight):
            out[:, ahead : ahead + length] += x * weight
        return silu(out[:, :length] + self.bias), out[:, length:].copy()  # a view would keep all of it in memory


class MLSTMBlockMemory(NamedTuple):
    """Memory of an mLSTM block: what the convolution has pending, and the cell's memory."""

    pending: Array
    cell: mlstm.Memory


class MLSTMBlock:
    """The mLSTM block with up-projection before the cell (arXiv 2405.04517, appendix A.4).

    The stream is widened twice, into a and z. From a comes the value; from its convolution c, query and
    key; from all three the gates. What the cell reads is normed, c is added, and z gates it.
    """

    def __init__(self, spec: MLSTMSpec, weights: Weights, eps: float) -> None:
        self.heads, self.inner, self.eps = spec.heads, spec.inner, eps
        self.part = self.inner // self.heads
        self.skip = weights["skip.weight"]
        self.widen = NormedProjection(weights["norm.weight"], weights["up.weight"].T, eps)  # to 2I
        self.down = np.ascontiguousarray(weights["down.weight"].T)  # (I, D)
        self.heads_norm = weights["heads_norm.weight"].reshape(self.heads, self.part)
        self.conv = Convolution(weights["conv.weight"], weights["conv.bias"])
        q, k, v = (diagonal(weights[f"{name}.weight"]) for name in "qkv")  # each (I, I)
        to_gates = weights["gates.weight"].T.reshape(3, self.inner, -1)  # (3, I, 2H), for q, k, v
        # Gates are linear in q, k and v, which are linear in c and a: one product gives all that comes from c.
        root = np.float32(self.part**0.5)
        self.from_c = np.concatenate((q, k / root, q @ to_gates[0] + k @ to_gates[1]), axis=1)  # (I, 2I + 2H)
        # Each head's value has a last entry that is always 1: no weight, and a bias of 1.
        values = np.zeros((self.inner, self.heads, self.part + 1), np.float32)
        # What is read of a head is centred by its norm in any case, and reading is linear: so values are centred before
        # they are written, and the norm need not do it.
        values[..., :-1] = v.reshape(self.inner, self.heads, self.part)
        values[..., :-1] -= values[..., :-1].mean(axis=-1, keepdims=True)
        ones = np.zeros((self.heads, self.part + 1), np.float32)
        ones[:, -1] = 1
        self.from_a = np.concatenate((values.reshape(self.inner, -1), v @ to_gates[2]), axis=1)  # (I, I + H + 2H)
        self.bias = np.concatenate((ones.reshape(-1), weights["gates.bias"]))

    def empty(self, batch: int) -> MLSTMBlockMemory:
        return MLSTMBlockMemory(self.conv.empty(batch), mlstm.empty(batch, self.heads, self.part, self.part))

    def cell(self, memory: MLSTMBlockMemory) -> mlstm.Memory:
        return memory.cell

    def step(self, x: Array, memory: MLSTMBlockMemory) -> tuple[Array, MLSTMBlockMemory]:
        inner, heads, part = self.inner, self.heads, self.part
        widened = self.widen(x)
        a, z = widened[:, :inner], widened[:, inner:]
        c, pending = self.conv.step(a, memory.pending)
        qk, v = c @ self.from_c, a @ self.from_a
        v += self.bias
        gates = qk[:, 2 * inner :] + v[:, inner + heads :]  # (B, 2H)
        h, cell = mlstm.step(
            qk[:, :inner].reshape(-1, heads, part),
            qk[:, inner : 2 * inner].reshape(-1, heads, part),
            v[:, : inner + heads].reshape(-1, heads, part + 1),
            gates[:, :heads],
            gates[:, heads:],
            memory.cell,
        )
        return x + self._out(h, c, z), MLSTMBlockMemory(pending, cell)

    def encode(self, x: Array, memory: MLSTMBlockMemory) -> tuple[Array, MLSTMBlockMemory]:
        batch, length, width = x.shape
        inner, heads, part = self.inner, self.heads, self.part
        flat = x.reshape(batch * length, width)  # one large product rather than one a sequence
        widened = self.widen(flat)
        a, z = widened[:, :inner], widened[:, inner:]
        c, pending = self.conv.encode(a.reshape(batch, length, inner), memory.pending)
        c = c.reshape(batch * length, inner)
        qk, v = c @ self.from_c, a @ self.from_a
        v += self.bias
        gates = (qk[:, 2 * inner :] + v[:, inner + heads :]).reshape(batch, length, 2 * heads).swapaxes(1, 2)

        def by_head(flat: Array) -> Array:  # (B * T, H * p) to (B, H, T, p)
            return flat.reshape(batch, length, heads, -1).swapaxes(1, 2)

        h, cell = mlstm.chunk(
            by_head(qk[:, :inner]),
            by_head(qk[:, inner : 2 * inner]),
            by_head(v[:, : inner + heads]),
            gates[:, :heads],
            gates[:, heads:],
            memory.cell,
        )
        h = h.swapaxes(1, 2).reshape(batch * length, heads, part)
        return x + self._out(h, c, z).reshape(x.shape), MLSTMBlockMemory(pending, cell)

    def absorb(self, x: Array, memory: MLSTMBlockMemory) -> tuple[Array, MLSTMBlockMemory]:
        batch, length, width = x.shape
        inner, heads, part = self.inner, self.heads, self.part
        widened = self.widen(x.reshape(batch * length, width))
        a, z = widened[:, :inner], widened[length - 1 :: length, inner:]
        c, pending = self.conv.encode(a.reshape(batch, length, inner), memory.pending)
        latest = c[:, -1]
        k, v = c.reshape(batch * length, inner) @ self.from_c[:, inner:], a @ self.from_a
        v += self.bias
        gates = (k[:, inner:] + v[:, inner + heads :]).reshape(batch, length, 2 * heads).swapaxes(1, 2)
        cell = mlstm.write(
            k[:, :inner].reshape(batch, length, heads, part).swapaxes(1, 2),
            v[:, : inner + heads].reshape(batch, length, heads, part + 1).swapaxes(1, 2),
            gates[:, :heads],
            gates[:, heads:],
            memory.cell,
        )
        h = mlstm.read((latest @ self.from_c[:, :inner]).reshape(batch, heads, part), cell)
        return x[:, -1] + self._out(h, latest, z), MLSTMBlockMemory(pending, cell)

    def _out(self, h: Array, c: Array, z: Array) -> Array:
        """Norm h (N, H, P) by heads (it is centred), add c (N, I), gate with z (N, I), and narrow to (N, D)."""
        normed = rms_norm(h, self.heads_norm, self.eps).reshape(c.shape)
        normed += self.skip * c
        normed *= silu(z)
        narrowed: Array = normed @ self.down
        return narrowed


class SLSTMBlockMemory(NamedTuple):
    """Memory of an sLSTM block; nothing is ever pending when the block does not convolve."""

    pending: Array
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
        pending = self.conv.empty(batch) if self.conv else np.zeros((batch, 0, self.width), np.float32)
        return SLSTMBlockMemory(pending, slstm.empty(batch, self.width))

    def cell(self, memory: SLSTMBlockMemory) -> slstm.Memory:
        return memory.cell

    def step(self, x: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        c = a = layer_norm(x, self.norm, self.eps)
        pending = memory.pending
        if self.conv:
            c, pending = self.conv.step(a, pending)
        cell = slstm.step(self._gates(c, a), self.mixing, memory.cell)
        return self._out(x, cell.hidden), SLSTMBlockMemory(pending, cell)

    def encode(self, x: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        h, memory = self._run(x, memory)
        stream = self._out(x.reshape(-1, self.width), h.reshape(-1, self.width))
        return stream.reshape(x.shape), memory

    def absorb(self, x: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        _, memory = self._run(x, memory)
        return self._out(x[:, -1], memory.cell.hidden), memory

    def _run(self, x: Array, memory: SLSTMBlockMemory) -> tuple[Array, SLSTMBlockMemory]:
        """Run the cell over x (B, T, D); give what it read at each token, h (B, T, D)."""
        batch, length, width = x.shape
        c = a = layer_norm(x, self.norm, self.eps)
        pending = memory.pending
        if self.conv:
            c, pending = self.conv.encode(a, pending)
        gates = self._gates(c.reshape(-1, width), a.reshape(-1, width)).reshape(batch, length, 4 * width)
        h, cell = slstm.run(gates, self.mixing, memory.cell)
        return h, SLSTMBlockMemory(pending, cell)

    def _gates(self, c: Array, a: Array) -> Array:
        """What the tokens give to the gates i, f, z and o: (N, 4D)."""
        gates = np.concatenate((c @ self.from_c, a @ self.from_a), axis=1)
        gates += self.bias
        return gates

    def _out(self, x: Array, h: Array) -> Array:
        """Add what was read, h (N, D), to the stream x (N, D), then what the feed-forward network makes of it."""
        normed = layer_norm(h.reshape(len(h), self.heads, -1), self.heads_norm, self.eps)
        x = x + normed.reshape(x.shape)
        gate, up = np.split(self.widen(x), 2, axis=1)
        widened = gelu(gate)
        widened *= up
        x += widened @ self.down
        return x

"""The mLSTM block as it runs: computes the same as `plain` in as few numpy calls as possible.

A call on a small array costs about a microsecond whatever it does, so the work is arranged in few, larger pieces. The
result stays the same, and tests compare it with `plain` token by token:

- What depends on one token alone (a, its value, its part of the gates, z) is linear in its normed vector: one product.
  In the first block it depends on the word alone, and is a table.
- The gates are linear in q, k and v, and these in c and a: their part of c is one small product.
- Queries and keys come from block-diagonal matrices: one product per head, rather than one with mostly zeros.
- Reading is linear and the norm after it centres, so values are centred before they are written.
- Dividing what was found by the bound N = max(|n . q|, 1) and then by the root of its mean square is one division:
  (x / N) / sqrt(mean((x / N)^2) + eps) = sqrt(P) x / sqrt(sum(x^2) + P eps N^2). A value's last entry, by which the
  memory counts, is sqrt(P eps) rather than 1: so the last number found is that root's last term, save for the bound.

Shapes: B sequences, T tokens, N = B * T, D width, I inner width, H heads, P width of a head.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scaffold_backends.xlstm import mlstm
from scaffold_backends.xlstm.blocks import Convolution, diagonal
from scaffold_backends.xlstm.functions import Array

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from scaffold_backends.xlstm.blocks import Weights
    from scaffold_backends.xlstm.specs import MLSTMSpec

    Norm: TypeAlias = Callable[[Array, float], Array]

_ONE = np.float32(1)


class MLSTMBlockMemory(NamedTuple):
    """Memory of an mLSTM block: the tokens that the convolution still sees, and the cell's memory."""

    seen: Array
    cell: mlstm.Memory


class MLSTMBlock:
    """The mLSTM block with up-projection before the cell (arXiv 2405.04517, appendix A.4).

    What a token gives by itself lies side by side in `local`, (N, L): a (I), its value with a last entry for each head
    (H * (P + 1)), its part of the gates i and -f (2H), and the gate silu(z) (I).
    """

    def __init__(self, spec: MLSTMSpec, weights: Weights, eps: float, norm: Norm) -> None:
        """Arrange the weights; `norm` is that of the stream, without its weight."""
        self.heads, self.inner, self.eps, self.norm = spec.heads, spec.inner, eps, norm
        self.part = self.inner // self.heads
        self.one = np.float32((self.part * eps) ** 0.5)
        self.log_one, self.tiny = np.log(self.one), self.one * mlstm.EPS
        self.conv = Convolution(weights["conv.weight"], weights["conv.bias"])
        q, k, v = (diagonal(weights[f"{name}.weight"]) for name in "qkv")  # each (I, I)
        k = k / np.float32(self.part**0.5)
        signs = np.repeat(np.array((1, -1), np.float32), self.heads)
        of_q, of_k, of_v = weights["gates.weight"].T.reshape(3, self.inner, -1) * signs  # each (I, 2H)
        self.gates_of_c = q @ of_q + k @ (of_k * np.float32(self.part**0.5))  # (I, 2H)
        self.qk = np.concatenate((self._squares(q, spec.group), self._squares(k, spec.group)), axis=2)  # (S, I/S, 2I/S)
        values = np.zeros((self.inner, self.heads, self.part + 1), np.float32)
        values[..., :-1] = v.reshape(self.inner, self.heads, self.part)
        values[..., :-1] -= values[..., :-1].mean(axis=-1, keepdims=True)
        ones = np.zeros((self.heads, self.part + 1), np.float32)
        ones[:, -1] = self.one  # the last entry of a head's value: no weight, only a bias
        up_a, up_z = np.split(weights["up.weight"].T, 2, axis=1)  # each (D, I)
        local = (up_a, up_a @ values.reshape(self.inner, -1), up_a @ (v @ of_v), up_z / 2)
        self.up = weights["norm.weight"][:, None] * np.concatenate(local, axis=1)  # (D, L)
        self.bias = np.concatenate((ones.reshape(-1), weights["gates.bias"] * signs))
        self.places = np.cumsum([part.shape[1] for part in local])[:-1].tolist()
        self.down = np.ascontiguousarray(weights["down.weight"].T)  # (I, D)
        self.heads_norm = weights["heads_norm.weight"] * np.float32(self.part**0.5)
        self.skip = weights["skip.weight"]

    def _squares(self, whole: Array, group: int) -> Array:
        """Return the diagonal squares (S, I/S, I/S) of a projection, each of whole heads and whole groups."""
        count = gcd(self.heads, self.inner // group)
        size = self.inner // count
        return np.stack([whole[at : at + size, at : at + size] for at in range(0, self.inner, size)])

    def empty(self, batch: int) -> MLSTMBlockMemory:
        return MLSTMBlockMemory(self.conv.empty(batch), mlstm.empty(batch, self.heads, self.part, self.part))

    def cell(self, memory: MLSTMBlockMemory) -> mlstm.Memory:
        return memory.cell

    def local(self, x: Array) -> Array:
        values, _, gate = self.places
        local: Array = self.norm(x, self.eps) @ self.up
        biased = local[:, values:gate]
        biased += self.bias
        half = local[:, gate:]
        open_ = np.tanh(half)
        open_ += _ONE
        half *= open_  # silu(z)
        return local

    def step(self, x: Array, local: Array, memory: MLSTMBlockMemory) -> tuple[Array, MLSTMBlockMemory]:
        heads, part = self.heads, self.part
        values, gates, gate = self.places
        c, seen = self.conv.step(local[:, :values], memory.seen)
        q, k = self._queries_and_keys(c, len(c))  # each (B, H, 1, P)
        both = c @ self.gates_of_c
        both += local[:, gates:gate]  # (B, 2H)
        v = local[:, values:gates].reshape(-1, heads, 1, part + 1)
        cell = mlstm.write(k, v, both.reshape(-1, 2, heads), memory.cell)
        found: Array = (q @ cell.matrix)[:, :, 0]
        return self._out(x, found, cell.stabiliser, c, local[:, gate:]), MLSTMBlockMemory(seen, cell)

    def encode(self, x: Array, local: Array, memory: MLSTMBlockMemory) -> tuple[Array, MLSTMBlockMemory]:
        c, seen = self._convolved(local, memory)
        c = c.reshape(-1, self.inner)
        q, k = self._queries_and_keys(c, len(memory.seen))
        v, by = self._values_and_weights(c, local, memory)
        found = mlstm.find_all(q, k, v, by, memory.cell)  # (B, H, T, P + 1)
        cell = mlstm.write_all(k, v, by, memory.cell)
        m = by.largest - by.sums
        stream = self._out(x, found.swapaxes(1, 2), m.swapaxes(1, 2), c, local[:, self.places[-1] :])
        return stream, MLSTMBlockMemory(seen, cell)

    def absorb(self, x: Array, local: Array, memory: MLSTMBlockMemory) -> tuple[Array, MLSTMBlockMemory]:
        c, seen = self._convolved(local, memory)
        batch, length, inner = c.shape
        latest, flat = c[:, -1], c.reshape(-1, inner)
        q, k = self._queries_and_keys(flat, batch)
        v, by = self._values_and_weights(flat, local, memory)
        cell = mlstm.write_all(k, v, by, memory.cell)
        found: Array = (q[:, :, -1:] @ cell.matrix)[:, :, 0]
        last = slice(length - 1, None, length)
        stream = self._out(x[last], found, cell.stabiliser, latest, local[last, self.places[-1] :])
        return stream, MLSTMBlockMemory(seen, cell)

    def _convolved(self, local: Array, memory: MLSTMBlockMemory) -> tuple[Array, Array]:
        """Return c (B, T, I), and what the convolution remembers."""
        a = local[:, : self.inner].reshape(len(memory.seen), -1, self.inner)
        return self.conv.encode(a, memory.seen)

    def _queries_and_keys(self, c: Array, batch: int) -> tuple[Array, Array]:
        """Return queries and keys, each (B, H, T, P), for c (B * T, I)."""
        squares, size, _ = self.qk.shape
        qk = c.reshape(batch, -1, squares, size).swapaxes(1, 2) @ self.qk  # (B, S, T, 2I/S)
        q, k = qk[..., :size], qk[..., size:]
        if squares == self.heads:
            return q, k
        by_head = (batch, squares, qk.shape[2], -1, self.part)
        to = (batch, self.heads, -1, self.part)
        return q.reshape(by_head).swapaxes(2, 3).reshape(to), k.reshape(by_head).swapaxes(2, 3).reshape(to)

    def _values_and_weights(self, c: Array, local: Array, memory: MLSTMBlockMemory) -> tuple[Array, mlstm.Weights]:
        """Return the tokens' values (B, H, T, P + 1) and weights."""
        batch, heads = len(memory.seen), self.heads
        values, gates, gate = self.places
        both = c @ self.gates_of_c
        both += local[:, gates:gate]
        both = both.reshape(batch, -1, 2 * heads).swapaxes(1, 2)  # (B, 2H, T)
        v = local[:, values:gates].reshape(batch, -1, heads, self.part + 1).swapaxes(1, 2)
        return v, mlstm.weights_of(both[:, :heads], both[:, heads:], memory.cell)

    def _out(self, x: Array, found: Array, m: Array, c: Array, gate: Array) -> Array:
        """Norm by heads what was found (..., H, P + 1), add c (N, I), gate it (N, I), and add it to x (N, D)."""
        bound: Array = np.exp(self.log_one - m)
        np.maximum(np.abs(found[..., -1]), bound, out=bound)
        np.add(bound, self.tiny, out=found[..., -1])
        root: Array = np.vecdot(found, found)
        np.sqrt(root, out=root)
        values = found[..., :-1]
        normed = np.empty(values.shape, np.float32)
        np.divide(values, root[..., None], out=normed)
        out = normed.reshape(c.shape)
        out *= self.heads_norm
        out += self.skip * c
        out *= gate
        stream: Array = out @ self.down
        stream += x
        return stream

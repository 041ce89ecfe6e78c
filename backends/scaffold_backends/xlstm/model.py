"""The model: takes words and an immutable state, returns a new state with the logits of the next word.

    state = model.encode(tokens)          # (B, T) tokens read
    five = state.fork(5)                  # the same, five times; nothing is read again
    state = model.step(five, chosen)      # (5,) one token more for each
    stored = model.snapshot(state)        # bytes; `restore` gives the state back

A state never changes: every method returns a new one, and its arrays are read-only. Its size does not depend on how
much was read, so forking a long text costs as much as forking a short one.

Shapes: B sequences, T tokens, D width, V words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaffold.errors import ModelFileError
from scaffold_backends.xlstm.block_7b import MLSTM7BBlock
from scaffold_backends.xlstm.block_mlstm import MLSTMBlock
from scaffold_backends.xlstm.blocks import SLSTMBlock
from scaffold_backends.xlstm.choosing import Tokens
from scaffold_backends.xlstm.functions import Array, soft_cap, unit_layer, unit_rms
from scaffold_backends.xlstm.mlstm import CHUNK
from scaffold_backends.xlstm.signals import signals_of
from scaffold_backends.xlstm.specs import MLSTM7BSpec, MLSTMSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaffold_backends.xlstm.blocks import Block, Weights
    from scaffold_backends.xlstm.specs import BlockSpec, Config

# While a memory holds next to nothing, the bound exp(-m) of what divides it overflows to infinity, and nothing is read:
# that is the right limit, and no reason to warn.
_quietly = np.errstate(over="ignore")

TABLED = 4096  # words of a vocabulary that is still small
_LAYOUT = "2"  # of a state's arrays: raised when they come to mean something else


@dataclass(frozen=True, slots=True)
class State:
    """What a model knows after reading; a value.

    Attributes:
        memories: of each block.
        logits: of the word that comes next, (B, V).
        read: how many tokens of each sequence were read.
    """

    memories: tuple[Any, ...]
    logits: Array
    read: int

    @property
    def batch(self) -> int:
        """How many sequences there are."""
        return len(self.logits)

    def fork(self, k: int) -> State:
        """Repeat every sequence k times, copies next to each other: (B * k, ...). One sequence is not even copied."""
        if self.batch == 1:
            return self._each(lambda array: np.broadcast_to(array, (k, *array.shape[1:])))
        return self._each(lambda array: np.repeat(array, k, axis=0))

    def take(self, rows: list[int]) -> State:
        """Return some of the sequences."""
        return self._each(lambda array: array[rows])

    def arrays(self) -> list[Array]:
        """Return all arrays of the state, always in the same order."""
        return [*_flat(self.memories), self.logits]

    def _each(self, change: Callable[[Array], Array]) -> State:
        return State(_mapped(self.memories, change), _frozen(change(self.logits)), self.read)


def joined(states: Sequence[State]) -> State:
    """Return the sequences of several states as those of one: (B1 + B2 + ..., ...)."""
    if len(states) == 1:
        return states[0]
    arrays = zip(*(state.arrays() for state in states), strict=True)
    *memories, logits = (_frozen(np.concatenate(parts)) for parts in arrays)
    rest = iter(memories)
    return State(_mapped(states[0].memories, lambda _: next(rest)), logits, max(state.read for state in states))


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _flat(memory: Any) -> list[Array]:
    return [memory] if isinstance(memory, np.ndarray) else [array for part in memory for array in _flat(part)]


def _mapped(memory: Any, change: Callable[[Array], Array]) -> Any:
    if isinstance(memory, np.ndarray):
        return _frozen(change(memory))
    parts = [_mapped(part, change) for part in memory]
    return type(memory)(*parts) if hasattr(memory, "_fields") else tuple(parts)


def _freeze(memories: Sequence[Any]) -> None:
    for memory in memories:
        for part in memory:
            for array in part if isinstance(part, tuple) else (part,):
                array.setflags(write=False)


class XLSTM:
    """A stack of blocks between an embedding and a head.

    Attributes:
        digest: of its weights; a snapshot belongs to it.
    """

    def __init__(self, config: Config, weights: Weights, digest: str) -> None:
        """Make a model of weights that fit the config, which `Checkpoint.load` has checked."""
        self.digest = digest
        self._cap = config.logit_cap
        centred = config.norm == "layer" and all(isinstance(spec, MLSTMSpec) for spec in config.blocks)
        if centred:
            weights = _centred(weights)
        self._norm = unit_rms if centred or config.norm == "rms" else unit_layer
        self._embedding = weights["embedding.weight"]  # (V, D)
        self._eps = config.norm_eps
        self._head = weights["norm.weight"][:, None] * weights["head.weight"].T  # (D, V)
        self.blocks: list[Block] = [
            _block(spec, _below(weights, f"blocks.{number}."), config.norm_eps, centred=centred)
            for number, spec in enumerate(config.blocks)
        ]
        # What the first block makes of a token by itself hangs on the word alone: of a small vocabulary, a table.
        local = self.blocks[0].local(self._embedding[:TABLED])
        self._table = local if len(local) == len(self._embedding) else None  # (V, L)
        self._nothing = self.empty()

    def empty(self, batch: int = 1) -> State:
        """Return the state before anything was read; its logits mean nothing."""
        memories = tuple(block.empty(batch) for block in self.blocks)
        _freeze(memories)
        return State(memories, _frozen(np.zeros((batch, len(self._embedding)), np.float32)), 0)

    @_quietly
    def encode(self, tokens: Tokens, state: State | None = None) -> State:
        """Read tokens (B, T), after those that a state has read; at least one."""
        state = state or (self._nothing if len(tokens) == 1 else self.empty(len(tokens)))
        memories = state.memories
        x = np.empty(0, np.float32)
        for first in range(0, tokens.shape[1], CHUNK):
            x, local, below = self._below_the_last(tokens[:, first : first + CHUNK], memories)
            x, last = self.blocks[-1].absorb(x, local, memories[-1])
            memories = (*below, last)
        _freeze(memories)
        return State(memories, _frozen(self._words(x)), state.read + tokens.shape[1])

    @_quietly
    def logits(self, tokens: Tokens, state: State | None = None) -> tuple[Array, State]:
        """Read tokens (B, T), and give the logits after each (B, T, V) besides the state."""
        state = state or self.empty(len(tokens))
        found, memories = [], state.memories
        for first in range(0, tokens.shape[1], CHUNK):
            piece = tokens[:, first : first + CHUNK]
            x, local, below = self._below_the_last(piece, memories)
            x, last = self.blocks[-1].encode(x, local, memories[-1])
            memories = (*below, last)
            found.append(self._words(x).reshape(*piece.shape, -1))
        logits = np.concatenate(found, axis=1)
        _freeze(memories)
        return logits, State(memories, _frozen(logits[:, -1].copy()), state.read + tokens.shape[1])

    @_quietly
    def step(self, state: State, tokens: Tokens) -> State:
        """Read one token more of each sequence: tokens (B,)."""
        x, local = self._begun(tokens)
        read: list[Any] = []
        for block, memory in zip(self.blocks, state.memories, strict=True):
            x, new = block.step(x, block.local(x) if read else local, memory)
            read.append(new)
        memories = tuple(read)
        _freeze(memories)
        return State(memories, _frozen(self._words(x)), state.read + 1)

    def _begun(self, tokens: Tokens) -> tuple[Array, Array]:
        """Return the stream (N, D) that tokens (N,) begin, and what the first block makes of each by itself."""
        x = self._embedding.take(tokens, axis=0)
        return x, self.blocks[0].local(x) if self._table is None else self._table.take(tokens, axis=0)

    def _below_the_last(self, tokens: Tokens, memories: tuple[Any, ...]) -> tuple[Array, Array, list[Any]]:
        """Read tokens (B, T) with all blocks but the last.

        Returns:
            The stream (B * T, D), what the last block makes of it by itself, and the memories of the others.
        """
        x, local = self._begun(tokens.reshape(-1))
        read = []
        for number, memory in enumerate(memories[:-1]):
            x, new = self.blocks[number].encode(x, local, memory)
            local = self.blocks[number + 1].local(x)
            read.append(new)
        return x, local, read

    def _words(self, x: Array) -> Array:
        """Return the words' logits (N, V) for the stream x (N, D)."""
        logits: Array = self._norm(x, self._eps) @ self._head
        return logits if self._cap is None else soft_cap(logits, self._cap)

    def signals(self, state: State) -> list[dict[str, float]]:
        """Return figures about the inner state of each sequence; see `signals`."""
        cells = [block.cell(memory) for block, memory in zip(self.blocks, state.memories, strict=True)]
        return signals_of(cells, state.logits)

    def snapshot(self, state: State) -> bytes:
        """Write a state as bytes (safetensors, never pickle)."""
        from safetensors.numpy import save

        arrays = {f"{number:04}": np.ascontiguousarray(array) for number, array in enumerate(state.arrays())}
        return save({**arrays, "read": np.array([state.read]), "model": _digits(self.digest + _LAYOUT)})

    def restore(self, stored: bytes) -> State:
        """Read a state that `snapshot` has written.

        Raises:
            ModelFileError: these bytes are no snapshot, or one of another model's state.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(stored)
        except SafetensorError as error:
            raise ModelFileError(f"these {len(stored)} bytes are not a snapshot of a state: {error}") from error
        if not np.array_equal(arrays.pop("model", _digits("")), _digits(self.digest + _LAYOUT)):
            raise ModelFileError(
                "this snapshot is from another model or another version: restore it with the weights and the version "
                "that made it"
            )
        read = int(arrays.pop("read")[0])
        ordered = [arrays[name] for name in sorted(arrays)]
        left = iter(ordered)
        return State(_mapped(self.empty(1).memories, lambda _: next(left)), _frozen(ordered[-1]), read)


def _digits(digest: str) -> NDArray[np.uint8]:
    return np.frombuffer(digest.encode(), np.uint8)


def _below(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _centred(weights: Weights) -> Weights:
    """Centre all that is added to the stream, so that no norm has to.

    Where every reader of the stream centres it first, a mean that is added to it is of no effect; without one, a layer
    norm is a division by the root of the mean square. Sums over D: the embedding's rows, the columns of what narrows.
    """
    centred = {name: weight - weight.mean(axis=0) for name, weight in weights.items() if name.endswith(".down.weight")}
    embedding = weights["embedding.weight"]
    return {**weights, **centred, "embedding.weight": embedding - embedding.mean(axis=1, keepdims=True)}


def _block(spec: BlockSpec, weights: Weights, eps: float, *, centred: bool) -> Block:
    if isinstance(spec, MLSTMSpec):
        return MLSTMBlock(spec, weights, eps, unit_rms if centred else unit_layer)
    if isinstance(spec, MLSTM7BSpec):
        return MLSTM7BBlock(spec, weights, eps)
    return SLSTMBlock(spec, weights, eps)

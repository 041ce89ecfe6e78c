"""The model: words in, a state that is a value, logits of the next word out.

    state = model.encode(tokens)          # (B, T) tokens read
    five = state.fork(5)                  # the same, five times; nothing is read again
    state = model.step(five, chosen)      # (5,) one token more for each
    stored = model.snapshot(state)        # bytes; `restore` gives the state back

A state is never changed: every method gives a new one, and its arrays refuse to be written to. Its size does not hang
on how much was read, so a fork of a long text costs as much as that of a short one.

Shapes: B sequences, T tokens, D width, V words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaffold.errors import ModelFileError
from scaffold_backends.xlstm.block_7b import MLSTM7BBlock
from scaffold_backends.xlstm.blocks import MLSTMBlock, SLSTMBlock
from scaffold_backends.xlstm.choosing import Tokens
from scaffold_backends.xlstm.functions import Array, NormedProjection, rms_norm, soft_cap
from scaffold_backends.xlstm.mlstm import CHUNK
from scaffold_backends.xlstm.signals import signals_of
from scaffold_backends.xlstm.specs import MLSTM7BSpec, MLSTMSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold_backends.xlstm.blocks import Block, Weights
    from scaffold_backends.xlstm.specs import BlockSpec, Config

# While a memory holds next to nothing, the bound exp(-m) of what divides it overflows to infinity, and nothing is read:
# that is the right limit, and no reason to warn.
_quietly = np.errstate(over="ignore")


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
        """Give every sequence k times, copies beside each other: (B * k, ...). One sequence is not even copied."""
        if self.batch == 1:
            return self._each(lambda array: np.broadcast_to(array, (k, *array.shape[1:])))
        return self._each(lambda array: np.repeat(array, k, axis=0))

    def take(self, rows: list[int]) -> State:
        """Give some of the sequences."""
        return self._each(lambda array: array[rows])

    def arrays(self) -> list[Array]:
        """Give all arrays of the state, always in the same order."""
        return [*_flat(self.memories), self.logits]

    def _each(self, change: Callable[[Array], Array]) -> State:
        return State(_mapped(self.memories, change), _frozen(change(self.logits)), self.read)


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


def _freeze(memory: Any) -> None:
    if isinstance(memory, np.ndarray):
        memory.flags.writeable = False
    else:
        for part in memory:
            _freeze(part)


class XLSTM:
    """A stack of blocks between an embedding and a head.

    Attributes:
        digest: of its weights; a snapshot belongs to it.
    """

    def __init__(self, config: Config, weights: Weights, digest: str) -> None:
        """Make a model of weights that fit the config, which `Checkpoint.load` has checked."""
        self.digest = digest
        self._cap = config.logit_cap
        self._embedding = weights["embedding.weight"]  # (V, D)
        norm, head = weights["norm.weight"], weights["head.weight"].T
        self._head: Callable[[Array], Array]
        if config.norm == "layer":
            self._head = NormedProjection(norm, head, config.norm_eps)
        else:
            self._head = lambda x: rms_norm(x, norm, config.norm_eps) @ head
        self.blocks: list[Block] = [
            _block(spec, _below(weights, f"blocks.{number}."), config.norm_eps)
            for number, spec in enumerate(config.blocks)
        ]
        self._nothing = self.empty()

    def empty(self, batch: int = 1) -> State:
        """Give the state before anything was read; its logits say nothing."""
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
            x, below = self._below_the_last(tokens[:, first : first + CHUNK], memories)
            x, last = self.blocks[-1].absorb(x, memories[-1])
            memories = (*below, last)
        _freeze(memories)
        return State(memories, _frozen(self._words(x)), state.read + tokens.shape[1])

    @_quietly
    def logits(self, tokens: Tokens, state: State | None = None) -> tuple[Array, State]:
        """Read tokens (B, T), and give the logits after each (B, T, V) besides the state."""
        state = state or self.empty(len(tokens))
        found, memories = [], state.memories
        for first in range(0, tokens.shape[1], CHUNK):
            x, below = self._below_the_last(tokens[:, first : first + CHUNK], memories)
            x, last = self.blocks[-1].encode(x, memories[-1])
            memories = (*below, last)
            found.append(self._words(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1))
        logits = np.concatenate(found, axis=1)
        _freeze(memories)
        return logits, State(memories, _frozen(logits[:, -1].copy()), state.read + tokens.shape[1])

    def _below_the_last(self, tokens: Tokens, memories: tuple[Any, ...]) -> tuple[Array, list[Any]]:
        """Read tokens (B, T) with all blocks but the last; give the stream (B, T, D) and their memories."""
        x: Array = self._embedding[tokens]
        read = []
        for block, memory in zip(self.blocks[:-1], memories[:-1], strict=True):
            x, new = block.encode(x, memory)
            read.append(new)
        return x, read

    @_quietly
    def step(self, state: State, tokens: Tokens) -> State:
        """Read one token more of each sequence: tokens (B,)."""
        x: Array = self._embedding[tokens]  # (B, D)
        read = []
        for block, memory in zip(self.blocks, state.memories, strict=True):
            x, new = block.step(x, memory)
            read.append(new)
        memories = tuple(read)
        _freeze(memories)
        return State(memories, _frozen(self._words(x)), state.read + 1)

    def _words(self, x: Array) -> Array:
        """Give the words' logits (N, V) for the stream x (N, D)."""
        logits = self._head(x)
        return logits if self._cap is None else soft_cap(logits, self._cap)

    def signals(self, state: State) -> list[dict[str, float]]:
        """Give figures about the inner state of each sequence; see `signals`."""
        cells = [block.cell(memory) for block, memory in zip(self.blocks, state.memories, strict=True)]
        return signals_of(cells, state.logits)

    def snapshot(self, state: State) -> bytes:
        """Write a state as bytes (safetensors, never pickle)."""
        from safetensors.numpy import save

        arrays = {f"{number:04}": np.ascontiguousarray(array) for number, array in enumerate(state.arrays())}
        return save({**arrays, "read": np.array([state.read]), "model": _digits(self.digest)})

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
            raise ModelFileError(f"these {len(stored)} bytes are no snapshot of a state: {error}") from error
        if not np.array_equal(arrays.pop("model", _digits("")), _digits(self.digest)):
            raise ModelFileError(
                "this snapshot is of another model's state: restore it with the weights it was made by"
            )
        read = int(arrays.pop("read")[0])
        ordered = [arrays[name] for name in sorted(arrays)]
        left = iter(ordered)
        return State(_mapped(self.empty(1).memories, lambda _: next(left)), _frozen(ordered[-1]), read)


def _digits(digest: str) -> NDArray[np.uint8]:
    return np.frombuffer(digest.encode(), np.uint8)


def _below(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _block(spec: BlockSpec, weights: Weights, eps: float) -> Block:
    if isinstance(spec, MLSTMSpec):
        return MLSTMBlock(spec, weights, eps)
    if isinstance(spec, MLSTM7BSpec):
        return MLSTM7BBlock(spec, weights, eps)
    return SLSTMBlock(spec, weights, eps)

"""Copies a model's state, so that many samples can continue from one prompt that was read once."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from scaffold.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

# transformers' layer classes that `_copied` knows; another one might hide state.
_LAYERS = frozenset({
    "DummyLayer",
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "LinearAttentionAndFullAttentionLayer",
    "LinearAttentionAndSlidingWindowAttentionLayer",
    "LinearAttentionLayer",
})  # fmt: skip


def fork(state: Any, rows: Sequence[int]) -> Any:
    """Copy rows of a state; the copies share no mutable data.

    Args:
        state: a `DynamicCache` or an `xLSTMCache` of transformers, with one row per text.
        rows: for each row of the new state, the index of the old one.

    Raises:
        ModelFileError: the state is of a kind that is not known to be copied correctly.
    """
    import torch

    index = torch.tensor(rows, dtype=torch.long)
    forked = copy.copy(state)
    if type(state).__name__ == "xLSTMCache":
        forked.seqlen_offset = state.seqlen_offset.clone()
        forked.rnn_state = {
            layer: tuple(_rows(tensor, index) for tensor in tensors) for layer, tensors in state.rnn_state.items()
        }
        return forked
    if type(state).__name__ != "DynamicCache":
        raise _unknown(type(state).__name__)
    forked.layers = [_copied(layer, index) for layer in state.layers]
    return forked


def _copied(layer: Any, index: Any) -> Any:
    if type(layer).__name__ not in _LAYERS:
        raise _unknown(type(layer).__name__)
    copied = copy.copy(layer)
    for name, value in vars(layer).items():
        if name in {"keys", "values"}:
            setattr(copied, name, _rows(value, index))
        elif isinstance(value, dict):  # of recurrent states, and of what is known about them
            setattr(copied, name, {key: _rows(inner, index) for key, inner in value.items()})
    return copied


def _rows(value: Any, index: Any) -> Any:
    """Select rows of a tensor; return an empty one, or None, as it is."""
    dimensions = getattr(value, "ndim", 0)
    return value.index_select(0, index.to(value.device)) if dimensions > 1 else value


def _unknown(kind: str) -> ModelFileError:
    return ModelFileError(
        f"this model keeps its state in a {kind}, which cannot be copied reliably; use a model of another kind, or "
        "run it behind a server"
    )


def memory_norms(state: Any) -> list[float]:
    """Return the size of the recurrent memory: for each row, the root mean square over layers of the state's 2-norm."""
    if type(state).__name__ == "xLSTMCache":
        memories = [tensors[0] for tensors in state.rnn_state.values()]
    else:
        memories = [
            memory
            for layer in state.layers
            for memory in getattr(layer, "recurrent_states", {}).values()
            if memory is not None
        ]
    if not memories:
        return []
    squares: list[float] = sum(memory.float().flatten(1).square().sum(1) for memory in memories).tolist()
    return [math.sqrt(square / len(memories)) for square in squares]

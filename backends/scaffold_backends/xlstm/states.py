"""A cache of the last prompts' states, so that votes drawn later need not read a prompt again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold_backends.xlstm.model import State


class States:
    """Keeps the states of the `most` prompts used last; from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[int, ...], State] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, tokens: Sequence[int]) -> State | None:
        """Return the state after these tokens, if it is kept."""
        key = tuple(tokens)
        with self._lock:
            state = self._kept.get(key)
            if state is not None:
                self._kept.move_to_end(key)
            return state

    def put(self, tokens: Sequence[int], state: State) -> None:
        """Keep a state."""
        with self._lock:
            self._kept[tuple(tokens)] = state
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

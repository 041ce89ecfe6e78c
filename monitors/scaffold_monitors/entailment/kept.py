"""A cache of what was worked out from a value, by the value's identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Kept:
    """A cache of a function's results by the identity of its argument; the oldest are evicted first."""

    def __init__(self, work: Callable[[Any], Any], most: int = 256) -> None:
        self._work = work
        self._most = most
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """Return the function's result for a value."""
        known = self._known.get(id(value))
        if known is None or known[0] is not value:
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            known = self._known[id(value)] = (value, self._work(value))
        return known[1]

"""What every command that runs in the foreground has: a display, warnings in one line each, and two signals."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Generic, Protocol, Self, TypeVar

from scaffold.cli import ending
from scaffold.cli.faults import show_warnings


class Display(Protocol):
    """Shows on stderr what goes on."""

    def say(self, text: str) -> None:
        """Show a line."""
        ...

    def close(self) -> None:
        """Show no more; it may be called twice."""
        ...


Shown = TypeVar("Shown", bound=Display)


class Foreground(Generic[Shown]):
    """Something under way in front of a user: the first signal pauses it, the second leaves at once.

    Attributes:
        shown: what shows it.
    """

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.signals = 0
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> Self:
        self._warnings.__enter__()
        show_warnings()
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.close()
        self._warnings.__exit__(None, None, None)

    def count_signal(self) -> None:
        """Return after the first signal; leave at once after the second: the trace says how far it came."""
        self.signals += 1
        if self.signals > 1:
            self.shown.close()
            sys.stderr.flush()
            os._exit(ending.INTERRUPTED)

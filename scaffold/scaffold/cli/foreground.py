"""Shared by all commands that run in the foreground: a display, and the handling of two signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from scaffold.cli import ending

if TYPE_CHECKING:
    from collections.abc import Callable


_LEFT = b"left at once: what was recorded is kept, and can be gone on with\n"


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask a process to end; SIGHUP is one of them unless it is ignored."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # as under `nohup`
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


class Display(Protocol):
    """Shows progress on stderr."""

    def say(self, text: str) -> None:
        """Show a line."""
        ...

    def close(self) -> None:
        """Stop showing; may be called twice."""
        ...


Shown = TypeVar("Shown", bound=Display)


class Foreground(Generic[Shown]):
    """A run in the foreground: the first signal pauses it, the second exits at once.

    A closed terminal also pauses it, but never exits at once: at the end of a session SIGTERM follows anyway.

    Attributes:
        shown: its display.
        signals: how many signals came; hang-ups count as one at most.
    """

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.signals = 0
        self._hung_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.close()

    def on_signals(self, interrupt: Callable[[], None]) -> None:
        """Have the event loop call `interrupt` at the first signal, and exit at once at the second.

        The second works even while user code blocks the loop; the trace shows how far the run came.
        """
        loop = asyncio.get_running_loop()
        for number in ending_signals():
            loop.add_signal_handler(number, interrupt)
            signal.signal(number, self._hear)  # in place of the loop's own, which does nothing

    def _hear(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._hung_up, self.signals = True, max(self.signals, 1)
            return
        self.signals += 1
        if self.signals > 1 + self._hung_up:
            self.shown.close()
            sys.stderr.flush()
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), _LEFT)  # the signal may have come within a write of Python's own
            os._exit(ending.INTERRUPTED)

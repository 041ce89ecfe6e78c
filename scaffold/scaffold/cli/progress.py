"""Shows a run while it goes: a live view if stderr is a terminal, plain lines if it is not."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from scaffold.cli.narration import REMEMBERED, Narrator, is_shown
from scaffold.cli.overhearing import Overheard
from scaffold.cli.speech import line
from scaffold.errors import count
from scaffold.vocabulary.events import StepAnswered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scaffold.machinery.asking.showing import Piece
    from scaffold.vocabulary.events import Event

_SILENCE_S = 15.0


class Display(Protocol):
    """The interface of what shows a run."""

    def event(self, event: Event, body: bytes) -> None:
        """Process one event."""
        ...

    def earlier(self, event: Event, body: bytes) -> None:
        """Process an event from before a resume without showing it, since later ones refer to it."""
        ...

    def piece(self, piece: Piece) -> None:
        """Process a piece of a model's output."""
        ...

    def preparing(self, what: str, fraction: float) -> None:
        """Show how far a backend's preparation is."""
        ...

    def say(self, text: str) -> None:
        """Show one line."""
        ...

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Leave the terminal to a prompt for a while."""
        ...

    def close(self) -> None:
        """Restore the terminal."""
        ...


class Lines:
    """Prints one line for each decision, action, refusal and approval.

    Args:
        verbose: whether to print a line for each event.
        silence_s: after this many seconds of thinking, a line tells the progress.
    """

    def __init__(self, *, verbose: bool = False, silence_s: float = _SILENCE_S) -> None:
        self._silence_s = silence_s
        self._said = time.monotonic()
        self._steps = self._tokens = 0
        self._verbose = verbose
        self._narrator = Narrator()
        self._overheard = Overheard()
        self._started = time.monotonic()
        self._preparing = ""

    def event(self, event: Event, body: bytes) -> None:
        told = self._narrator.tell(event, body)
        if told is not None and is_shown(event, told, verbose=self._verbose):
            self.say(told.text)
        elif isinstance(event, StepAnswered):
            self._steps += 1
            self._tokens += event.usage.tokens
            if time.monotonic() - self._said >= self._silence_s:
                self.say(f"thinking: {count(self._steps, 'step')} so far, {self._tokens:,} tokens")

    def earlier(self, event: Event, body: bytes) -> None:
        self._narrator.tell(event, body)

    def piece(self, piece: Piece) -> None:
        for text in self._overheard.lines(piece):
            self.say(text)

    def preparing(self, what: str, fraction: float) -> None:
        if what != self._preparing:
            self._preparing = what
            self.say(line(what))

    def say(self, text: str) -> None:
        self._said = time.monotonic()
        sys.stderr.write(f"[{self._said - self._started:7.1f} s] {text}\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        sys.stderr.flush()


def display(*, verbose: bool) -> Display:
    """Return the display that suits stderr."""
    if not sys.stderr.isatty():
        return Lines(verbose=verbose)
    from scaffold.cli.live import LiveView

    return LiveView(verbose=verbose)


def guarded(shown: Display) -> _Guarded:
    """Make a listener of a display whose faults do not end the run."""
    return _Guarded(shown)


class _Guarded:
    def __init__(self, shown: Display) -> None:
        self._shown: Display | None = shown
        self.recalls = dict.fromkeys(REMEMBERED, self._earlier)

    def __call__(self, event: Event, body: bytes) -> None:
        if self._shown is not None:
            self._take(self._shown.event, event, body)

    def _earlier(self, event: Event, body: bytes) -> None:
        if self._shown is not None:
            self._take(self._shown.earlier, event, body)

    def _take(self, show: Callable[[Event, bytes], None], event: Event, body: bytes) -> None:
        try:
            show(event, body)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError) as error:
            self._shown = None
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"warning: progress is no longer shown: {type(error).__name__}: {error}\n")

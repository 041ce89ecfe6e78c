"""Ends a sample at a stop text on our side, for models and servers that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Finish


class StopFinder:
    """Passes on one sample's text up to the first stop text, which may span several pieces.

    The rest of the sample is read and discarded, since only the end of the stream tells its cost.

    Attributes:
        found: whether the stop text was found, so that a local model can stop.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        # A stop text may begin in the last characters, so these wait for what follows.
        self._wait = max(map(len, stops)) - 1
        self._waiting = ""
        self.found = False

    def feed(self, text: str, finish: Finish | None) -> tuple[str, Finish | None]:
        """Take a piece and its finish; return what of both can be passed on."""
        if self.found:
            return "", finish and "stop"
        text = self._waiting + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found = True
            return text[: min(places)], finish and "stop"
        ready = len(text) if finish else max(0, len(text) - self._wait)
        self._waiting = text[ready:]
        return text[:ready], finish

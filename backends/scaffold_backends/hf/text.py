"""Converts tokens to text: whole characters, reasoning separated from the answer, cut at a stop text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold_backends.stops import StopFinder
from scaffold_backends.thinking import ThinkSplitter, ThinkTags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"  # decoders emit it for bytes that are not a character, or not yet
_LONGEST_CHARACTER = 4  # bytes in UTF-8, each of which may be a token


class Characters:
    """Decodes one sample's tokens as they come; a character spread over several tokens comes once it is complete.

    Decoders join and strip at word boundaries, so a token's text depends on the token before: each piece is what the
    decoded text gains by its last tokens.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._seen: list[int] = []  # tokens that were passed on last, as context
        self._waiting: list[int] = []

    def feed(self, token: int) -> str:
        """Take a token; return the text that it completes."""
        self._waiting.append(token)
        return self._passed(hold=len(self._waiting) < _LONGEST_CHARACTER)

    def end(self) -> str:
        """Return the rest; bytes that are not a character become U+FFFD."""
        return self._passed(hold=False) if self._waiting else ""

    def _passed(self, *, hold: bool) -> str:
        before = self._decode(self._seen) if self._seen else ""
        text = self._decode([*self._seen, *self._waiting])
        if hold and text.endswith(_UNFINISHED):
            return ""
        self._seen, self._waiting = self._waiting, []
        return text[len(before) :]


class SampleText:
    """The text of one sample, piece by piece; stop texts count in the answer, not in the reasoning."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: tuple[str, ...], think_tags: ThinkTags) -> None:
        self._characters = Characters(decode)
        self._thoughts = ThinkSplitter(think_tags) if think_tags != "none" else None
        stops = tuple(stop for stop in stops if stop)
        self._stops = StopFinder(stops) if stops else None

    @property
    def thinking(self) -> bool:
        """Whether the next text is reasoning, and the answer has not begun."""
        return self._thoughts is not None and self._thoughts.inside

    @property
    def stopped(self) -> bool:
        """Whether a stop text has come."""
        return self._stops is not None and self._stops.found

    def feed(self, token: int) -> tuple[str, str]:
        """Take a token; return the reasoning and the answer that it completes."""
        return self._split(self._characters.feed(token))

    def end(self) -> tuple[str, str]:
        """Return what was held back."""
        return self._split(self._characters.end(), last=True)

    def _split(self, text: str, *, last: bool = False) -> tuple[str, str]:
        reasoning, answer = self._thoughts.feed(text, last=last) if self._thoughts is not None else ("", text)
        if self._stops is not None:
            answer, _ = self._stops.feed(answer, "length" if last else None)
        return reasoning, answer

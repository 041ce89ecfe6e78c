"""Shared by the readers of all APIs: tracks open samples and how they end, and makes the final piece with the usage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import BadResponse
from scaffold.vocabulary.characters import clean, joined
from scaffold.vocabulary.models import Delta, Finish, ReasoningBlock, Usage
from scaffold_backends.stops import StopFinder
from scaffold_backends.thinking import ThinkSplitter, ThinkTags

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Request

_BYTES_PER_TOKEN = 4  # of English text, for a guess if a server does not count tokens


class Samples:
    """Turns pieces of the samples of one request into Deltas.

    The piece that ends the last sample is held back until `end`, so that it can carry the usage, which most servers
    send later.
    """

    def __init__(self, request: Request, *, first: int = 0, think_tags: ThinkTags = "none") -> None:
        """`first` is added to every index, for a request that is one part of a larger one."""
        self._first = first
        self._request = request
        self._open = set(range(request.n))
        self._held: Delta | None = None
        self._pieces = 0
        self._bytes = 0
        self._halves: dict[tuple[int, str], str] = {}
        texts = tuple(filter(None, request.stop))  # looked for here, too, since not every server heeds them
        self._stops = [StopFinder(texts) for _ in range(request.n)] if texts else []
        self._thoughts = [ThinkSplitter(think_tags) for _ in range(request.n)] if think_tags != "none" else []

    def is_open(self, index: int) -> bool:
        """Whether a sample has not ended yet.

        Raises:
            BadResponse: it was not requested.
        """
        if not 0 <= index < self._request.n:
            raise BadResponse(f"a piece of sample {index} was sent, but {self._request.n} were asked for")
        return index in self._open

    def are_silent(self) -> bool:
        """Whether nothing of any sample has come yet."""
        return not self._pieces

    def piece(
        self,
        index: int = 0,
        *,
        text: str = "",
        reasoning: str = "",
        finish: Finish | None = None,
        logprob: float | None = None,
        block: ReasoningBlock | None = None,
    ) -> Delta | None:
        """Take a piece of a sample; return what can be passed on now.

        Raises:
            BadResponse: the sample was not requested, or continues after its end was passed on.
        """
        ended = not self.is_open(index)
        if self._halves or not (text.isascii() and reasoning.isascii()):
            text = self._joined(index, "text", text, last=finish is not None)
            reasoning = self._joined(index, "reasoning", reasoning, last=finish is not None)
        if text or reasoning:
            self._pieces += 1
            self._bytes += len(text) if text.isascii() else len(text.encode())
            self._bytes += len(reasoning) if reasoning.isascii() else len(reasoning.encode())
        if self._thoughts:
            thought, text = self._thoughts[index].feed(text, last=finish is not None)
            reasoning += thought
        if self._stops:
            text, finish = self._stops[index].feed(text, finish)
        if not (text or reasoning or finish or block or logprob is not None):
            return None
        if ended:
            if text or reasoning:
                self._go_on(index, text, reasoning, finish)
            return None
        delta = Delta(index + self._first, text, reasoning, finish, None, logprob, block)
        if finish is None:
            return delta
        self._open.discard(index)
        if self._open:
            return delta
        self._held = delta
        return None

    def _go_on(self, index: int, text: str, reasoning: str, finish: Finish | None) -> None:
        """Continue a sample whose end is held back, since some servers mark every piece as the last."""
        held = self._held
        if held is None or held.index != index + self._first:
            raise BadResponse(f"more of sample {index + self._first} was sent after its end")
        self._held = msgspec.structs.replace(
            held, text=held.text + text, reasoning=held.reasoning + reasoning, finish=finish or held.finish
        )

    def _joined(self, index: int, which: str, piece: str, *, last: bool) -> str:
        """Make a piece encodable: half of a surrogate pair waits for its other half."""
        text, half = joined(self._halves.pop((index, which), ""), piece, last=last)
        if half:
            self._halves[index, which] = half
        return text

    def end(self, usage: Usage | None) -> Delta:
        """Return the last Delta, with the usage.

        If the server sends no counts, the usage is guessed from the length of the texts and the number of pieces; it is
        then marked `guessed` and has no price.

        Raises:
            BadResponse: a sample has not ended, so the stream was cut.
        """
        if self._held is None:
            missing = ", ".join(str(index + self._first) for index in sorted(self._open))
            message = f"the stream ended before sample {missing} did, after {self._pieces} pieces of text"
            hint = ". A server that gives one sample at a time needs option 'n: false'"
            raise BadResponse(message + hint if len(self._open) < self._request.n else message)
        return msgspec.structs.replace(self._held, usage=usage if usage is not None and usage.tokens else self._guess())

    def _guess(self) -> Usage:
        prompt = sum(len(clean(message.content).encode()) for message in self._request.messages)
        written = max(self._pieces, math.ceil(self._bytes / _BYTES_PER_TOKEN))
        return Usage(input=math.ceil(prompt / _BYTES_PER_TOKEN), output=written, usd=None, guessed=True)

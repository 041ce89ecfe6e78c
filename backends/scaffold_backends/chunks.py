"""Chat-completion chunks, as OpenAI-compatible servers and llama.cpp stream them, folded into Deltas.

The shape is that of https://platform.openai.com/docs/api-reference/chat-streaming with the widespread
additions `reasoning_content` (DeepSeek, vLLM, llama.cpp) and `reasoning` (OpenRouter).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadResponse
from scaffold.vocabulary.models import Delta, Finish, Usage
from scaffold_backends.stops import StopFinder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.models import Prices, Request

_FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    # The provider's filter took the rest of the sample away.
    "content_filter": "cut",
}

_BYTES_PER_TOKEN = 4  # of English text, for the guess that is made where a server does not count


class _Piece(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _TokenLogprob(msgspec.Struct):
    logprob: float | None = None


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Piece | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None

    def counted(self) -> Usage:
        prompt = self.prompt_tokens_details or _Details()
        completion = self.completion_tokens_details or _Details()
        # Never negative: that would give a budget back what it never had.
        return Usage(
            input=max(0, self.prompt_tokens or 0),
            output=max(0, self.completion_tokens or 0),
            reasoning=max(0, completion.reasoning_tokens or 0),
            cached=max(0, prompt.cached_tokens or 0),
        )


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: dict[str, Any] | None = None


def clean(text: str) -> str:
    """Give text that can be encoded: surrogate pairs are joined, a lone surrogate becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class ChunkReader:
    """Folds the chunks of one request into Deltas.

    The piece that ends the last sample is held back until `end`, so that it can carry the usage, which
    servers send after it.

    Attributes:
        first: added to every index, for a request that is one part of a larger one.
    """

    def __init__(self, request: Request, prices: Prices | None, *, first: int = 0, find_stops: bool = False) -> None:
        self.first = first
        self._request = request
        self._prices = prices
        self._open = set(range(request.n))
        self._held: Delta | None = None
        self._usage: Usage | None = None
        self._pieces = 0
        self._bytes = 0
        texts = request.stop if find_stops else ()
        self._stops = [StopFinder(texts) for _ in range(request.n)] if texts else []

    def read(self, chunk: Any) -> Iterator[Delta]:
        """Take the next chunk, as decoded JSON.

        Raises:
            BadResponse: it is no chunk, or belongs to a sample that was not asked for.
        """
        try:
            read = msgspec.convert(chunk, _Chunk)
        except msgspec.ValidationError as error:
            message = f"not a chat completion chunk: {error}: {str(chunk)[:200]!r}"
            raise BadResponse(message) from error
        if read.usage is not None:
            self._count(read.usage.counted(), per_sample=read.timings is not None)
        for choice in read.choices or ():
            if not 0 <= choice.index < self._request.n:
                message = f"a chunk of sample {choice.index}, where {self._request.n} were asked for"
                raise BadResponse(message)
            if choice.index in self._open:
                yield from self._choice(choice)

    def _choice(self, choice: _Choice) -> Iterator[Delta]:
        piece = choice.delta or _Piece()
        text = clean((piece.content or "") + (piece.refusal or ""))
        reasoning = clean(piece.reasoning_content or piece.reasoning or "")
        if text or reasoning:
            self._pieces += 1
            self._bytes += len(text.encode()) + len(reasoning.encode())
        finish = None if choice.finish_reason is None else _FINISHES.get(choice.finish_reason, "error")
        if self._stops:
            text, finish = self._stops[choice.index].feed(text, finish)
        scored = choice.logprobs and choice.logprobs.content
        logprob = math.fsum(token.logprob or 0.0 for token in scored) if scored else None
        if not (text or reasoning or finish or logprob is not None):
            return
        delta = Delta(choice.index + self.first, text, reasoning, finish, None, logprob)
        if finish is not None:
            self._open.discard(choice.index)
        if self._open:
            yield delta
        else:
            self._held = delta

    def _count(self, usage: Usage, *, per_sample: bool) -> None:
        # llama.cpp, known by its `timings`, sends one count per sample, each with the whole prompt. Everyone
        # else counts all samples together, and some do so again and again as they go on: the last count
        # stands.
        if per_sample and self._usage is not None:
            self._usage = Usage(
                input=max(self._usage.input, usage.input),
                output=self._usage.output + usage.output,
                reasoning=self._usage.reasoning + usage.reasoning,
                cached=max(self._usage.cached, usage.cached),
            )
        else:
            self._usage = usage

    def end(self) -> Delta:
        """Give the last Delta, with the usage.

        A server that does not count leaves us to guess, from the length of the texts and the number of
        pieces; such a Usage says `guessed`.

        Raises:
            BadResponse: a sample has not ended, so the stream was cut.
        """
        if self._held is None:
            missing = ", ".join(str(index + self.first) for index in sorted(self._open))
            message = f"the stream ended before sample {missing} did, after {self._pieces} pieces of text"
            raise BadResponse(message)
        usage = self._usage or self._guess()
        usd = None if self._prices is None else self._prices.cost(usage.input, usage.output)
        return msgspec.structs.replace(self._held, usage=msgspec.structs.replace(usage, usd=usd))

    def _guess(self) -> Usage:
        prompt = sum(len(clean(message.content).encode()) for message in self._request.messages)
        written = max(self._pieces, math.ceil(self._bytes / _BYTES_PER_TOKEN))
        return Usage(input=math.ceil(prompt / _BYTES_PER_TOKEN), output=written, guessed=True)

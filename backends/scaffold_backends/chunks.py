"""Folds chat-completion chunks, as OpenAI-compatible servers and llama.cpp stream them, into Deltas.

The format is that of https://platform.openai.com/docs/api-reference/chat-streaming with these widespread additions:
`reasoning_content` (DeepSeek, vLLM, llama.cpp); `reasoning` (Ollama, vLLM, OpenRouter); `reasoning_details`, which
OpenRouter wants back unchanged (https://openrouter.ai/docs/use-cases/reasoning-tokens); and content in parts, some of
them thinking (Mistral, https://docs.mistral.ai/capabilities/reasoning).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadResponse
from scaffold.vocabulary.characters import clean, cleaned
from scaffold.vocabulary.models import Delta, Finish, ReasoningBlock, Usage
from scaffold_backends.samples import Samples

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Prices, Request
    from scaffold_backends.thinking import ThinkTags

_FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",  # text-generation-inference
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    # The provider's filter cut off the sample.
    "content_filter": "cut",
}


class _Piece(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None


class _TokenLogprob(msgspec.Struct):
    logprob: float | None = None


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Piece | None = None
    message: Any = None  # of an answer that is not streamed
    text: Any = None  # of a completion without turns
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    def is_empty(self) -> bool:
        """Whether it has nothing but a role."""
        piece = self.delta or _Piece()
        said = piece.content or piece.refusal or piece.reasoning_content or piece.reasoning or piece.reasoning_details
        return not said and not self.finish_reason


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None  # as mlx-vlm and others call them
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None

    def counted(self) -> Usage:
        prompt = self.prompt_tokens_details or _Details()
        completion = self.completion_tokens_details or _Details()
        # Never negative, which would add to a budget.
        return Usage(
            input=max(0, self.prompt_tokens or self.input_tokens or 0),
            output=max(0, self.completion_tokens or self.output_tokens or 0),
            reasoning=max(0, completion.reasoning_tokens or 0),
            cached=max(0, prompt.cached_tokens or 0),
        )


class Chunk(msgspec.Struct):
    """One chunk; only the fields used here are decoded."""

    choices: list[_Choice] | None = None
    usage: Any = None  # a `_Usage`, but a count of another form is no reason to refuse the answer
    timings: dict[str, Any] | None = None
    error: Any = None
    object: Any = None
    message: Any = None


class ChunkReader:
    """Folds the chunks of one request into Deltas."""

    def __init__(
        self,
        request: Request,
        prices: Prices | None,
        *,
        first: int = 0,
        think_tags: ThinkTags = "none",
    ) -> None:
        self._samples = Samples(request, first=first, think_tags=think_tags)
        self._prices = prices
        self._usage: Usage | None = None
        self._details: dict[int, list[dict[str, Any]]] = {}

    def read(self, chunk: Any) -> list[Delta]:
        """Take the next chunk, decoded to a Chunk or to plain JSON values.

        Raises:
            BadResponse: it is not a chunk, or belongs to a sample that was not requested.
        """
        if not isinstance(chunk, Chunk):
            try:
                chunk = msgspec.convert(chunk, Chunk)
            except msgspec.ValidationError as error:
                message = f"not a chat completion chunk: {error}: {str(chunk)[:200]!r}"
                raise BadResponse(message) from error
        if chunk.usage is not None and (counted := _counted(chunk.usage)) is not None:
            self._count(counted, per_sample=chunk.timings is not None)
        return [delta for choice in chunk.choices or () if (delta := self._choice(choice)) is not None]

    def _choice(self, choice: _Choice) -> Delta | None:
        piece, index = choice.delta or _Piece(), choice.index or 0
        if choice.delta is None and (choice.message or choice.text) and self._samples.are_silent():
            raise BadResponse("the server does not stream chat completions: its answer is in no `delta`")
        # Some servers send "" for a sample that goes on, and some "STOP" for one that has ended.
        finish = _FINISHES.get(choice.finish_reason.lower(), "error") if choice.finish_reason else None
        scored = choice.logprobs and choice.logprobs.content
        if piece.reasoning_details:
            _join(self._details.setdefault(index, []), piece.reasoning_details)
        details = self._details.pop(index, None) if finish is not None else None
        text, thought = piece.content or "", piece.reasoning_content or piece.reasoning or ""
        if not isinstance(text, str):
            text, thought = _told(text, "text"), thought + _told(text, "thinking")
        return self._samples.piece(
            index,
            text=text + piece.refusal if piece.refusal else text,
            reasoning=thought,
            finish=finish,
            logprob=math.fsum(token.logprob or 0.0 for token in scored) if scored else None,
            block=_block(details) if details else None,
        )

    def _count(self, usage: Usage, *, per_sample: bool) -> None:
        # llama.cpp, recognised by its `timings`, sends one count per sample, each with the whole prompt. All
        # others count all samples together, some repeatedly as they go on: the last count of each kind holds.
        if per_sample and self._usage is not None:
            self._usage = Usage(
                input=max(self._usage.input, usage.input),
                output=self._usage.output + usage.output,
                reasoning=self._usage.reasoning + usage.reasoning,
                cached=max(self._usage.cached, usage.cached),
            )
        elif usage.tokens:
            self._usage = usage

    def end(self) -> Delta:
        """Return the last Delta, with the usage and its price.

        Raises:
            BadResponse: a sample has not ended, so the stream was cut.
        """
        return priced(self._samples.end(self._usage), self._prices)


def _counted(told: Any) -> Usage | None:
    """Read a server's counts, as some write them: 3.0 or "3"; None for anything else."""
    try:
        return msgspec.convert(told, _Usage, strict=False).counted()
    except msgspec.ValidationError:
        return None


def _told(parts: Any, kind: str) -> str:
    """Join the text of one kind in content with parts; thinking has parts of its own."""
    if isinstance(parts, str):
        return parts
    told = [part.get(kind) for part in parts if part.get("type") == kind] if isinstance(parts, list) else []
    return "".join(each if kind == "text" and isinstance(each, str) else _told(each, "text") for each in told)


def priced(last: Delta, prices: Prices | None, written: int = 0) -> Delta:
    """Add the price to a last Delta's usage; `written` is the number of prompt tokens written to a cache."""
    usage = last.usage or Usage()
    usd = None if prices is None else prices.cost(usage.input, usage.output, usage.cached, written)
    return msgspec.structs.replace(last, usage=msgspec.structs.replace(usage, usd=usd))


def _join(details: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    """Join pieces of streamed reasoning details; those of one index and kind are one detail."""
    for each in more:
        last = details[-1] if details else None
        same = last is not None and all(last.get(name) == each.get(name) for name in ("type", "index"))
        if last is None or not same:
            details.append(dict(each))
            continue
        for name, value in each.items():
            joined = name in {"text", "summary", "data"} and isinstance(last.get(name), str) and isinstance(value, str)
            if value is not None:
                last[name] = last[name] + value if joined else value


def _block(details: list[dict[str, Any]]) -> ReasoningBlock:
    """Make one block of all details; it counts as unreadable if a detail is, unless there is a summary of it."""
    kinds = {str(detail.get("type")) for detail in details}
    readable = "\n\n".join(str(detail.get("text") or detail.get("summary") or "") for detail in details).strip()
    data = msgspec.json.encode(cleaned(details)).decode()
    if "reasoning.summary" in kinds:
        return ReasoningBlock(kind="summary", text=clean(readable), data=data)
    if "reasoning.encrypted" in kinds or not readable:
        return ReasoningBlock(kind="redacted", text=clean(readable), data=data)
    return ReasoningBlock(kind="text", text=clean(readable), data=data)

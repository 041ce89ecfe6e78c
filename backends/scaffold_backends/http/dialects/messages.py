"""Anthropic Messages, spoken by Anthropic, and as a second dialect by llama.cpp's server, vLLM, Ollama and others.

API: https://docs.claude.com/en/api/messages-streaming; thinking:
https://docs.claude.com/en/docs/build-with-claude/extended-thinking and .../adaptive-thinking; structured outputs:
https://docs.claude.com/en/docs/build-with-claude/structured-outputs; caching: .../prompt-caching.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from scaffold.vocabulary.characters import clean
from scaffold.vocabulary.models import Ability, Delta, Finish, Message, ReasoningBlock, ReasoningVisibility, Usage
from scaffold_backends.chunks import priced
from scaffold_backends.constraints import can_be_strict, closed, is_object, only_keywords
from scaffold_backends.http.dialect import decoded
from scaffold_backends.http.options import HttpOptions
from scaffold_backends.options import Options
from scaffold_backends.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.models import Prices, Request

VERSION = "2023-06-01"  # of the API, which https://docs.claude.com/en/api/versioning calls the current one

_FINISHES: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "cut",
}

# What Claude models take and show, by their names: up to 4.6 a temperature; before 4.1 no structured outputs; before 4
# all of their thinking, since then a summary (https://docs.claude.com/en/docs/about-claude/models/migration-guide).
_CLAUDE = re.compile(r"(?:.*[./])?(claude-.*)")
_TAKES_TEMPERATURE = re.compile(r"claude-([123]|instant|[a-z]+-4([-.][0-6])?(-\d{8}|-latest|@\d{8})?$)")
_HAS_NO_SCHEMAS = re.compile(r"claude-([123]|instant|[a-z]+-4([-.]0)?(-\d{8}|-latest|@\d{8})?$)")
_SHOWS_ALL = re.compile(r"claude-[123]")

# Keywords that structured outputs know; others are refused.
_KEYWORDS = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "allOf"}
    | {"$ref", "$defs", "definitions", "description", "format", "pattern"}
)
_INSTRUCTION = "Answer with JSON that fits this schema, and with nothing else:\n"
_LEAST_BUDGET = 1024  # tokens: the API refuses less
_LEAST_ANSWER = 256  # tokens that thinking has to leave


class Thinking(Options):
    """How a model is to think before it answers.

    Attributes:
        type: `adaptive` lets it decide how much, with option `effort`; `enabled` gives a budget, to models up to 4.6.
        budget_tokens: most tokens; fewer if a step has less room, and none if it has no room at all.
        display: whether a summary or nothing is shown; by default as the model does.
    """

    type: Literal["adaptive", "enabled", "disabled"] = "adaptive"
    budget_tokens: int | None = Field(default=None, ge=_LEAST_BUDGET)
    display: Literal["summarized", "omitted"] | None = None


class MessagesOptions(HttpOptions):
    """What a task may set for Messages.

    Attributes:
        thinking: how the model is to think; by default the API's own way.
        effort: effort for the whole answer, such as `low`; names are the model's own.
        cache: have the prompt cached, for several samples of one long prompt: the first writes, at a quarter more
            than the price, the others wait for it to begin and read, at a tenth.
        betas: features to ask for in the header `anthropic-beta`.
    """

    dialect: Literal["messages"] = "messages"
    n: Literal[False] = False
    thinking: Thinking | None = None
    effort: str | None = None
    cache: bool = False
    betas: tuple[str, ...] = ()


class _UsageCount(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    usage: _UsageCount | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: Any = None


class _Piece(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class Event(msgspec.Struct):
    """One event; only the fields used here are decoded."""

    type: str = ""
    message: _Message | str | None = None
    content_block: _Block | None = None
    delta: _Piece | None = None
    usage: _UsageCount | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Event)


class Messages:
    """The Messages API, for one model."""

    name = "messages"
    path = "/messages"
    auth = "x-api-key"
    mark = b'"message_start"'

    def __init__(self, model: str, options: MessagesOptions, *, official: bool) -> None:
        """`official` is for Anthropic's own server."""
        self.headers = {"anthropic-version": VERSION}
        if options.betas:
            self.headers["anthropic-beta"] = ",".join(options.betas)
        self._model = model
        self._options = options
        named = _CLAUDE.fullmatch(model)
        claude = named[1] if named else ""
        self._is_summarised = bool(claude) and not _SHOWS_ALL.match(claude)
        refuses_temperature = bool(claude) and not _TAKES_TEMPERATURE.match(claude)
        refuses = frozenset({"temperature"}) if refuses_temperature else frozenset()
        self._omit = refuses if options.omit is None else options.omit
        self._constrains = options.constrain and not (claude and _HAS_NO_SCHEMAS.match(claude))
        self.reasoning = self._shown(official=official)
        self.can: frozenset[Ability] = frozenset({"schema"}) if self._constrains else frozenset()

    def _shown(self, *, official: bool) -> tuple[ReasoningVisibility, bool]:
        thinking = self._options.thinking
        if thinking is None or thinking.type == "disabled":
            return "absent", not official or self._options.thinking is None
        if thinking.display == "omitted":
            return "redacted", False
        return ("summary", False) if self._is_summarised else ("full", not official)

    def body(self, request: Request) -> dict[str, Any]:
        system = [turn.content for turn in request.messages if turn.role == "system" and turn.content]
        schema = self._schema(request)
        if request.json_schema is not None and self._options.constrain and schema is None:
            system.append(_INSTRUCTION + json.dumps(request.json_schema))
        thinking = self._thinking(request.max_tokens)
        body: dict[str, Any] = {
            "model": self._model,
            "messages": _turns(request.messages),
            "stream": True,
            "max_tokens": request.max_tokens,
        }
        if system:
            body["system"] = [{"type": "text", "text": clean(text)} for text in system]
        if thinking:
            body["thinking"] = thinking
        if thinking.get("type", "disabled") == "disabled":  # thinking goes with the API's own temperature only
            body["temperature"] = min(1.0, request.temperature)
        stops = [stop for stop in request.stop if stop.strip()]  # white space alone is refused
        if stops:
            body["stop_sequences"] = stops
        output = {"effort": self._options.effort} if self._options.effort else {}
        if output or schema is not None:
            body["output_config"] = output | ({"format": {"type": "json_schema", "schema": schema}} if schema else {})
        if self._options.cache:
            _mark_for_cache(body)
        return {name: value for name, value in body.items() if name not in self._omit} | self._options.extra

    def _thinking(self, max_tokens: int) -> dict[str, Any]:
        thinking = self._options.thinking
        if thinking is None:
            return {}
        asked = thinking.model_dump(exclude_none=True)
        if thinking.type == "enabled":
            room = max_tokens - _LEAST_ANSWER
            if room < _LEAST_BUDGET:
                return {"type": "disabled"}
            asked["budget_tokens"] = min(thinking.budget_tokens or room, room)
        return asked

    def _schema(self, request: Request) -> dict[str, Any] | None:
        """Return the schema in a form that structured outputs accept; None if there is none."""
        if request.json_schema is None or not self._constrains:
            return None
        schema: dict[str, Any] = only_keywords(closed(request.json_schema), _KEYWORDS)
        return schema if is_object(schema) and can_be_strict(schema) else None

    def decode(self, data: bytes) -> Event:
        return decoded(data, _decoder, "an event of a message")

    def error_in(self, event: Event) -> Any:
        return event.error or None

    def is_preamble(self, event: Event) -> bool:
        return event.type in {"message_start", "ping"}

    def is_last(self, event: Event) -> bool:
        return event.type == "message_stop"

    def reader(self, request: Request, prices: Prices | None) -> MessageReader:
        samples = Samples(request, think_tags=self._options.think_tags)
        return MessageReader(samples, prices, "summary" if self._is_summarised else "text")


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    turns = []
    for place, turn in enumerate(messages):
        if turn.role == "system":
            continue
        text = clean(turn.content)
        if turn.role == "assistant" and place == len(messages) - 1:
            text = text.rstrip()  # the API refuses to continue after white space
        content: list[dict[str, Any]] = [block for each in turn.blocks if (block := _thought(each)) is not None]
        if text:
            content.append({"type": "text", "text": text})
        if content:
            turns.append({"role": turn.role, "content": content})
    return turns


def _thought(block: ReasoningBlock) -> dict[str, Any] | None:
    """Return a block unchanged; nothing for a block of another API."""
    if block.signature and not block.data:
        return {"type": "thinking", "thinking": block.text, "signature": block.signature}
    if block.data and block.kind == "redacted" and not (block.text or block.signature or block.data[0] in "[{"):
        return {"type": "redacted_thinking", "data": block.data}
    return None


def _mark_for_cache(body: dict[str, Any]) -> None:
    """Ask the API to cache the prompt up to its last block that may be marked."""
    for turn in reversed(body["messages"]):
        if turn["content"][-1]["type"] == "text":
            turn["content"][-1]["cache_control"] = {"type": "ephemeral"}
            return


class MessageReader:
    """Folds the events of one message into Deltas."""

    def __init__(self, samples: Samples, prices: Prices | None, kind: Literal["text", "summary"]) -> None:
        self._samples = samples
        self._prices = prices
        self._kind: Literal["text", "summary"] = kind
        self._block: _Block | None = None
        self._thought: list[str] = []
        self._signature = ""
        self._usage: Usage | None = None
        self._written = 0
        self._finish: Finish | None = None

    def read(self, event: Event) -> Iterator[Delta]:
        """Take the next event."""
        if not self._samples.is_open(0):
            return
        self._counts(event)
        delta: Delta | None = None
        if event.type == "content_block_delta" and event.delta is not None:
            delta = self._piece(event.delta)
        elif event.type == "content_block_start" and event.content_block is not None:
            delta = self._begin(event.content_block)
        elif event.type == "content_block_stop":
            delta = self._block_over()
        elif event.type == "message_stop":
            delta = self._samples.piece(finish=self._finish or "error")
        if delta is not None:
            yield delta

    def _counts(self, event: Event) -> None:
        if event.type == "message_start" and isinstance(event.message, _Message):
            self._count(event.message.usage)
        elif event.type == "message_delta":
            self._count(event.usage)
            if event.delta is not None and event.delta.stop_reason:
                self._finish = _FINISHES.get(event.delta.stop_reason, "error")

    def _begin(self, block: _Block) -> Delta | None:
        self._block, self._thought, self._signature = block, [], ""
        return self._piece(_Piece("", block.text, block.thinking, block.signature))

    def _piece(self, piece: _Piece) -> Delta | None:
        self._signature += piece.signature or ""
        if piece.thinking:
            self._thought.append(piece.thinking)
        return self._samples.piece(text=piece.text or "", reasoning=piece.thinking or "")

    def _block_over(self) -> Delta | None:
        block, self._block = self._block, None
        if block is None:
            return None
        if block.type == "redacted_thinking":
            return self._samples.piece(
                block=ReasoningBlock(kind="redacted", data=clean(block.data) if isinstance(block.data, str) else "")
            )
        text = clean("".join(self._thought))
        if block.type != "thinking" or not (text or self._signature):
            return None
        kind = self._kind if text else "redacted"
        return self._samples.piece(block=ReasoningBlock(kind=kind, text=text, signature=clean(self._signature)))

    def _count(self, counted: _UsageCount | None) -> None:
        """Add a count; later counts replace earlier ones, and may omit unchanged values."""
        if counted is None:
            return
        before = self._usage or Usage()
        read, written = counted.cache_read_input_tokens, counted.cache_creation_input_tokens
        cached = before.cached if read is None else max(0, read)
        plain = before.input - before.cached - self._written
        plain = plain if counted.input_tokens is None else max(0, counted.input_tokens)
        self._written = self._written if written is None else max(0, written)
        thought = (counted.output_tokens_details or {}).get("thinking_tokens")
        self._usage = Usage(
            input=plain + cached + self._written,  # the API counts the three apart
            output=before.output if counted.output_tokens is None else max(0, counted.output_tokens),
            reasoning=max(0, thought) if isinstance(thought, int) else before.reasoning,
            cached=cached,
        )

    def end(self) -> Delta:
        """Return the last Delta, with the usage and its price.

        Raises:
            BadResponse: the message has not ended, so the stream was cut.
        """
        if self._finish is not None and self._samples.is_open(0):  # some proxies leave out `message_stop`
            self._samples.piece(finish=self._finish)
        return priced(self._samples.end(self._usage), self._prices, self._written)

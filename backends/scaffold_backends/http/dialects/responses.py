"""OpenAI Responses, without state on the server: reasoning comes back encrypted and is sent again.

API: https://platform.openai.com/docs/api-reference/responses-streaming and
https://platform.openai.com/docs/guides/reasoning (encrypted reasoning items, summaries).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from scaffold.errors import BadResponse
from scaffold.vocabulary.characters import clean, cleaned
from scaffold.vocabulary.models import Ability, Delta, Finish, ReasoningBlock, ReasoningVisibility, Usage
from scaffold_backends.chunks import priced
from scaffold_backends.constraints import LONGEST_PER_TOKEN, bounded, can_be_strict, closed, is_object
from scaffold_backends.http.dialect import decoded
from scaffold_backends.http.dialects.chat import REASONERS, Grammar, choice_fields
from scaffold_backends.http.options import HttpOptions
from scaffold_backends.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.models import Message, Prices, Request

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_CALLS = frozenset({"function_call", "custom_tool_call"})
_TEXTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})


class ResponsesOptions(HttpOptions):
    """What a task may set for Responses.

    Attributes:
        effort: how much a reasoning model is to think, such as `low`; names are the model's own.
        summary: have the reasoning summarised, at this length; without it none of OpenAI's can be read.
        encrypted: have the reasoning come back encrypted, to be sent again on a next turn. By default for OpenAI's
            own reasoning models; other servers and models refuse it.
        logprobs: ask for log-probabilities.
        grammar: the server is llama.cpp's: it takes constraints as its chat completions do.
    """

    dialect: Literal["responses"] = "responses"
    n: Literal[False] = False
    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    encrypted: bool | None = None
    logprobs: bool = False
    grammar: bool | Grammar = False


class _Logprob(msgspec.Struct):
    logprob: float | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    content: Any = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None

    def counted(self) -> Usage:
        prompt, written = self.input_tokens_details or _Details(), self.output_tokens_details or _Details()
        return Usage(
            input=max(0, self.input_tokens or 0),
            output=max(0, self.output_tokens or 0),
            reasoning=max(0, written.reasoning_tokens or 0),
            cached=max(0, prompt.cached_tokens or 0),
        )


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: Any = None
    output: list[_Item] | None = None


class Event(msgspec.Struct):
    """One event; only the fields used here are decoded; some servers send null where they have nothing to say."""

    type: str = ""
    delta: Any = None
    summary_index: int | None = None
    item_id: str | None = None
    item: dict[str, Any] | None = None
    logprobs: list[_Logprob] | None = None
    response: _Response | None = None
    code: Any = None
    message: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(Event)


class Responses:
    """The Responses API, for one model."""

    name = "responses"
    path = "/responses"
    auth = "Authorization"
    mark = b'"response.'

    def __init__(self, model: str, options: ResponsesOptions, *, official: bool) -> None:
        """`official` is for OpenAI's own servers, and Azure's."""
        self.headers: dict[str, str] = {}
        self._model = model
        self._options = options
        self._official = official
        reasons = bool(REASONERS.match(model))
        refuses = frozenset({"temperature"}) if official and reasons else frozenset()
        self._omit = refuses if options.omit is None else options.omit
        self._encrypted = official and reasons if options.encrypted is None else options.encrypted
        self.reasoning: tuple[ReasoningVisibility, bool] = ("absent", not official)
        if official and reasons:
            self.reasoning = ("summary" if options.summary else "redacted", False)
        abilities: dict[Ability, bool] = {
            "schema": options.constrain,
            "choices": bool(options.grammar),
            "logprobs": options.logprobs,
        }
        self.can = frozenset(ability for ability, has in abilities.items() if has)

    def body(self, request: Request) -> dict[str, Any]:
        options = self._options
        include = ["reasoning.encrypted_content"] if self._encrypted else []
        if options.logprobs:
            include.append("message.output_text.logprobs")
        reasoning = {"effort": options.effort, "summary": options.summary}
        body: dict[str, Any] = {
            "model": self._model,
            "input": [item for turn in request.messages for item in _items(turn)],
            "stream": True,
            "store": False,
            "temperature": request.temperature,
            "max_output_tokens": request.max_tokens,
        }
        if include:
            body["include"] = include
        if any(reasoning.values()):
            body["reasoning"] = {name: value for name, value in reasoning.items() if value}
        body |= self._constraint(request)
        return {name: value for name, value in body.items() if name not in self._omit} | options.extra

    def _constraint(self, request: Request) -> dict[str, Any]:
        grammar, wanted = self._options.grammar, request.json_schema
        if wanted is None or not self._options.constrain or not (grammar or is_object(wanted)):
            return choice_fields(request.choices, grammar) if request.choices else {}
        schema = closed(wanted)
        if grammar in {True, "llamacpp"}:  # it reads the field of chat completions only
            schema = bounded(schema, LONGEST_PER_TOKEN * request.max_tokens)
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
        asked = {"type": "json_schema", "name": "answer", "strict": can_be_strict(schema), "schema": schema}
        return {"text": {"format": asked}}

    def decode(self, data: bytes) -> Event:
        return decoded(data, _decoder, "an event of a response")

    def error_in(self, event: Event) -> Any:
        if event.error:
            return event.error
        if event.type == "error":
            return {"code": event.code, "message": event.message}
        return event.response.error if event.type == "response.failed" and event.response else None

    def is_preamble(self, event: Event) -> bool:
        return event.type in _BEGINNINGS

    def is_last(self, event: Event) -> bool:
        return event.type in _ENDS

    def reader(self, request: Request, prices: Prices | None) -> ResponseReader:
        samples = Samples(request, think_tags=self._options.think_tags)
        return ResponseReader(samples, prices, 0 if self._official else request.max_tokens)


def _items(turn: Message) -> Iterator[dict[str, Any]]:
    """Convert a turn to input items: the reasoning, unchanged, before the text."""
    for block in turn.blocks:
        if (item := _reasoning_item(block)) is not None:
            yield item
    if turn.role == "assistant":
        said = {"type": "output_text", "text": clean(turn.content), "annotations": []}
        yield {"type": "message", "role": "assistant", "content": [said]}
    else:
        yield {"role": turn.role, "content": clean(turn.content)}


def _reasoning_item(block: ReasoningBlock) -> dict[str, Any] | None:
    """Return the item in a block; nothing for a block of another API."""
    try:
        item = msgspec.json.decode(block.data)
    except msgspec.DecodeError:
        return None
    return item if isinstance(item, dict) and item.get("type") == "reasoning" else None


class ResponseReader:
    """Folds the events of one response into Deltas."""

    def __init__(self, samples: Samples, prices: Prices | None, spent_at: int) -> None:
        """An answer of `spent_at` tokens was cut, for servers that do not say so; 0 for those that do."""
        self._samples = samples
        self._prices = prices
        self._spent_at = spent_at
        self._usage: Usage | None = None
        self._has_text = False
        self._thought: tuple[str | None, int | None] | None = None
        self._is_calling = False

    def read(self, event: Event) -> Iterator[Delta]:
        """Take the next event."""
        if not self._samples.is_open(0):
            return
        delta: Delta | None = None
        if event.type in _TEXTS:
            self._has_text = True
            logprob = math.fsum(token.logprob or 0.0 for token in event.logprobs) if event.logprobs else None
            delta = self._samples.piece(text=_text(event), logprob=logprob)
        elif event.type in _THOUGHTS:
            part = (event.item_id, event.summary_index)
            apart = "\n\n" if self._thought not in {None, part} else ""
            self._thought = part
            delta = self._samples.piece(reasoning=apart + _text(event))
        elif event.type == "response.output_item.done":
            delta = self._item(event.item or {})
        elif event.type in _ENDS:
            yield from self._end(event)
        if delta is not None:
            yield delta

    def _item(self, item: dict[str, Any]) -> Delta | None:
        if item.get("type") in _CALLS:
            self._is_calling = True  # a call of a function that was not offered is no answer
        if item.get("type") != "reasoning":
            return None
        text = _joined(item.get("content")) or _joined(item.get("summary"))
        kind: Literal["text", "summary", "redacted"] = "redacted"
        if text:
            kind = "text" if _joined(item.get("content")) else "summary"
        data = msgspec.json.encode(cleaned(item)).decode()
        return self._samples.piece(block=ReasoningBlock(kind=kind, text=clean(text), data=data))

    def _end(self, event: Event) -> Iterator[Delta]:
        response = event.response or _Response()
        if response.usage is not None:
            self._usage = response.usage.counted()
        text = ""
        if not self._has_text:  # a server that sends no pieces
            said = [item.content for item in response.output or () if item.type == "message"]
            text = "".join(_joined(content, apart="") for content in said)
        delta = self._samples.piece(text=text, finish=self._finish(event.type, response))
        if delta is not None:
            yield delta

    def _finish(self, kind: str, response: _Response) -> Finish:
        reason = response.incomplete_details and response.incomplete_details.reason
        if kind == "response.incomplete" or reason:  # vLLM calls it `completed` all the same
            return "cut" if reason == "content_filter" else "length"
        if kind == "response.failed" or self._is_calling:
            return "error"
        spent = self._spent_at and self._usage is not None and self._usage.output >= self._spent_at
        return "length" if spent else "stop"  # llama.cpp says `completed` of an answer that it cut

    def end(self) -> Delta:
        """Return the last Delta, with the usage and its price."""
        return priced(self._samples.end(self._usage), self._prices)


def _text(event: Event) -> str:
    if not isinstance(event.delta, str):
        raise BadResponse(f"a piece of text was sent as a {type(event.delta).__name__}")
    return event.delta


def _joined(parts: Any, apart: str = "\n\n") -> str:
    if isinstance(parts, str):
        return parts
    if not isinstance(parts, list):
        return ""
    texts = [part.get("text") or part.get("refusal") for part in parts if isinstance(part, dict)]
    return apart.join(text for text in texts if isinstance(text, str))

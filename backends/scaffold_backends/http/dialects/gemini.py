"""Google Gemini, `streamGenerateContent`.

API: https://ai.google.dev/api/generate-content; thinking: https://ai.google.dev/gemini-api/docs/thinking; signatures:
https://ai.google.dev/gemini-api/docs/thought-signatures; structured output:
https://ai.google.dev/gemini-api/docs/structured-output.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from scaffold.vocabulary.characters import clean
from scaffold.vocabulary.models import Ability, Delta, Finish, Message, ReasoningBlock, ReasoningVisibility, Usage
from scaffold_backends.chunks import priced
from scaffold_backends.constraints import only_keywords
from scaffold_backends.http.dialect import decoded
from scaffold_backends.http.options import HttpOptions
from scaffold_backends.options import Options
from scaffold_backends.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.models import Prices, Request

_FINISHES: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    # Google's filters cut off the sample.
    "SAFETY": "cut",
    "RECITATION": "cut",
    "LANGUAGE": "cut",
    "BLOCKLIST": "cut",
    "PROHIBITED_CONTENT": "cut",
    "SPII": "cut",
}

# Keywords that `responseJsonSchema` knows.
_KEYWORDS = frozenset(
    {"$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"}
    | {"minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required"}
)
_SIGNS = re.compile(r"gemini-[3-9]")  # always sign their thoughts, shown or not; earlier models only with tools
_MOST_STOPS = 5  # more are refused
_OURS = "gemini"  # marks blocks as this API's, whose signatures no other would take


class Thinking(Options):
    """How a model is to think before it answers.

    Attributes:
        include: show a summary of it.
        budget: most tokens, for models of the 2.5 series; 0 for none, -1 lets the model decide.
        level: amount such as `low`, for models since the 3 series.
    """

    include: bool = True
    budget: int | None = None
    level: str | None = None


class GeminiOptions(HttpOptions):
    """What a task may set for Gemini.

    Attributes:
        thinking: how the model is to think; by default the API's own way, without showing it.
        logprobs: ask for log-probabilities.
    """

    dialect: Literal["gemini"] = "gemini"
    thinking: Thinking | None = None
    logprobs: bool = False


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: Any = None


class _Content(msgspec.Struct, rename="camel"):
    parts: list[_Part] | None = None


class _Token(msgspec.Struct, rename="camel"):
    log_probability: float | None = None


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    logprobs_result: _Logprobs | None = None


class _UsageCount(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None

    def counted(self) -> Usage:
        thoughts = max(0, self.thoughts_token_count or 0)
        return Usage(
            input=max(0, self.prompt_token_count or 0),
            output=max(0, self.candidates_token_count or 0) + thoughts,
            reasoning=thoughts,
            cached=max(0, self.cached_content_token_count or 0),
        )


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class Event(msgspec.Struct, rename="camel"):
    """One piece of an answer; only the fields used here are decoded."""

    candidates: list[_Candidate] | None = None
    usage_metadata: _UsageCount | None = None
    prompt_feedback: _Feedback | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Event)


class Gemini:
    """Gemini's API, for one model."""

    name = "gemini"
    auth = "x-goog-api-key"
    mark = b'"candidates"'

    def __init__(self, model: str, options: GeminiOptions, *, official: bool) -> None:
        """`official` is for Google's own server."""
        named = model if "/" in model else f"models/{model}"
        self.path = f"/{quote(named)}:streamGenerateContent?alt=sse"
        self.headers: dict[str, str] = {}
        self._options = options
        self._omit = options.omit or frozenset()
        self.reasoning: tuple[ReasoningVisibility, bool] = ("absent", not official)
        if options.thinking is not None:
            shown: ReasoningVisibility = "summary" if options.thinking.include else "redacted"
            self.reasoning = ("absent" if options.thinking.budget == 0 else shown, not official)
        elif _SIGNS.match(model.removeprefix("models/")):
            self.reasoning = ("redacted", not official)
        abilities: dict[Ability, bool] = {
            "schema": options.constrain,
            "choices": options.constrain,
            "logprobs": options.logprobs,
            "seed": "seed" not in self._omit,
            "n": options.n,
        }
        self.can = frozenset(ability for ability, has in abilities.items() if has)

    def body(self, request: Request) -> dict[str, Any]:
        config: dict[str, Any] = {"temperature": request.temperature, "maxOutputTokens": request.max_tokens}
        if request.n > 1:
            config["candidateCount"] = request.n
        if request.seed is not None:
            config["seed"] = request.seed
        if request.stop:
            config["stopSequences"] = list(request.stop[:_MOST_STOPS])
        if self._options.logprobs:
            config["responseLogprobs"] = True
        if self._options.thinking is not None:
            config["thinkingConfig"] = _thinking_config(self._options.thinking)
        config |= self._constraint(request)
        body: dict[str, Any] = {
            "contents": [content for turn in request.messages if (content := _content(turn)) is not None],
            "generationConfig": {name: value for name, value in config.items() if name not in self._omit},
        }
        system = [{"text": clean(turn.content)} for turn in request.messages if turn.role == "system"]
        if system:
            body["systemInstruction"] = {"parts": system}
        return body | self._options.extra

    def _constraint(self, request: Request) -> dict[str, Any]:
        if not self._options.constrain:
            return {}
        if request.json_schema is not None:
            schema = only_keywords(_without_const(request.json_schema), _KEYWORDS)
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
        if request.choices:
            # The API refuses an empty text in an enum.
            named = [choice for choice in request.choices if choice]
            return {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": named}}
        return {}

    def decode(self, data: bytes) -> Event:
        return decoded(data, _decoder, "a piece of Gemini's answer")

    def error_in(self, event: Event) -> Any:
        return event.error or None

    def is_preamble(self, event: Event) -> bool:
        return False

    def is_last(self, event: Event) -> bool:
        return False  # the stream just ends

    def reader(self, request: Request, prices: Prices | None) -> GeminiReader:
        samples = Samples(request, think_tags=self._options.think_tags)
        return GeminiReader(samples, prices, request.n)


def _thinking_config(thinking: Thinking) -> dict[str, Any]:
    asked = {
        "includeThoughts": thinking.include,
        "thinkingBudget": thinking.budget,
        "thinkingLevel": thinking.level,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _content(turn: Message) -> dict[str, Any] | None:
    """Convert a turn; the signature of its reasoning follows unchanged, in a part of its own."""
    if turn.role == "system":
        return None
    parts: list[dict[str, Any]] = [{"text": clean(turn.content)}]
    parts += [{"text": "", "thoughtSignature": block.signature} for block in turn.blocks if block.data == _OURS]
    return {"role": "model" if turn.role == "assistant" else "user", "parts": parts}


def _without_const(schema: Any) -> Any:
    """Write `const` as an `enum` of one, which Gemini knows."""
    if isinstance(schema, list):
        return [_without_const(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: _without_const(inner) for name, inner in schema.items()}
    if isinstance(copy.get("const"), str):
        copy["enum"] = [copy.pop("const")]
    return copy


class GeminiReader:
    """Folds the pieces of one answer into Deltas."""

    def __init__(self, samples: Samples, prices: Prices | None, count: int) -> None:
        self._samples = samples
        self._prices = prices
        self._count = count
        self._usage: Usage | None = None
        self._thoughts: dict[int, list[str]] = {}
        self._signatures: dict[int, str] = {}
        self._calling: set[int] = set()

    def read(self, event: Event) -> Iterator[Delta]:
        """Take the next piece."""
        if event.usage_metadata is not None:
            self._usage = event.usage_metadata.counted()
        for candidate in event.candidates or ():
            yield from self._candidate(candidate)
        if not event.candidates and event.prompt_feedback and event.prompt_feedback.block_reason:
            for index in range(self._count):  # the prompt was blocked: there will be no answer
                delta = self._samples.piece(index, finish="cut") if self._samples.is_open(index) else None
                if delta is not None:
                    yield delta

    def _candidate(self, candidate: _Candidate) -> Iterator[Delta]:
        index, text, reasoning = candidate.index or 0, "", ""
        for part in (candidate.content and candidate.content.parts) or ():
            if part.thought:
                reasoning += part.text or ""
            else:
                text += part.text or ""
            if part.function_call is not None:
                self._calling.add(index)  # a call of a function that was not offered is no answer
            if part.thought_signature:
                self._signatures[index] = part.thought_signature
        if reasoning:
            self._thoughts.setdefault(index, []).append(reasoning)
        finish = None
        if candidate.finish_reason not in {None, "", "FINISH_REASON_UNSPECIFIED"}:
            finish = _FINISHES.get(candidate.finish_reason or "", "error")
            finish = "error" if index in self._calling else finish
        scored = candidate.logprobs_result and candidate.logprobs_result.chosen_candidates
        delta = self._samples.piece(
            index,
            text=text,
            reasoning=reasoning,
            finish=finish,
            logprob=math.fsum(token.log_probability or 0.0 for token in scored) if scored else None,
            block=self._block(index) if finish is not None else None,
        )
        if delta is not None:
            yield delta

    def _block(self, index: int) -> ReasoningBlock | None:
        text, signature = clean("".join(self._thoughts.pop(index, []))), self._signatures.pop(index, "")
        if not (text or signature):
            return None
        return ReasoningBlock(kind="summary" if text else "redacted", text=text, signature=clean(signature), data=_OURS)

    def end(self) -> Delta:
        """Return the last Delta, with the usage and its price."""
        return priced(self._samples.end(self._usage), self._prices)

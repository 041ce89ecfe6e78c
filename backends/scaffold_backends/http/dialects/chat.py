"""OpenAI chat completions, as OpenAI, Azure, vLLM, SGLang, llama.cpp's server, Ollama, OpenRouter and others speak it.

API: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from scaffold.vocabulary.characters import clean
from scaffold.vocabulary.models import Ability, ReasoningVisibility
from scaffold_backends.chunks import Chunk, ChunkReader
from scaffold_backends.constraints import LONGEST_PER_TOKEN, bounded, can_be_strict, choice_grammar, closed, is_object
from scaffold_backends.http.dialect import decoded
from scaffold_backends.http.options import HttpOptions

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Message, Prices, Request

# OpenAI's reasoning models answer 400 to a temperature of our choosing and to stop texts.
REASONERS = re.compile(r"(o\d|gpt-5)(?!.*chat)")
_REASONERS_REFUSE = frozenset({"temperature", "stop", "logprobs"})

_MOST_STOPS = 4  # more are refused

Grammar = Literal["llamacpp", "vllm", "sglang"]

_decoder = msgspec.json.Decoder(Chunk)


class ChatOptions(HttpOptions):
    """What a task may set for chat completions.

    Attributes:
        grammar: how the server takes `choices`: llama.cpp's `grammar` (true means that too), vLLM's
            `structured_outputs`, or SGLang's `regex`. OpenAI refuses the fields.
        logprobs: ask for log-probabilities.
        effort: how much a reasoning model is to think: `reasoning_effort`, such as `low`; names are the model's own.
        reasoning_option: OpenRouter's `reasoning` table in place of `reasoning_effort`.
    """

    dialect: Literal["chat"] = "chat"
    n: bool = True
    grammar: bool | Grammar = False
    logprobs: bool = False
    effort: str | None = None
    reasoning_option: dict[str, Any] = Field(default={})


class Chat:
    """The chat completions API, for one model."""

    name = "chat"
    path = "/chat/completions"
    auth = "Authorization"
    mark = b'"choices"'

    def __init__(self, model: str, options: ChatOptions, *, official: bool) -> None:
        """`official` is for OpenAI's own servers and Azure's, which refuse unknown fields."""
        self.headers: dict[str, str] = {}
        self._model = model
        self._options = options
        self._official = official
        refuses = _REASONERS_REFUSE if official and REASONERS.match(model) else frozenset()
        self._omit = refuses if options.omit is None else options.omit
        self._most_stops = _MOST_STOPS if official else None
        # OpenAI shows no reasoning in chat completions. Another server may; assume the worse unless configured.
        self.reasoning: tuple[ReasoningVisibility, bool] = ("absent", not official)
        self.can = self._abilities()

    def _abilities(self) -> frozenset[Ability]:
        abilities: dict[Ability, bool] = {
            "schema": self._options.constrain,
            "choices": bool(self._options.grammar),
            "logprobs": self._options.logprobs and "logprobs" not in self._omit,
            "seed": "seed" not in self._omit,
            "n": self._options.n,
        }
        return frozenset(ability for ability, has in abilities.items() if has)

    def body(self, request: Request) -> dict[str, Any]:
        longest = "max_completion_tokens" if self._official else "max_tokens"
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_turn(turn, with_details=not self._official) for turn in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            longest: request.max_tokens,
        }
        if request.n > 1:
            body["n"] = request.n
        if request.seed is not None:
            body["seed"] = request.seed
        if request.stop:
            body["stop"] = list(request.stop[: self._most_stops])
        if self._options.logprobs:
            body["logprobs"] = True
        if self._options.effort:
            body["reasoning_effort"] = self._options.effort
        if self._options.reasoning_option:
            body["reasoning"] = self._options.reasoning_option
        body |= self._constraint(request)
        return {name: value for name, value in body.items() if name not in self._omit} | self._options.extra

    def _constraint(self, request: Request) -> dict[str, Any]:
        grammar = self._options.grammar
        if request.json_schema is not None and self._options.constrain and (grammar or is_object(request.json_schema)):
            schema = closed(request.json_schema)
            if grammar in {True, "llamacpp"}:  # a small model, which may not know when to stop
                schema = bounded(schema, LONGEST_PER_TOKEN * request.max_tokens)
            asked = {"name": "answer", "strict": can_be_strict(schema), "schema": schema}
            return {"response_format": {"type": "json_schema", "json_schema": asked}}
        return choice_fields(request.choices, grammar) if request.choices else {}

    def decode(self, data: bytes) -> Chunk:
        return decoded(data, _decoder, "a chat completion chunk")

    def error_in(self, event: Chunk) -> Any:
        return event.error or (event.message if event.object == "error" else None) or None

    def is_preamble(self, event: Chunk) -> bool:
        return all(choice.is_empty() for choice in event.choices or ())

    def is_last(self, event: Chunk) -> bool:
        return False  # `[DONE]` is, or the end of the stream: the usage comes after all that has a finish

    def reader(self, request: Request, prices: Prices | None) -> ChunkReader:
        return ChunkReader(request, prices, think_tags=self._options.think_tags)


def choice_fields(choices: tuple[str, ...], grammar: bool | Grammar) -> dict[str, Any]:  # noqa: FBT001 - an option's value
    """Return the fields that constrain a sample to one of some texts, if the server has any.

    vLLM: https://docs.vllm.ai/en/latest/features/structured_outputs.html; SGLang:
    https://docs.sglang.ai/advanced_features/structured_outputs.html.
    """
    if grammar == "vllm":
        return {"structured_outputs": {"choice": list(choices)}}
    if grammar == "sglang":
        return {"regex": f"({'|'.join(map(re.escape, choices))})"}
    return {"grammar": choice_grammar(choices)} if grammar else {}


def _turn(turn: Message, *, with_details: bool) -> dict[str, Any]:
    written: dict[str, Any] = {"role": turn.role, "content": clean(turn.content)}
    blocks = turn.blocks if with_details else ()
    details = [detail for block in blocks if block.data for detail in _details(block.data)]
    if details:
        written["reasoning_details"] = details
    return written


def _details(data: str) -> list[Any]:
    """Return the reasoning details in a block; nothing for a block of another API."""
    try:
        details = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return []
    return details if isinstance(details, list) else []

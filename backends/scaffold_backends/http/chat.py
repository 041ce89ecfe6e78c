"""Chat completions over HTTP, as OpenAI, vLLM, SGLang, llama.cpp's server, OpenRouter and others speak it.

API: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from scaffold.errors import NotAuthorised, TaskError
from scaffold.vocabulary.models import Ability, Prices, Profile, ReasoningVisibility
from scaffold_backends.chunks import ChunkReader, clean
from scaffold_backends.constraints import LONGEST_PER_TOKEN, bounded, can_be_strict, choice_grammar, closed
from scaffold_backends.http.exchange import Patience, Post, exchange
from scaffold_backends.http.pools import ClientPool
from scaffold_backends.http.pricing import look_up
from scaffold_backends.http.refusals import Origin
from scaffold_backends.options import Options, read_options
from scaffold_backends.wrappers.fan_out import FanOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.vocabulary.models import Delta, Request

DEFAULT_URL = "https://api.openai.com/v1"

# OpenAI's reasoning models answer 400 to a temperature of our choosing and to stop texts.
_REASONERS = re.compile(r"(o\d|gpt-5)(?!.*chat)")
_REASONERS_REFUSE = frozenset({"temperature", "stop", "logprobs"})

# What one token may cost on the wire: its JSON frame is 200 to 400 bytes, and twice that with
# log-probabilities.
_BYTES_PER_TOKEN = 2048
_BYTES_BESIDES = 1024 * 1024


class PriceOption(Options):
    """US dollars per million tokens."""

    input: NonNegativeFloat
    output: NonNegativeFloat


class OpenAIOptions(Options):
    """What a task may set.

    Attributes:
        base_url: where the API lives; only for specs that do not say.
        key_env: environment variable that holds the key; none is sent to a URL unless this names one.
        constrain: `schema` in the task: the server can hold an answer to a JSON Schema.
        grammar: the server takes llama.cpp's `grammar`, which is how `choices` are kept; OpenAI refuses the
            field.
        logprobs: ask for log-probabilities.
        n: the server gives n samples for one prompt; if not, each is asked for by itself.
        reasoning: how much of the model's reasoning the server shows.
        trust: whether its answers may steer irreversible actions unseen.
        prices: for models that are not in the price table.
        context: most tokens of prompt and answer, for models that are not in the table.
        omit: request fields not to send, for servers that refuse them. Without `temperature`, samples come at
            the model's own; `stop` is then done here, at the price of the tokens after it.
        extra: more fields for the request's body, such as `reasoning_effort`.
        connect_s: longest that connecting may take, in seconds.
        read_s: longest silence inside an answer, and before it, in seconds.
        total_s: longest that an answer may take, in seconds.
        attempts: how often to send what did not get through.
        backoff_s: longest first pause between attempts, in seconds.
        patience_s: no attempt begins later than this after the first, in seconds.
    """

    base_url: str | None = None
    key_env: str | None = None
    constrain: bool = Field(default=True, alias="schema")
    grammar: bool = False
    logprobs: bool = False
    n: bool = True
    reasoning: ReasoningVisibility | None = None
    trust: Literal["trusted", "untrusted"] = "untrusted"
    prices: PriceOption | None = None
    context: PositiveInt | None = None
    omit: frozenset[str] | None = None
    extra: dict[str, Any] = Field(default={})
    connect_s: PositiveFloat = 10
    read_s: PositiveFloat = 300
    total_s: PositiveFloat = 900
    attempts: PositiveInt = 4
    backoff_s: NonNegativeFloat = 1
    patience_s: NonNegativeFloat = 90


def connect(model: str, **options: Any) -> OpenAIBackend | FanOut:
    """Connect to OpenAI (`openai:gpt-5-mini`), or to what option `base_url` or OPENAI_BASE_URL names.

    Nothing is sent yet. The key comes from OPENAI_API_KEY, or the variable that `key_env` names.

    Raises:
        TaskError: an option is wrong, or no model is named.
        NotAuthorised: OpenAI wants a key, and the variable is empty.
    """
    read = read_options(OpenAIOptions, options, "openai")
    if not model:
        message = "openai needs a model, as in 'openai:gpt-5-mini'"
        raise TaskError(message)
    url = read.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    return _backend(url, model, read, read.key_env or "OPENAI_API_KEY")


def connect_url(url: str, **options: Any) -> OpenAIBackend | FanOut:
    """Connect to any server by its URL, with the model after `#`: `http://localhost:8000/v1#qwen3`.

    A URL out of a task file is sent no key, unless option `key_env` names the variable that holds it.

    Raises:
        TaskError: an option or the URL is wrong.
        NotAuthorised: `key_env` names a variable that is empty.
    """
    read = read_options(OpenAIOptions, options, url)
    base, _, model = url.partition("#")
    if read.base_url is not None:
        message = "a backend named by its URL takes no 'base_url'"
        raise TaskError(message, path=("base_url",))
    return _backend(base, model or "default", read, read.key_env or "")


def _backend(url: str, model: str, options: OpenAIOptions, key_env: str) -> OpenAIBackend | FanOut:
    shown = _shown(url)
    key = os.environ.get(key_env, "").strip() if key_env else ""
    if not key and key_env and (options.key_env or shown == DEFAULT_URL):
        message = f"{shown} wants a key: set the environment variable {key_env}"
        raise NotAuthorised(message)
    if not key.isprintable() or not key.isascii():
        message = f"the key in the environment variable {key_env} has characters that no key has"
        raise NotAuthorised(message)
    backend = OpenAIBackend(url.rstrip("/"), model, options, Origin(shown, key_env, key))
    return backend if options.n else FanOut(backend)


def _shown(url: str) -> str:
    """Give a URL as it may be shown: without what stands before an @, which may be a password."""
    wrong = f"{url!r} is no URL of a server: it begins with http:// or https:// and names a host"
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        _ = parts.port  # it is checked as it is read
    except (ValueError, httpx.InvalidURL) as error:
        raise TaskError(f"{wrong} ({error})", path=("base_url",)) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TaskError(wrong, path=("base_url",))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


class OpenAIBackend:
    """One model of one server."""

    def __init__(self, url: str, model: str, options: OpenAIOptions, origin: Origin) -> None:
        self._url = f"{url}/chat/completions"
        self._model = model
        self._options = options
        self._origin = origin
        self._is_openai = urlsplit(url).hostname == "api.openai.com"
        refuses = _REASONERS_REFUSE if self._is_openai and _REASONERS.match(model) else frozenset()
        self._omit = refuses if options.omit is None else options.omit
        self._pool = ClientPool(httpx.Timeout(options.read_s, connect=options.connect_s, pool=None))
        self._patience = Patience(
            attempts=options.attempts,
            backoff_s=options.backoff_s,
            patience_s=options.patience_s,
            total_s=options.total_s,
        )
        self.profile = self._describe(url)

    def _describe(self, url: str) -> Profile:
        given = self._options.prices and Prices(self._options.prices.input, self._options.prices.output)
        listed, context, is_guess = look_up(self._model, url)
        guessed = ["prices"] if is_guess and given is None else []
        # OpenAI shows no reasoning in chat completions. Another server may; until somebody says so, assume
        # the worse.
        if self._options.reasoning is None and not self._is_openai:
            guessed.append("reasoning")
        return Profile(
            backend="openai",
            model=self._model,
            context=self._options.context or context,
            prices=given or listed,
            trust=self._options.trust,
            reasoning=self._options.reasoning or "absent",
            can=self._abilities(),
            guessed=tuple(guessed),
        )

    def _abilities(self) -> frozenset[Ability]:
        abilities: dict[Ability, bool] = {
            "schema": self._options.constrain,
            "choices": self._options.grammar,
            "logprobs": self._options.logprobs and "logprobs" not in self._omit,
            "seed": "seed" not in self._omit,
            "n": self._options.n,
        }
        return frozenset(ability for ability, has in abilities.items() if has)

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with a stream; closing it closes the connection.

        Raises:
            BackendUnavailable: down, or out of retries.
            NotAuthorised: the key is refused.
            ContextOverflow: the prompt is too long for the model.
            BadRequest: the server calls the request wrong.
            BadResponse: the answer was cut, malformed or over-long.
        """
        reader = ChunkReader(request, self.profile.prices, find_stops="stop" in self._omit)
        client = await self._pool.here()
        async with exchange(client, self._post(request), self._patience) as events:
            async for event in events:
                for delta in reader.read(event):
                    yield delta
        yield reader.end()

    def _post(self, request: Request) -> Post:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": "system2-scaffold",
        }
        if self._origin.key:
            headers["Authorization"] = f"Bearer {self._origin.key}"
        return Post(
            url=self._url,
            headers=headers,
            body=json.dumps(self._body(request), ensure_ascii=False).encode("utf-8", "replace"),
            limit=_BYTES_BESIDES + _BYTES_PER_TOKEN * request.max_tokens * request.n,
            origin=self._origin,
        )

    def _body(self, request: Request) -> dict[str, Any]:
        longest = "max_completion_tokens" if self._is_openai else "max_tokens"
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": turn.role, "content": clean(turn.content)} for turn in request.messages],
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
            body["stop"] = list(request.stop)
        if self._options.logprobs:
            body["logprobs"] = True
        body |= self._constraint(request)
        return {name: value for name, value in body.items() if name not in self._omit} | self._options.extra

    def _constraint(self, request: Request) -> dict[str, Any]:
        if request.json_schema is not None and self._options.constrain:
            schema = closed(request.json_schema)
            if self._options.grammar:  # llama.cpp: a small model, which may not know when to stop
                schema = bounded(schema, LONGEST_PER_TOKEN * request.max_tokens)
            asked = {"name": "answer", "strict": can_be_strict(schema), "schema": schema}
            return {"response_format": {"type": "json_schema", "json_schema": asked}}
        if request.choices and self._options.grammar:
            return {"grammar": choice_grammar(request.choices)}
        return {}

    async def close(self) -> None:
        """Close this event loop's connections; those of other loops close with them."""
        await self._pool.close()

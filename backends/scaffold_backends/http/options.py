"""Options of all backends over HTTP; each API adds its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, FilePath, NonNegativeFloat, PositiveFloat, PositiveInt

from scaffold.vocabulary.models import ReasoningVisibility
from scaffold_backends.options import Options
from scaffold_backends.thinking import ThinkTags

DialectName = Literal["chat", "responses", "messages", "gemini"]


class PriceOption(Options):
    """US dollars per million tokens; the part of the prompt that came from a cache, where that is cheaper."""

    input: NonNegativeFloat
    output: NonNegativeFloat
    cached: NonNegativeFloat | None = None


class HttpOptions(Options):
    """What a task may set.

    Attributes:
        dialect: the API that the server speaks: `chat`, `responses`, `messages` (Anthropic's) or `gemini`.
        base_url: where the API lives; only for specs that do not say.
        key_env: environment variable that holds the key; none is sent to a URL unless this names one.
        ca_file: certificate that the server's own is signed with, PEM; for servers of your own.
        constrain: `schema` in the task: the server can hold an answer to a JSON Schema.
        n: the server gives n samples for one prompt; if not, each is asked for by itself.
        reasoning: how much of the model's reasoning the server shows.
        think_tags: take reasoning between tags (`<think>`, `[THINK]`, gpt-oss's channels and others that models are
            taught) out of the text: `tags` where a sample may begin with one, `open` where the prompt ends in
            `<think>`, so that the sample begins inside it.
        trust: whether its answers may steer irreversible actions unseen.
        prices: for models that are not in the price table.
        context: most tokens of prompt and answer, for models that are not in the table.
        omit: request fields not to send, for servers that refuse them. Without `temperature`, samples come at
            the model's own; stop texts are then found here, at the price of the tokens after them.
        extra: more fields for the request's body.
        connect_s: longest that connecting may take, in seconds.
        read_s: longest silence inside an answer, and before it, in seconds.
        total_s: longest that an answer may take, in seconds.
        attempts: how often to send what did not get through.
        backoff_s: longest first pause between attempts, in seconds.
        patience_s: no attempt begins later than this after the first, in seconds.
    """

    dialect: DialectName = "chat"
    base_url: str | None = None
    key_env: str | None = None
    ca_file: FilePath | None = None
    constrain: bool = Field(default=True, alias="schema")
    n: bool = False
    reasoning: ReasoningVisibility | None = None
    think_tags: ThinkTags = "none"
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

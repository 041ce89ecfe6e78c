"""What is sent to a model, what comes back, and what a backend declares about itself."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "cut", "error"]
ReasoningVisibility = Literal["full", "summary", "redacted", "absent"]  # from readable to not

_TEMPLATE = 16  # most tokens that a chat template adds to a message


class ReasoningBlock(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A piece of reasoning as its API gave it, kept because the API wants it back unchanged on the next turn.

    Attributes:
        kind: `text` is fully readable, `summary` is another model's account of it, `redacted` cannot be read.
        text: the readable part.
        signature: the provider's signature over the text.
        data: what only the provider can read: encrypted reasoning, or the id it is stored under.
    """

    kind: Literal["text", "summary", "redacted"]
    text: str = ""
    signature: str = ""
    data: str = ""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a prompt. If the last turn is the assistant's, the model continues its text.

    Attributes:
        role: who speaks.
        content: the text.
        blocks: the reasoning behind an earlier turn of the assistant, for APIs that want it back.
    """

    role: Role
    content: str
    blocks: tuple[ReasoningBlock, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt, of which `n` samples are wanted.

    Attributes:
        messages: the prompt.
        n: number of samples; a backend that can shares the prefix among them.
        max_tokens: most tokens per sample, reasoning included.
        temperature: 0 is greedy.
        stop: texts that end a sample; not part of it.
        seed: makes sampling repeatable, if the backend supports it; sample i uses seed + i.
        json_schema: JSON Schema that each sample must satisfy, for backends that can constrain decoding.
        choices: the only texts a sample may be, for backends that can constrain decoding.
    """

    messages: tuple[Message, ...]
    n: int = 1
    max_tokens: int = 512
    temperature: float = 0.7
    stop: tuple[str, ...] = ()
    seed: int | None = None
    json_schema: dict[str, Any] | None = None
    choices: tuple[str, ...] = ()

    def most_tokens(self, *, shares_prompt: bool) -> tuple[int, int]:
        """Return the most tokens the request can cost, as (prompt, answer).

        Args:
            shares_prompt: the prompt is paid for once, not once per sample.
        """
        # A tokenizer never makes more tokens than there are bytes.
        prompt = 0
        for message in self.messages:
            text = message.content
            prompt += _TEMPLATE + (len(text) if text.isascii() else len(text.encode("utf-8", "replace")))
        return prompt * (1 if shares_prompt else self.n), self.max_tokens * self.n


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens and money; `reasoning` is the part of `output` spent on reasoning, shown or hidden.

    `usd` is None if the price is not known. `guessed` means that the backend did not count tokens, and they were
    estimated from the length of the texts.
    """

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cached: int = 0
    usd: float | None = 0.0
    guessed: bool = False

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input + self.output

    def __add__(self, other: Usage) -> Usage:
        if self is NO_USAGE:
            return other
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.reasoning + other.reasoning,
            self.cached + other.cached,
            usd,
            self.guessed or other.guessed,
        )


NO_USAGE = Usage()


class Origin(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who really produced a sample, if not simply the backend that was asked.

    Attributes:
        backend: name of the plug-in that answered, of the several that could have.
        model: name of its model.
        recorded: the sample was produced earlier and is replayed.
        saved: what it cost then and does not cost now; on the first sample of a recorded answer.
    """

    backend: str = ""
    model: str = ""
    recorded: bool = False
    saved: Usage | None = None


class Delta(msgspec.Struct, frozen=True):
    """A piece of one sample, as it is generated.

    Attributes:
        index: which of the request's n samples it belongs to.
        text: more of the answer.
        reasoning: more of the readable reasoning.
        finish: set on a sample's last piece.
        usage: set once, on the last piece of the request: the sum over its samples.
        logprob: sum of the log-probabilities of this piece's tokens, if the backend reports it.
        block: a completed piece of reasoning, for APIs that want it back; its text was streamed before.
        signals: figures about the model's inner state over the sample, on its last piece; the backend chooses the
            names, such as `entropy` (nats per token) and `margin`.
        origin: who produced the sample, on its last piece, if a wrapping backend chose.
    """

    index: int = 0
    text: str = ""
    reasoning: str = ""
    finish: Finish | None = None
    usage: Usage | None = None
    logprob: float | None = None
    block: ReasoningBlock | None = None
    signals: dict[str, float] | None = None
    origin: Origin | None = None


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer of a backend to a step.

    Attributes:
        index: the order in which samples were asked for; votes count by it, never by arrival.
        text: the answer as it came.
        reasoning: the readable reasoning.
        finish: why it ended.
        logprob: its log-probability, if the backend reports it.
        flag: why it was discarded; empty when it counts.
        blocks: reasoning to hand back on a next turn, if the API wants it.
        signals: figures about the model's inner state, if the backend reports them.
        origin: who produced it, if a wrapping backend or a sampling policy chose.
        way: how it was asked: 0 as the step says, else the number of the way among those its policy asked for.
    """

    index: int
    text: str
    reasoning: str = ""
    finish: Finish = "stop"
    logprob: float | None = None
    flag: str = ""
    blocks: tuple[ReasoningBlock, ...] = ()
    signals: dict[str, float] = {}
    origin: Origin | None = None
    way: int = 0


class Prices(msgspec.Struct, frozen=True, omit_defaults=True):
    """US dollars per million tokens.

    Attributes:
        input: of the prompt.
        output: of the answer, reasoning included.
        cached: of the prompt tokens read from the backend's cache; None if they cost the same as the rest.
        written: of the prompt tokens written to the cache; None if they cost the same as the rest.
    """

    input: float
    output: float
    cached: float | None = None
    written: float | None = None

    def cost(self, input_tokens: int, output_tokens: int, cached: int = 0, written: int = 0) -> float:
        """Return the cost in US dollars; cached and written tokens are among the input tokens."""
        if not (cached or written):
            return (input_tokens * self.input + output_tokens * self.output) / 1e6
        plain = max(0, input_tokens - cached - written)
        read = self.input if self.cached is None else self.cached
        kept = self.input if self.written is None else self.written
        return (plain * self.input + cached * read + written * kept + output_tokens * self.output) / 1e6


FREE = Prices(0.0, 0.0)

Ability = Literal["schema", "choices", "logprobs", "seed", "n", "fork"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend can do, what it costs, and how much of its reasoning can be read.

    Attributes:
        backend: name of the plug-in.
        model: name of the model, as the backend calls it.
        context: most tokens of prompt and answer together; None if not known.
        prices: None if not known; a money budget then refuses to start.
        trust: `trusted` or `untrusted`: whether its answers may steer irreversible actions unseen.
        reasoning: how much of its reasoning is readable.
        can: what it can do beyond plain sampling.
        guessed: names of the fields above that are guesses.
    """

    backend: str
    model: str
    context: int | None = None
    prices: Prices | None = None
    trust: Literal["trusted", "untrusted"] = "untrusted"
    reasoning: ReasoningVisibility = "absent"
    can: frozenset[Ability] = frozenset()
    guessed: tuple[str, ...] = ()

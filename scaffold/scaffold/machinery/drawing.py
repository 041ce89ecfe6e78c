"""Draws the samples of one step: reads them while they are generated, and tells which of them count."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BackendError, BadResponse
from scaffold.machinery.answers import read_answer, recorded
from scaffold.machinery.at_once import at_once
from scaffold.machinery.cancelling import is_from_within
from scaffold.vocabulary.models import NO_USAGE, Request, Sample, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from scaffold.interfaces import Backend
    from scaffold.machinery.streams import Reading
    from scaffold.vocabulary.events import Ledger
    from scaffold.vocabulary.models import Delta, Origin, ReasoningBlock
    from scaffold.vocabulary.moves import Think
    from scaffold.vocabulary.sampling import Sampling

_LARGEST_ANSWER = 8 * 1024 * 1024


class Asking:
    """One step while it is asked: what it draws from, and what it has drawn so far."""

    __slots__ = (
        "backend",
        "charged",
        "drawn",
        "key",
        "ledger",
        "move",
        "policy",
        "readings",
        "request",
        "running",
        "samples",
        "spent",
        "values",
        "votes",
    )

    def __init__(
        self, key: str, move: Think, backend: Backend, policy: Sampling, request: Request, ledger: Ledger
    ) -> None:
        self.key = key
        self.move = move
        self.backend = backend
        self.policy = policy
        self.request = request
        self.ledger = ledger
        self.samples: list[Sample] = []
        self.votes: list[bytes] = []
        self.values: list[tuple[int, bytes]] = []
        self.drawn = 0
        self.spent = NO_USAGE
        self.charged: set[int] = set()
        self.running: dict[int, _Partial] = {}
        self.readings: Sequence[Reading] = ()

    def charge(self, base: int, usage: Usage) -> None:
        """Take in what the samples from `base` on have cost; dollars follow from the prices where they are not told."""
        prices = self.backend.profile.prices
        if usage.usd is None and prices is not None:
            usage = msgspec.structs.replace(usage, usd=prices.cost(usage.input, usage.output))
        self.spent = self.spent + usage
        self.charged.add(base)

    def uncharged(self) -> list[int]:
        """The samples under way of which nobody has told what they cost."""
        together = "n" in self.backend.profile.can
        return [index for index in self.running if (min(self.running) if together else index) not in self.charged]

    def worst(self, n: int) -> tuple[int, float]:
        """Most tokens and dollars that n more samples can cost."""
        prices = self.backend.profile.prices
        prompt, answer = self.request.most_tokens(shares_prompt=True)  # of one sample
        tokens_in, tokens_out = prompt * (1 if "n" in self.backend.profile.can else n), answer * n
        return tokens_in + tokens_out, prices.cost(tokens_in, tokens_out) if prices is not None else 0.0


class _Partial:
    """One sample while it is generated."""

    __slots__ = ("blocks", "cut", "finish", "logprob", "origin", "reasoning", "signals", "size", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.size = 0
        self.finish: Any = None
        self.logprob: float | None = None
        self.cut = ""
        self.blocks: list[ReasoningBlock] = []
        self.signals: dict[str, float] = {}
        self.origin: Origin | None = None

    def take(self, delta: Delta) -> None:
        if delta.text:
            self.text.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.logprob is not None:
            self.logprob = (self.logprob or 0.0) + delta.logprob
        if delta.finish is not None:
            self.finish = delta.finish
        if delta.block is not None:
            self.blocks.append(delta.block)
            self.size += len(delta.block.text) + len(delta.block.data) + len(delta.block.signature)
        if delta.signals is not None:
            self.signals |= delta.signals
        if delta.origin is not None:
            self.origin = delta.origin
        self.size += len(delta.text) + len(delta.reasoning)

    def sample(self, index: int) -> Sample:
        return Sample(
            index=index,
            text=_clean("".join(self.text)),
            reasoning=_clean("".join(self.reasoning)),
            finish="cut" if self.cut else self.finish or "cut",
            logprob=self.logprob,
            flag=self.cut,
            blocks=tuple(self.blocks),
            signals=self.signals,
            origin=self.origin,
        )


def _clean(text: str) -> str:
    """Drop what UTF-8 cannot hold (lone surrogates), which some servers send."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


async def draw(asking: Asking, n: int) -> None:
    """Draw n more samples, and count them.

    Raises:
        BackendError: the backend cannot answer.
    """
    base = asking.drawn
    asking.running = {base + number: _Partial() for number in range(n)}
    asking.drawn = base + n
    if n == 1 or "n" in asking.backend.profile.can:
        await _collect(asking, base, n)
    else:
        await _collect_apart(asking, base, n)
    count(asking)


async def _collect_apart(asking: Asking, base: int, n: int) -> None:
    """Ask for each sample by itself, of a backend that gives one at a time."""
    await at_once(_collect(asking, index, 1) for index in range(base, base + n))


async def _collect(asking: Asking, base: int, n: int) -> None:
    request = asking.request
    if base or n > 1:
        seed = None if request.seed is None else request.seed + base
        request = msgspec.structs.replace(request, n=n, seed=seed)
    try:
        async with aclosing(asking.backend.generate(request)) as stream:
            await _read(asking, base, n, stream)
    except asyncio.CancelledError:
        if is_from_within():
            raise BackendError("it was cancelled from within") from None
        raise
    except BadResponse as error:
        for index in range(base, base + n):
            asking.running[index].cut = asking.running[index].cut or str(error)
    if base not in asking.charged:
        # What a stream that broke off, or told nothing, has cost is not known; the worst is charged.
        asking.charge(base, worst_usage(asking, n))


async def _read(asking: Asking, base: int, n: int, stream: AsyncIterator[Delta]) -> None:
    running, readings = asking.running, asking.readings
    most = min(_LARGEST_ANSWER, 256 * asking.request.max_tokens + 4096)
    async for delta in stream:
        partial = running.get(base + delta.index) if 0 <= delta.index < n else None
        if partial is None:
            raise BadResponse(f"a sample number {delta.index} was sent; {n} were asked for")
        partial.take(delta)
        if delta.usage is not None:
            asking.charge(base, delta.usage)
        if partial.size > most:
            raise BadResponse(
                f"an answer of more than {most} characters to a step of {asking.request.max_tokens} tokens"
            )
        if readings and not partial.cut:
            partial.cut = _cut_by(readings, msgspec.structs.replace(delta, index=base + delta.index))
            if partial.cut and all(running[base + number].cut for number in range(n)):
                return


def count(asking: Asking) -> None:
    """Turn what was drawn into samples, and the acceptable ones into votes, in the order of their index."""
    for index, partial in asking.running.items():
        sample = partial.sample(index)
        problem = sample.flag or ("" if sample.finish in {"stop", "length"} else "ended early")
        if not problem:
            said = [reading.close(index) for reading in asking.readings]
            problem = next((reason for reason in said if reason), "")
        value: Any = None
        if not problem and sample.finish == "length" and asking.move.returns is not str:
            problem = f"not finished within {asking.request.max_tokens} tokens"
        if not problem:
            try:
                value = read_answer(asking.move.returns, sample.text, asking.move.options.choices)
            except ValueError as error:
                problem = f"malformed: {error}"
        if not problem:
            problem = _flagged(asking.policy, value)
        if problem:
            sample = msgspec.structs.replace(sample, flag=problem)
        else:
            vote = recorded(asking.move.returns, value)
            asking.votes.append(vote)
            asking.values.append((len(asking.samples), vote))
        asking.samples.append(sample)
    asking.running = {}


def give_up(asking: Asking, reason: str) -> None:
    """Keep what came before the backend refused to go on, and charge what it may have cost."""
    begun = [index for index in asking.uncharged() if asking.running[index].size]
    if begun:
        asking.spent = asking.spent + worst_usage(asking, len(begun))
    for partial in asking.running.values():
        if partial.finish is None:
            partial.cut = partial.cut or reason
    count(asking)


def worst_usage(asking: Asking, n: int) -> Usage:
    """The most that n samples can cost, as if it had been told."""
    tokens, usd = asking.worst(n)
    return Usage(input=tokens - asking.request.max_tokens * n, output=asking.request.max_tokens * n, usd=usd)


def _flagged(policy: Sampling, value: Any) -> str:
    for check in policy.flags:
        try:
            said: Any = check(value)
        except Exception as error:  # noqa: BLE001 - a critic that fails has not accepted
            return f"check failed: {type(error).__name__}: {error}"
        if isinstance(said, str) and said:
            return said
        if said is not None and said is not True and said != "":
            return "refused by a check" if said is False else f"a check said {said!r:.80}: neither True nor a reason"
    return ""


def _cut_by(readings: Sequence[Reading], delta: Delta) -> str:
    said = [reading.feed(delta) for reading in readings]
    return next((reason for reason in said if reason), "")

"""Backends without a model: one that says what a script says, and one that makes another err."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

import msgspec

from scaffold.errors import BackendError
from scaffold.interfaces import Backend
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Sample, Usage

Reply = str | Sample | BackendError
Script = Callable[[Request], Reply] | Mapping[str, Reply | Sequence[Reply]] | Sequence[Reply] | str


def words(text: str) -> int:
    """A stand-in for a tokenizer: one token a word."""
    return len(text.split())


class Scripted:
    """Answers as a script says.

    Args:
        script: one text for every request; a list, one text a sample, which then runs out; a mapping from words that
            occur in the prompt to a text or a list; or a function from the request.
        delay: seconds before each sample.
        profile: what it claims to be.

    Attributes:
        requests: what it was asked, in order.
        closed: how often a stream was closed before its end.
    """

    def __init__(self, script: Script = "ok", *, delay: float = 0.0, profile: Profile | None = None) -> None:
        self.profile = profile or Profile(
            backend="scripted",
            model="scripted",
            context=100_000,
            prices=FREE,
            reasoning="full",
            can=frozenset({"n", "seed"}),
        )
        self.requests: list[Request] = []
        self.closed = 0
        self._script = script
        self._delay = delay
        self._used: dict[str, int] = {}

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer each of the request's samples."""
        self.requests.append(request)
        spent = Usage(sum(words(message.content) for message in request.messages), 0)
        ended = False
        try:
            for index in range(request.n):
                if self._delay:
                    await asyncio.sleep(self._delay)
                sample = self._next(request)
                spent = spent + Usage(0, words(sample.text) + words(sample.reasoning), words(sample.reasoning))
                last = self._priced(spent) if index == request.n - 1 else None
                yield Delta(index=index, text=sample.text, reasoning=sample.reasoning, finish=sample.finish, usage=last)
            ended = True
        finally:
            self.closed += not ended

    async def close(self) -> None:
        """Nothing to free."""

    def _priced(self, spent: Usage) -> Usage:
        prices = self.profile.prices
        return msgspec.structs.replace(spent, usd=None if prices is None else prices.cost(spent.input, spent.output))

    def _next(self, request: Request) -> Sample:
        reply = self._reply(request)
        if isinstance(reply, BackendError):
            raise reply
        return reply if isinstance(reply, Sample) else Sample(index=0, text=reply)

    def _reply(self, request: Request) -> Reply:
        script = self._script
        if isinstance(script, str):
            return script
        if callable(script):
            return script(request)
        if isinstance(script, Mapping):
            prompt = "\n".join(message.content for message in request.messages)
            for mark, said in script.items():
                if mark in prompt:
                    return said if isinstance(said, Sample | BackendError | str) else self._turn(mark, said)
            raise BackendError(f"the script has nothing for: {prompt[-200:]}")
        return self._turn("", script)

    def _turn(self, mark: str, replies: Sequence[Reply]) -> Reply:
        place = self._used.get(mark, 0)
        self._used[mark] = place + 1
        if place >= len(replies):
            raise BackendError(f"the script{f' for {mark!r}' if mark else ''} ran out after {len(replies)} samples")
        return replies[place]


class Noisy:
    """Makes another backend err: each sample is spoiled with a probability, by a seed.

    Args:
        inner: who answers.
        rate: probability that a sample is wrong, 0 to 1.
        seed: two backends of one seed err at the same requests and samples, whatever their order.
        spoil: makes a wrong text of a right one.
    """

    def __init__(
        self, inner: Backend, rate: float, *, seed: int = 0, spoil: Callable[[str, random.Random], str] | None = None
    ) -> None:
        self.inner = inner
        profile = inner.profile
        self.profile = msgspec.structs.replace(profile, backend=f"noisy({profile.backend})")
        self._rate = rate
        self._seed = seed
        self._spoil = spoil or _another_digit

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Pass on each sample whole, some of them spoiled."""
        texts: dict[int, str] = {}
        async with aclosing(self.inner.generate(request)) as stream:
            async for delta in stream:
                texts[delta.index] = texts.get(delta.index, "") + delta.text
                if delta.finish is None:
                    yield msgspec.structs.replace(delta, text="")
                    continue
                source = random.Random(f"{self._seed}:{request.messages}:{request.seed}:{delta.index}")  # noqa: S311 - repeatable
                text = texts.pop(delta.index)
                yield msgspec.structs.replace(
                    delta, text=self._spoil(text, source) if source.random() < self._rate else text
                )

    async def close(self) -> None:
        """Close who answers."""
        await self.inner.close()


def _another_digit(text: str, source: random.Random) -> str:
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return f"not {text}"
    place = source.choice(places)
    other = source.choice([digit for digit in "0123456789" if digit != text[place]])
    return text[:place] + other + text[place + 1 :]

"""A backend without a model that answers from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import msgspec

from scaffold.errors import BackendError, ContextOverflow
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Sample, Usage

Reply = str | Sample | BackendError
Script = Callable[[Request], Reply] | Mapping[str, Reply | Sequence[Reply]] | Sequence[Reply] | Reply


def words(text: str) -> int:
    """A stand-in for a tokenizer: one token a word."""
    return len(text.split())


class Scripted:
    """A backend that answers from a script.

    Args:
        script: one text for every request; a list with one text per sample, which can run out; a mapping from words in
            the prompt to a text or a list; or a function from the request, whose seed is then the sample's. In place of
            a text there may be a Sample, or an error to raise.
        delay: seconds before each sample.
        profile: what it claims to be.

    Attributes:
        requests: the requests so far, in order.
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
        """Answer each of the request's samples.

        Raises:
            ContextOverflow: the prompt has more words than its profile says that it takes.
            BackendError: the script says so, or has nothing for this.
        """
        self.requests.append(request)
        prompt = sum(words(message.content) for message in request.messages)
        most = self.profile.context
        if most is not None and prompt > most:
            raise ContextOverflow(f"the prompt has {prompt} tokens, but the context has room for {most}: shorten it")
        spent = Usage(prompt, 0)
        ended = False
        try:
            for index in range(request.n):
                if self._delay:
                    await asyncio.sleep(self._delay)
                sample = self._next(request, index)
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

    def _next(self, request: Request, index: int) -> Sample:
        if index and request.seed is not None:
            request = msgspec.structs.replace(request, seed=request.seed + index)
        reply = self._reply(request)
        if isinstance(reply, BackendError):
            raise reply
        sample = reply if isinstance(reply, Sample) else Sample(index=0, text=reply)
        stops = [place for stop in request.stop if (place := sample.text.find(stop)) >= 0]
        return msgspec.structs.replace(sample, text=sample.text[: min(stops)]) if stops else sample

    def _reply(self, request: Request) -> Reply:
        script = self._script
        if isinstance(script, Sample | BackendError | str):
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

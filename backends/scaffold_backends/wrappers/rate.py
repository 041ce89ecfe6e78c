"""`rate_limited`: limits requests and tokens per minute, shared by everything in this process.

Neither aiolimiter 1.3 nor pyrate-limiter 4.5 can release what was reserved but not used; the first is also bound to one
event loop and serves small requests before large ones.
"""

from __future__ import annotations

import math
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import PositiveInt

from scaffold.errors import TaskError
from scaffold.wrapping import Around
from scaffold_backends.options import read_options
from scaffold_backends.wrappers.inner import WrapperOptions, inner_of
from scaffold_backends.wrappers.minute import minute_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.interfaces import Backend
    from scaffold.trace.postgres.shared_minute import SharedMinute
    from scaffold.vocabulary.models import Delta, Request


class RateOptions(WrapperOptions):
    """What a task may set.

    Attributes:
        requests_per_minute: most requests that may begin within any minute.
        tokens_per_minute: most tokens, of prompts and answers, that requests begun within any minute may have.
        of: what is limited, such as an account: all with the same name share the limit. The backend and
            model when not set.
        shared: a database (`postgresql://...`, or `$NAME` for the address in that environment variable) in which the
            limit is kept, so that all workers that name it share it; else it is this process's own.
    """

    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None
    of: str | None = None
    shared: str | None = None


def rate_limited(model: str = "", **options: Any) -> RateLimited:
    """Keep to a rate: `{use: rate_limited, backend: openai:gpt-5-mini, requests_per_minute: 60}`.

    Raises:
        TaskError: an option is wrong, or no limit is set.
    """
    read = read_options(RateOptions, options, "rate_limited")
    if read.requests_per_minute is None and read.tokens_per_minute is None:
        raise TaskError("rate_limited needs `requests_per_minute`, `tokens_per_minute` or both")
    inner = inner_of(model, read, "rate_limited")
    of = read.of or f"{inner.profile.backend}:{inner.profile.model}"
    return RateLimited(
        inner,
        requests=math.inf if read.requests_per_minute is None else read.requests_per_minute,
        tokens=math.inf if read.tokens_per_minute is None else read.tokens_per_minute,
        minute=minute_of(of) if read.shared is None else _shared_minute(read.shared, of),
    )


def _shared_minute(said: str, of: str) -> SharedMinute:
    url = os.environ.get(said[1:], "") if said.startswith("$") else said
    if not url.startswith(("postgresql://", "postgres://")):
        raise TaskError(f"`shared` of rate_limited should be postgresql://... or $NAME of a variable, not {said!r}")
    from scaffold.trace.postgres.shared_minute import SharedMinute

    return SharedMinute(url, of)


class Shares(Protocol):
    """What knows how much was used within the last minute, by whomever the limit is for."""

    async def take(self, amount: tuple[int, int], *, limits: tuple[float, float]) -> Any:
        """Wait until so much more may be used; gives what is to be settled."""
        ...

    def settle(self, entry: Any, tokens: int) -> None:
        """Say what was used in the end."""
        ...


class RateLimited(Around):
    """Has each request wait until it fits into the minute, first come, first served.

    The most that a request can cost is reserved, and what it turns out not to need is given back when its
    usage is known. One that is larger than the limit by itself waits until nothing else is under way. What the
    backend sends again by itself, when at first it does not get through, is not seen from here and not counted.
    A cache belongs around the limit: inside it, what it answers would count as a request.

    Args:
        inner: who answers.
        requests: most requests in any minute.
        tokens: most tokens in any minute.
        minute: what was used of late by all who are limited together.
    """

    def __init__(self, inner: Backend, *, requests: float, tokens: float, minute: Shares) -> None:
        super().__init__(inner)
        self._inner = inner
        self._requests = requests
        self._tokens = tokens
        self._minute = minute

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Wait for one's turn, and answer; cancelling the wait takes nothing."""
        shares = "n" in self.profile.can
        calls = 1 if shares else request.n
        worst = sum(request.most_tokens(shares_prompt=shares))
        entry = await self._minute.take((calls, worst), limits=(self._requests, self._tokens))
        used: int | None = None
        try:
            async with aclosing(self._inner.generate(request)) as stream:
                async for delta in stream:
                    if delta.usage is not None:
                        used = delta.usage.tokens
                    yield delta
        finally:
            # What a stream that broke off has cost, nobody knows: the worst stays taken.
            self._minute.settle(entry, worst if used is None else used)

    async def close(self) -> None:
        """Free what the backend holds, once what was used is known to all who share the limit."""
        settled = getattr(self._minute, "settled", None)
        if settled is not None:
            await settled()
        await super().close()

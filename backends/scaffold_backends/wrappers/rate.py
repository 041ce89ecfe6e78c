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
        of: name of what is limited, such as an account; all wrappers with this name share the limit. By default the
            backend and model.
        shared: a database (`postgresql://...`, or `$NAME` for the URL in that environment variable) that keeps the
            limit for all workers that name it; by default the limit is per process.
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
    """Keeps the usage of the last minute for everything under one limit."""

    async def take(self, amount: tuple[int, int], *, limits: tuple[float, float]) -> Any:
        """Wait until this amount fits within the limits; return an entry to settle."""
        ...

    def settle(self, entry: Any, tokens: int) -> None:
        """Record the final usage."""
        ...


class RateLimited(Around):
    """Delays each request until it fits within the limit, first come, first served.

    A request's worst case is reserved, and the unused part is released when its usage is known. A request larger than
    the limit waits until nothing else is under way. The backend's own retries are invisible here and not counted.
    Put a cache around the limit; inside it, cached answers would count as requests.

    Args:
        inner: the backend that answers.
        requests: most requests in any minute.
        tokens: most tokens in any minute.
        minute: the shared log of usage.
    """

    def __init__(self, inner: Backend, *, requests: float, tokens: float, minute: Shares) -> None:
        super().__init__(inner)
        self._inner = inner
        self._requests = requests
        self._tokens = tokens
        self._minute = minute

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Wait for the request's turn, and answer; a cancelled wait uses nothing."""
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
            # The cost of a broken stream is unknown, so the worst case stays reserved.
            self._minute.settle(entry, worst if used is None else used)

    async def close(self) -> None:
        """Close the backend after the usage was shared with everything under the limit."""
        settled = getattr(self._minute, "settled", None)
        if settled is not None:
            await settled()
        await super().close()

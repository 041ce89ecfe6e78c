"""Backends for tests of wrappers: their streams are written by the test."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PLAIN = Profile(backend="stage", model="m", context=1000, prices=FREE, can=frozenset({"seed", "n"}))


class Stage:
    """Plays one list of deltas, pauses (seconds) and errors for each request, the last one again and again.

    Attributes:
        requests: what it was asked, in order.
        under_way: how many streams are open.
        closed: how often it was closed.
    """

    def __init__(self, *acts: list[Any], profile: Profile = PLAIN) -> None:
        self.profile = profile
        self.requests: list[Request] = []
        self.under_way = 0
        self.closed = 0
        self.prepared = 0
        self._acts = acts

    async def prepare(self, say: Any) -> None:
        """Count it."""
        self.prepared += 1

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Play."""
        act = self._acts[min(len(self.requests), len(self._acts) - 1)]
        self.requests.append(request)
        self.under_way += 1
        try:
            for each in act:
                if isinstance(each, BaseException):
                    raise each
                if isinstance(each, float):
                    await asyncio.sleep(each)
                else:
                    yield each
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        """Count it."""
        self.closed += 1


class Dice:
    """Says numbers that follow from the prompt and the sample's seed alone, in two pieces.

    Attributes:
        asked: the samples that it was asked for, as seeds.
    """

    def __init__(self, profile: Profile = PLAIN) -> None:
        self.profile = profile
        self.asked: list[int | None] = []

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Throw."""
        for index in range(request.n):
            seed = None if request.seed is None else request.seed + index
            self.asked.append(seed)
            thrown = random.Random(f"{request.messages[-1].content}:{seed}").randrange(10**6)
            yield Delta(index=index, text=f"{thrown} ")
            last = index == request.n - 1
            usage = Usage(3, 2 * request.n, usd=0.0) if last else None
            yield Delta(index=index, text="it is", finish="stop", usage=usage)

    async def close(self) -> None:
        """Nothing to free."""


def said(text: str, usage: Usage | None = None, **more: Any) -> list[Any]:
    """All of one sample."""
    return [Delta(text=text, finish="stop", usage=usage or Usage(3, 2, usd=0.0), **more)]

"""Draws n samples from a backend that gives one per request."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import BackendError, BadResponse
from scaffold.vocabulary.models import NO_USAGE
from scaffold.wrapping import Around

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Delta, Profile, Request


class FanOut(Around):
    """A wrapper that asks for each sample separately, all in parallel.

    Samples cannot share the prompt's work, and the profile does not claim it: the prompt is paid for n times.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        super().__init__(inner)

    def describe(self) -> Profile:
        """Return the inner profile without the sharing of prompts."""
        known = super().describe()
        return msgspec.structs.replace(known, can=known.can - {"n", "fork"})

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with the samples' streams, interleaved; the first error ends them all."""
        arriving: asyncio.Queue[Delta | BaseException] = asyncio.Queue()
        tasks = [asyncio.create_task(self._one(request, index, arriving)) for index in range(request.n)]
        usage = NO_USAGE
        running = request.n
        try:
            while running:
                delta = await arriving.get()
                if isinstance(delta, BaseException):
                    raise delta
                if delta.usage is not None:
                    running -= 1
                    usage += delta.usage
                    delta = msgspec.structs.replace(delta, usage=None if running else usage)
                yield delta
        finally:
            for task in tasks:
                task.cancel()
            # So that the streams are closed when this returns, not just asked to close.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, request: Request, index: int, arriving: asyncio.Queue[Delta | BaseException]) -> None:
        seed = None if request.seed is None else request.seed + index
        single = msgspec.structs.replace(request, n=1, seed=seed)
        whole = False
        try:
            async with aclosing(self._inner.generate(single)) as deltas:
                async for delta in deltas:
                    whole = whole or delta.usage is not None
                    arriving.put_nowait(msgspec.structs.replace(delta, index=index))
            if not whole:
                arriving.put_nowait(BadResponse(f"sample {index} ended without reporting its usage"))
        except asyncio.CancelledError:
            arriving.put_nowait(BackendError(f"sample {index} was cancelled by its own code"))
            raise
        except Exception as error:  # noqa: BLE001 - raised in the reader
            arriving.put_nowait(error)

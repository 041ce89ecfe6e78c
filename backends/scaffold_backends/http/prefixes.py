"""Sends one of several requests with the same prompt first, so that the others hit the API's prompt cache."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.vocabulary.models import Request

# A prompt is readable from the cache from the first piece of an answer to it on, for 5 minutes
# (https://docs.claude.com/en/docs/build-with-claude/prompt-caching).


class Prefixes:
    """Tracks the prompts under way."""

    def __init__(self) -> None:
        self._begun: dict[tuple[asyncio.AbstractEventLoop, bytes], asyncio.Event] = {}

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncGenerator[Callable[[], None]]:
        """Wait until the first request with this prompt was answered or failed; yield a function to report this one."""
        prompt = sha256(msgspec.json.encode([(turn.role, turn.content) for turn in request.messages])).digest()
        place = (asyncio.get_running_loop(), prompt)
        first = self._begun.get(place)
        if first is not None:
            await first.wait()
            yield _nothing
            return
        first = self._begun[place] = asyncio.Event()
        try:
            yield first.set
        finally:
            first.set()
            del self._begun[place]


def _nothing() -> None:
    return None

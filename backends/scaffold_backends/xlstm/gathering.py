"""Batches requests that are made at the same time.

Requests that an event loop's tasks make before it turns to other things form one group: a planner with sixteen branches
asks sixteen times, and these become sixteen rows of one batch. A single request does not wait for others.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from scaffold_backends.xlstm.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.vocabulary.models import Delta
    from scaffold_backends.xlstm.asked import Asked
    from scaffold_backends.xlstm.generation import Piece

    Bursts = Callable[[list[Asked]], AsyncGenerator[list[Piece]]]

MOST = 64
"""Requests in a group; more are several."""


class Gathering:
    """Has requests answered together.

    Args:
        answer: answers a group, in bursts.
    """

    def __init__(self, answer: Bursts) -> None:
        self._answer = answer
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Shared]] = {}
        self._driving: set[asyncio.Task[None]] = set()

    async def deltas(self, asked: Asked) -> AsyncGenerator[list[Delta]]:
        """Answer a request, in bursts, alone or in a batch with concurrent ones.

        Raises:
            Stopped: the work was stopped.
        """
        loop = asyncio.get_running_loop()
        shared = _Shared(asked)
        self._waiting.setdefault(loop, []).append(shared)
        await asyncio.sleep(0)  # others may ask before the loop comes back to us
        if not shared.taken:
            group = self._waiting.pop(loop)
            for each in group:
                each.taken = True
            if len(group) == 1:
                async for burst in self.alone(asked):
                    yield burst
                return
            for first in range(0, len(group), MOST):
                driving = loop.create_task(self._drive(group[first : first + MOST]))
                self._driving.add(driving)
                driving.add_done_callback(self._driving.discard)
        while True:
            said = await shared.said.get()
            if isinstance(said, BaseException):
                raise said
            yield said
            if said[-1].usage is not None:
                return

    async def alone(self, asked: Asked) -> AsyncGenerator[list[Delta]]:
        """Answer a request by itself, in bursts."""
        async with aclosing(self._answer([asked])) as bursts:
            async for burst in bursts:
                yield [delta for _, delta in burst]

    async def _drive(self, group: list[_Shared]) -> None:
        """Answer a group, and hand each request what is its own; what goes wrong goes wrong for all of them."""
        by_asked = {id(shared.asked): shared for shared in group}
        try:
            async with aclosing(self._answer([shared.asked for shared in group])) as bursts:
                async for burst in bursts:
                    parts: dict[int, list[Delta]] = {}
                    for asked, delta in burst:
                        parts.setdefault(id(asked), []).append(delta)
                    for name, deltas in parts.items():
                        by_asked[name].said.put_nowait(deltas)
        except Stopped as stopped:
            _tell(group, stopped)
        except BaseException as error:
            _tell(group, error)
            if not isinstance(error, Exception):
                raise


class _Shared:
    """A request and what is said to it."""

    __slots__ = ("asked", "said", "taken")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.taken = False
        self.said: asyncio.Queue[list[Delta] | BaseException] = asyncio.Queue()


def _tell(group: list[_Shared], error: BaseException) -> None:
    for shared in group:
        shared.said.put_nowait(error)

"""Rate limits shared by all workers: what they used within the last minute, kept in the database.

    name    what is limited, such as an account; each entry is one admitted request

This is the same log that one process keeps for a limit of its own, but on the database's clock. A worker that dies in
the middle of a request leaves an entry that counts as under way for a while, at its worst case.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaffold.errors import BackendUnavailable, JournalFailed
from scaffold.trace.postgres.database import Gone, Postgres, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable

_SHORTEST_S, _LONGEST_S = 0.05, 2.0
_UNDER_WAY_S = 600.0


@dataclass(eq=False)
class SharedEntry:
    """One request's share."""

    number: int


class SharedMinute:
    """The last minute of one name, in one database.

    Args:
        url: the database of the runs, or another.
        name: what is limited.
        seconds: the length of the window.
    """

    def __init__(self, url: str, name: str, *, seconds: float = 60.0) -> None:
        self._database = Postgres(url, connections=2)
        self._name = name
        self._seconds = seconds
        self._settling: set[asyncio.Task[None]] = set()

    async def take(self, amount: tuple[int, int], *, limits: tuple[float, float]) -> SharedEntry:
        """Wait until a request fits within the limits.

        Asking more often does not help, but there is no queue between workers: of two that wait, either may come first.

        Args:
            amount: requests and tokens wanted.
            limits: most requests and tokens in any minute, by all workers together.

        Raises:
            BackendUnavailable: the database is gone, so the usage is not known.
        """
        pause = _SHORTEST_S
        while True:
            number = await self._asked(
                self._database.take_share(self._name, self._seconds, amount, limits, _UNDER_WAY_S)
            )
            if number is not None:
                return SharedEntry(number)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_S)

    def settle(self, entry: SharedEntry, tokens: int) -> None:
        """Record what a request has used in the end."""
        task = asyncio.get_running_loop().create_task(self._settle(entry, tokens))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, entry: SharedEntry, tokens: int) -> None:
        try:
            await self._database.settle_share(self._name, entry.number, tokens)
        except (Gone, Refused, JournalFailed):
            return  # it stays charged at its worst case, which is safe

    async def settled(self) -> None:
        """Wait until everything settled is recorded in the database."""
        while self._settling:
            await asyncio.wait(self._settling)

    @staticmethod
    async def _asked(asking: Awaitable[int | None]) -> int | None:
        try:
            return await asking
        except (Gone, Refused, JournalFailed) as error:
            raise BackendUnavailable(f"the shared limit cannot be read: {error}") from None

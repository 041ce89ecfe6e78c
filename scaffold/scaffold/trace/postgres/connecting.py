"""A PostgreSQL connection whose cancelled statements do not block for long, and the log of a pool of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg

_CANCEL_S = 1.0


class Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """Gives up on a server that does not even react to a request to cancel a statement.

    When a task is cancelled, psycopg asks the server to cancel its statement for five seconds, then waits for five
    more.
    """

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - psycopg's own signature
        """Cancel the current statement; if the server does not react, close the connection and be cancelled."""
        try:
            await super().cancel_safe(timeout=min(timeout, _CANCEL_S))
        except psycopg.errors.CancellationTimeout:
            await self.close()
            raise asyncio.CancelledError from None  # psycopg goes on after any other error


class OneOutage(logging.Filter):
    """Has the pool's many messages about a server that is away be one line; `over` says that it is back.

    Args:
        pool: the pool's name, by which its messages are told from those of other pools in this process.
    """

    def __init__(self, pool: str) -> None:
        super().__init__()
        self._pool = pool
        self._told = False

    def over(self) -> None:
        """Let the next outage be told again."""
        self._told = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop what was told; word the first failure for people."""
        match record.args:
            case (Connection(),):  # it was closed, and is discarded
                return False
            case (self._pool, error):
                told, self._told = self._told, True
                record.msg, record.args = "PostgreSQL is waited for: %s", (" ".join(str(error).split()),)
                return not told
            case _:
                return True

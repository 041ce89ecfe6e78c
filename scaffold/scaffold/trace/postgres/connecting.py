"""A PostgreSQL connection whose cancelled statements do not block for long."""

from __future__ import annotations

import asyncio
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

"""A connection to PostgreSQL that whoever is cancelled need not wait for long."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

_CANCEL_S = 1.0


class Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """Leaves a server alone that does not even hear that a statement is to be stopped.

    psycopg asks the server to stop what a cancelled task has asked, for five seconds, and then waits for five more.
    """

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - psycopg's own signature
        """Stop the statement under way; where the server does not answer, close the connection and be cancelled."""
        try:
            await super().cancel_safe(timeout=min(timeout, _CANCEL_S))
        except psycopg.errors.CancellationTimeout:
            await self.close()
            raise asyncio.CancelledError from None  # psycopg goes on after any other error

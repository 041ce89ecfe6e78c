"""One HTTP client per event loop, closed with its loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class ClientPool:
    """Gives each event loop its own client, so that connections are kept between requests.

    A connection belongs to the loop that opened it, and one backend may serve several loops in turn, since
    `solve_sync` runs its own. Each client lives inside an async generator: a loop that ends, as in
    `asyncio.run`, closes the generators begun on it, and with them the connections that nobody else could
    close any more.
    """

    def __init__(self, timeout: httpx.Timeout) -> None:
        self._timeout = timeout
        self._tls = httpx.create_ssl_context()
        self._lock = threading.Lock()
        self._lives: dict[asyncio.AbstractEventLoop, AsyncGenerator[httpx.AsyncClient]] = {}
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    async def here(self) -> httpx.AsyncClient:
        """Give the running loop's client; open it on first use."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._clients.get(loop)
        if client is not None and not client.is_closed:
            return client
        life = self._live()
        client = await anext(life)
        with self._lock:
            for gone in [held for held in self._lives if held.is_closed()]:
                del self._lives[gone], self._clients[gone]
            self._lives[loop], self._clients[loop] = life, client
        return client

    async def _live(self) -> AsyncGenerator[httpx.AsyncClient]:
        async with httpx.AsyncClient(timeout=self._timeout, verify=self._tls) as client:
            yield client

    async def close(self) -> None:
        """Close the running loop's client; those of other loops close with their loops."""
        loop = asyncio.get_running_loop()
        with self._lock:
            life = self._lives.pop(loop, None)
            self._clients.pop(loop, None)
        if life is not None:
            await life.aclose()

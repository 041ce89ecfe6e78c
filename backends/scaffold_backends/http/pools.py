"""A pool of HTTP clients: a few for each event loop, closed with the loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from scaffold.errors import BackendUnavailable
from scaffold.proxies import proxy_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

# For every request, httpx's pool checks every connection and polls the idle ones: with 512 streams on one client, this
# takes nine tenths of the time. Opening a client takes about a millisecond.
_REQUESTS_EACH = 4
_KEPT_S = 30  # how long an idle connection is kept; if the server closes it sooner, a new one is opened


@dataclass
class _Lent:
    """One client, and the number of its requests."""

    client: httpx.AsyncClient
    requests: int = 0


class ClientPool:
    """Keeps clients per event loop, so that connections are reused between requests.

    A connection belongs to the loop that opened it, and one backend may serve several loops in turn, since
    `solve_sync` runs its own. The clients live inside an async generator: at its end (as in `asyncio.run`) a loop
    closes the generators begun on it, and with them the connections, which nobody else could close.
    """

    def __init__(self, url: str, timeout: httpx.Timeout, tls: ssl.SSLContext) -> None:
        """`url` is the URL of all its clients."""
        self._url = url
        self._timeout = timeout
        self._tls = tls
        self._lock = threading.Lock()
        self._lives: dict[asyncio.AbstractEventLoop, AsyncGenerator[list[_Lent]]] = {}
        self._clients: dict[asyncio.AbstractEventLoop, list[_Lent]] = {}

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[httpx.AsyncClient]:
        """Lend the running loop's first client that has room, or open a new one.

        Raises:
            BackendUnavailable: the environment names an invalid proxy.
        """
        loop = asyncio.get_running_loop()
        clients = self._clients.get(loop)
        if clients is None:
            clients = await self._begin(loop)
        lent = next((each for each in clients if each.requests < _REQUESTS_EACH), None)
        if lent is None:
            lent = _Lent(self._open())
            clients.append(lent)
        lent.requests += 1
        try:
            yield lent.client
        finally:
            lent.requests -= 1

    async def _begin(self, loop: asyncio.AbstractEventLoop) -> list[_Lent]:
        life = self._live()
        clients = await anext(life)
        with self._lock:
            for gone in [held for held in self._lives if held.is_closed()]:
                del self._lives[gone], self._clients[gone]
            self._lives[loop], self._clients[loop] = life, clients
        return clients

    async def _live(self) -> AsyncGenerator[list[_Lent]]:
        clients: list[_Lent] = []
        try:
            yield clients
        finally:
            for each in clients:
                await each.client.aclose()

    def _open(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_REQUESTS_EACH, keepalive_expiry=_KEPT_S)
        try:
            return httpx.AsyncClient(
                timeout=self._timeout, verify=self._tls, limits=limits, proxy=proxy_of(self._url), trust_env=False
            )
        except (ValueError, httpx.InvalidURL, ImportError) as error:
            reason = (
                "it needs `pip install httpx[socks]`"
                if isinstance(error, ImportError)
                else "it is not the URL of a proxy"
            )
        raise BackendUnavailable(
            f"the proxy that the environment names cannot be used: {reason}. Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY "
            "and NO_PROXY.",
            reached=False,
        )

    async def close(self) -> None:
        """Close the running loop's clients; those of other loops close with their loops."""
        loop = asyncio.get_running_loop()
        with self._lock:
            life = self._lives.pop(loop, None)
            self._clients.pop(loop, None)
        if life is not None:
            await life.aclose()

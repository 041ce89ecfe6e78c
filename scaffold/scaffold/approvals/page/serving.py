"""Starts the page."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaffold.interfaces import KeptRuns
    from scaffold.trace.heads import Signer


class Serving:
    """The page for some people, on a port of this machine.

    Args:
        journal: the journal whose runs are shown.
        signers: the people who get an address, each optionally with a key that signs their answers.
        port: port to listen on, on this machine only; 0 for any.

    Attributes:
        addresses: the address with the token, for each person.

    Raises:
        MissingExtra: the server is not installed.
        BadInput: the port is taken.
    """

    def __init__(self, journal: KeptRuns, signers: Mapping[str, Signer | None], port: int = 0) -> None:
        try:
            import uvicorn

            from scaffold.approvals.page.app import Page
            from scaffold.approvals.page.guarding import Guard
        except ImportError:
            raise MissingExtra("the page of what waits", "web") from None
        self._page = Page(journal, signers)
        self._listener = _listening(port)
        guard = Guard(self._page.app(), port=self._listener.getsockname()[1], people=signers)
        self.addresses = guard.addresses()
        config = uvicorn.Config(
            guard,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)

    async def run(self) -> None:
        """Serve, until interrupted or stopped."""
        with self._listener:
            serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
            while not (self._server.should_exit or serving.done()):  # noqa: ASYNC110 - uvicorn reports signals only by this
                await asyncio.sleep(0.1)
            await self._page.close()
            await serving

    def stop(self) -> None:
        """Ask it to end; may be called from any thread."""
        self._server.should_exit = True


def serve(journal: KeptRuns, signers: Mapping[str, Signer | None], port: int, say: Callable[[str], None]) -> None:
    """Serve the page until interrupted, and print its addresses; see `Serving`."""
    serving = Serving(journal, signers, port)
    for person, address in serving.addresses.items():
        say(f"{person}: {address}")
    say(f"what is waiting in {journal.name}; end with Ctrl-C")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serving.run())


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # before the addresses are printed, so that they work at once
    except OSError as error:
        listener.close()
        raise BadInput(f"cannot listen on port {port}: {error.strerror}") from None
    return listener

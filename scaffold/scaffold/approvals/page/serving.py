"""Starts the page."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import uvicorn

    from scaffold.approvals.page.app import Page
    from scaffold.interfaces import KeptRuns
    from scaffold.trace.heads import Signer


def serve(journal: KeptRuns, signers: Mapping[str, Signer | None], port: int, say: Callable[[str], None]) -> None:
    """Serve the page to the named people, until interrupted.

    Args:
        journal: whose runs are shown.
        signers: who gets an address, each perhaps with a key that signs what they answer.
        port: where to listen on this machine; 0 for any.
        say: told the addresses.

    Raises:
        MissingExtra: the server is not installed.
        BadInput: the port is taken.
    """
    try:
        import uvicorn

        from scaffold.approvals.page.app import Page
        from scaffold.approvals.page.guarding import Guard
    except ImportError:
        raise MissingExtra("the page of what waits", "web") from None
    with _listening(port) as listener:
        page = Page(journal, signers)
        guard = Guard(page.app(), port=listener.getsockname()[1], people=signers)
        for person, address in guard.addresses().items():
            say(f"{person}: {address}")
        say(f"what waits in {journal.name}; end with Ctrl-C")
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
        server = uvicorn.Server(config)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(server, listener, page))


async def _serve(server: uvicorn.Server, listener: socket.socket, page: Page) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not (server.should_exit or serving.done()):  # noqa: ASYNC110 - uvicorn tells of a signal by this alone
        await asyncio.sleep(0.1)
    await page.close()
    await serving


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # whoever follows an address as soon as it is printed is not turned away
    except OSError as error:
        listener.close()
        raise BadInput(f"cannot listen on port {port}: {error.strerror}") from None
    return listener

"""Starts the page."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaffold.trace.files import FileJournal
    from scaffold.trace.heads import Signer


def serve(journal: FileJournal, signers: Mapping[str, Signer | None], port: int, say: Callable[[str], None]) -> None:
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
        guard = Guard(Page(journal, signers).app(), port=listener.getsockname()[1], people=signers)
        for person, address in guard.addresses().items():
            say(f"{person}: {address}")
        say(f"what waits in {journal.root}; end with Ctrl-C")
        config = uvicorn.Config(
            guard,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,  # browsers that listen for news never hang up
        )
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise BadInput(f"cannot listen on port {port}: {error.strerror}") from None
    return listener

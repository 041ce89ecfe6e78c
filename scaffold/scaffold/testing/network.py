"""A switch that forbids the network, except loopback on demand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def no_network(*, loopback: bool = False) -> Iterator[None]:
    """Make every attempt to connect from this process raise an error inside the block.

    Args:
        loopback: still allow connections to this machine.
    """
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked(wrapped: Any) -> Any:
        def attempt(self: socket.socket, address: Any) -> Any:
            local = self.family == socket.AF_UNIX or (loopback and str(address[0]) in {"127.0.0.1", "::1", "localhost"})
            if not local:
                raise PermissionError(f"a test without network tried to connect to {address}")
            return wrapped(self, address)

        return attempt

    socket.socket.connect = checked(connect)  # type: ignore[method-assign]  # this is the point
    socket.socket.connect_ex = checked(connect_ex)  # type: ignore[method-assign]  # as above
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]  # put back
        socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]  # put back

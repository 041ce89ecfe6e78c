"""A switch that forbids the network, except loopback on demand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@contextmanager
def no_network(*, loopback: bool = False) -> Iterator[None]:
    """Make every attempt to connect, look up a name or send a datagram from this process raise an error in the block.

    Args:
        loopback: still allow this machine.
    """

    def check(host: Any, what: str) -> None:
        if not (loopback and str(host) in _LOOPBACK):
            raise PermissionError(f"a test without network tried to {what}")

    def checked(wrapped: Any, verb: str) -> Any:
        def attempt(self: socket.socket, *arguments: Any) -> Any:
            address = arguments[-1]
            if self.family != socket.AF_UNIX:
                check(address[0], f"{verb} {address}")
            return wrapped(self, *arguments)

        return attempt

    look_up = socket.getaddrinfo

    def looked_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if host:  # without one it is the address of a server that is started here
            check(host.decode() if isinstance(host, bytes) else host, f"look up {host!r}")
        return look_up(host, *arguments, **more)

    with (
        patch.object(socket.socket, "connect", checked(socket.socket.connect, "connect to")),
        patch.object(socket.socket, "connect_ex", checked(socket.socket.connect_ex, "connect to")),
        patch.object(socket.socket, "sendto", checked(socket.socket.sendto, "send to")),
        patch.object(socket, "getaddrinfo", looked_up),
    ):
        yield

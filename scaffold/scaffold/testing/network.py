"""A switch that forbids the network, except loopback on demand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_Check = Callable[[Any, str], None]


@contextmanager
def no_network(*, loopback: bool = False) -> Iterator[None]:
    """Make every attempt to connect, look up a name or send a datagram from this process raise an error in the block.

    Args:
        loopback: still allow this machine.
    """

    def check(host: Any, what: str) -> None:
        if not (loopback and str(host) in _LOOPBACK):
            raise PermissionError(f"a test without network tried to {what}")

    with (
        patch.object(socket.socket, "connect", _reaching(socket.socket.connect, "connect to", check)),
        patch.object(socket.socket, "connect_ex", _reaching(socket.socket.connect_ex, "connect to", check)),
        patch.object(socket.socket, "sendto", _reaching(socket.socket.sendto, "send to", check)),
        patch.object(socket.socket, "sendmsg", _reaching(socket.socket.sendmsg, "send to", check, least=4)),
        patch.object(socket, "getaddrinfo", _looking_up(socket.getaddrinfo, check)),
        patch.object(socket, "gethostbyname", _looking_up(socket.gethostbyname, check)),
        patch.object(socket, "gethostbyname_ex", _looking_up(socket.gethostbyname_ex, check)),
    ):
        yield


def _reaching(wrapped: Any, verb: str, check: _Check, *, least: int = 1) -> Any:
    """Check the address that a method of sockets is given last; with fewer arguments than `least` it has none."""

    def attempt(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        if self.family != socket.AF_UNIX and len(arguments) >= least:
            check(address[0], f"{verb} {address}")
        return wrapped(self, *arguments)

    return attempt


def _looking_up(wrapped: Any, check: _Check) -> Any:
    def attempt(host: Any, *arguments: Any, **more: Any) -> Any:
        if host:  # without one it is the address of a server that is started here
            check(host.decode() if isinstance(host, bytes) else host, f"look up {host!r}")
        return wrapped(host, *arguments, **more)

    return attempt

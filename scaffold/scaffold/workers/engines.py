"""Selects the engine that delivers runs by its URL: `postgresql://...` (procrastinate) or `temporal://...`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

from scaffold.errors import BadInput
from scaffold.trace.places import is_database

if TYPE_CHECKING:
    from scaffold.workers.carrying import Carry

_TEMPORAL = "temporal://"


class Engine(Protocol):
    """Hands out runs, each at least once, until a worker says that there is nothing more to do."""

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            Unavailable: the engine is not there.
        """
        ...

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        ...

    async def deliver(self, runs: Sequence[str]) -> None:
        """Have runs handed out."""
        ...

    async def work(self, carry: Carry, *, at_once: int, heartbeat: float, drain: bool) -> None:
        """Take runs and go on with them, until cancelled.

        Args:
            carry: goes on with one.
            at_once: most runs at a time.
            heartbeat: a worker that gives no sign for so many seconds is taken to be dead.
            drain: end once nothing is left to hand out.
        """
        ...


def engine_of(address: str) -> Engine:
    """The engine of an address.

    Raises:
        BadInput: there is no such engine.
        MissingExtra: what talks to it is not installed.
    """
    if is_database(address):
        from scaffold.workers.queueing import Queueing

        return Queueing(address)
    if address.startswith(_TEMPORAL):
        from scaffold.workers.temporal import Temporal

        return Temporal(address)
    raise BadInput(
        f"there is no engine {address!r}: say postgresql://USER@HOST/DATABASE or temporal://HOST:PORT/NAMESPACE"
    )

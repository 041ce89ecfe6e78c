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
    """Delivers runs, each at least once, until a worker says that there is nothing more to do."""

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            Unavailable: the engine cannot be reached.
        """
        ...

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        ...

    async def deliver(self, runs: Sequence[str]) -> None:
        """Queue runs for delivery."""
        ...

    async def work(self, carry: Carry, *, at_once: int, heartbeat: float, drain: bool) -> None:
        """Take runs and continue them, until cancelled.

        Args:
            carry: continues one run.
            at_once: most runs at a time.
            heartbeat: seconds without a sign of life after which a worker counts as dead.
            drain: end once nothing is left to deliver.
        """
        ...


def engine_of(address: str) -> Engine:
    """Make the engine of an address.

    Raises:
        BadInput: there is no such engine.
        MissingExtra: its client is not installed.
    """
    if is_database(address):
        from scaffold.workers.queueing import Queueing

        return Queueing(address)
    if address.startswith(_TEMPORAL):
        from scaffold.workers.temporal import Temporal

        return Temporal(address)
    raise BadInput(
        f"{address!r} is not a known engine: give postgresql://USER@HOST/DATABASE or temporal://HOST:PORT/NAMESPACE"
    )

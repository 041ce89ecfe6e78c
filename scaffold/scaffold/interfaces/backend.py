"""The Backend protocol: what answers steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.vocabulary.models import Delta, Profile, Request


@runtime_checkable
class Backend(Protocol):
    """A model or anything else that answers a request with samples.

    `generate` always streams. Each of the request's n samples has its own `index`, 0 to n-1, and ends with a Delta that
    has `finish`; the last Delta of all has `usage`. Closing the iterator stops the work. A backend does its own retries
    and raises a subclass of `BackendError` for the rest: `BackendUnavailable` ends the run, the others fail the step.
    Many tasks use it at once. `close` frees what it holds; it may be called twice.
    """

    profile: Profile

    def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with a stream of pieces of samples."""
        ...

    async def close(self) -> None:
        """Free connections, threads, memory."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A backend that must fetch or load something before it can answer."""

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Get ready; calls `say` with what is going on and the fraction done, 0 to 1.

        Raises:
            BadInput: it cannot be made ready; the message says what to do.
        """
        ...

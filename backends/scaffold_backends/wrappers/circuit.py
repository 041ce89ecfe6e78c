"""`circuit_breaker`: after several failures in a row, a backend is not asked for a while.

The pattern is Michael Nygard's ("Release It!", Pragmatic Bookshelf): closed, requests pass; open, they fail at once;
half-open, one is tried.
"""

from __future__ import annotations

import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat, PositiveInt

from scaffold.errors import BackendUnavailable, BadResponse
from scaffold.interfaces import HostClock
from scaffold.wrapping import Around
from scaffold_backends.options import read_options
from scaffold_backends.wrappers.inner import WrapperOptions, inner_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.interfaces import Backend, Clock
    from scaffold.vocabulary.models import Delta, Request

State = Literal["closed", "open", "half-open"]


class CircuitOptions(WrapperOptions):
    """What a task may set.

    Attributes:
        failures: number of failures in a row that opens the circuit.
        pause_s: how long it then stays open, in seconds.
        of: name of what is watched, such as a server; all wrappers with this name share a circuit. By default the
            backend and model.
    """

    failures: PositiveInt = 5
    pause_s: PositiveFloat = 30
    of: str | None = None


def circuit_breaker(model: str = "", **options: Any) -> CircuitBreaker:
    """Stop asking who keeps failing: `{use: circuit_breaker, backend: openai:gpt-5-mini, failures: 3, pause_s: 60}`.

    Raises:
        TaskError: an option is wrong.
    """
    read = read_options(CircuitOptions, options, "circuit_breaker")
    inner = inner_of(model, read, "circuit_breaker")
    of = read.of or f"{inner.profile.backend}:{inner.profile.model}"
    return CircuitBreaker(inner, failures=read.failures, pause_s=read.pause_s, circuit=circuit_of(of))


class Circuit:
    """The state of a circuit, shared by all threads of a process.

    A result counts only if the circuit's state has not changed since its request was admitted: a request from before
    the circuit opened says nothing about the present.

    Args:
        clock: tells seconds that never go back.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or HostClock()
        self._lock = threading.Lock()
        self._failed = 0
        self._opened: float | None = None
        self._trial: int | None = None
        self._era = 0
        self._why = ""

    def state(self, pause_s: float) -> State:
        """Describe the state."""
        with self._lock:
            if self._opened is None:
                return "closed"
            return "half-open" if self._left(pause_s) <= 0 else "open"

    def _left(self, pause_s: float) -> float:
        return (self._opened or 0.0) + pause_s - self._clock.monotonic()

    def enter(self, pause_s: float) -> int:
        """Admit a request; return a ticket with which to report its result.

        Raises:
            BackendUnavailable: the circuit is open, or its trial request is under way; says until when.
        """
        with self._lock:
            if self._opened is None:
                return self._era
            left = self._left(pause_s)
            if left > 0:
                said = f"it keeps failing, so it is not asked again for {left:.0f} s: {self._why}"
                raise BackendUnavailable(said, reached=False)
            if self._trial is not None:
                said = f"it kept failing, and a single request is being tried now: {self._why}"
                raise BackendUnavailable(said, reached=False)
            self._era += 1
            self._trial = self._era
            return self._era

    def succeed(self, ticket: int) -> None:
        """Report that the request was answered."""
        with self._lock:
            if ticket == self._era:
                self._opened = self._trial = None
                self._failed = 0

    def fail(self, ticket: int, why: str, failures: int) -> None:
        """Report that the request failed because of the backend."""
        with self._lock:
            if ticket != self._era:
                return
            self._failed += 1
            if self._trial == ticket or self._failed >= failures:
                self._opened = self._clock.monotonic()
                self._trial = None
                self._era += 1
                self._why = why

    def leave(self, ticket: int) -> None:
        """Report that the request ended without saying anything about the backend."""
        with self._lock:
            if self._trial == ticket:
                self._trial = None


class CircuitBreaker(Around):
    """Fails at once while its circuit is open, and tries one request when the pause is over.

    Args:
        inner: the backend that answers.
        failures: number of failures in a row that opens the circuit.
        pause_s: how long it stays open, in seconds.
        circuit: the circuit, which may be shared.
    """

    def __init__(self, inner: Backend, *, failures: int, pause_s: float, circuit: Circuit) -> None:
        super().__init__(inner)
        self._inner = inner
        self._failures = failures
        self._pause_s = pause_s
        self._circuit = circuit

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer, unless the circuit is open.

        Raises:
            BackendUnavailable: the circuit is open; says when the backend is tried again.
            BackendError: another error of the inner backend.
        """
        circuit = self._circuit
        name = f"{self.profile.backend}:{self.profile.model}"
        try:
            ticket = circuit.enter(self._pause_s)
        except BackendUnavailable as error:
            raise BackendUnavailable(f"{name}: {error}", reached=False) from None
        began = False
        try:
            async with aclosing(self._inner.generate(request)) as stream:
                async for delta in stream:
                    began = True
                    yield delta
        except (BackendUnavailable, BadResponse) as error:
            circuit.fail(ticket, str(error), self._failures)
            raise
        except BaseException:
            # The request was refused, or the reader has gone; if an answer had begun, the backend is up.
            circuit.succeed(ticket) if began else circuit.leave(ticket)
            raise
        else:
            circuit.succeed(ticket)


_circuits: dict[str, Circuit] = {}
_making = threading.Lock()


def circuit_of(name: str) -> Circuit:
    """Return the circuit with this name, which is shared in this process."""
    with _making:
        return _circuits.setdefault(name, Circuit())

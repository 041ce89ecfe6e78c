"""The circuit breaker: who keeps failing is left alone, then tried once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scaffold.errors import BackendUnavailable, BadRequest, BadResponse, TaskError
from scaffold.registry import backend_of
from scaffold.testing import ManualClock
from scaffold.vocabulary.models import Delta
from scaffold_backends.wrappers.circuit import Circuit, CircuitBreaker, circuit_of

from .conftest import ask, gather, texts
from .stage import Stage, said

DOWN = [BackendUnavailable("is down")]


class Watched:
    """A breaker of two failures and ten seconds, with its clock."""

    def __init__(self, *acts: list[Any]) -> None:
        self.clock = ManualClock()
        self.circuit = Circuit(self.clock)
        self.stage = Stage(*acts)
        self.backend = CircuitBreaker(self.stage, failures=2, pause_s=10, circuit=self.circuit)

    @property
    def asked(self) -> int:
        """How often the backend inside was asked."""
        return len(self.stage.requests)

    async def ask(self) -> str:
        """Ask; gives the text or the error's words."""
        try:
            return texts(await gather(self.backend, ask("Go.")))[0]
        except (BackendUnavailable, BadResponse, BadRequest) as error:
            return str(error)

    async def ask_all(self, times: int) -> list[str]:
        """Ask several times, one after another."""
        return [await self.ask() for _ in range(times)]


def test_it_opens_after_failures_in_a_row_and_then_fails_at_once() -> None:
    """After two failures nobody is asked for ten seconds, and the error says for how long, and why."""
    watched = Watched(DOWN)
    first, second, third = asyncio.run(watched.ask_all(3))
    assert (first, second, watched.asked) == ("is down", "is down", 2)
    assert third == "stage:m: it keeps failing, so it is not asked again for 10 s: is down"
    watched.clock.advance(4)
    assert "not asked again for 6 s" in asyncio.run(watched.ask())
    assert watched.circuit.state(10) == "open"


def test_a_success_between_failures_keeps_it_closed() -> None:
    """Only failures in a row count, nonsense among them; a request that is wrong is no failure of the backend."""
    watched = Watched(DOWN, said("up"), [BadResponse("nonsense")], [BadRequest("wrong")], said("up"), DOWN, said("up"))
    asyncio.run(watched.ask_all(7))
    assert watched.asked == 7
    assert watched.circuit.state(10) == "closed"


def test_after_the_pause_one_is_tried_and_decides() -> None:
    """Half-open, one request passes: its failure opens the circuit for another pause, its success closes it."""
    watched = Watched(DOWN, DOWN, DOWN, said("up"))
    asyncio.run(watched.ask_all(2))
    watched.clock.advance(10)
    assert watched.circuit.state(10) == "half-open"
    failed, refused = asyncio.run(watched.ask_all(2))
    assert failed == "is down"
    assert "not asked again for 10 s" in refused
    watched.clock.advance(10)
    assert asyncio.run(watched.ask_all(2)) == ["up", "up"]
    assert watched.circuit.state(10) == "closed"


def test_while_one_is_tried_the_others_are_refused() -> None:
    """Two requests at once, half-open: one is the trial."""
    watched = Watched(DOWN, DOWN, [0.05, *said("up")])

    async def inner() -> list[str]:
        await watched.ask_all(2)
        watched.clock.advance(10)
        return list(await asyncio.gather(watched.ask(), watched.ask()))

    tried, refused = asyncio.run(inner())
    assert tried == "up"
    assert "a single request is being tried" in refused
    assert watched.asked == 3


def test_a_trial_that_is_given_up_lets_another_be_tried() -> None:
    """Cancelled before it told anything, a trial decides nothing; closed after its first piece, it was answered."""
    watched = Watched(DOWN, DOWN, [5.0, *said("late")], [Delta(text="h"), 5.0, *said("up")])

    async def inner() -> None:
        await watched.ask_all(2)
        watched.clock.advance(10)
        trial = asyncio.create_task(watched.ask())
        await asyncio.sleep(0.01)
        trial.cancel()
        await asyncio.wait([trial])
        assert watched.circuit.state(10) == "half-open"
        stream = watched.backend.generate(ask("Go."))
        await anext(stream)
        await stream.aclose()
        assert watched.circuit.state(10) == "closed"

    asyncio.run(inner())


def test_what_was_begun_before_it_opened_says_nothing_about_now() -> None:
    """A request that fails late does not prolong the pause."""
    watched = Watched([0.05, *DOWN], DOWN, DOWN, said("up"))

    async def inner() -> str:
        early = asyncio.create_task(watched.ask())
        await asyncio.sleep(0)
        await watched.ask_all(2)
        watched.clock.advance(10)
        await early
        return await watched.ask()

    assert asyncio.run(inner()) == "up"


def test_all_of_a_process_share_it() -> None:
    """Two breakers of the same backend and model, or of one name, are one circuit."""
    assert circuit_of("a") is circuit_of("a")
    assert circuit_of("a") is not circuit_of("b")
    tables = [{"use": "circuit_breaker", "backend": f"scripted:{text}", "of": "the server"} for text in ("x", "y")]
    one, two = (backend_of(table) for table in tables)
    assert isinstance(one, CircuitBreaker)
    assert isinstance(two, CircuitBreaker)
    assert one._circuit is two._circuit is circuit_of("the server")  # noqa: SLF001 - what is shared cannot be seen
    with pytest.raises(TaskError, match="failures"):
        backend_of({"use": "circuit_breaker:scripted", "failures": 0})

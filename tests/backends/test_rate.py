"""The rate limit: in no minute more than is allowed, in the order of asking, for all who share it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaffold.errors import BackendUnavailable, TaskError
from scaffold.registry import backend_of
from scaffold.vocabulary.models import Delta, Usage
from scaffold_backends.wrappers.minute import Entry, Minute, minute_of
from scaffold_backends.wrappers.rate import RateLimited

from .conftest import ask, gather
from .stage import PLAIN, Stage, said

NONE = math.inf


def limited(stage: Stage, minute: Minute, requests: float = NONE, tokens: float = NONE) -> RateLimited:
    """A backend within limits."""
    return RateLimited(stage, requests=requests, tokens=tokens, minute=minute)


async def answered(backend: Any, request: Any = None) -> None:
    """Ask, and wait for the answer."""
    await gather(backend, request or ask("Go.", max_tokens=10))


class Logged(Minute):
    """A minute that notes when it let each in."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.times: list[float] = []

    async def take(self, amount: tuple[int, int], *, limits: tuple[float, float]) -> Entry:
        """Let one in."""
        entry = await super().take(amount, limits=limits)
        self.times.append(entry.at)
        return entry

    def most_within(self) -> int:
        """The most that it let in within one minute, wherever that begins."""
        return max(sum(begin <= time < begin + self.seconds for time in self.times) for begin in self.times)


def test_no_minute_holds_more_requests_than_allowed() -> None:
    """Of seven requests at three a (short) minute, no window of a minute sees four begin."""
    minute, stage = Logged(seconds=0.2), Stage(said("x"))
    backend = limited(stage, minute, requests=3)

    async def inner() -> None:
        await asyncio.gather(*(answered(backend) for _ in range(7)))

    asyncio.run(inner())
    assert minute.most_within() == 3
    assert minute.times[-1] - minute.times[0] < 2
    assert len(stage.requests) == 7


class Times:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Tell it."""
        return self.now


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 80), st.integers(0, 80)), min_size=1, max_size=25),
    st.integers(1, 4),
    st.integers(20, 100),
)
def test_reservations_never_exceed_the_limits(asked: list[tuple[int, int, int]], calls: int, tokens: int) -> None:
    """Whatever is asked and used, what was let in within any minute fits the limits, except one that is too large."""
    clock, minute = Times(), Minute(60.0, Times())
    minute = Minute(60.0, clock)
    let_in: list[tuple[float, int, int]] = []

    async def inner() -> None:
        for wanted, worst, used in asked:
            taking = asyncio.create_task(minute.take((wanted, worst), limits=(calls, tokens)))
            while not taking.done():
                await asyncio.sleep(0)
                if not taking.done():
                    clock.now += 7.0
                    minute._call_next()  # noqa: SLF001 - as the timer would, were time real
                    await asyncio.sleep(0)
            entry = await taking
            within = [each for each in let_in if each[0] > clock.now - 60]
            assert not within or sum(each[1] for each in within) + wanted <= max(calls, wanted)
            assert not within or sum(each[2] for each in within) + worst <= max(tokens, worst)
            minute.settle(entry, min(used, worst))
            let_in.append((clock.now, wanted, min(used, worst)))

    asyncio.run(inner())


def test_tokens_that_were_not_needed_are_given_back() -> None:
    """Each reserves its worst; once its usage is known the next fits, long before the minute is over."""
    minute, stage = Minute(seconds=30), Stage([0.02, *said("x", Usage(3, 2))])
    backend = limited(stage, minute, tokens=70)

    async def inner() -> float:
        began = time.monotonic()
        await asyncio.gather(*(answered(backend) for _ in range(8)))  # each may cost 29
        return time.monotonic() - began

    assert asyncio.run(inner()) < 25


def test_what_an_answer_that_broke_off_has_cost_stays_taken() -> None:
    """Nobody told its usage, so the worst counts for a minute."""
    minute, stage = Minute(seconds=0.3), Stage([Delta(text="h"), BackendUnavailable("cut")], said("x"))
    backend = limited(stage, minute, tokens=40)

    async def inner() -> float:
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await answered(backend)
        await answered(backend)
        return time.monotonic() - began

    assert asyncio.run(inner()) > 0.25


def test_a_request_that_is_larger_than_the_limit_waits_for_all_others_and_is_answered() -> None:
    """It could never fit, so it goes alone."""
    minute, stage = Minute(seconds=0.2), Stage(said("x", Usage(3, 2)))
    backend = limited(stage, minute, tokens=10)
    asyncio.run(asyncio.wait_for(answered(backend, ask("Go.", max_tokens=500)), 60))
    assert len(stage.requests) == 1


def test_the_first_to_ask_is_the_first_to_be_answered() -> None:
    """A large request is not overtaken by small ones that would fit."""
    minute, stage = Minute(seconds=0.15), Stage(said("x", Usage(30, 5)))
    backend = limited(stage, minute, tokens=100)

    async def inner() -> list[int]:
        order: list[int] = []

        async def one(number: int, most: int) -> None:
            await answered(backend, ask("Go.", max_tokens=most))
            order.append(number)

        await asyncio.gather(*(one(number, most) for number, most in enumerate((70, 80, 1, 1))))
        return order

    assert asyncio.run(inner()) == [0, 1, 2, 3]


def test_cancelling_a_wait_takes_nothing_and_lets_the_next_go() -> None:
    """Who gives up in line, or at its head, holds up nobody."""
    minute, stage = Minute(seconds=0.2), Stage(said("x"))
    backend = limited(stage, minute, requests=1)

    async def inner() -> None:
        await answered(backend)
        waiting = [asyncio.create_task(answered(backend)) for _ in range(3)]
        await asyncio.sleep(0.02)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.wait_for(waiting[2], 60)
        assert [task.cancelled() for task in waiting] == [True, True, False]

    asyncio.run(inner())
    assert len(stage.requests) == 2


def test_event_loops_of_several_threads_share_a_limit() -> None:
    """Three threads with a loop each keep to one limit together, and all get through."""
    minute, stage = Logged(seconds=0.15), Stage(said("x"))

    def work() -> None:
        async def inner() -> None:
            for _ in range(2):
                await answered(limited(stage, minute, requests=2))

        asyncio.run(inner())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(minute.times) == 6
    assert minute.most_within() == 2


def test_a_loop_that_ended_without_its_waiter_holds_up_nobody() -> None:
    """A waiter whose event loop is closed is taken out of the line."""
    minute, stage = Minute(seconds=0.1), Stage(said("x"))
    backend = limited(stage, minute, requests=1)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(answered(backend))
    waiting = loop.create_task(answered(backend))
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    asyncio.run(asyncio.wait_for(answered(backend), 60))
    assert len(stage.requests) == 2
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - it is meant to be lost


def test_requests_that_are_sent_apart_count_apart() -> None:
    """A backend that asks for each sample by itself sends n requests for n samples."""
    from scaffold_backends.wrappers.fan_out import FanOut

    minute = Minute(seconds=30)
    backend = RateLimited(FanOut(Stage(said("x"))), requests=3, tokens=NONE, minute=minute)

    async def inner() -> None:
        await gather(backend, ask("Go.", n=3))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gather(backend, ask("Go.")), 0.05)

    asyncio.run(inner())


def test_tasks_say_what_is_limited() -> None:
    """All who limit one backend and model, or one name, share a minute; a limit of nothing is refused."""
    tables: list[dict[str, Any]] = [
        {"use": "rate_limited", "backend": "scripted:a", "requests_per_minute": 60},
        {"use": "rate_limited:scripted:b", "tokens_per_minute": 1000},
        {"use": "rate_limited", "backend": "scripted", "requests_per_minute": 5, "of": "the account"},
    ]
    minutes = []
    for table in tables:
        backend = backend_of(table)
        assert isinstance(backend, RateLimited)
        minutes.append(backend._minute)  # noqa: SLF001 - what is shared cannot be seen from outside
    assert minutes[0] is minutes[1] is minute_of("scripted:scripted")
    assert minutes[2] is minute_of("the account")
    with pytest.raises(TaskError, match="needs `requests_per_minute`"):
        backend_of("rate_limited:scripted")
    assert limited(Stage(said("x")), minutes[0]).profile == PLAIN

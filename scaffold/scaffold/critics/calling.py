"""Calls critics: several as one, and any callable within a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable, iscoroutine
from typing import Any, Literal

Said = Literal[True] | str
"""True accepts; a text says what is wrong."""
Critic = Callable[[Any], Said | Awaitable[Said]]


def every(*critics: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Said]]:
    """Have every critic read a value, and say all that they object to, a line each.

    What a critic raises is raised: nothing was checked then.
    """

    async def check(value: Any) -> Said:
        said = [await _asked(critic, value) for critic in critics]
        return "\n".join(each for each in said if each is not True) or True

    return check


def limited(function: Callable[[Any], Any], *, timeout_s: float = 5.0, name: str = "") -> Limited:
    """Make a critic of any callable, in a thread of its own and within a time limit.

    Args:
        function: called with the value. True, or any truthy value that is not a text, accepts; a text says what is
            wrong; anything else refuses. An awaitable result is awaited, within the same time.
        timeout_s: seconds after which it has failed. Python cannot end a thread: a function that never ends goes on in
            the background until the process exits. Run what may hang for long in a process, as `passes_tests` does.
        name: its name in messages.
    """
    return Limited(function, timeout_s, name or called(function))


def all_limited(critics: Iterable[Callable[[Any], Any]], *, timeout_s: float) -> tuple[Limited, ...]:
    """Give each of several critics a time limit; one that has its own keeps that."""
    return tuple(each if isinstance(each, Limited) else limited(each, timeout_s=timeout_s) for each in critics)


class Limited:
    """A callable as a critic; see `limited`."""

    def __init__(self, function: Callable[[Any], Any], timeout_s: float, name: str) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self.__qualname__ = name

    async def __call__(self, value: Any) -> Said:
        """Read a value.

        Raises:
            TimeoutError: it took too long.
        """
        return _judged(await in_time(self._function, value, self._timeout_s, self.__qualname__), self.__qualname__)


async def in_time(function: Callable[[Any], Any], value: Any, timeout_s: float, name: str) -> Any:
    """Give what a function says of a value; it is called in a thread of its own, and what it gives may be awaited here.

    Raises:
        TimeoutError: that took too long.
    """
    limit = asyncio.timeout(timeout_s)
    asked = _in_a_thread(function, value, f"critic {name}")
    try:
        async with limit:
            said = await asked
            return await said if isawaitable(said) else said
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"{name} took longer than {timeout_s:g} s") from None
        raise
    finally:
        if not asked.cancelled() and asked.exception() is None:
            _let_go(asked.result())  # the time may have been over before it was awaited


def _in_a_thread(function: Callable[[Any], Any], value: Any, name: str) -> asyncio.Future[Any]:
    """Call a function in a thread that keeps neither the event loop nor the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def work() -> None:
        try:
            result, error = function(value), None
        except BaseException as raised:  # noqa: BLE001 - raised where it is awaited
            result, error = None, raised
        try:
            loop.call_soon_threadsafe(_settle, done, result, error)
        except RuntimeError:
            _let_go(result)  # the loop is closed: nobody waits any more

    # Not one of the loop's own threads, of which a few that hang would leave none.
    threading.Thread(target=work, name=name, daemon=True).start()
    return done


def called(function: Callable[[Any], Any]) -> str:
    """What messages call a function: its own name, whatever module it was found in."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        _let_go(result)
    elif error is None:
        done.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        done.set_exception(error)
    else:
        done.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))


def _let_go(result: Any) -> None:
    """Close what was to be awaited, or Python warns of it."""
    if iscoroutine(result):
        result.close()


async def _asked(critic: Callable[[Any], Any], value: Any) -> Said:
    said = critic(value)
    return _judged(await said if isawaitable(said) else said, called(critic))


def _judged(said: Any, name: str) -> Said:
    """What a critic's word means: only something true accepts, as for `verified`."""
    if isinstance(said, str) and said:
        return said
    return True if said and not isinstance(said, str) else f"refused by {name}"

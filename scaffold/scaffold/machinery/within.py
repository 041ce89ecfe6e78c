"""Awaiting something for so many seconds, cheaply when it is done at once."""

from __future__ import annotations

import asyncio
import types
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T], waits: Callable[[], None] = lambda: None) -> T:
    """Await work in this task, and cancel it when it takes longer; `waits` is called if it has to wait for anything.

    Most monitors never wait for anything. A timer costs several times what they do, so it is set only for one that does
    wait, after its first step: until then nothing could have stopped it anyway.

    Raises:
        TimeoutError: it took longer.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration does not say of what
    except (SystemExit, GeneratorExit) as error:
        raise leaving(error) from error
    waits()
    async with asyncio.timeout(seconds) as limit:
        result = await _rest(work, waits_for)
    if limit.expired():
        raise TimeoutError  # it answered, but only to its own cancellation
    return result


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that was begun by hand, handing through what it waits for."""
    while True:
        try:
            heard = yield waits_for
        except BaseException as error:  # noqa: BLE001 - cancellation too belongs to the coroutine
            go_on = partial(work.throw, error)
        else:
            go_on = partial(work.send, heard)
        try:
            waits_for = go_on()
        except StopIteration as done:
            result: T = done.value
            return result
        except SystemExit as error:
            raise leaving(error) from error


def leaving(error: BaseException) -> RuntimeError:
    """What is said of a plug-in that asks the whole process to exit: that is not its to decide, and is its fault."""
    return RuntimeError(f"it raised {type(error).__name__}({', '.join(map(repr, error.args))})")

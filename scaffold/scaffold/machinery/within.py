"""Awaiting something for so many seconds, cheaply when it is done at once."""

from __future__ import annotations

import asyncio
import types
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")
_ITS_OWN = "it cancelled the task that it was called in"


async def within(seconds: float, work: Coroutine[Any, Any, T], waits: Callable[[], None] = lambda: None) -> T:
    """Await work in this task, and cancel it when it takes longer; `waits` is called if it has to wait for anything.

    Most monitors never wait for anything. A timer costs several times what they do, so it is set only for one that does
    wait, after its first step: until then nothing could have stopped it anyway. Work that cancels the task that it runs
    in, which is ours, is at fault itself: that is taken back.

    Raises:
        TimeoutError: it took longer.
        RuntimeError: it has cancelled this task, and goes on as if it had not.
    """
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # a coroutine runs in one
    before = task.cancelling()
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        if task.cancelling() == before:
            return done.value  # type: ignore[no-any-return]  # StopIteration does not say of what
        await _take_back(task, before)
        raise RuntimeError(_ITS_OWN) from None
    except BaseException as error:
        await _take_back(task, before)
        if isinstance(error, SystemExit | GeneratorExit):
            raise leaving(error) from error
        raise
    at_fault = _uncancel(task, before)
    waits()
    async with asyncio.timeout(seconds) as limit:
        result = await _rest(work, waits_for, task, at_fault=at_fault)
    if limit.expired():
        raise TimeoutError  # it answered, but only to its own cancellation
    return result


@types.coroutine
def _rest(
    work: Coroutine[Any, Any, T], waits_for: Any, task: asyncio.Task[Any], *, at_fault: bool
) -> Generator[Any, Any, T]:
    """Go on with a coroutine that was begun by hand, handing through what it waits for."""
    while True:
        try:
            heard = yield waits_for
        except BaseException as error:  # noqa: BLE001 - cancellation too belongs to the coroutine
            go_on = partial(work.throw, error)
        else:
            go_on = partial(work.send, heard)
        before = task.cancelling()
        try:
            waits_for = go_on()
        except StopIteration as done:
            if at_fault or task.cancelling() > before:
                yield from _take_back(task, before).__await__()
                raise RuntimeError(_ITS_OWN) from None
            result: T = done.value
            return result
        except BaseException as error:
            yield from _take_back(task, before).__await__()
            if isinstance(error, SystemExit):
                raise leaving(error) from error
            raise
        at_fault = _uncancel(task, before) or at_fault


def _uncancel(task: asyncio.Task[Any], before: int) -> bool:
    """Undo what one step of the work did to the task that it runs in: nobody else could, while it had control."""
    own = task.cancelling() - before
    for _ in range(own):
        task.uncancel()
    return own > 0


async def _take_back(task: asyncio.Task[Any], before: int) -> None:
    """Undo it once the work is over; the CancelledError that is on its way arrives here, not in the midst of the run.

    Raises:
        CancelledError: somebody else has cancelled the task meanwhile.
    """
    if _uncancel(task, before):
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if task.cancelling() > before:
                raise


def leaving(error: BaseException) -> RuntimeError:
    """What is said of a plug-in that asks the whole process to exit: that is not its to decide, and is its fault."""
    return RuntimeError(f"it raised {type(error).__name__}({', '.join(map(repr, error.args))})")

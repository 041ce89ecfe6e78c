"""A timeout that costs almost nothing for work that finishes without waiting."""

from __future__ import annotations

import asyncio
import types
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")
_ITS_OWN = "it cancelled its own task"


async def within(seconds: float, work: Coroutine[Any, Any, T], waits: Callable[[], None] = lambda: None) -> T:
    """Await work in this task with a timeout; `waits` is called if the work has to wait for anything.

    Most monitors never wait, and a timer costs several times what they do. So one is set only after the first step, if
    the work does wait; until then nothing could have interrupted it anyway. If the work cancels the task it runs in,
    which is the caller's, the cancellation is undone and counts as the work's fault.

    Raises:
        TimeoutError: it took longer.
        RuntimeError: it cancelled this task and went on.
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
        raise TimeoutError  # it did return, but only after being cancelled
    return result


@types.coroutine
def _rest(
    work: Coroutine[Any, Any, T], waits_for: Any, task: asyncio.Task[Any], *, at_fault: bool
) -> Generator[Any, Any, T]:
    """Continue a coroutine that was started by hand, passing through what it waits for."""
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
    """Undo cancellations that one step of the work made of its task: nobody else could have, while it had control."""
    own = task.cancelling() - before
    for _ in range(own):
        task.uncancel()
    return own > 0


async def _take_back(task: asyncio.Task[Any], before: int) -> None:
    """Undo them after the work is over; a CancelledError still on its way arrives here, not later in the run.

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
    """Return the error for a plug-in that asked the process to exit: that is not its decision."""
    return RuntimeError(f"it raised {type(error).__name__}({', '.join(map(repr, error.args))})")

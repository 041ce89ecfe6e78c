"""Cancellation: whether it was asked of this task, and what it may not cut off."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def is_from_within() -> bool:
    """Whether a CancelledError just caught was raised by what was called, and nobody cancelled this task.

    A plug-in that awaits a cancelled task of its own lets CancelledError through. Taken for a cancellation of
    the run, it would make a move vanish: its worker would end in silence, and it would never have an outcome.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


class Cuttable:
    """What its task is at right now: it can be cut off without ending that task, which is somebody else's.

    As `asyncio.timeout` does it: the task is cancelled, and the cancellation is taken back once it has arrived.
    """

    __slots__ = ("_before", "_cut", "_task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no asyncio task here that could wait")
        self._task: asyncio.Task[Any] = task
        self._before = task.cancelling()
        self._cut = False

    def cut(self) -> None:
        """Have a CancelledError raised where it waits."""
        if not self._cut:
            self._cut = True
            self._task.cancel()

    def end(self) -> None:
        """It is over, one way or another: its task goes on as if it had never been cut."""
        if self._cut:
            self._task.uncancel()

    @property
    def was_cut(self) -> bool:
        """Whether a CancelledError that ended it came from `cut`, and nobody wants the task itself to end."""
        return self._cut and self._task.cancelling() <= self._before

    @property
    def is_from_within(self) -> bool:
        """Whether a CancelledError just caught was raised by what it called: nobody has asked for it."""
        return self._task.cancelling() <= self._before


async def to_its_end(work: asyncio.Task[T] | Coroutine[Any, Any, T]) -> T:
    """Await what may not be cut off, however often this task is cancelled meanwhile; that is raised afterwards.

    `asyncio.shield` keeps the work going and lets go of it: whoever then frees what the work uses frees it too early.
    """
    task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with _left_alone():
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # taken note of, so that asyncio does not complain
        raise cancelled
    return task.result()


def _left_alone() -> contextlib.AbstractContextManager[Any]:
    """Hosts built on anyio (Starlette) cancel again at every await, until a task has left; here that would spin."""
    anyio = sys.modules.get("anyio")
    return contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True)

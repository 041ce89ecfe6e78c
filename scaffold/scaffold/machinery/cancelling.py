"""Cancellation: telling the run's own from a plug-in's, and protecting work that must finish."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def is_from_within() -> bool:
    """Whether a CancelledError just caught was raised by the code called, with nobody cancelling this task.

    A plug-in that awaits a cancelled task of its own lets CancelledError through. If that passed for a cancellation of
    the run, the move would vanish: its worker would end silently, and the move would never get an outcome.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


class Cuttable:
    """A piece of work that can be cancelled without ending the task it runs in, which belongs to somebody else.

    It works as `asyncio.timeout` does: the task is cancelled, and uncancelled once the cancellation has arrived.
    """

    __slots__ = ("_before", "_cut", "_task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("this must be awaited inside an asyncio task")
        self._task: asyncio.Task[Any] = task
        self._before = task.cancelling()
        self._cut = False

    def cut(self) -> None:
        """Raise a CancelledError where the work is waiting."""
        if not self._cut:
            self._cut = True
            self._task.cancel()

    def end(self) -> None:
        """Mark the work as over, however it ended: its task goes on as if it had never been cut."""
        if self._cut:
            self._task.uncancel()

    @property
    def was_cut(self) -> bool:
        """Whether a CancelledError that ended the work came from `cut`, and nobody wants the task itself to end."""
        return self._cut and self._task.cancelling() <= self._before

    @property
    def is_from_within(self) -> bool:
        """Whether a CancelledError just caught was raised by the work itself: nobody asked for it."""
        return self._task.cancelling() <= self._before


async def to_its_end(work: asyncio.Task[T] | Coroutine[Any, Any, T]) -> T:
    """Await work that must not be cancelled, however often this task is; raise the cancellation afterwards.

    `asyncio.shield` is not enough: it keeps the work running but stops waiting for it, so the caller may free what the
    work still uses.
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
            task.exception()  # retrieved, so that asyncio does not warn
        raise cancelled
    return task.result()


def _left_alone() -> contextlib.AbstractContextManager[Any]:
    """Shield from hosts built on anyio (Starlette), which cancel at every await until a task leaves: a busy loop."""
    anyio = sys.modules.get("anyio")
    return contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True)

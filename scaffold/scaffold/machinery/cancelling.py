"""Tells a cancellation that was asked of this task from one that something it called made up."""

from __future__ import annotations

import asyncio


def is_from_within() -> bool:
    """Whether a CancelledError just caught was raised by what was called, and nobody cancelled this task.

    A plug-in that awaits a cancelled task of its own lets CancelledError through. Taken for a cancellation of
    the run, it would make a move vanish: its worker would end in silence, and it would never have an outcome.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()

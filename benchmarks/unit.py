"""The unit of many figures: CPU of one asyncio task that does nothing, which says how fast this machine is just now."""

from __future__ import annotations

import asyncio
import time

TASKS = 20_000


async def noop_task() -> float:
    """Return CPU seconds of one `await asyncio.create_task(noop())`, the mean of many."""

    async def noop() -> None:
        return None

    started = time.process_time()
    for _ in range(TASKS):
        await asyncio.create_task(noop())
    return (time.process_time() - started) / TASKS

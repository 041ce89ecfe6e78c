"""Simulated processes in one seeded loop: each can be killed or frozen between any two of its steps.

A context variable says which process a callback belongs to; tasks, timers and simulated threads inherit it. So a fault
can be drawn at every await of every process, while the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""Whose code runs; nobody's where it is what stands around the processes."""


class Process:
    """One simulated process.

    Args:
        name: its name in reports.
        steps: steps until its first trouble; 0 or less means never.
        trouble: called then, between two steps; it may kill or freeze the process.
        mortal: whether it may also be killed at a point of its run.

    Attributes:
        dead: whether it was killed.
        over: set when it is dead.
        steps: steps until its next trouble.
        offset: seconds by which its clock is off.
        parked: callbacks held back while it is frozen; those of a dead process are never run.
    """

    def __init__(self, name: str, steps: int, trouble: Callable[[Process], None], *, mortal: bool = True) -> None:
        self.name = name
        self.mortal = mortal
        self.dead = False
        self.over = asyncio.Event()
        self.steps = steps
        self.offset = 0.0
        self.parked: list[asyncio.Handle] = []
        self._trouble = trouble
        self._frozen = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start its first task."""
        context = copy_context()
        context.run(PROCESS.set, self)
        loop: Any = asyncio.get_running_loop()
        loop.processes.append(self)
        task: asyncio.Task[None] = loop.create_task(work, context=context)
        return task

    def lets(self, handle: asyncio.Handle) -> bool:
        """Whether one of its callbacks may run now; if not, it is parked."""
        if not self.dead and not self._frozen:
            self.steps -= 1
            if not self.steps:
                self._trouble(self)
        if self.dead or self._frozen:
            self.parked.append(handle)
            return False
        return True

    def kill(self) -> None:
        """Kill it, as by SIGKILL."""
        self.dead = True
        self.over.set()

    def freeze(self, loop: Any, seconds: float) -> None:
        """Freeze it, as between SIGSTOP and SIGCONT: its timers go off meanwhile, but nothing runs."""
        self._frozen = True
        loop.call_later(seconds, self._thaw, loop, context=Context())

    def _thaw(self, loop: Any) -> None:
        self._frozen = False
        if not self.dead:
            loop._ready.extend(self.parked)  # noqa: SLF001 - a seeded loop's own list
            self.parked.clear()

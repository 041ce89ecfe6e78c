"""Ends planners that never give back control, since then nothing else can run, not even the run's deadline.

One thread watches all runs of a process. It does nothing until a run's time is over. If the same turn of the run's
planner, or of a check the planner gave to a step, then still holds the run's thread, it raises PlannerStuck in that
thread, between two bytecodes. Code stuck outside Python (one huge multiplication, a system call) must return first.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from scaffold.errors import PlannerStuck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.machinery.interpreter import Interpreter

_GRACE = 1.0  # seconds a turn may overrun, and between two looks


class Checks:
    """Counts calls to the checks of one run.

    Attributes:
        turn: incremented when a check is called and again when it returns; odd while it runs.
    """

    __slots__ = ("turn",)

    def __init__(self) -> None:
        self.turn = 0


checks_of_this_run: ContextVar[Checks | None] = ContextVar("checks_of_this_run", default=None)


class _Watched:
    """One run and the thread that drives it."""

    __slots__ = ("checks", "deadline", "interpreter", "thread", "turn")

    def __init__(self, interpreter: Interpreter, checks: Checks, deadline: float) -> None:
        self.interpreter = interpreter
        self.checks = checks
        self.thread = threading.get_ident()
        self.deadline = deadline
        self.turn = (-1, -1)

    def look(self) -> None:
        """End the current turn if it is the same as at the last look."""
        turn = self.interpreter.advancing, self.checks.turn
        if (turn[0] % 2 or turn[1] % 2) and turn == self.turn:
            import ctypes  # hardly ever needed, and slow to import

            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), ctypes.py_object(PlannerStuck))
        self.turn = turn
        self.deadline = time.monotonic() + _GRACE


class _Watchdog:
    """The watching thread; started when there is something to watch."""

    def __init__(self) -> None:
        self._watched: dict[_Watched, None] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, watched: _Watched) -> None:
        with self._changed:
            self._watched[watched] = None
            if self._thread is None or not self._thread.is_alive():  # not started yet, or this is a forked process
                self._thread = threading.Thread(target=self._watch, name="scaffold watchdog", daemon=True)
                self._thread.start()
            else:
                self._changed.notify()

    def remove(self, watched: _Watched) -> None:
        with self._changed:
            self._watched.pop(watched, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for watched in list(self._watched):
                    if watched.deadline <= now:
                        watched.look()
                nearest = min((watched.deadline for watched in self._watched), default=math.inf)
                self._changed.wait(min(max(0.0, nearest - now), threading.TIMEOUT_MAX))


_watchdog = _Watchdog()


@contextmanager
def watching(interpreter: Interpreter, seconds: float | None) -> Iterator[None]:
    """End a planner, or a check of its steps, that still holds this thread after so many seconds; never if None."""
    if seconds is None:
        yield
        return
    checks = Checks()
    watched = _Watched(interpreter, checks, time.monotonic() + seconds + _GRACE)
    within = checks_of_this_run.set(checks)
    _watchdog.add(watched)
    try:
        yield
    finally:
        _watchdog.remove(watched)
        checks_of_this_run.reset(within)

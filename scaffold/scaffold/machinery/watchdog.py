"""Ends planners that never give back control: nothing else of the run, not even its deadline, can get a word in then.

One thread watches all runs of a process. It does nothing until a run's time is over; then, if the very same turn of
its planner, or of a check that its planner gave to a step, still holds the run's thread, it has PlannerStuck raised
there, between two bytecodes. Code that is stuck outside Python (one huge multiplication, a system call) ends first.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from scaffold.errors import PlannerStuck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.machinery.interpreter import Interpreter

_GRACE = 1.0  # seconds over its time that a turn may take, and between two looks


class Checks:
    """The checks of one run.

    Attributes:
        turn: counts up when one is called, and when it gives back control; odd while it has it.
    """

    __slots__ = ("turn",)

    def __init__(self) -> None:
        self.turn = 0


checks_of_this_run: ContextVar[Checks | None] = ContextVar("checks_of_this_run", default=None)


class _Watched:
    """One run, and the thread that drives it."""

    __slots__ = ("checks", "deadline", "interpreter", "thread", "turn")

    def __init__(self, interpreter: Interpreter, checks: Checks, deadline: float) -> None:
        self.interpreter = interpreter
        self.checks = checks
        self.thread = threading.get_ident()
        self.deadline = deadline
        self.turn = (-1, -1)

    def look(self) -> None:
        """See whether the same turn still goes on as at the last look, and end it if so."""
        turn = self.interpreter.advancing, self.checks.turn
        if (turn[0] % 2 or turn[1] % 2) and turn == self.turn:
            import ctypes  # hardly ever needed, and slow to import

            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), ctypes.py_object(PlannerStuck))
        self.turn = turn
        self.deadline = time.monotonic() + _GRACE


class _Watchdog:
    """The watching thread; there is none until something is watched."""

    def __init__(self) -> None:
        self._watched: dict[_Watched, None] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, watched: _Watched) -> None:
        with self._changed:
            self._watched[watched] = None
            if self._thread is None or not self._thread.is_alive():  # none yet, or this is a forked process
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
                nearest = min((watched.deadline for watched in self._watched), default=None)
                self._changed.wait(None if nearest is None else max(0.0, nearest - now))


_watchdog = _Watchdog()


@contextmanager
def watching(interpreter: Interpreter, seconds: float | None) -> Iterator[None]:
    """End a planner, or a check of its, that holds this thread when so many seconds are over; None never does."""
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

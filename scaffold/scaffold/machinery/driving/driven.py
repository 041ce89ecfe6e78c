"""Drives a planner within a host's run, several moves at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scaffold import errors
from scaffold.machinery.driving.replay import deliver
from scaffold.machinery.interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scaffold.machinery.interpreter import Pending
    from scaffold.vocabulary.moves import Move, Planning


class Waits(errors.RunEnding):
    """The run is paused until a person has answered."""


class Driven:
    """One planner on its way.

    Args:
        planning: the planner.
        make: carries out a move and returns its outcome, or raises it.
        most: how many moves are carried out at once.
    """

    def __init__(self, planning: Planning[Any], make: Callable[[Move], Awaitable[Any]], most: int) -> None:
        self._interpreter = Interpreter(planning)
        self._make = make
        self._most = most
        self._others: set[asyncio.Task[None]] = set()
        self._failed: list[Exception] = []
        self._waits: list[Waits] = []  # of moves that wait for a person, while others go on

    async def result(self) -> Any:
        """Drive the planner to its end; return what it returns.

        Raises:
            Waits: nothing is left to do but what waits for a person.
            RunEnding: the run is over or paused.
            Exception: what the planner raises.
        """
        interpreter = self._interpreter
        try:
            await self._work()
            while self._others:
                await asyncio.wait(self._others)
        finally:
            for other in self._others:
                other.cancel()
            await asyncio.gather(*self._others, return_exceptions=True)
            interpreter.close()
        for error in (*self._failed, *self._waits):
            raise error
        if not interpreter.done:
            raise errors.Unavailable("a move of the planner was cancelled by the code it called")
        if interpreter.error is not None:
            raise interpreter.error
        return interpreter.result

    async def _work(self) -> None:
        interpreter = self._interpreter
        while not self._failed and (pending := interpreter.next()) is not None:
            if interpreter.has_ready() and len(self._others) + 1 < self._most:
                other = asyncio.create_task(self._work())
                self._others.add(other)
                other.add_done_callback(self._others.discard)
            try:
                await self._make_for(pending)
            except Waits as error:
                self._waits.append(error)
            except Exception as error:  # noqa: BLE001 - raised once what is under way has ended
                self._failed.append(error)

    async def _make_for(self, pending: Pending) -> None:
        """Carry out a move of the planner, and send it the outcome."""
        try:
            outcome = await self._make(pending.move)
        except errors.MoveError as error:
            outcome = error
        deliver(self._interpreter, pending, outcome)

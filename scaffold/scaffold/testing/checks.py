"""Helpers for the checks of all conformance kits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def hold(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Fail a check with a message unless a condition holds.

    Raises:
        AssertionError: it does not.
    """
    if not condition:
        raise AssertionError(otherwise)


def run_within(seconds: float, work: Awaitable[T]) -> T:
    """Run an awaitable in an event loop of its own.

    Raises:
        AssertionError: it took longer.
    """

    async def within() -> T:
        async with asyncio.timeout(seconds):
            return await work

    try:
        return asyncio.run(within())
    except TimeoutError as error:
        raise AssertionError(f"the check took longer than {seconds:g} s") from error

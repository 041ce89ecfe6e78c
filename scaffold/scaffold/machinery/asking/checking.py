"""Applies checks to one sample's value: it does not count if a check rejects it or fails."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from scaffold.errors import PlannerStuck
from scaffold.machinery.cancelling import is_from_within
from scaffold.machinery.watchdog import checks_of_this_run
from scaffold.vocabulary.characters import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.vocabulary.sampling import Check

FAILED = "check failed: "


async def flagged(checks: Sequence[Check], value: Any) -> str:
    """Say why a value is not acceptable; empty if every check accepts it.

    Raises:
        PlannerStuck: a check blocked the event loop when the run's time was over.
    """
    for check in checks:
        try:
            timeout_s = getattr(check, "timeout_s", None)
            said: Any = _called(check, value) if timeout_s is None else _beside(check, value, timeout_s)
            if isawaitable(said):
                said = await said
        except asyncio.CancelledError:
            if is_from_within():
                return f"{FAILED}it was cancelled by its own code"
            raise
        except PlannerStuck:
            raise PlannerStuck(
                f"the check {_name_of(check)} did not give back control before the run's time was over"
            ) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a check that fails, or runs `exit()`, has not accepted
            return clean(f"{FAILED}{type(error).__name__}: {error}")
        if isinstance(said, str) and said:
            return clean(said)
        if said is not None and said is not True and said != "":
            return (
                "refused by a check"
                if said is False
                else f"a check returned {said!r:.80}, which is neither True nor a reason"
            )
    return ""


def _called(check: Check, value: Any) -> Any:
    """Call a check in the event loop, which it blocks meanwhile; the watchdog counts its turn."""
    checks = checks_of_this_run.get()
    if checks is None:
        return check(value)
    checks.turn += 1
    try:
        return check(value)
    finally:
        checks.turn += 1


def _name_of(check: Any) -> str:
    from scaffold.critics.calling import called

    return called(getattr(check, "critic", check))


async def _beside(check: Any, value: Any, timeout_s: float) -> Any:
    """Call a check that has its own timeout, without blocking the run."""
    from scaffold.critics.calling import in_time

    return await in_time(check, value, timeout_s, _name_of(check))

"""Has checks read one sample's value: what any of them flags, or fails to check, does not count."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from scaffold.machinery.cancelling import is_from_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.vocabulary.sampling import Check

FAILED = "check failed: "


async def flagged(checks: Sequence[Check], value: Any) -> str:
    """Say why a value is not acceptable; empty when every check accepts it."""
    for check in checks:
        try:
            seconds = getattr(check, "seconds", None)
            said: Any = check(value) if seconds is None else _beside(check, value, seconds)
            if isawaitable(said):
                said = await said
        except asyncio.CancelledError:
            if is_from_within():
                return f"{FAILED}it was cancelled from within"
            raise
        except Exception as error:  # noqa: BLE001 - a critic that fails has not accepted
            return f"{FAILED}{type(error).__name__}: {error}"
        if isinstance(said, str) and said:
            return said
        if said is not None and said is not True and said != "":
            return "refused by a check" if said is False else f"a check said {said!r:.80}: neither True nor a reason"
    return ""


async def _beside(check: Any, value: Any, seconds: float) -> Any:
    """What a check says that may take so many seconds: the run goes on meanwhile."""
    from scaffold.critics.calling import called, in_time

    return await in_time(check, value, seconds, called(getattr(check, "critic", check)))

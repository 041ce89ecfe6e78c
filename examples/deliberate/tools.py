"""The world of this example: a mailing that can be looked at, scheduled and sent."""

from __future__ import annotations

from scaffold.actions import action

SUBSCRIBERS = {"customers": 120, "everyone": 9000}


@action(effect="read", trusted=True)
async def count(audience: str) -> int:
    """Count who is in an audience."""
    return SUBSCRIBERS[audience]


@action(effect="reversible", identity=("audience",))
async def schedule(audience: str, day: str) -> str:
    """Schedule the mailing; it can be called off until that day."""
    return f"scheduled to {SUBSCRIBERS[audience]} on {day}"


@action(effect="irreversible", identity=("audience",))
async def send(audience: str) -> str:
    """Send the mailing now."""
    return f"sent to {SUBSCRIBERS[audience]}"

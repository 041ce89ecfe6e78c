"""The world of this example: who lives where, and what trains cost."""

from __future__ import annotations

from scaffold import action

HOMES = {"Ada": "Lyon", "Bo": "Turku"}
FARES = {"Lyon": 1250, "Turku": 8900}


@action(effect="read")
async def find_home(person: str) -> str:
    """Look up where somebody lives."""
    return HOMES[person]


@action(effect="read")
async def fare(city: str) -> int:
    """Look up what the train to a city costs, in cents."""
    return FARES[city]

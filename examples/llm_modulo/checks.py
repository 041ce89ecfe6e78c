"""The rules that every order must keep."""

from __future__ import annotations

OPEN = {"market": (8, 12), "museum": (11, 17), "café": (9, 18), "park": (0, 24)}
FIRST_HOUR = 10


def names_each_place_once(order: str) -> bool | str:
    """Whether an order holds every place, and nothing else."""
    named = [place.strip() for place in order.split(",")]
    missing = [place for place in OPEN if place not in named]
    if missing:
        return f"{missing[0]} is missing"
    return len(named) == len(OPEN) or "a place is named twice or does not exist"


def keeps_to_the_hours(order: str) -> bool | str:
    """Whether each place is open when its turn comes."""
    for hour, place in enumerate((place.strip() for place in order.split(",")), FIRST_HOUR):
        opens, closes = OPEN.get(place, (0, 24))
        if not opens <= hour < closes:
            return f"{place} is closed at {hour}"
    return True

"""The points at which a run can be watched or killed are listed, and the list is right."""

from __future__ import annotations

import re
from pathlib import Path

import scaffold
from scaffold.machinery.recording.points import POINTS

CORE = Path(scaffold.__file__).parent


def named_in_source() -> set[str]:
    """Every point that the core calls `reach` with."""
    return {
        point
        for path in CORE.rglob("*.py")
        if "testing" not in path.parts
        for point in re.findall(r'reach\("([^"]+)"\)', path.read_text(encoding="utf-8"))
    }


def test_every_point_in_the_source_is_listed_and_every_listed_point_is_in_the_source() -> None:
    """The list of points and the calls of `reach` name the same points."""
    assert named_in_source() == set(POINTS)


def test_every_transition_has_a_point_before_and_one_after() -> None:
    """No transition can be killed on one side only."""
    befores = {point.removesuffix(":before") for point in POINTS if point.endswith(":before")}
    afters = {point.removesuffix(":after") for point in POINTS if point.endswith(":after")}
    assert befores == afters

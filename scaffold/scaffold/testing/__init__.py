"""Tools to test planners, monitors, backends and whole runs without a model.

    backend = Scripted({"solve": "42"})
    outcome = Scaffold(planner=mine, backends={"default": backend}, monitors=[]).solve_sync(Task(prompt="..."))

`docs/extending.md` says how to test parts of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.lazily import lazily

if TYPE_CHECKING:
    from scaffold.testing.backends import Scripted as Scripted
    from scaffold.testing.clock import ManualClock as ManualClock
    from scaffold.testing.driving import Driver as Driver
    from scaffold.testing.network import no_network as no_network
    from scaffold.wrapping import Noisy as Noisy
    from scaffold.wrapping import Recorded as Recorded
    from scaffold.wrapping import Recording as Recording

# Imported when first asked for: the backend `scripted`, which task files name, needs none of the others.
_HOMES = {
    "Driver": "testing.driving",
    "ManualClock": "testing.clock",
    "Noisy": "wrapping",
    "Recorded": "wrapping",
    "Recording": "wrapping",
    "Scripted": "testing.backends",
    "no_network": "testing.network",
}

__all__ = [*_HOMES]  # noqa: PLE0604 - the names are strings


if not TYPE_CHECKING:  # else every misspelt name would pass as Any
    __getattr__ = lazily(__name__, _HOMES)

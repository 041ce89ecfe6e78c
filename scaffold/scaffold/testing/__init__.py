"""What ships for testing planners, monitors, backends and whole runs without a model.

backend = Scripted({"solve": "42"})
outcome = Scaffold(planner=mine, backends={"default": backend}, monitors=[]).solve_sync(Task(prompt="..."))
"""

from __future__ import annotations

from scaffold.testing.backends import Scripted
from scaffold.testing.clock import ManualClock
from scaffold.testing.driving import Driver
from scaffold.testing.network import no_network
from scaffold.wrapping import Noisy, Recorded, Recording

__all__ = ["Driver", "ManualClock", "Noisy", "Recorded", "Recording", "Scripted", "no_network"]

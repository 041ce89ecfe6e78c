"""Backends around a backend: what several parts of the core need of them, and what others may build theirs on."""

from __future__ import annotations

from scaffold.wrapping.around import Around
from scaffold.wrapping.noise import Noisy
from scaffold.wrapping.recording import Cached, Recorded, Recording

__all__ = ["Around", "Cached", "Noisy", "Recorded", "Recording"]

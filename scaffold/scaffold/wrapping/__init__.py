"""Backends around a backend: those that several parts of the core need, and a base to build others on."""

from __future__ import annotations

from scaffold.wrapping.around import Around
from scaffold.wrapping.noise import Noisy
from scaffold.wrapping.recording import Cached, Recorded, Recording

__all__ = ["Around", "Cached", "Noisy", "Recorded", "Recording"]

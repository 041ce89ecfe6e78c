"""The colours and fonts shared by all our pages, for light and dark mode."""

from __future__ import annotations

from pathlib import Path

PALETTE = Path(__file__).with_name("palette.css")

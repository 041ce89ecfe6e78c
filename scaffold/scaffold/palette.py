"""The colours and letters that all our pages have in common, by day and by night."""

from __future__ import annotations

from pathlib import Path

PALETTE = Path(__file__).with_name("palette.css")

"""Pictures beside figures: an argument that names one is refused at once where nothing could draw it."""

from __future__ import annotations

import argparse
from pathlib import Path

from scaffold.errors import MissingExtra
from scaffold.evaluation.plots import need_matplotlib


def picture(name: str) -> Path:
    """Read a command's argument that names a picture; what takes minutes should not end without one."""
    try:
        need_matplotlib()
    except MissingExtra as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(name)

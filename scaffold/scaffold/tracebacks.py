"""Locates the line in user or plug-in code at which an error was raised."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from traceback import walk_tb

_NOT_THE_AUTHORS = (
    f"{Path(__file__).parent}/",
    *(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<",  # generated code
)


def raised_at(error: BaseException) -> str:
    """Return file and line in an author's code, such as `tools.py:12`, skipping libraries; empty if there is none."""
    place = ""
    for frame, line in walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith(_NOT_THE_AUTHORS):
            place = f"{Path(file).name}:{line}"
    return place


def described(error: BaseException) -> str:
    """Describe an error of an author's code in one phrase: its type, its message, and where it was raised."""
    place = raised_at(error)
    return f"{type(error).__name__}: {error}{place and f' ({place})'}"

"""Keeps what a user's own code prints out of a command's output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Send to stderr what is printed meanwhile, such as by a module that is imported: stdout is the command's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield

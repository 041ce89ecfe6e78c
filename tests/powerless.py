"""Tests of what the system does not let us do, also where we are the superuser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def powerless() -> Iterator[None]:
    """Be nobody, where we are the superuser, to whom all is allowed."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)

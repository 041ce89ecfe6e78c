"""Tests of what the system does not let us do, also where we are the superuser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


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


def without_powers(command: list[str]) -> list[str]:
    """The command as it is for its user alone: the superuser may look only at what is theirs and open to them."""
    if os.geteuid():
        return command
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("setpriv is not installed: apt-get install util-linux")
    return [program, "--bounding-set=-all", "--inh-caps=-all", *command]

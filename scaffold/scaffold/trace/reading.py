"""A run's folder read line by line, each checked against the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.trace.chain import Chain
from scaffold.trace.files import read_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scaffold.trace.chain import Link


def links(folder: Path) -> Iterator[Link]:
    """Give the checked lines of a run.

    Raises:
        TraceDamaged: one was altered.
        NewerTrace: one is of a kind that this version does not know.
    """
    chain = Chain()
    for record in read_files(folder):
        yield chain.follow(record)

"""Reads a run's folder line by line, checking the chain; once, or as the run grows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scaffold.trace.chain import Chain
from scaffold.trace.folders import is_written
from scaffold.trace.records import Place, read_files
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scaffold.trace.chain import Link

_LOOK_S = 0.2
_PATIENCE_S = 2.0


def links(folder: Path) -> Iterator[Link]:
    """Yield the checked lines of a run.

    Raises:
        TraceDamaged: a line was altered.
        NewerTrace: a line's kind is unknown to this version.
    """
    chain = Chain()
    for record in read_files(folder):
        yield chain.follow(record)


def followed(folder: Callable[[], Path], sleep: Callable[[float], None] = time.sleep) -> Iterator[Link]:
    """Yield the checked lines of a run as they come, until it has ended, or is paused and nobody writes it.

    Args:
        folder: returns the run's folder, or a current copy of it.
        sleep: waits for more.

    Raises:
        TraceDamaged: a line was altered.
    """
    chain, place, idle = Chain(), Place(), 0.0
    last: ev.Event | None = None
    while not isinstance(last, ev.Ended):
        here = folder()
        before = chain.seq
        for record in read_files(here, place):
            link = chain.follow(record)
            last = link.event
            yield link
        if chain.seq > before:
            idle = 0.0
        elif idle >= _PATIENCE_S and not is_written(here):
            return
        else:
            idle += _LOOK_S
            sleep(_LOOK_S)

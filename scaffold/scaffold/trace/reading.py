"""A run's folder read line by line, each checked against the chain; once, or as it grows."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING

from scaffold.interfaces import Record
from scaffold.trace.chain import Chain
from scaffold.trace.files import SPINE, read_files, seq_of
from scaffold.trace.folders import is_written
from scaffold.trace.parts import content_lines
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scaffold.trace.chain import Link

_LOOK_S = 0.2
_PATIENCE_S = 2.0


def links(folder: Path) -> Iterator[Link]:
    """Give the checked lines of a run.

    Raises:
        TraceDamaged: one was altered.
        NewerTrace: one is of a kind that this version does not know.
    """
    chain = Chain()
    for record in read_files(folder):
        yield chain.follow(record)


def followed(folder: Callable[[], Path], sleep: Callable[[float], None] = time.sleep) -> Iterator[Link]:
    """Give the checked lines of a run as they come, until it has ended, or stands still and nobody writes it.

    Args:
        folder: gives the run's folder, or a copy of it as it is now.
        sleep: waits for more.

    Raises:
        TraceDamaged: a line was altered.
    """
    chain, idle = Chain(), 0.0
    last: ev.Event | None = None
    at = (0, 0)
    while not isinstance(last, ev.Ended):
        place = folder()
        before = chain.seq
        for record, then in _since(place, chain.seq, *at):
            link = chain.follow(record)
            last, at = link.event, then
            yield link
        if chain.seq > before:
            idle = 0.0
        elif idle >= _PATIENCE_S and not is_written(place):
            return
        else:
            idle += _LOOK_S
            sleep(_LOOK_S)


def _since(folder: Path, seq: int, spine_at: int, content_at: int) -> Iterator[tuple[Record, tuple[int, int]]]:
    """The whole lines after some place, each with the places that come after it."""
    with (folder / SPINE).open("rb") as spine, closing(content_lines(folder, content_at)) as content:
        left = os.fstat(spine.fileno()).st_size - spine.seek(spine_at)
        waiting = next(content, b"")
        for number, line in enumerate(spine, start=seq + 1):
            left -= len(line)
            if left < 0 or not line.endswith(b"\n"):
                return
            spine_at += len(line)
            own = b""
            while waiting.endswith(b"\n") and seq_of(waiting) <= number:
                own = waiting[:-1] if seq_of(waiting) == number else own
                content_at += len(waiting)
                waiting = next(content, b"")
            yield Record(number, line[:-1], own), (spine_at, content_at)

"""Reads the records of a run's files without its lock, from the start or from a given position."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from scaffold.interfaces import Record
from scaffold.trace.mending import LONGEST, SPINE
from scaffold.trace.parts import content_lines, seq_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_BLOCK = 1 << 16


class Place:
    """A reader's position in a run's files.

    Attributes:
        seq: number of the last event read.
        spine: bytes of the spine read.
        content: bytes of the content read, as if it were one file.
    """

    __slots__ = ("content", "seq", "spine")

    def __init__(self) -> None:
        self.seq = self.spine = self.content = 0


def read_files(folder: Path, place: Place | None = None) -> Iterator[Record]:
    """Yield the records of a run's folder, without a lock; a line still being written is left out.

    Args:
        folder: the run's folder.
        place: where to start; updated as records are read.
    """
    place = place or Place()
    seq, spine_read, content_read = place.seq, place.spine, place.content
    with (folder / SPINE).open("rb") as spine, contextlib.closing(content_lines(folder, place.content)) as contents:
        # Spine lines written later may have content beyond what is read here.
        left = os.fstat(spine.fileno()).st_size - spine.seek(place.spine)
        waiting = next(contents, b"")
        try:
            for line in _lines(spine, left):
                seq += 1
                content = b""
                while waiting[-1:] == b"\n":  # else it is being written, or there is none
                    if waiting.startswith(b'{"seq":%d,' % seq):  # usually: most events have content
                        content = waiting[:-1]
                    elif seq_of(waiting) > seq:
                        break
                    content_read += len(waiting)
                    waiting = next(contents, b"")
                    if content:
                        break
                spine_read += len(line) + 1
                yield Record(seq, line, content)
        finally:
            place.seq, place.spine, place.content = seq, spine_read, content_read


def _lines(file: BinaryIO, left: int) -> Iterator[bytes]:
    """Yield complete lines without their newlines, from the next `left` bytes of a file.

    One too long for an event is yielded as far as it was read, as the last: no chain goes on with it.
    """
    rest = b""
    while left > 0 and (block := file.read(min(left, max(_BLOCK, len(rest))))):  # in time linear in a line's length
        left -= len(block)
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > LONGEST:
            yield rest
            return

"""Reads all of a run and checks it, a long one in a second process, ahead of the process that resumes it.

Hashing a long trace takes about as long as replaying its events, and Python does one at a time. The second process
reads and checks as usual, and passes what is right through a pipe. At the first fault it ends silently; its parent
reads on from there and meets the same fault.

    python -m scaffold.trace.ahead RUN    # writes batches to its standard output
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from scaffold.trace.checked import Checked
from scaffold.trace.files import FileJournal
from scaffold.trace.records import read_files
from scaffold.vocabulary import events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from scaffold.interfaces import Journal
    from scaffold.trace.checked import Told

_BATCH = 1 << 18  # bytes of lines and content
_ROOM = 1 << 20  # bytes in the pipe: with less, each piece of a batch waits for the interpreter
_BEGINS = b"checked:"  # marks each batch, to tell it from other output
_LENGTH = 8  # bytes of the length field


class Batch(msgspec.Struct, array_like=True):
    """Consecutive events that were checked.

    Attributes:
        seq: number of the last of them.
        hash: its hash.
        secret: the salt of the run's first content.
        lines: their lines, separated by newlines.
        bodies: for each, its content's bytes.
        last: there are no more.
    """

    seq: int
    hash: bytes
    secret: bytes
    lines: bytes
    bodies: list[bytes]
    last: bool

    def told(self) -> Iterable[Told]:
        """Return the events, each with its content."""
        return zip(events.decoder().decode_lines(self.lines), self.bodies, strict=True)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode


async def read_all(checked: Checked, journal: Journal, run: str) -> AsyncGenerator[Iterable[Told]]:
    """Yield a run's events from the first on, in batches, each checked.

    A long run is read and checked by a second process, one batch ahead. If that process cannot start, is killed or
    meets a fault, the rest is read and checked here.

    Raises:
        TraceDamaged: see `Checked.take`; everything before the fault was yielded.
        NewerTrace: likewise.
    """
    folder = journal.long(run) if isinstance(journal, FileJournal) else None
    if folder is not None:
        async with aclosing(ahead(folder)) as batches:
            async for batch in batches:
                checked.take_over(batch.seq, batch.hash, batch.secret)
                yield batch.told()
                if batch.last:
                    return
    async for record in journal.read(run, checked.seq):
        yield (checked.take(record),)


async def ahead(folder: Path) -> AsyncGenerator[Batch]:
    """Yield what a second process has checked; it may end before the last batch, or not start at all.

    Args:
        folder: the run's folder.
    """
    process = _started(folder)
    if process is None:
        return
    pipe = process.stdout
    assert pipe is not None  # noqa: S101 - requested with PIPE
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # the user's limit for pipe memory is reached
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _ROOM)
    read = partial(asyncio.get_running_loop().run_in_executor, None, _next, pipe)
    with pipe:
        coming = read()
        try:
            while (batch := await coming) is not None:
                coming = read()  # while the caller processes this one
                yield batch
        finally:
            coming.cancel()
            process.kill()  # ends a pending read
            process.wait()


def _started(folder: Path) -> subprocess.Popen[bytes] | None:
    """Start the second process, if the system allows it and this interpreter is a program of its own."""
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "scaffold.trace.ahead", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the parent meets the same fault and reports it
            env=os.environ | {"PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the parent alone; without a parent its writes fail, and it ends
        )
    except OSError:
        return None


def _next(pipe: IO[bytes]) -> Batch | None:
    """Read a batch; None if there is none, or it is incomplete."""
    begins = pipe.read(len(_BEGINS) + _LENGTH)
    if not begins.startswith(_BEGINS):
        return None
    length = int.from_bytes(begins[len(_BEGINS) :])
    said = pipe.read(length)
    return _decode(said) if length and len(said) == length else None


def serve(folder: Path, out: IO[bytes]) -> None:
    """Write a run's checked events, from the first on.

    Raises:
        TraceError: the trace is faulty from here on.
        OSError: it cannot be read, or nobody reads the output any more.
    """
    checked = Checked()
    lines: list[bytes] = []
    bodies: list[bytes] = []
    size = 0

    def hand_on(*, last: bool) -> None:
        batch = _encode(Batch(checked.seq, checked.hash, checked.secret, b"\n".join(lines), bodies, last))
        out.write(_BEGINS + len(batch).to_bytes(_LENGTH) + batch)
        out.flush()

    for record in read_files(folder):
        body = checked.take(record)[1]
        lines.append(record.line)
        bodies.append(body)
        size += len(record.line) + len(body)
        if size >= _BATCH:
            hand_on(last=False)
            lines, bodies, size = [], [], 0
    hand_on(last=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdout.buffer)

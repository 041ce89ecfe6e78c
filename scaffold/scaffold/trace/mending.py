"""What a crash left half written is cut off, so that a run's files end in whole lines that belong together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scaffold.trace.heads import without_torn_note
from scaffold.trace.parts import CONTENT, seq_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPINE, HEADS = "trace.jsonl", "heads"
CUT = f"{SPINE}.cut"
_BLOCK = 65_536
_HAS_CONTENT = b',"content":"'
# What is stored without waiting for the disk, or may have been on its way there: it can be done or asked again.
_FORGOTTEN = tuple(
    b'{"kind":"' + kind
    for kind in (
        *(b"step.", b"plan.", b"reviewed", b"noted", b"released", b"profile.corrected"),
        *(b"action.proposed", b"action.previewed", b"action.cleared", b"action.refused", b"action.outcome"),
    )
)
_INTENT, _READ = b'{"kind":"action.intent"', b',"effect":"read"'


def mend(folder: Path, spine: int, content: int, aside: int) -> str:
    """Cut off what a crash left half written; say what was cut.

    Args:
        folder: the run's.
        spine: the spine, opened to be read and cut.
        content: the part of the content that is being written, likewise.
        aside: the event up to which content is in full parts, which are whole.

    Raises:
        OSError: it cannot be read, or not be cut.
    """
    spine_cut = _cut_torn_line(spine)
    last = last_seq(spine)
    content_cut = _cut_torn_line(content)
    while (seq := last_seq(content)) > last:
        content_cut += _cut_last_line(content)
        if not seq:
            break
    bare = _cut_bare_events(folder, spine, last_seq(content) or aside)
    cuts = ((spine_cut, SPINE), (content_cut, CONTENT), (_mend_heads(folder), HEADS))
    said = [f"{cut} bytes of a torn line in {name}" for cut, name in cuts if cut]
    said += [f"{bare} events whose content never reached the disk (kept in {CUT})"] if bare else []
    return "cut off " + " and ".join(said) if said else ""


def _cut_bare_events(folder: Path, spine: int, kept: int) -> int:
    """Cut off what has lost its content at the end of the trace: a loss of power kept one file and not the other.

    That can be so only of what nobody has waited for, since what is durable has all content before it on disk too.
    Where anything durable follows, somebody took the content away, and whoever goes on has to find that.
    """
    size = os.fstat(spine).st_size
    cut, bare, firm = size, 0, False
    for number, (place, line) in enumerate(_lines_from_the_end(spine), start=1):
        if seq_of(line) <= kept:
            break
        firm = firm or not (line.startswith(_FORGOTTEN) or (line.startswith(_INTENT) and _READ in line))
        if _HAS_CONTENT in line:
            if firm:
                return 0
            cut, bare = place, number
    if bare:
        beside = os.open(folder / CUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(beside, "ab") as file:
            file.write(os.pread(spine, size - cut, cut))
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(spine, cut)
    return bare


def _mend_heads(folder: Path) -> int:
    """Cut off a signed head that was being written; what is signed again then stands on a line of its own."""
    path = folder / HEADS
    if not path.is_file():
        return 0
    heads = path.read_bytes()
    whole = without_torn_note(heads)
    torn = len(heads.rstrip(b"\n")) - len(whole.rstrip(b"\n"))
    if torn:
        path.write_bytes(whole + b"\n" if whole else b"")
    return torn


def _lines_from_the_end(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their newlines and where they begin, the last one first."""
    start = os.fstat(descriptor).st_size
    tail = b""
    while start:
        step = min(_BLOCK, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
        whole = tail.find(b"\n", 0, -1) + 1 if start else 0  # what comes before may have begun in the block before
        if start and not whole:
            continue
        end = start + len(tail)
        for line in reversed(_lines(tail[whole:])):
            end -= len(line)
            yield end, line
        tail = tail[:whole]


def _lines(block: bytes) -> list[bytes]:
    """Lines with their newlines; `splitlines` would split at others too."""
    *whole, rest = block.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def _last_line(descriptor: int) -> bytes:
    """The last line, with its newline if it has one; empty when there is none."""
    return next(_lines_from_the_end(descriptor), (0, b""))[1]


def last_seq(descriptor: int) -> int:
    """Number of a file's last line; 0 when there is none."""
    return seq_of(_last_line(descriptor))


def _cut_last_line(descriptor: int) -> int:
    length = len(_last_line(descriptor))
    os.ftruncate(descriptor, os.fstat(descriptor).st_size - length)
    return length


def _cut_torn_line(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return 0
    return _cut_last_line(descriptor)

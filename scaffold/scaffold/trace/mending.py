"""Repairs a run's files after a crash: cuts off what was half written, so that both end in matching lines."""

from __future__ import annotations

import errno
import os
from itertools import islice
from typing import TYPE_CHECKING

from scaffold.trace.chain import continues
from scaffold.trace.heads import without_torn_note
from scaffold.trace.parts import CONTENT, seq_of
from scaffold.trace.parts import LONGEST as LONGEST_CONTENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST = 64 << 20  # bytes of a spine line: far more than any event needs
SPINE, HEADS = "trace.jsonl", "heads"
CUT = f"{SPINE}.cut"
_BLOCK = 65_536
_HAS_CONTENT = b',"content":"'
# Events stored without waiting for the disk, or still on their way to it: these can be done or asked again.
_FORGOTTEN = tuple(
    b'{"kind":"' + kind
    for kind in (
        *(b"step.", b"plan.", b"reviewed", b"noted", b"released", b"profile.corrected"),
        *(b"action.proposed", b"action.previewed", b"action.cleared", b"action.refused", b"action.withdrawn"),
        b"action.outcome",
    )
)
_INTENT, _READ = b'{"kind":"action.intent"', b',"effect":"read"'


def mend(folder: Path, spine: int, content: int, aside: int) -> str:
    """Cut off what a crash left half written; say what was cut.

    A spine whose last line was altered says nothing about what belongs to it: then no content is cut, and whoever reads
    the run finds the damage.

    Args:
        folder: the run's folder.
        spine: the spine's descriptor, open for reading and cutting.
        content: the descriptor of the content part being written, likewise.
        aside: number of the event up to which content is in full parts, which are complete.

    Raises:
        OSError: a file cannot be read or cut.
    """
    spine_cut = _cut_torn_line(spine)
    if not _ends_unaltered(spine):
        return f"cut off {spine_cut} bytes of an incomplete line in {SPINE}" if spine_cut else ""
    last = last_seq(spine)
    content_cut = _cut_torn_line(content)
    while (seq := last_seq(content)) > last:
        content_cut += _cut_last_line(content)
        if not seq:
            break
    bare = _cut_bare_events(folder, spine, last_seq(content) or aside)
    cuts = ((spine_cut, SPINE), (content_cut, CONTENT), (_mend_heads(folder), HEADS))
    said = [f"{cut} bytes of an incomplete line in {name}" for cut, name in cuts if cut]
    said += [f"{bare} events whose content never reached the disk (kept in {CUT})"] if bare else []
    return "cut off " + " and ".join(said) if said else ""


def _ends_unaltered(spine: int) -> bool:
    """Whether the last line is as it was sealed after the one before it; so is a spine without lines."""
    ends = [line[:-1] for _, line in islice(_lines_from_the_end(spine), 2)]
    return not ends or continues(ends[0], b"".join(ends[1:]))


def _cut_bare_events(folder: Path, spine: int, kept: int) -> int:
    """Cut off events at the end that lost their content: a power failure kept one file and not the other.

    This can happen only to events that nobody waited for, since all content before a durable event is on disk too. If a
    durable event follows, somebody removed the content, and whoever resumes must notice.
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
        beside = os.open(folder / CUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(beside, "ab") as file:
            file.write(os.pread(spine, size - cut, cut))
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(spine, cut)
    return bare


def _mend_heads(folder: Path) -> int:
    """Cut off a signed head that was being written, so that the next one starts on its own line."""
    path = folder / HEADS
    if path.is_symlink() or not path.is_file():
        return 0
    heads = path.read_bytes()
    whole = without_torn_note(heads)
    torn = len(heads.rstrip(b"\n")) - len(whole.rstrip(b"\n"))
    if torn:
        path.write_bytes(whole + b"\n" if whole else b"")
    return torn


def _lines_from_the_end(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their newlines and offsets, the last one first.

    Raises:
        OSError: a line is longer than content may be.
    """
    start = os.fstat(descriptor).st_size
    tail = b""
    while start:
        step = min(max(_BLOCK, len(tail)), start)  # in time linear in a line's length
        start -= step
        tail = os.pread(descriptor, step, start) + tail
        whole = tail.find(b"\n", 0, -1) + 1 if start else 0  # the first line may begin in an earlier block
        if start and not whole:
            if len(tail) > LONGEST_CONTENT:
                raise OSError(errno.EFBIG, "a line has no end")
            continue
        end = start + len(tail)
        for line in reversed(_lines(tail[whole:])):
            end -= len(line)
            yield end, line
        tail = tail[:whole]


def _lines(block: bytes) -> list[bytes]:
    """Split into lines with their newlines; `splitlines` would also split at other characters."""
    *whole, rest = block.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def _last_line(descriptor: int) -> bytes:
    """Return the last line, with its newline if it has one; empty if there is none."""
    return next(_lines_from_the_end(descriptor), (0, b""))[1]


def last_seq(descriptor: int) -> int:
    """Return the number of a file's last line; 0 if there is none."""
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

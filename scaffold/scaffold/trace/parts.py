"""A run's content as files: the part being written, and earlier, full parts, compressed.

    content.jsonl                       being written
    content.000000026214.jsonl.gz       full, up to that event; without `.gz` until it is compressed

A part is set aside when all of it, and of the spine that belongs to it, is on disk. A process that dies while
compressing leaves both forms; then the plain one counts.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import zlib
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from scaffold.errors import JournalFailed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

CONTENT = "content.jsonl"
PART_BYTES = 8 << 20
LONGEST = 1 << 30  # bytes of a line, as much as PostgreSQL keeps in a value
_GZ = ".gz"
_DIGITS = 12
_LEVEL = 6
_BUFFER = 1 << 16
_TRAILER = 4  # bytes at the end of a gzip file that give the length of its text (RFC 1952)


def parts_of(folder: Path) -> list[Path]:
    """Return the full parts of a run's content, oldest first, each in the form that counts."""
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder), reverse=True):  # noqa: PTH208 - only names are needed
        if number := _number(name):
            found[number] = name  # the plain one comes last and wins
    return [folder / found[number] for number in sorted(found)]


def _number(name: str) -> str:
    """Return the number in a full part's name; empty if it is not a full part."""
    first, _, rest = name.partition(".")
    number, _, kind = rest.partition(".")
    is_part = first == "content" and len(number) == _DIGITS and number.isdecimal() and kind in {"jsonl", "jsonl.gz"}
    return number if is_part else ""


def is_plain(part: Path) -> bool:
    """Whether a full part is not compressed yet."""
    return part.suffix != _GZ


def until(full: Sequence[Path]) -> int:
    """Return the number of the event up to which content is in full parts; 0 if there are none."""
    return int(full[-1].name.split(".")[1]) if full else 0


def set_aside(folder: Path, last: int) -> None:
    """Make what was written up to an event a full part.

    Raises:
        OSError: it cannot be renamed; nothing changed.
    """
    (folder / CONTENT).rename(folder / f"content.{last:012}.jsonl")


def compress_parts(folder: Path) -> int:
    """Compress the full parts that are still plain; return the bytes saved.

    Raises:
        JournalFailed: one cannot be written; it stays as it was.
    """
    return sum(_compress(part) for part in parts_of(folder) if is_plain(part))


def remove_leftovers(folder: Path) -> None:
    """Remove what a dead process left: drafts, and compressed forms whose plain form counts."""
    for draft in folder.glob("content.*.draft"):
        draft.unlink(missing_ok=True)
    for part in parts_of(folder):
        if is_plain(part):
            part.with_name(part.name + _GZ).unlink(missing_ok=True)


def new_draft(path: Path) -> BinaryIO:
    """Open a file to be written from nothing; what was left in its place, even a link to another file, is removed."""
    path.unlink(missing_ok=True)
    file = path.open("xb")
    os.fchmod(file.fileno(), 0o600)
    return file


def _compress(part: Path) -> int:
    import gzip  # most runs have no full part
    import shutil

    packed = part.with_name(part.name + _GZ)
    draft = part.with_name(f"{packed.name}.draft")
    try:
        with part.open("rb") as plain, new_draft(draft) as file:
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_LEVEL, mtime=0) as text:
                shutil.copyfileobj(plain, text, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        saved = part.stat().st_size - draft.stat().st_size
        draft.replace(packed)
        part.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise JournalFailed(f"cannot compress {part}: {error.strerror}") from error
    return saved


def open_part(path: Path) -> BinaryIO:
    """Open one part, compressed or not; a full one may have been compressed since it was listed.

    Raises:
        OSError: it cannot be opened, or is no regular file: a pipe would never end.
    """
    if path.suffix != _GZ:
        try:
            _check_regular(path)
            return path.open("rb")
        except FileNotFoundError:
            if not _number(path.name):
                raise
            path = path.with_name(path.name + _GZ)
    import gzip

    _check_regular(path)

    # GzipFile splits lines in Python; a BufferedReader does so in C, in half the time.
    return io.BufferedReader(cast("io.RawIOBase", gzip.open(path, "rb")), _BUFFER)


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def content_lines(folder: Path, at: int = 0) -> Generator[bytes]:
    """Yield the lines of a run's content from an offset on, with their newlines; none if it is withheld.

    Args:
        folder: the run's folder.
        at: offset in bytes of the start of a line, as if all parts were one uncompressed file.

    Raises:
        JournalFailed: a compressed part is damaged.
    """
    full, newest = _standing(folder)
    try:
        for part in full:
            size = _size(part) if at else 0
            if at and at >= size:
                at -= size
                continue
            with open_part(part) as file:
                file.seek(at)
                at = 0
                yield from lines_of(file)
        if newest is not None:
            newest.seek(at)
            yield from lines_of(newest)
    except (EOFError, zlib.error, OSError) as error:
        raise JournalFailed(f"the content of run {folder.name} cannot be read: {error}") from error
    finally:
        if newest is not None:
            newest.close()


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a part, with their newlines.

    Raises:
        OSError: it cannot be read, or a line is longer than content may be.
    """
    for line in iter(partial(file.readline, LONGEST), b""):
        if len(line) == LONGEST:
            raise OSError(errno.EFBIG, f"it has a line of more than {LONGEST >> 20} MB")
        yield line


def seq_of(line: bytes) -> int:
    """Return the number of a spine or content line; 0 if it is neither."""
    start = line.find(b'"seq":')
    digits = line[start + 6 : start + 26].split(b",", 1)[0] if start >= 0 else b""
    return int(digits) if digits.isdigit() else 0


def _standing(folder: Path) -> tuple[list[Path], BinaryIO | None]:
    """Return the full parts and the opened newest one, from one moment: it may be set aside meanwhile."""
    while True:
        newest: BinaryIO | None = None
        with contextlib.suppress(FileNotFoundError):
            newest = open_part(folder / CONTENT)
        full = parts_of(folder)
        try:
            now = (folder / CONTENT).stat().st_ino
        except FileNotFoundError:
            now = 0
        if now == (0 if newest is None else os.fstat(newest.fileno()).st_ino):
            return full, newest
        if newest is not None:
            newest.close()


def _size(part: Path) -> int:
    """Return the uncompressed length of a part, in bytes."""
    with contextlib.suppress(FileNotFoundError):
        if part.suffix != _GZ:
            return part.stat().st_size
    packed = part if part.suffix == _GZ else part.with_name(part.name + _GZ)
    with packed.open("rb") as file:
        file.seek(max(0, packed.stat().st_size - _TRAILER))
        return int.from_bytes(file.read(_TRAILER), "little")

"""The content of a run as files: the part being written, and before it those that are full, compressed.

    content.jsonl                       what is written now
    content.000000026214.jsonl.gz       full, up to that event; without `.gz` until it is compressed

A part is set aside at a moment when all of it, and of the spine that belongs to it, is on disk. A process that dies
while it compresses one leaves both forms, of which the plain one counts.
"""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from scaffold.errors import JournalFailed

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

CONTENT = "content.jsonl"
PART_BYTES = 8 << 20
_GZ = ".gz"
_DIGITS = 12
_LEVEL = 6
_BUFFER = 1 << 16
_TRAILER = 4  # bytes at the end of a gzip file that say how long its text is (RFC 1952)


def parts_of(folder: Path) -> list[Path]:
    """The full parts of a run's content, oldest first, each in the form that counts."""
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder), reverse=True):  # noqa: PTH208 - names are all there is to look at
        if number := _number(name):
            found[number] = name  # the plain one comes last, and stays
    return [folder / found[number] for number in sorted(found)]


def _number(name: str) -> str:
    """The number in the name of a full part; empty when it is none's."""
    first, _, rest = name.partition(".")
    number, _, kind = rest.partition(".")
    is_part = first == "content" and len(number) == _DIGITS and number.isdecimal() and kind in {"jsonl", "jsonl.gz"}
    return number if is_part else ""


def is_plain(part: Path) -> bool:
    """Whether a full part is not compressed yet."""
    return part.suffix != _GZ


def until(full: Sequence[Path]) -> int:
    """The number of the event up to which content is in full parts; 0 when there are none."""
    return int(full[-1].name.split(".")[1]) if full else 0


def set_aside(folder: Path, last: int) -> None:
    """Make what was written until some event a full part.

    Raises:
        OSError: it cannot be renamed; all is as it was.
    """
    (folder / CONTENT).rename(folder / f"content.{last:012}.jsonl")


def compress_parts(folder: Path) -> int:
    """Compress the full parts that are not yet; gives how many bytes that saves.

    Raises:
        JournalFailed: one cannot be written; it is as it was.
    """
    return sum(_compress(part) for part in parts_of(folder) if is_plain(part))


def remove_leftovers(folder: Path) -> None:
    """Remove what a process left that died on its way: drafts, and compressed forms whose plain one counts."""
    for draft in folder.glob("content.*.draft"):
        draft.unlink(missing_ok=True)
    for part in parts_of(folder):
        if is_plain(part):
            part.with_name(part.name + _GZ).unlink(missing_ok=True)


def _compress(part: Path) -> int:
    import gzip  # most runs have no full part
    import shutil

    packed = part.with_name(part.name + _GZ)
    draft = part.with_name(f"{packed.name}.draft")
    try:
        with part.open("rb") as plain, draft.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
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
    """Open one part, compressed or not; a full one may have been compressed since it was listed."""
    if path.suffix != _GZ:
        try:
            return path.open("rb")
        except FileNotFoundError:
            if not _number(path.name):
                raise
            path = path.with_name(path.name + _GZ)
    import gzip

    # Lines of what is compressed are found in Python; of what is buffered, in C, which takes half the time.
    return io.BufferedReader(cast("io.RawIOBase", gzip.open(path, "rb")), _BUFFER)


def content_lines(folder: Path, at: int = 0) -> Generator[bytes]:
    """Give the lines of a run's content from some place on, with their newlines; none where it is withheld.

    Args:
        folder: the run's.
        at: a place at which a line begins, in bytes, as if no part were compressed and all were one file.

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
                yield from file
        if newest is not None:
            newest.seek(at)
            yield from newest
    except (EOFError, zlib.error, OSError) as error:
        raise JournalFailed(f"the content of run {folder.name} cannot be read: {error}") from error
    finally:
        if newest is not None:
            newest.close()


def seq_of(line: bytes) -> int:
    """Number of a spine or content line; 0 when it is neither."""
    start = line.find(b'"seq":')
    digits = line[start + 6 : start + 26].split(b",", 1)[0] if start >= 0 else b""
    return int(digits) if digits.isdigit() else 0


def _standing(folder: Path) -> tuple[list[Path], BinaryIO | None]:
    """The full parts, and the newest one opened, as they were at one moment: it may be set aside meanwhile."""
    while True:
        newest: BinaryIO | None = None
        with contextlib.suppress(FileNotFoundError):
            newest = (folder / CONTENT).open("rb")
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
    """How long a part is when it is not compressed, in bytes."""
    with contextlib.suppress(FileNotFoundError):
        if part.suffix != _GZ:
            return part.stat().st_size
    packed = part if part.suffix == _GZ else part.with_name(part.name + _GZ)
    with packed.open("rb") as file:
        file.seek(max(0, packed.stat().st_size - _TRAILER))
        return int.from_bytes(file.read(_TRAILER), "little")

"""Pruning: removes whole runs, all content of runs, or only content that mentions somebody.

The spine of a pruned run stays and still verifies: it holds facts and salted digests, which do not reveal content. The
remaining content is written to a new file that replaces the old one, so that a crash leaves one or the other.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast
from unicodedata import normalize

import msgspec

from scaffold.errors import BadInput, JournalFailed
from scaffold.trace.chain import Sealed, read_content
from scaffold.trace.elsewhere import INDEX
from scaffold.trace.files import CONTENT, INBOX, SPINE
from scaffold.trace.folders import held_error, last_event, lock
from scaffold.trace.parts import is_plain, lines_of, new_draft, open_part, parts_of, remove_leftovers
from scaffold.trace.sealing import NotOpened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scaffold.interfaces import KeptRuns
    from scaffold.vocabulary import events as ev

_QUOTED = 3  # JSON within JSON, to this depth


class Pruned(msgspec.Struct, kw_only=True):
    """What was removed from one run, or would be.

    Attributes:
        contents: number of events whose content is removed.
        answers: number of removed answers in its inbox.
        gone: the whole run is removed.
        bytes: number of bytes freed.
        passed_over: why nothing was done.
    """

    run: str
    contents: int = 0
    answers: int = 0
    gone: bool = False
    bytes: int = 0
    passed_over: str = ""


class Pruning(Protocol):
    """Removes data from one place; with `dry` it only says what would be removed.

    All methods may raise RunHeld, if a process writes the run, and JournalFailed.
    """

    def last(self, run: str) -> ev.Event | None:
        """Return a run's last event; None if it cannot be read."""
        ...

    def whole(self, run: str, *, dry: bool) -> Pruned:
        """Remove a whole run."""
        ...

    def content(self, run: str, *, dry: bool) -> Pruned:
        """Remove all content of a run, and what people said to it."""
        ...

    def mentions(self, run: str, words: Sequence[str], *, dry: bool) -> Pruned:
        """Remove every content and every answer that contains one of some words, ignoring case.

        Raises:
            BadInput: content is encrypted, and there is no key to read it.
        """
        ...


class FilePruning:
    """Prunes the runs of a folder."""

    def __init__(self, journal: KeptRuns) -> None:
        self._journal = journal

    def last(self, run: str) -> ev.Event | None:
        """Return the last event in its spine."""
        return last_event(self._journal.folder(run))

    def whole(self, run: str, *, dry: bool) -> Pruned:
        """Remove its folder."""
        return prune_run(self._journal.folder(run), dry=dry)

    def content(self, run: str, *, dry: bool) -> Pruned:
        """Remove its content and inbox, and those of its reviews."""
        return prune_content(self._journal.folder(run), dry=dry)

    def mentions(self, run: str, words: Sequence[str], *, dry: bool) -> Pruned:
        """Remove the lines and answers that contain them, also in its reviews."""
        return prune_mentions(self._journal.folder(run), words, dry=dry)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's lock, so that nobody writes it meanwhile.

    Raises:
        RunHeld: another process holds it.
        JournalFailed: files cannot be locked there.
    """
    with (folder / SPINE).open("rb") as spine:
        try:
            lock(spine.fileno(), folder / SPINE)
        except BlockingIOError:
            raise held_error(folder) from None
        yield


def prune_run(folder: Path, *, dry: bool = False) -> Pruned:
    """Remove a whole run."""
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    if not dry:
        with held(folder):
            shutil.rmtree(folder)
        _forget_index(folder)
    return Pruned(run=folder.name, gone=True, bytes=size)


def prune_content(folder: Path, *, dry: bool = False) -> Pruned:
    """Remove all content of a run and of its reviews, and what people said to it."""
    return _prune(folder, lambda _: False, lambda _: False, dry=dry)


def prune_mentions(folder: Path, words: Sequence[str], *, dry: bool = False) -> Pruned:
    """Remove every content and every answer that contains one of some words, ignoring case.

    Raises:
        BadInput: content is encrypted, and there is no key to read it.
    """
    wanted = spellings(words)
    return _prune(
        folder,
        lambda line: not holds(line, wanted, folder.name),
        lambda raw: not tells_of(raw, raw, wanted),
        dry=dry,
    )


def spellings(words: Sequence[str]) -> list[str]:
    """Return how words may stand in content, folded: as they are, or as JSON within a text writes them.

    A text in JSON may itself be quoted in JSON, as a tool's result is in a later prompt.
    """
    forms = dict.fromkeys(words)
    for _ in range(_QUOTED):
        written = [json.dumps(each, ensure_ascii=ascii_only)[1:-1] for each in forms for ascii_only in (False, True)]
        forms |= dict.fromkeys(written)
    return list(dict.fromkeys(map(folded, forms)))


def folded(text: str) -> str:
    """Return a text in one case and one normal form."""
    return normalize("NFC", text).casefold()


def holds(line: bytes, wanted: Sequence[str], run: str) -> bool:
    """Whether a content line contains one of some words, in any text, name or number.

    Raises:
        BadInput: it is encrypted, and no key opens it.
    """
    try:
        body = read_content(line).body
    except Sealed:
        said = f"the content of run {run} is encrypted: set SCAFFOLD_CONTENT_KEY to read it"
        raise BadInput(said) from None
    except NotOpened as error:
        raise BadInput(f"content of run {run} {error}") from None
    except ValueError:
        body = b""
    return tells_of(body, line, wanted)


def tells_of(body: bytes, line: bytes, wanted: Sequence[str]) -> bool:
    """Whether some JSON contains one of some words; if it is damaged, whether the line that it stands in does."""
    try:
        return mentions(msgspec.json.decode(body), wanted)
    except (ValueError, RecursionError):  # which verification reports; what it says goes all the same
        return mentions(line.decode(errors="replace"), wanted)


def mentions(value: object, wanted: Sequence[str]) -> bool:
    """Whether a JSON value contains one of some words, which are spelled as `spellings` does."""
    match value:
        case str():
            said = folded(value)
            return any(each in said for each in wanted)
        case dict():
            return any(mentions(each, wanted) for pair in value.items() for each in pair)
        case list():
            return any(mentions(each, wanted) for each in value)
        case int() | float() if not isinstance(value, bool):
            return mentions(str(value), wanted)
        case _:
            return False


def _prune(folder: Path, keeps: Callable[[bytes], bool], keeps_answer: Callable[[bytes], bool], *, dry: bool) -> Pruned:
    pruned = Pruned(run=folder.name)
    if dry:
        _prune_held(folder, keeps, keeps_answer, pruned, dry=True)
        return pruned
    with held(folder):
        _prune_held(folder, keeps, keeps_answer, pruned, dry=False)
    return pruned


def _reviews(folder: Path) -> list[Path]:
    """Return the reviews in a run's folder: runs themselves, which quote it. A link leads to another run's."""
    found = (each.parent for each in folder.glob(f"*/*/{SPINE}"))
    return sorted(each for each in found if not each.is_symlink() and not each.parent.is_symlink())


def _prune_held(
    folder: Path, keeps: Callable[[bytes], bool], keeps_answer: Callable[[bytes], bool], pruned: Pruned, *, dry: bool
) -> None:
    if not dry:
        remove_leftovers(folder)
    newest = folder / CONTENT
    for path in [*parts_of(folder), *([newest] if newest.exists() else [])]:
        _prune_file(path, keeps, pruned, dry=dry)
    for answer in sorted((folder / INBOX).iterdir()) if (folder / INBOX).is_dir() else ():  # drafts of the dead too
        if answer.is_file() and not keeps_answer(answer.read_bytes()):
            pruned.answers += 1
            if not dry:
                answer.unlink()
    for review in _reviews(folder):
        inner = _prune(review, keeps, keeps_answer, dry=dry)
        pruned.contents += inner.contents
        pruned.bytes += inner.bytes
    if pruned.contents and not dry:
        _forget_index(folder)


def _forget_index(folder: Path) -> None:
    """Remove the index of runs, which holds their arguments; it is made anew from what is left."""
    (folder.parent / INDEX).unlink(missing_ok=True)


def _prune_file(path: Path, keeps: Callable[[bytes], bool], pruned: Pruned, *, dry: bool) -> None:
    """Replace a file by one with only the lines to keep; remove it if there are none."""
    draft = path.with_name(f"{path.name}.draft")
    before, found, left = path.stat().st_size, 0, 0
    try:
        with open_part(path) as lines, _opened(draft, dry=dry) as file:
            with _written(file, path) as writer:
                for line in lines_of(lines):
                    if line.endswith(b"\n") and keeps(line[:-1]):
                        writer.write(line)
                        left += 1
                    else:
                        found += 1
            pruned.contents += found
            pruned.bytes += before - (file.tell() if left else 0) if found else 0
        if not dry and found:
            draft.replace(path) if left else path.unlink()
        draft.unlink(missing_ok=True)
    except (OSError, EOFError, zlib.error) as error:  # or damaged compressed data
        draft.unlink(missing_ok=True)
        said = (isinstance(error, OSError) and error.strerror) or error
        raise JournalFailed(f"cannot prune {path}: {said}") from error
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


class _Measured(io.RawIOBase):
    """A file that keeps of what is written only how much it is."""

    _size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size


@contextmanager
def _opened(draft: Path, *, dry: bool) -> Iterator[BinaryIO]:
    if dry:
        yield cast("BinaryIO", _Measured())
        return
    with new_draft(draft) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _written(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Write a file in the form that `path` has."""
    if is_plain(path):
        yield file
        return
    import gzip

    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        yield cast("BinaryIO", packed)

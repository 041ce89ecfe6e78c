"""What is kept no longer: whole runs, all content of runs, or only what mentions somebody.

The spine of what is pruned stays, and verifies: it holds facts and salted digests, from which no content can be told.
What is left is written beside the old file and put in its place, so that a process that dies leaves one or the other.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import msgspec

from scaffold.errors import BadInput, JournalFailed
from scaffold.trace.chain import Sealed, read_content
from scaffold.trace.elsewhere import INDEX
from scaffold.trace.files import CONTENT, INBOX, SPINE
from scaffold.trace.folders import held_error, last_event, lock
from scaffold.trace.parts import is_plain, open_part, parts_of, remove_leftovers
from scaffold.trace.sealing import NotOpened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scaffold.interfaces import KeptRuns
    from scaffold.vocabulary import events as ev


class Pruned(msgspec.Struct, kw_only=True):
    """What was taken out of one run, or would be.

    Attributes:
        contents: of so many events the content is gone.
        answers: so many answers in its inbox are.
        gone: the whole run is.
        bytes: so many are freed.
        passed_over: why nothing was done.
    """

    run: str
    contents: int = 0
    answers: int = 0
    gone: bool = False
    bytes: int = 0
    passed_over: str = ""


class Pruning(Protocol):
    """Takes out of one place what is kept no longer; with `dry` it only says what would go.

    All may raise RunHeld, when somebody writes the run, and JournalFailed.
    """

    def last(self, run: str) -> ev.Event | None:
        """A run's last event; None when it cannot be read."""
        ...

    def whole(self, run: str, *, dry: bool) -> Pruned:
        """Remove a whole run."""
        ...

    def content(self, run: str, *, dry: bool) -> Pruned:
        """Remove all content of a run, and what people said to it."""
        ...

    def mentions(self, run: str, words: Sequence[str], *, dry: bool) -> Pruned:
        """Remove each content, and each answer, that holds one of some words, whatever their case.

        Raises:
            BadInput: content is encrypted, and there is no key to look into it with.
        """
        ...


def pruning_of(journal: KeptRuns) -> Pruning:
    """What prunes the runs of a journal."""
    from scaffold.trace.files import FileJournal

    if isinstance(journal, FileJournal):
        return FilePruning(journal)
    from scaffold.trace.postgres import PostgresJournal
    from scaffold.trace.postgres.pruning import PostgresPruning

    assert isinstance(journal, PostgresJournal)  # noqa: S101 - there is no third kind
    return PostgresPruning(journal.archive)


class FilePruning:
    """Prunes the runs of a folder."""

    def __init__(self, journal: KeptRuns) -> None:
        self._journal = journal

    def last(self, run: str) -> ev.Event | None:
        """As its spine has it."""
        return last_event(self._journal.folder(run))

    def whole(self, run: str, *, dry: bool) -> Pruned:
        """Remove its folder."""
        return prune_run(self._journal.folder(run), dry=dry)

    def content(self, run: str, *, dry: bool) -> Pruned:
        """Remove its content, its reviews' and its inbox's."""
        return prune_content(self._journal.folder(run), dry=dry)

    def mentions(self, run: str, words: Sequence[str], *, dry: bool) -> Pruned:
        """Remove the lines and the answers that hold them, in its reviews too."""
        return prune_mentions(self._journal.folder(run), words, dry=dry)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's lock, so that nobody writes it meanwhile.

    Raises:
        RunHeld: somebody does.
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
    return Pruned(run=folder.name, gone=True, bytes=size)


def prune_content(folder: Path, *, dry: bool = False) -> Pruned:
    """Remove all content of a run and of its reviews, and what people said to it."""
    return _prune(folder, lambda _: False, lambda _: False, dry=dry)


def prune_mentions(folder: Path, words: Sequence[str], *, dry: bool = False) -> Pruned:
    """Remove each content, and each answer, that holds one of some words, whatever their case.

    Raises:
        BadInput: content is encrypted, and there is no key to look into it with.
    """
    wanted = [each.casefold() for each in words]
    return _prune(
        folder,
        lambda line: not holds(line, wanted, folder.name),
        lambda raw: not mentions(raw.decode(errors="replace"), wanted),
        dry=dry,
    )


def holds(line: bytes, wanted: Sequence[str], run: str) -> bool:
    """Whether a content line holds one of some casefolded words, in any of its texts or names.

    Raises:
        BadInput: it is encrypted, and there is no key that opens it.
    """
    try:
        body = msgspec.json.decode(read_content(line).body)
    except Sealed:
        said = f"the content of run {run} is encrypted: set SCAFFOLD_CONTENT_KEY to look into it"
        raise BadInput(said) from None
    except NotOpened as error:
        raise BadInput(f"content of run {run} {error}") from None
    except ValueError:
        return False  # damaged: for verification to say
    return mentions(body, wanted)


def mentions(value: object, wanted: Sequence[str]) -> bool:
    """Whether a JSON value holds one of some casefolded words."""
    match value:
        case str():
            said = value.casefold()
            return any(each in said for each in wanted)
        case dict():
            return any(mentions(each, wanted) for pair in value.items() for each in pair)
        case list():
            return any(mentions(each, wanted) for each in value)
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
    """Reviews of a run that stand in its folder: runs themselves, which quote it."""
    return sorted(each.parent for each in folder.glob(f"*/*/{SPINE}"))


def _prune_held(
    folder: Path, keeps: Callable[[bytes], bool], keeps_answer: Callable[[bytes], bool], pruned: Pruned, *, dry: bool
) -> None:
    if not dry:
        remove_leftovers(folder)
    newest = folder / CONTENT
    for path in [*parts_of(folder), *([newest] if newest.exists() else [])]:
        _prune_file(path, keeps, pruned, dry=dry)
    for answer in sorted((folder / INBOX).glob("*.json")) if (folder / INBOX).is_dir() else ():
        if not keeps_answer(answer.read_bytes()):
            pruned.answers += 1
            if not dry:
                answer.unlink()
    for review in _reviews(folder):
        inner = _prune(review, keeps, keeps_answer, dry=dry)
        pruned.contents += inner.contents
        pruned.bytes += inner.bytes
    if pruned.contents and not dry:
        # It holds arguments, and is made again from what is left.
        (folder.parent / INDEX).unlink(missing_ok=True)


def _prune_file(path: Path, keeps: Callable[[bytes], bool], pruned: Pruned, *, dry: bool) -> None:
    """Write the lines that are kept to a file that takes the old one's place; without any, there is none."""
    draft = path.with_name(f"{path.name}.draft")
    before, found, left = path.stat().st_size, 0, 0
    try:
        with open_part(path) as lines, _opened(draft, path, dry=dry) as file:
            for line in lines:
                if line.endswith(b"\n") and keeps(line[:-1]):
                    file.write(line)
                    left += 1
                else:
                    found += 1
        pruned.contents += found
        if dry or not found:
            draft.unlink(missing_ok=True)
        elif left:
            pruned.bytes += before - draft.stat().st_size
            draft.replace(path)
        else:
            pruned.bytes += before
            path.unlink()
            draft.unlink()
    except (OSError, EOFError, zlib.error) as error:  # or what is compressed is damaged
        draft.unlink(missing_ok=True)
        said = (isinstance(error, OSError) and error.strerror) or error
        raise JournalFailed(f"cannot prune {path}: {said}") from error
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def _opened(draft: Path, path: Path, *, dry: bool) -> Iterator[BinaryIO]:
    with open(os.devnull if dry else draft, "wb") as file:  # noqa: PTH123 - a device, perhaps
        if not dry:
            os.fchmod(file.fileno(), 0o600)
        if not is_plain(path):
            import gzip

            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                yield cast("BinaryIO", packed)
        else:
            yield file
        file.flush()
        if not dry:
            os.fsync(file.fileno())

"""The content of runs that have ended, compressed: nothing is added to it any more.

The spine stays as it is. Every list of runs, every lock and every look for what waits reads its first and last line,
and what it holds (digests) hardly shrinks. A process that dies on the way leaves both forms, of which readers take the
plain one.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from typing import TYPE_CHECKING

from scaffold.errors import JournalFailed
from scaffold.trace.files import CONTENT, PACKED
from scaffold.trace.folders import last_event
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from pathlib import Path

_LEVEL = 6


def pack_if_ended(folder: Path) -> int:
    """Compress the content of a run that has ended; gives how many bytes that saves. Whoever asks holds the run's lock.

    Raises:
        JournalFailed: it cannot be written; the run is as it was.
    """
    if not isinstance(last_event(folder), ev.Ended) or not (folder / CONTENT).exists():
        return 0
    draft = folder / f"{PACKED}.draft"
    try:
        with (folder / CONTENT).open("rb") as plain, draft.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_LEVEL, mtime=0) as packed:
                shutil.copyfileobj(plain, packed, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        saved = (folder / CONTENT).stat().st_size - draft.stat().st_size
        draft.replace(folder / PACKED)
        (folder / CONTENT).unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise JournalFailed(f"cannot compress {folder / CONTENT}: {error.strerror}") from error
    return saved

"""Compresses the content of runs that have ended, to which nothing is added any more.

The spine stays as it is: every list of runs, every lock and every look for waiting runs reads its first and last line,
and the digests it holds hardly compress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.errors import JournalFailed
from scaffold.trace.folders import last_event
from scaffold.trace.parts import CONTENT, compress_parts, set_aside
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from pathlib import Path


def pack_if_ended(folder: Path) -> int:
    """Compress the content of a run that has ended; return the bytes saved. The caller must hold the run's lock.

    Raises:
        JournalFailed: it cannot be written; the run stays intact.
    """
    last = last_event(folder)
    if not isinstance(last, ev.Ended):
        return 0
    content = folder / CONTENT
    try:
        if content.exists():
            if content.stat().st_size:
                set_aside(folder, last.seq)
            else:
                content.unlink()
    except OSError as error:
        raise JournalFailed(f"cannot compress {content}: {error.strerror}") from error
    return compress_parts(folder)

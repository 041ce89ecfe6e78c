"""Witnesses: keep signed heads outside the run's own folder, so that a rollback is noticed.

Each keeps the note exactly as signed; `scaffold audit verify --against` accepts any of them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scaffold.errors import BadInput
from scaffold.interfaces import Claim
from scaffold.proxies import proxy_of
from scaffold.trace.files import FileJournal
from scaffold.trace.places import is_database

if TYPE_CHECKING:
    from scaffold.interfaces import Journal, Witness

_WEBHOOK_S = 4.0


class StreamWitness:
    """Writes heads to stdout or stderr, for whatever collects a program's output."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._stream = getattr(sys, name)  # as it is now: while a run is on, the command's stdout goes to stderr

    async def keep(self, _run: str, _seq: int, note: str) -> None:
        """Write one, with the blank line that separates it from the next."""
        self._stream.write(note + "\n")
        self._stream.flush()


class FileWitness:
    """Appends heads to a file, durably, before the run goes on; many runs may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def keep(self, _run: str, _seq: int, note: str) -> None:
        """Append one in a single write, so that writers do not mix."""
        await asyncio.to_thread(self._append, (note + "\n").encode())

    def _append(self, note: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # an earlier one was cut off by a full disk
                note = b"\n" + note
            if os.write(descriptor, note) < len(note):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class WebhookWitness:
    """Posts heads to a URL, as text."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def keep(self, run: str, seq: int, note: str) -> None:
        """Post one; any reply but success is an error."""
        import httpx  # slow to import, and most runs do not need it

        named = {"content-type": "text/plain; charset=utf-8", "x-scaffold-run": run, "x-scaffold-seq": str(seq)}
        way = httpx.AsyncHTTPTransport(proxy=proxy_of(self._url))
        async with httpx.AsyncClient(timeout=_WEBHOOK_S, transport=way) as client:
            reply = await client.post(self._url, content=note.encode(), headers=named)
            reply.raise_for_status()


class JournalWitness:
    """Stores heads in another journal, under the run's own name."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def keep(self, run: str, _seq: int, note: str) -> None:
        """Store one."""
        if isinstance(self._journal, FileJournal):
            (self._journal.root / run).mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._journal.sign(Claim(run, "witness"), note)


class DatabaseWitness:
    """Stores heads in a PostgreSQL database with a journal's tables, under the run's own name."""

    def __init__(self, url: str) -> None:
        from scaffold.trace.postgres.archive import Archive  # most heads are stored elsewhere

        self._archive = Archive(url)

    async def keep(self, run: str, _seq: int, note: str) -> None:
        """Store one."""
        await asyncio.to_thread(self._archive.keep_head, run, note)


def witness_of(spec: str) -> Witness:
    """Make the witness that a spec names: `stdout`, `stderr`, a URL, `journal:PLACE`, or a file's path.

    Raises:
        BadInput: it names nothing.
    """
    if not spec:
        raise BadInput("--heads-to is empty: give stdout, stderr, a URL, journal:PLACE or a file")
    if spec in {"stdout", "stderr"}:
        return StreamWitness("stdout" if spec == "stdout" else "stderr")
    if spec.startswith(("http://", "https://")):
        return WebhookWitness(spec)
    if spec.startswith("journal:"):
        place = spec.removeprefix("journal:")
        return DatabaseWitness(place) if is_database(place) else JournalWitness(FileJournal(place))
    path = Path(spec.removeprefix("file:"))
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise BadInput(f"heads cannot be appended to {path}: it is a folder, or its folder does not exist")
    return FileWitness(path)

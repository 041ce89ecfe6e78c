"""The status of runs, from their folders, without reading whole traces."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import JournalFailed, RunHeld
from scaffold.trace.mending import LONGEST, SPINE
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from scaffold.interfaces import Journal, KeptRuns
    from scaffold.vocabulary.events import Event

_BLOCK = 65_536
_locked: dict[int, tuple[int, int]] = {}  # descriptors of what this process has locked, with device and inode
_SEAL = b',"hash":"'


def first_event(folder: Path) -> Event | None:
    """Return a run's first event; None if it cannot be read."""
    with (folder / SPINE).open("rb") as file:
        return event_in(file.readline(LONGEST))


def last_event(folder: Path) -> Event | None:
    """Return a run's last complete event; None if it cannot be read."""
    with (folder / SPINE).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = b""
        # One line break before the last line, and one after it.
        while len(tail) < min(size, LONGEST) and tail.count(b"\n") < 2:  # noqa: PLR2004 - as told above
            start = max(0, size - len(tail) - max(_BLOCK, len(tail)))
            file.seek(start)
            tail = file.read(size - len(tail) - start) + tail
    whole = tail[: tail.rfind(b"\n") + 1]
    return event_in(whole[whole.rfind(b"\n", 0, -1) + 1 :])


def event_in(line: bytes) -> Event | None:
    """Return the event of a line of a spine; None if it cannot be read."""
    body, sealed, _ = line.rpartition(_SEAL)
    try:
        return ev.decode(body + b"}") if sealed else None
    except (msgspec.MsgspecError, RecursionError):
        return None


def is_written(folder: Path) -> bool:
    """Whether a process holds the run's lock, without trying the lock, which could get in that process's way.

    Where the system does not tell (other than Linux), the answer is False.
    """
    return _lock_of(folder) is not None


def lock(descriptor: int, path: Path) -> None:
    """Lock an open file for this process alone.

    Raises:
        BlockingIOError: another process holds the lock.
        JournalFailed: files cannot be locked there, as on some network file systems.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise JournalFailed(
            f"cannot lock {path}: {error.strerror}: keep it on a local disk, or runs in PostgreSQL (--runs)"
        ) from error
    _locked[descriptor] = _file_of(descriptor)


def _file_of(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _leave_to_parent() -> None:
    """In a fork, such as a pool's process, let go of the parent's locks: a lock holds until the last copy is closed.

    In the place of each file comes one that cannot be written: two processes must not write one run.
    """
    for descriptor, file in _locked.items():
        with contextlib.suppress(OSError):
            if _file_of(descriptor) == file:
                nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                os.dup2(nothing, descriptor, inheritable=False)
                os.close(nothing)
    _locked.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


def held_error(folder: Path) -> RunHeld:
    """Return the error for a run whose lock is taken; it names the holder if the system tells."""
    process = _lock_of(folder) or 0
    number = f" ({process})" if process > 0 else ""
    who = "this process" if process == os.getpid() else f"another process{number}"
    return RunHeld(f"run {folder.name} is being written by {who}")


def _lock_of(folder: Path) -> int | None:
    """Return the process that holds the run's lock; at most 0 if it is in another container; None if nobody does."""
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii")
        inode = (folder / SPINE).stat().st_ino
    except OSError:
        return None
    held = (line.split() for line in locks.splitlines() if " FLOCK " in line and f":{inode} " in line)
    return next((int(fields[4]) for fields in held), None)


def status(folder: Path) -> str:
    """Return a run's status: its end or pause, `running`, `cut off`, or `unreadable` if we may not read it."""
    try:
        last = last_event(folder)
    except PermissionError:
        return "unreadable"
    if not isinstance(last, ev.Ended) and is_written(folder):
        return "running"
    return last.status if isinstance(last, ev.Ended | ev.Paused) else "cut off"


def has_ended(journal: Journal, run: str) -> bool:
    """Whether a run's last event is its end; False for a journal without folders, where it is not known."""
    folder = getattr(journal, "folder", None)
    return folder is not None and isinstance(last_event(folder(run, brief=True)), ev.Ended)


def open_runs(journal: KeptRuns) -> list[str]:
    """Return the runs that have not ended, oldest first, including those that cannot be read."""
    runs = journal.runs()
    ended = journal.ended(runs)
    return [run for run in runs if run not in ended]


def how_it_ended(folder: Path) -> ev.RunStatus | None:
    """Return the status with which a run has ended; None if it has not, or cannot be read."""
    try:
        last = last_event(folder)
    except PermissionError:
        return None
    return last.status if isinstance(last, ev.Ended) else None

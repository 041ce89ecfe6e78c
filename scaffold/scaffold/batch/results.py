"""The results of a batch: a file with one line per finished run, to which one batch at a time appends.

    results.jsonl        {"id": "7", "status": "solved", "answer": ..., ...}
    results.jsonl.open   {"batch": ..., "id": "8", "run": ...}: runs under way, written before their first step

A line has the fields of `solve --json`, `id`, `input`, `reason` and `seconds`, and two digests that identify it:
`batch` of what all tasks share and `asked` of this task. If an id has several lines (the run was resumed, or begun
anew), the last one counts. From the second file a killed batch finds the runs it had under way and resumes them, so
none repeats what it has done. The file is removed once no run is open.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from scaffold.errors import BadInput, JournalFailed
from scaffold.trace.folders import lock
from scaffold.vocabulary.canonical import canonical, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 65_536
_NOTED = ("id", "run", "batch", "asked")
_NEEDED = (*_NOTED, "status")


class Known(NamedTuple):
    """What is known of one task: its last run with its status, and a digest of what was asked.

    `status` is empty for a run without a recorded end.
    """

    run: str
    status: str
    asked: str


class Results:
    """The results file of one batch, under its lock.

    Args:
        path: the file, created if missing.
        batch: digest of what all tasks of the batch share.

    Attributes:
        repaired: how many bytes of a torn last line were cut off on opening.

    Raises:
        BadInput: another batch is writing it, it belongs to another batch, or it is not a file of results.
        JournalFailed: files cannot be locked there.
    """

    def __init__(self, path: Path, batch: str) -> None:
        self.path = path
        self.batch = batch
        self.repaired = 0
        self._known: dict[str, Known] = {}
        self._open_path = path.with_name(path.name + ".open")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise BadInput(f"cannot write results to {path}: {error.strerror}") from None
        self._open = -1
        try:
            self._lock()
            self._load()
            self.repaired = self._mend()
            self._open = os.open(self._open_path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _cut_torn_line(self._open)
            self._load_open()
        except BaseException:
            self._shut()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; open runs stay noted for the next time."""
        if self._open >= 0 and not any(each.status == "" for each in self._known.values()):
            with contextlib.suppress(OSError):  # an open run that is not on disk is lost only here
                os.fsync(self._file)
                self._open_path.unlink(missing_ok=True)
        self._shut()

    def known(self, name: str) -> Known | None:
        """Return what is known of a task by its id."""
        return self._known.get(name)

    def statuses(self) -> Iterator[str]:
        """Yield the status of each task's last run."""
        return (each.status for each in self._known.values())

    def begin(self, name: str, run: str, asked: str) -> None:
        """Note on disk that a run begins, before it does anything.

        Raises:
            JournalFailed: there is no room for it.
        """
        self._known[name] = Known(run, "", asked)
        row = {"batch": self.batch, "id": name, "run": run, "asked": asked}
        _write(self._open, row, self._open_path, durable=True)

    def end(self, row: dict[str, Any]) -> None:
        """Record how a run ended, or why it is paused; an unchanged repetition is skipped.

        Args:
            row: the line, with `id`, `run`, `status` and `asked`.

        Raises:
            JournalFailed: there is no room for it.
        """
        now = Known(row["run"], row["status"], row["asked"])
        if self._known.get(row["id"]) != now:
            _write(self._file, row, self.path)
        self._known[row["id"]] = now  # not earlier, since a run without a recorded end stays open

    def _lock(self) -> None:
        try:
            lock(self._file, self.path)
        except BlockingIOError:
            raise BadInput(
                f"{self.path} is being written by another batch: wait for it, or write the results to another file"
            ) from None

    def _shut(self) -> None:
        for descriptor in (self._open, self._file):
            if descriptor >= 0:
                os.close(descriptor)
        self._open = self._file = -1

    def _load(self) -> None:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                row = _row(line)
                if row is None and not line.endswith(b"\n"):
                    return
                if row is None:
                    raise self._foreign(number)
                if row["batch"] != self.batch:
                    raise BadInput(
                        f"{self.path} holds the results of another batch (line {number}): the task, its agent or the "
                        "command's options have changed; write the results to another file"
                    )
                self._known[row["id"]] = Known(row["run"], row["status"], row["asked"])

    def _mend(self) -> int:
        """Remove a last line that a crash left incomplete, if it is certainly ours."""
        tail = _torn_line(self._file)
        if not tail:
            return 0
        if _row(tail) is not None:  # complete except for the newline, as some editors leave it
            os.write(self._file, b"\n")
            return 0
        if not self._known and not self._open_path.exists():
            raise self._foreign(1)
        return _cut_torn_line(self._file)

    def _foreign(self, number: int) -> BadInput:
        return BadInput(f"{self.path}:{number} is not a result of a batch; write the results to another file")

    def _load_open(self) -> None:
        """Load the runs without a recorded end."""
        ended = {each.run for each in self._known.values()}
        with self._open_path.open("rb") as file:
            for number, line in enumerate(file, 1):
                noted = _row(line, _NOTED)
                if noted is None:
                    raise BadInput(f"{self._open_path}:{number} is damaged: it should name a run that was started")
                if noted["batch"] == self.batch and noted["run"] not in ended:
                    self._known[noted["id"]] = Known(noted["run"], "", noted["asked"])


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the last line of each id, in the order of their first lines, without a lock.

    Raises:
        BadInput: the file cannot be read, or is not a file of results.
    """
    places: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    row = _row(line)
                    if row is None:
                        raise BadInput(f"{path}:{number} is not a result of a batch")
                    places[row["id"]] = offset
                offset += len(line)
            for place in places.values():
                file.seek(place)
                yield json.loads(file.readline())
    except OSError as error:
        raise BadInput(f"cannot read results from {path}: {error.strerror}") from None


def _row(line: bytes, needed: tuple[str, ...] = _NEEDED) -> dict[str, Any] | None:
    """Parse a line as a row; None if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and all(isinstance(row.get(name), str) for name in needed)
    return row if whole else None


def _write(descriptor: int, row: dict[str, Any], path: Path, *, durable: bool = False) -> None:
    data = memoryview(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        if durable:
            os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):  # so that the next run's line does not continue an incomplete one
            _cut_torn_line(descriptor)
        raise JournalFailed(f"cannot write to {path}: {error.strerror}; run again to continue") from error


def _torn_line(descriptor: int) -> bytes:
    """Return what follows the last newline."""
    size = os.fstat(descriptor).st_size
    tail = b""
    while len(tail) < size and b"\n" not in tail:
        step = min(_BLOCK, size - len(tail))
        tail = os.pread(descriptor, step, size - len(tail) - step) + tail
    return tail[tail.rfind(b"\n") + 1 :]


def _cut_torn_line(descriptor: int) -> int:
    """Cut off an incomplete last line; return its number of bytes."""
    torn = len(_torn_line(descriptor))
    os.ftruncate(descriptor, os.fstat(descriptor).st_size - torn)
    return torn


def digest_of(*parts: Any) -> str:
    """Return a short digest of JSON values, to see whether something has changed."""
    return digest(canonical(list(parts)))[:16]

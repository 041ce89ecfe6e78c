"""What is known of a disk: how long syncs take of late, and which way of syncing many files is the quickest.

Three ways differ by an order of magnitude, and which is best changes with what else the machine does: some threads, a
thread for each file, or the whole file system at once (`syncfs`), which is one commit for all files. So each is timed,
the best is used, and the others are tried again now and then, the more seldom the longer they took.

Linux promises of `syncfs` what it promises of `fsync` on every file there (sync(2)), and says since 5.8 whether
anything could not be written. Two things are not as with `fsync`, and both are seen to here. Failure is told once for
all files; so from then on each is synced for itself, and knows of its own failure however often others have asked.
And it writes what everybody has changed, not us alone; so it is left out while there is much of that.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK_S = 0.0005  # what a good disk takes for a sync
Way = Literal["whole", "few", "many"]

_SINCE = (5, 8)
# Where the promise is kept: a file system in user space or across a network may do nothing at all.
_KINDS = frozenset({"ext4", "xfs"})
_MUCH_KB = 32_768  # of what everybody has changed
_WEIGHT = 0.2  # of the last time in what is usual
_AGAIN_S, _AGAIN = 0.2, 50  # a way is tried again after so long, and so many times what it took
_ENOUGH = 1024  # bytes of /proc/meminfo, which has what we want near its beginning


class Disk:
    """One file system, as this process has seen it.

    Args:
        descriptor: an open file of it, which this closes; None where syncing all of it promises too little. Of what is
            written after it was opened, it is sure to be told when that fails.
        syncfs: syncs the whole of it, and raises OSError where that fails; the system's own, if None.

    Attributes:
        usual: seconds that a sync takes of late.
    """

    def __init__(self, descriptor: int | None = None, syncfs: Callable[[int], None] | None = None) -> None:
        self.usual = 2 * QUICK_S  # nothing is known yet
        self._descriptor = descriptor
        self._syncfs = syncfs
        self._lock = threading.Lock()
        self._costs: dict[Way, float] = {}  # seconds for each file, of late
        self._again: dict[Way, float] = {}  # when each is tried again
        if descriptor is not None:
            weakref.finalize(self, os.close, descriptor)

    def took(self, seconds: float) -> None:
        """Learn from a sync of one run."""
        self.usual += _WEIGHT * (seconds - self.usual)

    def way(self) -> Way:
        """The way to sync many files now."""
        ways: tuple[Way, ...] = ("few", "many") if self._descriptor is None else ("whole", "few", "many")
        now = time.monotonic()
        for way in ways:
            if now >= self._again.get(way, 0.0) and (way != "whole" or _dirty_kb() < _MUCH_KB):
                return way
        return min(ways, key=lambda way: self._costs.get(way, float("inf")))

    def went(self, way: Way, files: int, seconds: float) -> None:
        """Learn from a round of many files."""
        cost = seconds / files
        self._costs[way] = (1 - _WEIGHT) * self._costs.get(way, cost) + _WEIGHT * cost
        self._again[way] = time.monotonic() + max(_AGAIN_S, _AGAIN * seconds)

    def sync(self) -> bool:
        """Make everything durable, and say whether it is; where not, each file has to be synced for itself."""
        with self._lock:  # of two at a time, one might be told of what the other's files have failed with
            if self._descriptor is None or _dirty_kb() > _MUCH_KB:
                return False
            try:
                (self._syncfs or _syncfs())(self._descriptor)
            except (OSError, AttributeError):  # or a C library that has none
                self._descriptor = None
                return False
            return True


_disks: dict[int, Disk] = {}
# A child that was forked would share the descriptor, and of two who share one only the first is told of a failure.
os.register_at_fork(after_in_child=_disks.clear)


def disk_of(folder: Path) -> Disk:
    """The disk that a folder is on."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return Disk()
    device = os.fstat(descriptor).st_dev
    known = _disks.get(device)
    if known is None and sys.platform.startswith("linux") and _release() >= _SINCE and _kind(device) in _KINDS:
        return _disks.setdefault(device, Disk(descriptor))
    os.close(descriptor)
    return known or _disks.setdefault(device, Disk())


def _release() -> tuple[int, ...]:
    said = os.uname().release.split("-")[0].split(".")[:2]
    return tuple(int(part) for part in said if part.isdigit())


def _kind(device: int) -> str:
    """What kind of file system a device holds, as this process sees it mounted; empty when that is not told."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        place, _, what = line.partition(" - ")
        if place.split(" ")[2:3] == [wanted]:
            return what.split(" ")[0]
    return ""


def _dirty_kb() -> float:
    """How much everybody has written that is not on disk, in kB; without end, where that is not told."""
    try:
        descriptor = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return float("inf")
    try:
        said = os.read(descriptor, _ENOUGH)
    finally:
        os.close(descriptor)
    return _amount(said, b"\nDirty:") + _amount(said, b"\nWriteback:")


def _amount(said: bytes, name: bytes) -> float:
    start = said.find(name) + len(name)
    digits = said[start : said.find(b" kB", start)].strip()
    return int(digits) if digits.isdigit() else float("inf")


@cache
def _syncfs() -> Callable[[int], None]:
    """The system's own, which Python does not name."""
    import ctypes  # few processes write many runs at a time

    library = ctypes.CDLL(None, use_errno=True)

    def syncfs(descriptor: int) -> None:
        if library.syncfs(ctypes.c_int(descriptor)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return syncfs

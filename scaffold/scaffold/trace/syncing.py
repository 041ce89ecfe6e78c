"""Makes runs durable: files of all runs that need an fsync at the same time are synced together.

What the runs of a process want durable at one time forms a round. A few threads sync its files, and the event loop is
notified once, after the last. If a round takes long, all threads help, the loop is notified as files are done, and the
next round does not wait.

Handing a file to a thread and being notified takes about as long as a sync on a good disk. So if a single run writes,
many times within a few milliseconds, to a disk that has lately been fast, it is synced in the event loop. That blocks
the loop no longer than the handover would have taken, and the loop serves others in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from errno import EIO, ENOENT

Sync = Callable[[int], Awaitable[None]]
_FEW_THREADS, _MOST_THREADS = 12, 32
_LONG_S = 0.005  # the next round does not wait for one that takes longer
_QUICK_S = 0.0005  # duration of a sync on a good disk
_WEIGHT = 0.2  # weight of the latest duration in the moving average
_TURN_S = 0.005  # how long the loop may sync by itself before it must serve others


class _Threads:
    """Threads that only wait for disks; they use hardly any CPU, and end with the process."""

    def __init__(self) -> None:
        from queue import SimpleQueue  # many processes write nothing durable

        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._number = self._idle = 0

    def do(self, work: Callable[[], None]) -> None:
        """Have a thread run something."""
        with self._lock:
            new = not self._idle and self._number < _MOST_THREADS
            self._number += new
            self._idle -= not new
        if not new:
            self._work.put(work)
        elif not self._started(work):
            work()

    def _started(self, work: Callable[[], None]) -> bool:
        """Start a thread, unless the system has no more, or the interpreter is exiting."""
        try:
            threading.Thread(target=self._run, args=(work,), name="scaffold-sync", daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._number -= 1
            return False
        return True

    def _run(self, work: Callable[[], None]) -> None:
        while True:
            work()
            with self._lock:
                self._idle += 1
            work = self._work.get()


_threads: list[_Threads] = []
os.register_at_fork(after_in_child=_threads.clear)  # a child has none of its parent's threads


def _have_done(work: Callable[[], None]) -> None:
    if not _threads:
        _threads.append(_Threads())
    _threads[0].do(work)


class Files(ABC):
    """Files that become durable together, such as those of one run, and the tasks waiting for that.

    Attributes:
        handed: they are being synced, and must stay open until `told` is called.
        begun: the files being synced, in this order.
        error: the error of the sync, if any.
        took: its duration in seconds.
    """

    __slots__ = ("_waiting", "begun", "error", "handed", "took")

    def __init__(self) -> None:
        self.handed = False
        self.begun: Sequence[int] = ()
        self.error: BaseException | None = None
        self.took = 0.0
        self._waiting: list[asyncio.Future[None]] = []

    @abstractmethod
    def begin(self) -> Sequence[int]:
        """Return the files to sync; only what has been written by now is sure to be on disk afterwards."""

    @abstractmethod
    def told(self, error: BaseException | None) -> None:
        """Take in the result, whether or not anybody still waits for it.

        Args:
            error: None: all is on disk. An OSError: it may not be, and never will. Anything else: not known yet.
        """

    def over(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Return a future that is done after the sync for which they are, or are about to be, handed over."""
        over = loop.create_future()
        self._waiting.append(over)
        return over

    def end(self, error: BaseException | None) -> None:
        """Report the result, and wake whoever waits; they may have been waiting for another sync."""
        self.handed = False
        self.told(error)
        waiting, self._waiting = self._waiting, []
        for over in waiting:
            if not over.done():  # may have been cancelled
                over.set_result(None)


def _make_durable(descriptor: int) -> None:
    """Sync a file that can still be found: one that was removed while it is open would be gone with this process."""
    os.fsync(descriptor)
    if not os.fstat(descriptor).st_nlink:
        raise OSError(ENOENT, "it was removed")


class Syncing:
    """Syncs the files of one journal, for one event loop.

    Args:
        fsync: syncs one file; raises OSError on failure.
    """

    def __init__(self, fsync: Callable[[int], None] = _make_durable) -> None:
        self._loop = asyncio.get_running_loop()
        self._fsync = fsync
        self._usual = 2 * _QUICK_S  # moving average of one run's sync in seconds; a guess at first
        self._next: list[Files] = []
        self._begins = False  # the next round is scheduled in the loop
        self._latest: _Round | None = None
        self._turned = 0.0  # when the loop was last seen to serve others

    def sync(self, files: Files, *, alone: bool = False) -> Awaitable[None]:
        """Sync files unless that is already scheduled; return an awaitable that is done once they are told.

        Args:
            files: the files.
            alone: no other run is being written.
        """
        over = files.over(self._loop)
        if not files.handed:
            files.handed = True
            if alone and self._usual < _QUICK_S and time.perf_counter() - self._turned < _TURN_S and self._idle():
                files.begun = files.begin()
                _sync(files, self._fsync)
                self._learn(files)
                files.end(files.error)
            else:
                self._next.append(files)
                if not self._begins:
                    self._begin_soon()
        return over

    def _learn(self, files: Files) -> None:
        self._usual += _WEIGHT * (files.took - self._usual)

    def _idle(self) -> bool:
        return not self._next and (self._latest is None or not self._latest.left)

    def _begin_soon(self) -> None:
        """Schedule a round, unless a fast one is under way; requests made until it starts join it."""
        latest = self._latest
        if latest is None or latest.late or not latest.left:
            self._begins = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._begins = False
        items, self._next = self._next, []
        for files in items:
            files.begun = files.begin()
        self._latest = latest = _Round(items, self._fsync, self._done)
        latest.begin()
        self._loop.call_later(_LONG_S, self._look_at, latest)

    def _look_at(self, latest: _Round) -> None:
        """On a slow disk, put all threads to work on a round, and let the next not wait for it."""
        if latest.left:
            latest.late = True
            if 2 * latest.left > len(latest.items):
                latest.work_with(_MOST_THREADS)
            self._tell(latest)

    def _done(self, done: _Round) -> None:
        """Notify the loop, from a thread, of what is done of a round."""
        try:
            self._loop.call_soon_threadsafe(self._tell, done)
        except RuntimeError:  # the loop is closed; files to be closed after the sync still must be
            for files in done.taken():
                with contextlib.suppress(RuntimeError):
                    files.end(files.error)

    def _tell(self, done: _Round) -> None:
        self._turned = time.perf_counter()
        items = done.taken()
        if items and len(done.items) == 1:
            self._learn(items[0])
        if self._next and not self._begins:
            self._begin_soon()
        for files in items:
            files.end(files.error)


class _Round:
    """Files that are synced together.

    Attributes:
        items: the files of each run.
        left: how many of these are not synced yet.
        late: it takes long: results are reported as they come, and others do not wait for the rest.
    """

    def __init__(
        self,
        items: Sequence[Files],
        fsync: Callable[[int], None],
        done: Callable[[_Round], None],
    ) -> None:
        self.items = items
        self.left = len(items)
        self.late = False
        self._fsync = fsync
        self._tell = done
        self._todo = deque(items)
        self._done: list[Files] = []
        self._lock = threading.Lock()
        self._workers = 0

    def begin(self) -> None:
        """Start it."""
        self.work_with(_FEW_THREADS)

    def work_with(self, threads: int) -> None:
        """Let at most so many threads work on it."""
        with self._lock:
            more = min(threads - self._workers, len(self._todo))
            self._workers += max(0, more)
        for _ in range(more):
            _have_done(self._work)

    def _work(self) -> None:
        while True:
            try:
                files = self._todo.popleft()
            except IndexError:
                return
            _sync(files, self._fsync)
            with self._lock:
                self.left -= 1
                tells = not self._done if self.late else not self.left
                self._done.append(files)
            if tells:
                self._tell(self)

    def taken(self) -> Sequence[Files]:
        """Return what is synced but not reported yet."""
        with self._lock:
            done, self._done = self._done, []
        return done


def _sync(files: Files, fsync: Callable[[int], None]) -> None:
    """Sync files, and store the result in them."""
    began = time.perf_counter()
    files.error = None
    try:
        for descriptor in files.begun:
            fsync(descriptor)
    except OSError as error:
        files.error = error
    except BaseException as error:  # noqa: BLE001 - whatever went wrong, the data may not be on disk
        files.error = OSError(EIO, f"{type(error).__name__}: {error}")
    files.took = time.perf_counter() - began


class OneByOne:
    """Syncs by a given function, one file after another: for tests and measurements."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync

    async def sync(self, files: Files, *, alone: bool = False) -> None:
        """Sync files; if they are already being synced, wait until that is over."""
        if files.handed:
            return await files.over(asyncio.get_running_loop())
        files.handed = True
        try:
            for descriptor in files.begin():
                await self._sync(descriptor)
        except BaseException as error:
            files.end(error)
            if not isinstance(error, OSError):
                raise
        else:
            files.end(None)
        return None

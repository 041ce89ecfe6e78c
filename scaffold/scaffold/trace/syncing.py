"""Makes what runs have written durable: the files of all runs that wait at one time go to the disk together.

What several runs of a process want durable at one time is a round. A few threads sync its files, and the event loop is
told once, when the last of them is done. Where that takes long, all threads help, it is told as files are done, and the
next round does not wait.

Handing a file to a thread and being told takes about as long as a good disk takes to sync it. So where one run alone
writes, many times within a few milliseconds, to a disk that has lately been quick, it is synced where it is asked for.
The event loop is held up for no longer than the handing over would have taken, and turns to others in between.
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
from errno import EIO

Sync = Callable[[int], Awaitable[None]]
_FEW_THREADS, _MOST_THREADS = 12, 32
_LONG_S = 0.005  # a round that takes longer is not waited for
_QUICK_S = 0.0005  # what a good disk takes for a sync
_WEIGHT = 0.2  # of the last time in what is usual
_TURN_S = 0.005  # how long the loop may go on with syncs of its own before it turns to others


class _Threads:
    """Threads that do nothing but wait for disks; they hardly use a processor, and end with the process."""

    def __init__(self) -> None:
        from queue import SimpleQueue  # many processes have nothing durable to write

        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._number = self._idle = 0

    def do(self, work: Callable[[], None]) -> None:
        """Have something done."""
        with self._lock:
            new = not self._idle and self._number < _MOST_THREADS
            self._number += new
            self._idle -= not new
        if not new:
            self._work.put(work)
        elif not self._started(work):
            work()

    def _started(self, work: Callable[[], None]) -> bool:
        """Start a thread, unless the system gives no more of them, or the interpreter is ending."""
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
    """Files that become durable together, such as those of one run, and who waits for that.

    Attributes:
        handed: they are handed over to be synced, and stay open until they were told what came of that.
        begun: those being synced, in this order.
        error: what came of it.
        took: seconds that it took.
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
        """Say which files there are to sync; what is written by now will be on disk, and nothing that comes later."""

    @abstractmethod
    def told(self, error: BaseException | None) -> None:
        """Take in what came of it, whether or not anybody waits for it any more.

        Args:
            error: None: all is on disk. An OSError: it may not be, and never will. Anything else: nobody can tell yet.
        """

    def over(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Give what is done when the sync that they are handed over for, or will be at once, is over."""
        over = loop.create_future()
        self._waiting.append(over)
        return over

    def end(self, error: BaseException | None) -> None:
        """Say what came of it, and let go on who waits; what they wait for may be for another sync."""
        self.handed = False
        self.told(error)
        waiting, self._waiting = self._waiting, []
        for over in waiting:
            if not over.done():  # whoever was cancelled waits no more
                over.set_result(None)


class Syncing:
    """Syncs the files of one journal, for one event loop.

    Args:
        fsync: syncs one file, and raises OSError where that fails.
    """

    def __init__(self, fsync: Callable[[int], None] = os.fsync) -> None:
        self._loop = asyncio.get_running_loop()
        self._fsync = fsync
        self._usual = 2 * _QUICK_S  # seconds that a sync of one run takes of late: nothing is known yet
        self._next: list[Files] = []
        self._begins = False  # the next round, as soon as the loop gets there
        self._latest: _Round | None = None
        self._turned = 0.0  # when the loop was last seen to turn to others

    def sync(self, files: Files, *, alone: bool = False) -> Awaitable[None]:
        """Have files synced, unless they are about to be; gives what is done when they were told.

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
        """Begin a round, unless one is under way that will not be long: what others want in this moment goes along."""
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
        """Where the disk is slow: have all threads wait for it beside one another, and nobody for this round."""
        if latest.left:
            latest.late = True
            if 2 * latest.left > len(latest.items):
                latest.work_with(_MOST_THREADS)
            self._tell(latest)

    def _done(self, done: _Round) -> None:
        """In a thread: have the loop told of what is done of a round."""
        try:
            self._loop.call_soon_threadsafe(self._tell, done)
        except RuntimeError:  # the loop is closed; what was to be closed after the sync still has to be
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
    """Files that go to the disk together.

    Attributes:
        items: the files of each run.
        left: how many of these are not synced yet.
        late: it takes long: what is done of it is told of at once, and others do not wait for the rest.
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
        """Have it done."""
        self.work_with(_FEW_THREADS)

    def work_with(self, threads: int) -> None:
        """Have so many threads work at it, if there is as much to do."""
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
        """What is synced and nobody was told of."""
        with self._lock:
            done, self._done = self._done, []
        return done


def _sync(files: Files, fsync: Callable[[int], None]) -> None:
    """Sync files, and say in them what came of that."""
    began = time.perf_counter()
    files.error = None
    try:
        for descriptor in files.begun:
            fsync(descriptor)
    except OSError as error:
        files.error = error
    except BaseException as error:  # noqa: BLE001 - whatever it is, what somebody waits for may not be on disk
        files.error = OSError(EIO, f"{type(error).__name__}: {error}")
    files.took = time.perf_counter() - began


class OneByOne:
    """Syncs by a function of somebody's choosing, one file after another: for tests and measurements."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync

    async def sync(self, files: Files, *, alone: bool = False) -> None:
        """Have files synced, unless they are being synced: then wait until that is over."""
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

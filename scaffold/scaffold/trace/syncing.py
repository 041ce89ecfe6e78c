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
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Sync = Callable[[int], Awaitable[None]]
Told = Callable[[BaseException | None], None]
"""Told once what came of a sync, in the event loop, also when nobody waits for it any more; files stay open until then.

None: all is on disk. An OSError: it may not be, and never will. Anything else: nobody can tell yet.
"""

_FEW_THREADS, _MOST_THREADS = 4, 32
_LONG_S = 0.001  # a round that takes longer is not waited for
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


@dataclass(slots=True, eq=False)
class _Item:
    """The files of one run, in the order in which they become durable."""

    descriptors: Sequence[int]
    told: Told
    waiter: asyncio.Future[None] | None = None
    error: BaseException | None = None
    took: float = 0.0

    def tell(self) -> None:
        """Say what came of it, and let go on who waits."""
        self.told(self.error)
        if self.waiter is None or self.waiter.done():
            return
        if self.error is None or isinstance(self.error, OSError):
            self.waiter.set_result(None)
        else:
            self.waiter.set_exception(self.error)


class Syncing:
    """Syncs the files of one journal, for one event loop.

    Args:
        fsync: syncs one file, and raises OSError where that fails.
    """

    def __init__(self, fsync: Callable[[int], None] = os.fsync) -> None:
        self._loop = asyncio.get_running_loop()
        self._fsync = fsync
        self._usual = 2 * _QUICK_S  # seconds that a sync of one run takes of late: nothing is known yet
        self._next: list[_Item] = []
        self._begins = False  # the next round, as soon as the loop gets there
        self._latest: _Round | None = None
        self._turned = 0.0  # when the loop was last seen to turn to others

    async def sync(self, descriptors: Sequence[int], told: Told, *, alone: bool = False) -> None:
        """Have files synced, and wait until `told` was called.

        Args:
            descriptors: the files.
            told: what came of it.
            alone: no other run is being written.
        """
        item = _Item(descriptors, told)
        if alone and self._usual < _QUICK_S and time.perf_counter() - self._turned < _TURN_S and self._idle():
            _sync(item, self._fsync)
            self._learn(item)
            item.tell()
            if item.error is not None and not isinstance(item.error, OSError):
                raise item.error
            return
        item.waiter = self._loop.create_future()
        self._next.append(item)
        self._begin_soon()
        await item.waiter

    def _learn(self, item: _Item) -> None:
        self._usual += _WEIGHT * (item.took - self._usual)

    def _idle(self) -> bool:
        return not self._next and (self._latest is None or not self._latest.left)

    def _begin_soon(self) -> None:
        """Begin a round, unless one is under way that will not be long: what others want in this moment goes along."""
        latest = self._latest
        if not self._begins and (latest is None or latest.late or not latest.left):
            self._begins = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._begins = False
        items, self._next = self._next, []
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
            for item in done.taken():
                with contextlib.suppress(RuntimeError):
                    item.tell()

    def _tell(self, done: _Round) -> None:
        self._turned = time.perf_counter()
        items = done.taken()
        if items and len(done.items) == 1:
            self._learn(items[0])
        if self._next:
            self._begin_soon()
        for item in items:
            item.tell()


class _Round:
    """Files that go to the disk together.

    Attributes:
        items: the files of each run.
        left: how many of these are not synced yet.
        late: it takes long: what is done of it is told of at once, and others do not wait for the rest.
    """

    def __init__(
        self,
        items: Sequence[_Item],
        fsync: Callable[[int], None],
        done: Callable[[_Round], None],
    ) -> None:
        self.items = items
        self.left = len(items)
        self.late = False
        self._fsync = fsync
        self._tell = done
        self._todo = deque(items)
        self._done: list[_Item] = []
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
                item = self._todo.popleft()
            except IndexError:
                return
            _sync(item, self._fsync)
            with self._lock:
                self.left -= 1
                tells = not self._done if self.late else not self.left
                self._done.append(item)
            if tells:
                self._tell(self)

    def taken(self) -> Sequence[_Item]:
        """What is synced and nobody was told of."""
        with self._lock:
            done, self._done = self._done, []
        return done


def _sync(item: _Item, fsync: Callable[[int], None]) -> None:
    """Sync the files of an item, and say in it what came of that."""
    began = time.perf_counter()
    try:
        for descriptor in item.descriptors:
            fsync(descriptor)
    except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for it
        item.error = error
    item.took = time.perf_counter() - began


class OneByOne:
    """Syncs by a function of somebody's choosing, one file after another: for tests and measurements."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync

    async def sync(self, descriptors: Sequence[int], told: Told, *, alone: bool = False) -> None:
        """Have files synced."""
        try:
            for descriptor in descriptors:
                await self._sync(descriptor)
        except BaseException as error:
            told(error)
            if not isinstance(error, OSError):
                raise
        else:
            told(None)

"""Batches the records of all runs that a process writes into few SQL statements.

What several runs want stored at one time goes in one statement, so that they share a round trip and a sync. A sender
task starts in the loop's next turn with everything requested by then. If a single run was writing lately, its own task
sends instead, which saves two turns. A run has at most one statement under way, so its records are stored in order.
Records that are stored but not yet durable are kept until they are: a database that restarted may have lost them, and
they are stored again. So are the latest of the durable ones: a standby that took over may lag behind. If it lacks older
ones too, the next are stored behind the gap, so that nobody goes on before it and does again what was done since.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from scaffold.errors import ClaimLost, JournalFailed, TraceError
from scaffold.trace.postgres.appending import Part
from scaffold.trace.postgres.database import Gone, Refused

if TYPE_CHECKING:
    from scaffold.interfaces import Claim, Record
    from scaffold.trace.postgres.database import Database

_MOST_RUNS, _MOST_RECORDS = 64, 1_000
_MOST_UNSAFE = 256
_KEPT_BYTES = 256 << 10
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


@dataclass(eq=False)
class Line:
    """A run that is written here.

    Attributes:
        claim: the right to write it.
        until: when its lease may have expired, by the loop's clock.
        clocks: readings of other clocks when it was renewed.
        lost: functions called once another process has taken over.
        error: why nothing can be stored any more.
    """

    claim: Claim
    until: float
    restarts: int
    clocks: tuple[float, ...] = ()
    lost: list[Callable[[], None]] = field(default_factory=list)
    error: TraceError | None = None
    queue: deque[Record] = field(default_factory=deque)
    unsafe: deque[Record] = field(default_factory=deque)
    kept: deque[Record] = field(default_factory=deque)  # the latest that are durable
    kept_bytes: int = 0
    lacks: str = ""  # what the database has lost
    given: int = 0  # records handed over so far
    stored: int = 0  # records of these that are stored
    safe: int = 0  # records of these that are durable
    waiting: list[tuple[int, bool, asyncio.Future[None]]] = field(default_factory=list)
    busy: bool = False
    listed: bool = False

    def wants_sync(self) -> bool:
        """Whether somebody waits for durability, or too much is kept that is not durable."""
        return len(self.unsafe) > _MOST_UNSAFE or any(durable for _, durable, _ in self.waiting)

    def is_durable(self) -> None:
        """Keep only the latest of what was stored."""
        self.safe = self.stored
        self.kept.extend(self.unsafe)
        self.kept_bytes += sum(map(_size, self.unsafe))
        self.unsafe.clear()
        while self.kept_bytes > _KEPT_BYTES:
            self.kept_bytes -= _size(self.kept.popleft())

    def after(self, last: int) -> Sequence[Record]:
        """Return what the database lacks, whose last record of this run is the one of that number."""
        while self.kept and self.kept[-1].seq > last:
            self.kept_bytes -= _size(self.kept[-1])
            self.unsafe.appendleft(self.kept.pop())
        left = [record for record in self.unsafe if record.seq > last]
        if left and left[0].seq > last + 1:
            self.lacks = f"events {last + 1} to {left[0].seq - 1}"
        return left

    def settle(self) -> None:
        """Wake those whose records are now stored, or durable."""
        still = []
        for target, durable, waiter in self.waiting:
            if (self.safe if durable else self.stored) < target:
                still.append((target, durable, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self.waiting = still

    def fail(self, error: TraceError) -> None:
        """Store nothing any more, and tell everybody waiting."""
        self.error = self.error or error
        self.queue.clear()
        waiting, self.waiting = self.waiting, []
        for _, _, waiter in waiting:
            if not waiter.done():
                waiter.set_exception(self.error)
        if isinstance(error, ClaimLost):
            told, self.lost = self.lost, []
            for tell in told:
                tell()


def _size(record: Record) -> int:
    return len(record.line) + len(record.content)


def lost(claim: Claim) -> ClaimLost:
    """Return the error for a run that another process has taken over."""
    return ClaimLost(f"run {claim.run} was taken over by another process, because the lease of {claim.owner} ran out")


class Writing:
    """All runs that one process writes.

    Args:
        database: the database.
        senders: most statements at a time.
        patience: seconds to wait for a database that is gone.
        stored: called with runs that have grown.
    """

    def __init__(
        self, database: Database, *, senders: int, patience: float, stored: Callable[[Sequence[str]], None]
    ) -> None:
        self._database = database
        self._senders = senders
        self._patience = patience
        self._stored = stored
        self._ready: deque[Line] = deque()
        # Each sender removes itself: its task is done only a moment after its last look at the queue.
        self._sending: set[object] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._alone: Line | None = None  # the run of the last statement, if it was the only one

    async def append(self, line: Line, records: Sequence[Record], *, durable: bool) -> None:
        """Store records, in the order of the calls."""
        if line.error is not None:
            raise line.error
        line.queue.extend(records)
        line.given += len(records)
        if not records and (line.safe if durable else line.stored) == line.given:
            return
        if line is self._alone and not (self._sending or self._ready or line.busy) and len(records) <= _MOST_RECORDS:
            await self._store_alone(line, durable=durable)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append((line.given, durable, waiter))
        self._list(line)
        await waiter

    async def settled(self, line: Line) -> None:
        """Wait until nothing of a run is queued or under way."""
        while line.error is None and (line.busy or line.queue or line.stored < line.given):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            line.waiting.append((line.given, False, waiter))
            self._list(line)
            try:
                await waiter
            except TraceError:
                return

    def _list(self, line: Line) -> None:
        if not line.busy and not line.listed:
            line.listed = True
            self._ready.append(line)
        self._go_on()

    def _go_on(self) -> None:
        if self._ready and len(self._sending) < self._senders:
            place = object()
            self._sending.add(place)
            task = asyncio.get_running_loop().create_task(self._send(place))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, place))

    def _ended(self, place: object, task: asyncio.Task[None]) -> None:
        """Handle a sender cancelled before its first step: the process is exiting, so nobody is left waiting."""
        self._tasks.discard(task)
        if place in self._sending:
            self._sending.discard(place)
            self._fail([(line, ()) for line in self._ready], "the process is ending")

    async def _send(self, place: object) -> None:
        try:
            while batch := self._batch():
                try:
                    await self._store(batch, durable=any(line.wants_sync() for line, _ in batch))
                except Exception as error:  # noqa: BLE001 - whatever went wrong, nobody may wait for ever
                    self._fail(batch, f"cannot store: {type(error).__name__}: {error}")
                except BaseException:  # the process is exiting: nothing may be started any more
                    self._fail([*batch, *((line, ()) for line in self._ready)], "the process is ending")
                    raise
                finally:
                    for line, _ in batch:
                        line.busy = False
                        if line.error is None and (line.queue or line.waiting):
                            self._list(line)
        finally:
            self._sending.discard(place)

    async def _store_alone(self, line: Line, *, durable: bool) -> None:
        """Store a run's records in the task that asks for it, which may be cancelled meanwhile.

        Raises:
            ClaimLost: another process has taken over.
            JournalFailed: they are not stored.
        """
        place = object()
        self._sending.add(place)
        batch = [(line, self._taken(line, _MOST_RECORDS))]
        try:
            await self._store(batch, durable=durable or line.wants_sync())
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(batch, f"cannot store: {type(error).__name__}: {error}")
        except BaseException:
            line.restarts = -1  # the next append first asks what became of it
            raise
        finally:
            self._sending.discard(place)
            line.busy = False
            if line.error is None and (line.queue or line.waiting):
                self._list(line)
            self._go_on()  # others may have been waiting for a sender
        if line.error is not None:
            raise line.error

    def _batch(self) -> list[tuple[Line, Sequence[Record]]]:
        batch: list[tuple[Line, Sequence[Record]]] = []
        left = _MOST_RECORDS
        while self._ready and len(batch) < _MOST_RUNS and left > 0:
            line = self._ready.popleft()
            line.listed = False
            if line.error is not None:
                continue
            records = self._taken(line, left)
            left -= len(records)
            batch.append((line, records))
        if batch:
            self._alone = batch[0][0] if len(batch) == 1 else None
        return batch

    @staticmethod
    def _taken(line: Line, most: int) -> Sequence[Record]:
        """Take the next records of a run from its queue; they are kept until durable."""
        records = list(islice(line.queue, most))
        for _ in records:
            line.queue.popleft()
        line.unsafe.extend(records)
        line.busy = True
        return records

    async def _store(self, batch: list[tuple[Line, Sequence[Record]]], *, durable: bool) -> None:
        """Store what was taken from the queues, retrying as needed."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._patience, _FIRST_PAUSE_S
        while True:
            try:
                await self._store_once(batch, durable=durable)
            except Gone as error:
                if loop.time() > until:
                    self._fail(batch, f"the database cannot be reached: {error}")
                    return
                for line, _ in batch:
                    line.restarts = -1  # the outcome of the statement is unknown
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            except Refused as error:
                await self._singly(batch, str(error), durable=durable)
                return
            else:
                return

    async def _store_once(self, batch: list[tuple[Line, Sequence[Record]]], *, durable: bool) -> None:
        parts = await self._caught_up(batch)
        restarts = self._database.restarts
        asked = [Part(line.claim.run, line.claim.epoch, records) for line, records in parts]
        held = await self._database.append(asked, durable=durable, restarts=restarts) if asked else set()
        for line, _ in parts:
            self._done(line, held=line.claim.run in held, durable=durable, restarts=restarts)
        self._stored([line.claim.run for line, _ in parts])

    async def _caught_up(self, parts: list[tuple[Line, Sequence[Record]]]) -> list[tuple[Line, Sequence[Record]]]:
        """Return what is still to be stored after contact was lost: what the database forgot, or never received."""
        left: list[tuple[Line, Sequence[Record]]] = []
        for line, records in parts:
            if line.error is not None:
                continue
            if line.restarts == self._database.restarts:
                left.append((line, records))
                continue
            restarts = self._database.restarts
            last = await self._database.last(line.claim.run, line.claim.epoch)
            if last is None:
                line.fail(lost(line.claim))
                continue
            line.restarts = restarts
            left.append((line, line.after(last)))
        return left

    def _done(self, line: Line, *, held: bool, durable: bool, restarts: int) -> None:
        if not held:
            line.fail(lost(line.claim))
            return
        line.restarts = restarts
        line.stored = line.given - len(line.queue)
        if durable:
            line.is_durable()
        if line.lacks:
            said = f"run {line.claim.run}: the database has lost its {line.lacks}, which it had said were on disk"
            line.fail(JournalFailed(f"{said}, as a standby that lagged behind: the run cannot be resumed"))
        line.settle()

    async def _singly(self, parts: list[tuple[Line, Sequence[Record]]], why: str, *, durable: bool) -> None:
        """Store each run's records separately, so that one run cannot block the others."""
        if len(parts) == 1:
            self._fail(parts, f"PostgreSQL refuses to store it: {why}")
            return
        for part in parts:
            await self._store([part], durable=durable)

    @staticmethod
    def _fail(batch: Sequence[tuple[Line, Sequence[Record]]], why: str) -> None:
        for line, _ in batch:
            line.fail(JournalFailed(f"run {line.claim.run}: {why}"))

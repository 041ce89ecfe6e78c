"""The Postgres journal: runs on many machines, each written by one process at a time.

A claim is a lease on the database's clock, renewed while the run goes on, and an epoch that every append names. A
process that was suspended past its lease can store nothing more when it wakes up, and is told to stop. Connections are
open while a run is claimed, or within `async with journal`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from scaffold.errors import BadInput, ClaimLost, JournalFailed, RunHeld, TraceDamaged, TraceError, UnknownRun
from scaffold.interfaces import Answer, Claim, Holder, Record
from scaffold.trace.answers import answers_in
from scaffold.trace.identities import acts_in, fate_of
from scaffold.trace.postgres.archive import Archive
from scaffold.trace.postgres.database import EVENTS, INBOX, Gone, Postgres, Refused, Taken
from scaffold.trace.postgres.writing import Line, Writing, lost
from scaffold.vocabulary.events import ENDED

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.interfaces import Elsewhere
    from scaffold.trace.postgres.database import Database

T = TypeVar("T")
LEASE_S = 15.0
_PATIENCE_S = 30.0
_PAGE = 500
_TELL_S = 0.05
_LOOK_S = 1.0
_AGAIN_S = 0.2
_ENDS = (b'{"kind":"run.ended"', b'{"kind":"run.paused"')


class PostgresJournal:
    """Stores runs in a PostgreSQL database; needs the extra `postgres`.

    Args:
        url: `postgresql://user@host/database?sslmode=verify-full`, with any of libpq's parameters.
        lease: seconds for which a dead process keeps a run from others.
        patience: seconds to wait for a database that is gone.
        connections: most connections at a time, plus one that listens.
        apart: the runs are independent trials of the same thing, so they may act on the same identities.
        migrate: create or update the tables if they are not current.
        database: replaces PostgreSQL in simulations.
    """

    def __init__(
        self,
        url: str,
        *,
        lease: float = LEASE_S,
        patience: float = _PATIENCE_S,
        connections: int = 4,
        apart: bool = False,
        migrate: bool = True,
        database: Database | None = None,
    ) -> None:
        self._lease = lease
        self._patience = patience
        self._apart = apart
        self._database: Database = (
            Postgres(url, connections=connections, migrate=migrate) if database is None else database
        )
        self._clocks = _clocks if database is None else tuple  # a simulation has only its loop's clock
        self._writing = Writing(
            self._database, senders=max(1, connections - 2), patience=patience, stored=self._have_grown
        )
        self._lines: dict[str, Line] = {}
        self._inboxes: dict[str, list[Answer]] = {}
        self._grown: set[str] = set()
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._users = 0
        self._telling = False
        self._archive = Archive(url)  # not at the first look: several threads may look first

    # --- what the command looks at

    @property
    def archive(self) -> Archive:
        """The runs as read-only users see them."""
        return self._archive

    @property
    def name(self) -> str:
        """Where the runs are, for people, without secrets."""
        return self.archive.name

    def runs(self) -> list[str]:
        """Return the ids of the runs stored here, oldest first."""
        return self.archive.runs()

    def ended(self, runs: Sequence[str]) -> set[str]:
        """Return those of the runs that have ended, by one statement."""
        return {run for run, status in self.archive.over(runs).items() if status in ENDED}

    def find(self, name: str) -> str:
        """Resolve a run: by its id, a unique beginning or ending of one, or `last`."""
        return self.archive.find(name)

    def folder(self, run: str, *, brief: bool = False) -> Path:
        """Return a folder with a current copy of the run; with `brief`, of its first and last event only."""
        return self.archive.folder(run, brief=brief)

    def elsewhere(self, since: float) -> list[Elsewhere]:
        """Return what all runs did since a time."""
        return self.archive.elsewhere(since)

    def location(self, run: str) -> str:
        """Return where people find the run: the database and the run's id."""
        return f"{self.name}#{run}"

    # --- life

    async def __aenter__(self) -> Self:
        self._users += 1
        try:
            if self._users == 1:
                await self._database.open()
                self._start(self._renew_all())
                self._start(self._listen())
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users:
            await self._end_tasks()
            await self._database.close()

    async def _end_tasks(self) -> None:
        """Cancel the background tasks, repeatedly: psycopg may lose a cancellation that comes while it connects."""
        while tasks := [task for task in self._tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_AGAIN_S)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the database, again if it is gone.

        Raises:
            JournalFailed: it does not come back, or refuses.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            try:
                return await ask()
            except Gone as error:
                if loop.time() > until:
                    raise JournalFailed(f"the database cannot be reached: {error}") from None
                await asyncio.sleep(min(0.2, self._lease / 10))
            except Refused as error:
                raise JournalFailed(f"PostgreSQL refuses: {error}") from None

    # --- claims

    async def claim(self, run: str, owner: str, *, create: bool = False) -> Claim:
        """Take the right to write, for as long as its lease is renewed."""
        await self.__aenter__()
        try:
            return await self._claim(run, owner, create=create)
        except BaseException:
            await self.__aexit__()
            raise

    async def _claim(self, run: str, owner: str, *, create: bool) -> Claim:
        if run in self._lines:
            raise RunHeld(f"run {run} is being written by this process")
        asked, clocks, restarts = asyncio.get_running_loop().time(), self._clocks(), self._database.restarts
        token = f"{owner}#{os.urandom(6).hex()}"  # identifies a claim as ours even if the reply to it was lost
        got = await self._patiently(lambda: self._database.claim(run, token, self._lease, create=create))
        if not got.epoch and create and got.owner == token:
            got = await self._patiently(lambda: self._database.claim(run, token, self._lease, create=False))
        if not got.epoch and create:
            raise JournalFailed(f"there already is a run {run} in {self.name}")
        if not got.epoch and got.owner is None:
            raise UnknownRun(f"no run {run!r} in {self.name}")
        if not got.epoch and got.left <= 0:  # it was released, or expired, just after the refusal
            got = await self._patiently(lambda: self._database.claim(run, token, self._lease, create=False))
        if not got.epoch:
            who = (got.owner or "").partition("#")[0]
            raise RunHeld(
                f"run {run} is being written by another process ({who}); if that process has died, the run is free in "
                f"{max(got.left, 0.0):.0f} s"
            )
        claim = Claim(run, owner, got.epoch)
        self._lines[run] = Line(claim, asked + self._lease, restarts, clocks)
        try:
            await self._look_into([run])
        except BaseException:
            await self._give_back(claim)
            raise
        return claim

    async def release(self, claim: Claim) -> None:
        """Give up the claim once everything handed over is stored."""
        line = self._lines.get(claim.run)
        if line is None or line.claim is not claim:
            return
        try:
            await self._writing.settled(line)
        finally:
            await self._give_back(claim)
            await self.__aexit__()

    async def _give_back(self, claim: Claim) -> None:
        line = self._lines.pop(claim.run)
        self._inboxes.pop(claim.run, None)
        if line.error is None:
            line.error = ClaimLost(f"run {claim.run} is not claimed by this process and cannot be written")
        with contextlib.suppress(Gone, Refused):  # then its lease expires
            await self._database.release(claim.run, claim.epoch)

    def when_lost(self, claim: Claim, tell: Callable[[], None]) -> None:
        """Register a function to be called once another process has taken over."""
        line = self._line_of(claim)
        if isinstance(line.error, ClaimLost):
            tell()
        else:
            line.lost.append(tell)

    async def confirm(self, claim: Claim) -> None:
        """Check that the claim holds: by the lease, or, if that may have expired, by asking the database.

        Raises:
            ClaimLost: it was lost.
            JournalFailed: it cannot be determined.
        """
        line = self._line_of(claim)
        if isinstance(line.error, ClaimLost):
            raise line.error
        if asyncio.get_running_loop().time() > line.until - self._lease / 5 or self._slept(line):
            await self._patiently(lambda: self._renew([line]))
            if line.error is not None:
                raise line.error

    def _slept(self, line: Line) -> bool:
        """Whether the machine may have been suspended since the last renewal, which the loop's clock may not show."""
        clocks = zip(self._clocks(), line.clocks, strict=True)
        return any(not 0 <= now - then < 0.8 * self._lease for now, then in clocks)

    async def _renew_all(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            lines = [line for line in self._lines.values() if not isinstance(line.error, ClaimLost)]
            try:
                await self._renew(lines)
            except (Gone, Refused):
                await asyncio.sleep(min(0.2, self._lease / 10))

    async def _renew(self, lines: Sequence[Line]) -> None:
        asked, clocks = asyncio.get_running_loop().time(), self._clocks()
        if not lines:
            return
        held = await self._database.renew([(line.claim.run, line.claim.epoch) for line in lines], self._lease)
        for line in lines:
            if line.claim.run in held:
                line.until, line.clocks = asked + self._lease, clocks
            elif self._lines.get(line.claim.run) is line:  # else it was released meanwhile
                line.fail(lost(line.claim))

    def _line_of(self, claim: Claim) -> Line:
        line = self._lines.get(claim.run)
        if line is None or line.claim is not claim:
            raise ClaimLost(f"run {claim.run} is not claimed by this process and cannot be written")
        return line

    # --- records

    async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
        """Store records; with `durable`, wait until they are on the database's disk."""
        await self._writing.append(self._line_of(claim), records, durable=durable)

    async def read(self, run: str, after: int = 0) -> AsyncIterator[Record]:
        """Yield what is stored."""
        while True:
            page = await self._page(run, after)
            for record in page:
                yield record
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    async def _page(self, run: str, after: int) -> list[Record]:
        found = await self._patiently(lambda: self._database.records(run, after, _PAGE))
        if found is None:
            raise UnknownRun(f"no run {run!r} in {self.name}")
        return found

    async def follow(self, run: str, after: int = 0) -> AsyncIterator[Record]:
        """Yield what is stored, then new records, until the run ends or pauses."""
        grown = asyncio.Event()
        self._followers.setdefault(run, set()).add(grown)
        try:
            async with self:
                over = False
                while not over:
                    grown.clear()
                    async for record in self.read(run, after):
                        yield record
                        after = record.seq
                        over = record.line.startswith(_ENDS)
                    if not over:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(_LOOK_S):
                                await grown.wait()
        finally:
            self._followers[run].discard(grown)

    async def sign(self, claim: Claim, note: str) -> None:
        """Store a signed head."""
        line = self._line_of(claim)
        if not await self._patiently(lambda: self._database.keep_head(claim.run, claim.epoch, note)):
            line.fail(lost(claim))
            raise lost(claim)

    # --- what people say

    async def post(self, run: str, answer: Answer) -> None:
        """Put an answer into the run's inbox; each person's last answer to a question counts."""
        person = sha256(answer.by.encode()).hexdigest()[:16] if answer.by else ""
        said = msgspec.json.encode(answer)
        if not await self._patiently(lambda: self._database.post(run, answer.id, person, said)):
            raise UnknownRun(f"no run {run!r} in {self.name}")
        if run in self._lines:
            await self._look_into([run])

    def inbox(self, run: str) -> Sequence[Answer]:
        """Return what is in the run's inbox; for a run written here, as of the last notification."""
        return self._inboxes[run] if run in self._inboxes else self.archive.inbox(run)

    async def _look_into(self, runs: Sequence[str]) -> None:
        found = await self._patiently(lambda: self._database.answers(runs))
        for run in runs:
            if run in self._lines:
                self._inboxes[run] = answers_in(said for of, said in found if of == run)

    # --- what runs act on

    async def holder(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Return who else acts on a thing, has acted on it, or may have."""
        if self._apart:
            return None
        taken = await self._patiently(lambda: self._database.taken(identity))
        return None if taken is None or taken[:2] == (claim.run, key) else await self._fate(identity, taken)

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Take a thing to act on; if somebody else has it, return who."""
        since: Taken | None = None
        while not self._apart:
            taken = await self._patiently(partial(self._database.take, identity, claim.run, key, since))
            if taken is None or taken[:2] == (claim.run, key):
                return None
            since = None
            if taken.run:  # else it was freed while we looked
                fate = await self._fate(identity, taken)
                if fate is not None:
                    return fate
                since = taken
        return None

    async def free(self, claim: Claim, identity: str, key: str) -> None:
        """Free a thing."""
        if not self._apart:
            await self._patiently(lambda: self._database.free(identity, claim.run, key))

    def settle_gone(self, run: str, key: str, *, happened: bool) -> bool:
        """Record a person's word on an action of a run whose trace is gone; return whether it held anything."""
        return self.archive.settle_gone(run, key, happened=happened)

    async def _fate(self, identity: str, taken: Taken) -> Holder | None:
        """Return what became of a holder; None if it has done nothing and cannot go on.

        A holder that is passed over must be fenced first, or a process that was only suspended could still act.
        """
        fenced = await self._patiently(lambda: self._database.fence(taken.run))
        records: list[Record] = []
        while True:
            after = records[-1].seq if records else 0
            page = await self._patiently(partial(self._database.records, taken.run, after, _PAGE, "action."))
            records += page or []
            if page is None or len(page) < _PAGE:
                break
        if page is None:
            return Holder(taken.run, taken.key, "unknown", "its trace is gone")
        try:
            act = acts_in(iter(records)).get(taken.key)
        except TraceDamaged as error:
            return Holder(taken.run, taken.key, "unknown", f"its trace cannot be read: {error}")
        said = await self._patiently(lambda: self._database.answers([taken.run]))
        answers = answers_in(each for _, each in said)
        return fate_of(taken.run, taken.key, act, answers, identity=identity, lives=not fenced)

    # --- being told, and telling

    def _have_grown(self, runs: Sequence[str]) -> None:
        for run in runs:
            for follower in self._followers.get(run, ()):
                follower.set()
        self._grown.update(runs)
        if not self._telling and self._users:
            self._telling = True
            self._start(self._tell())

    async def _tell(self) -> None:
        """Notify others periodically, not at each append: PostgreSQL commits notifications one at a time."""
        try:
            await asyncio.sleep(_TELL_S)
        finally:
            self._telling = False
        runs, self._grown = sorted(self._grown), set()
        with contextlib.suppress(Gone, Refused):
            await self._database.tell(runs)

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(Gone, Refused, TraceError, BadInput):
                async for channel, run in self._database.heard():
                    if channel == EVENTS:
                        for follower in self._followers.get(run, ()):
                            follower.set()
                    elif channel == INBOX and run in self._lines:
                        await self._look_into([run])
                    elif not channel:
                        await self._look_into(list(self._lines))
            await asyncio.sleep(min(0.5, self._lease / 10))


def _clocks() -> tuple[float, ...]:
    """Read clocks that run on while the machine sleeps, or are set on wake-up; the loop's may do neither."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.time(),) if boot is None else (time.time(), time.clock_gettime(boot))

"""An in-memory database for simulations, on the simulation's clock, with faults at any use drawn from a seed.

A statement may be lost on the way there (nothing was done) or on the way back (it was done, but the client does not
know). The server may crash, which loses what was stored without waiting for the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from scaffold.interfaces import Answer
from scaffold.testing.simulated_world import Crash
from scaffold.trace.files import CONTENT, HEADS, SPINE
from scaffold.trace.postgres import PostgresJournal
from scaffold.trace.postgres.appending import Part, kind_of
from scaffold.trace.postgres.database import Claimed, Gone, Refused, Taken

if TYPE_CHECKING:
    from scaffold.interfaces import Record
    from scaffold.testing.simulated_world import World

T = TypeVar("T")


class _Runs(PostgresJournal):
    """The production journal, with the archive of the same database."""

    @property
    def archive(self) -> Any:
        """The database itself."""
        return self._database


_FOREVER = 1e9


class SimulatedDatabase:
    """The database, which outlives the processes and is shared by all of them.

    Attributes:
        restarts: how often it has crashed.
        findings: requests that should not have been made, in words.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.restarts = 0
        self.findings: list[str] = []
        self._claims: dict[str, tuple[str, int, float]] = {}  # owner, epoch, until when
        self._records: dict[str, list[Record]] = {}
        self._safe: dict[str, int] = {}  # how many of them are on disk
        self._heads: dict[str, list[str]] = {}
        self._inbox: dict[tuple[str, str, str], bytes] = {}
        self._taken: dict[str, Taken] = {}

    def let_leases_run_out(self) -> None:
        """Let all leases expire."""
        self._claims = {run: (owner, epoch, 0.0) for run, (owner, epoch, _) in self._claims.items()}

    def has(self, run: str) -> bool:
        """Whether anything of a run is stored."""
        return bool(self._records.get(run))

    def put(self, run: str, name: str, person: str, answer: bytes) -> None:
        """Store a person's answer, from outside."""
        self._inbox[run, name, person] = answer

    def journal(self, *, lease: float) -> PostgresJournal:
        """Make a process's journal on this database."""
        return _Runs("postgresql:///simulated", lease=lease, patience=30, database=self)

    def copy_out(self) -> None:
        """Write all runs to files, for the judge."""
        for run in self._records:
            self.folder(run)

    # --- what an archive shows of it, to whoever only looks

    @property
    def name(self) -> str:
        """Its name for people."""
        return "a simulated database"

    def runs(self) -> list[str]:
        """Return the ids of the runs."""
        return sorted(self._records)

    def folder(self, run: str, *, brief: bool = False) -> Path:
        """Return a folder with copies of a run's present files."""
        folder, records = self._world.root / run, self._records[run]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SPINE).write_bytes(b"".join(record.line + b"\n" for record in records))
        (folder / CONTENT).write_bytes(b"".join(each.content + b"\n" for each in records if each.content))
        (folder / HEADS).write_text("".join(note + "\n" for note in self._heads.get(run, ())), encoding="utf-8")
        return folder

    def inbox(self, run: str) -> list[Answer]:
        """Return people's answers to a run."""
        return [msgspec.json.decode(said, type=Answer) for (of, _, _), said in self._inbox.items() if of == run]

    def over(self, runs: Sequence[str]) -> dict[str, str]:
        """Return the statuses of those runs that have ended or are paused."""
        lasts = {run: msgspec.json.decode(self._records[run][-1].line) for run in runs if self._records[run]}
        return {run: last["status"] for run, last in lasts.items() if last["kind"] in {"run.ended", "run.paused"}}

    def said(self, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
        """Return events of some kinds, with their runs."""
        return [
            (run, msgspec.json.decode(record.line))
            for run, records in self._records.items()
            for record in records
            if kind_of(record.line) in kinds
        ]

    async def _ask(self, work: Callable[[], T]) -> T:
        """Execute a statement unless it is lost on the way, and return its result unless that is lost."""
        world = self._world
        await world.dawdle(0.05)
        if world.dead:
            raise Crash
        if world.fails(world.temper.disk):
            self._go_down()
            raise Gone("it is away")
        done = work()
        await world.dawdle(0.05)
        if world.dead:
            raise Crash
        if world.fails(world.temper.disk):
            raise Gone("the line broke")
        return done

    def _sync(self) -> None:
        """Make everything stored so far durable, since there is only one log."""
        self._safe = {run: len(records) for run, records in self._records.items()}

    def _go_down(self) -> None:
        """Crash at random."""
        if self._world.fails(0.5):
            self.restarts += 1
            for run, records in self._records.items():
                del records[self._safe.get(run, 0) :]

    # --- what a journal asks

    async def open(self) -> None:
        """Do nothing: it is always open."""

    async def close(self) -> None:
        """Do nothing: it stays open."""

    async def claim(self, run: str, owner: str, lease: float, *, create: bool) -> Claimed:
        def work() -> Claimed:
            now = self._world.clock.monotonic()
            had = self._claims.get(run)
            if had is None and not create:
                return Claimed(0)
            if had is not None and (create or (had[2] > now and had[0] != owner)):
                return Claimed(0, had[0], had[2] - now)
            epoch = 1 if had is None else had[1] + 1
            self._claims[run] = (owner, epoch, now + lease)
            self._records.setdefault(run, [])
            self._sync()
            return Claimed(epoch)

        return await self._ask(work)

    async def renew(self, claims: Sequence[tuple[str, int]], lease: float) -> set[str]:
        def work() -> set[str]:
            held = {run for run, epoch in claims if self._holds(run, epoch)}
            for run in held:
                owner, epoch, _ = self._claims[run]
                self._claims[run] = (owner, epoch, self._world.clock.monotonic() + lease)
            return held

        return await self._ask(work)

    def _holds(self, run: str, epoch: int) -> bool:
        return run in self._claims and self._claims[run][1] == epoch

    async def release(self, run: str, epoch: int) -> None:
        def work() -> None:
            if self._holds(run, epoch):
                self._claims[run] = ("", epoch, 0.0)

        await self._ask(work)

    async def fence(self, run: str) -> bool:
        def work() -> bool:
            owner, epoch, until = self._claims.get(run, ("", 0, 0.0))
            if 0.0 < until < self._world.clock.monotonic():
                self._claims[run] = (owner, epoch + 1, 0.0)
            return not self._claims.get(run, ("", 0, 0.0))[2]

        return await self._ask(work)

    async def append(self, parts: Sequence[Part], *, durable: bool, restarts: int) -> set[str]:
        def work() -> set[str]:
            if restarts != self.restarts:
                raise Gone("it was restarted")
            held = {part.run for part in parts if self._holds(part.run, part.epoch)}
            for part in parts:
                if part.run in held:
                    records = self._records[part.run]
                    expected = [len(records) + 1 + place for place in range(len(part.records))]
                    if [record.seq for record in part.records] != expected:
                        self.findings.append(f"{part.run}: after {len(records)} records, {part.records[0].seq} came")
                        raise Refused("a gap, or a second time")
                    records.extend(part.records)
            if durable:
                self._sync()
            return held

        return await self._ask(work)

    async def last(self, run: str, epoch: int) -> int | None:
        return await self._ask(lambda: len(self._records[run]) if self._holds(run, epoch) else None)

    async def records(self, run: str, after: int, most: int, kinds: str = "") -> list[Record] | None:
        def work() -> list[Record] | None:
            if run not in self._records:
                return None
            fitting = [each for each in self._records[run][after:] if kind_of(each.line).startswith(kinds)]
            return fitting[:most]

        return await self._ask(work)

    async def keep_head(self, run: str, epoch: int, note: str) -> bool:
        def work() -> bool:
            if self._holds(run, epoch):
                self._heads.setdefault(run, []).append(note)
            return self._holds(run, epoch)

        return await self._ask(work)

    async def post(self, run: str, name: str, person: str, answer: bytes) -> bool:
        def work() -> bool:
            self.put(run, name, person, answer)
            return run in self._claims

        return await self._ask(work)

    async def answers(self, runs: Sequence[str]) -> list[tuple[str, bytes]]:
        return await self._ask(
            lambda: [(run, said) for (run, _, _), said in sorted(self._inbox.items()) if run in runs]
        )

    async def take(self, identity: str, run: str, key: str, since: Taken | None = None) -> Taken | None:
        def work() -> Taken | None:
            had = self._taken.get(identity)
            if had != since:
                return had or Taken("", "", 0)
            self._taken[identity] = Taken(run, key, since.times + 1 if since else 1)
            return None

        return await self._ask(work)

    async def taken(self, identity: str) -> Taken | None:
        return await self._ask(lambda: self._taken.get(identity))

    async def free(self, identity: str, run: str, key: str) -> None:
        def work() -> None:
            if self._taken.get(identity, ("", "", 0))[:2] == (run, key):
                del self._taken[identity]

        await self._ask(work)

    async def tell(self, runs: Sequence[str]) -> None:
        """Do nothing: nobody listens."""

    async def heard(self) -> AsyncIterator[tuple[str, str]]:
        yield "", ""
        await asyncio.sleep(_FOREVER)

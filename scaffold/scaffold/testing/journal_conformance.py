"""The conformance kit for journals: tests that every journal must pass.

    # test_mine.py
    from scaffold.testing.journal_conformance import JournalConformance

    class TestMine(JournalConformance):
        @asynccontextmanager
        async def opening(self, place: Path) -> AsyncIterator[Journal]:
            yield MyJournal(place)

pytest then runs every check. `opening` is entered several times in one test with the same place; each journal sees what
the others have stored, as separate processes would.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from scaffold.errors import ClaimLost, JournalFailed, RunHeld, UnknownRun
from scaffold.interfaces import Answer, Claim, Holder, HoldsForTheGone, HoldsIdentities, Journal, Record
from scaffold.testing.checks import hold
from scaffold.trace.chain import GENESIS, Chain, content_line, seal
from scaffold.trace.elsewhere import elsewhere
from scaffold.trace.identities import settlement_id
from scaffold.vocabulary import events as ev

_STRANGE = 'a\x00b\u2028\U0001f600"\\\n\t\x7fé'
_LARGE = 1_000_000
_PATIENCE_S = 10.0
_SHOWN = 500


def _same(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"expected {repr(wanted)[:_SHOWN]}, but got {repr(found)[:_SHOWN]}")


class Writing:
    """A chain of events, sealed like a run's, to append to a journal.

    Attributes:
        seq: number of the last event.
        hash: hash of the last event.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.hash = GENESIS

    def event(self, event: ev.Event, body: bytes = b"") -> Record:
        """Make one more event, with its content's bytes."""
        self.seq += 1
        salt = self.seq.to_bytes(16, "big")
        event.seq, event.at = self.seq, 1.7e9 + self.seq
        if body:
            event.content = hashlib.sha256(salt + body).hexdigest()
        line, self.hash = seal(self.hash, ev.encode(event))
        return Record(self.seq, line, content_line(self.seq, salt, body) if body else b"")

    def notes(self, number: int) -> list[Record]:
        """Make some more events; every second one has content."""
        return [self.event(ev.Noted(key=str(n)), b'{"text":"note %d"}' % n if n % 2 else b"") for n in range(number)]

    def acting(self, key: str, identity: str) -> list[Record]:
        """Make the events of an action up to its intent."""
        body = b'{"call":{"action":"pay","arguments":{"what":"rent"}},"identity":"%b"}' % identity.encode()
        return [
            self.event(ev.ActionProposed(key=key, action="pay", effect="irreversible", digest="d"), body),
            self.event(ev.ActionIntent(key=key, action="pay", effect="irreversible", digest="d", idempotency="i")),
        ]

    def outcome(self, key: str, status: Any) -> Record:
        """Make the event of an action's outcome."""
        return self.event(ev.ActionOutcome(key=key, action="pay", digest="d", status=status))


class JournalConformance(ABC):
    """The checks for journals; pytest runs a subclass whose name begins with `Test`.

    Attributes:
        patience_s: seconds within which the writing process must see what another posts to a run.
    """

    patience_s = _PATIENCE_S

    # --- what a subclass says

    @abstractmethod
    def opening(self, place: Path) -> AbstractAsyncContextManager[Journal]:
        """Open the journal at a place, as a separate process would."""

    # --- what the checks use

    def name(self) -> str:
        """Return a run id that no other test uses; it is not random, since pytest fixes the seed."""
        return f"20300101-000000-{random.SystemRandom().randrange(1 << 48):012x}"

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one check."""
        asyncio.run(work())

    async def stored(self, journal: Journal, run: str, after: int = 0) -> list[Record]:
        """Return all records of a run after a number."""
        return [record async for record in journal.read(run, after)]

    # --- records

    def test_what_is_appended_is_read_back_byte_for_byte(self, tmp_path: Path) -> None:
        """In order, with and without content, whatever letters it holds and however long it is, by any process."""

        async def work() -> None:
            run, writing = self.name(), Writing()
            body = json.dumps({_STRANGE: _STRANGE}, ensure_ascii=False).encode()
            records = [*writing.notes(5), writing.event(ev.Noted(key=_STRANGE), body)]
            records.append(writing.event(ev.Noted(key="long"), b'{"text":"%b"}' % (b"x" * _LARGE)))
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                claim = await journal.claim(run, "a", create=True)
                await journal.append(claim, records[:2], durable=True)
                await journal.append(claim, records[2:], durable=False)
                _same(await self.stored(journal, run), records)
                _same(await self.stored(other, run), records)
                await journal.release(claim)
                _same(await self.stored(other, run), records)
                chain = Chain()
                for record in records:
                    chain.follow(record)

        self.run(work)

    def test_reading_begins_after_a_number(self, tmp_path: Path) -> None:
        """After the last one there is nothing; a run without events has none."""

        async def work() -> None:
            run, records = self.name(), Writing().notes(1200)
            async with self.opening(tmp_path) as journal:
                claim = await journal.claim(run, "a", create=True)
                _same(await self.stored(journal, run), [])
                await journal.append(claim, records, durable=True)
                _same(await self.stored(journal, run, 1150), records[1150:])
                _same(await self.stored(journal, run, 1200), [])
                await journal.release(claim)

        self.run(work)

    def test_appends_are_stored_in_the_order_of_their_calls(self, tmp_path: Path) -> None:
        """Many at once, some durable, some given up by whoever waited: no gap, nothing twice, nothing out of order."""

        async def work() -> None:
            run, records = self.name(), Writing().notes(300)
            async with self.opening(tmp_path) as journal:
                claim = await journal.claim(run, "a", create=True)
                waiting = [
                    asyncio.ensure_future(journal.append(claim, records[n : n + 3], durable=n % 5 == 0))
                    for n in range(0, 300, 3)
                ]
                await asyncio.sleep(0)
                for number in (3, 40, 99):
                    waiting[number].cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
                await journal.append(claim, [], durable=True)
                _same(await self.stored(journal, run), records)
                await journal.release(claim)

        self.run(work)

    def test_what_is_durable_covers_all_before_it(self, tmp_path: Path) -> None:
        """When a durable append returns, others see everything that was handed over until then."""

        async def work() -> None:
            run, writing = self.name(), Writing()
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                claim = await journal.claim(run, "a", create=True)
                first = asyncio.ensure_future(journal.append(claim, writing.notes(10), durable=False))
                await asyncio.sleep(0)
                await journal.append(claim, writing.notes(1), durable=True)
                _same(len(await self.stored(other, run)), 11)
                await first
                await journal.release(claim)

        self.run(work)

    def test_many_runs_are_written_at_once(self, tmp_path: Path) -> None:
        """Each has its own records, whole and in order."""

        async def work() -> None:
            names = [self.name() for _ in range(20)]
            async with self.opening(tmp_path) as journal:

                async def write(run: str) -> list[Record]:
                    writing = Writing()
                    claim = await journal.claim(run, "a", create=True)
                    written: list[Record] = []
                    for number in range(10):
                        written += (records := writing.notes(2))
                        await journal.append(claim, records, durable=number % 3 == 0)
                    await journal.release(claim)
                    return written

                for run, records in zip(names, await asyncio.gather(*map(write, names)), strict=True):
                    _same(await self.stored(journal, run), records)

        self.run(work)

    def test_nobody_waits_for_ever(self, tmp_path: Path) -> None:
        """Hundreds of runs begin, append and end at once, over and over; each append returns."""

        async def work() -> None:
            async with self.opening(tmp_path) as journal, asyncio.timeout(60):

                async def write() -> None:
                    claim, writing = await journal.claim(self.name(), "a", create=True), Writing()
                    for number in range(3):
                        await journal.append(claim, writing.notes(1), durable=number == 1)
                    await journal.release(claim)

                for _ in range(6):
                    await asyncio.gather(*(write() for _ in range(50)))

        self.run(work)

    def test_who_reads_while_it_is_written_sees_a_beginning(self, tmp_path: Path) -> None:
        """Never a gap, and never a record without the content that belongs to it."""

        async def work() -> None:
            run, records = self.name(), Writing().notes(200)
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                claim = await journal.claim(run, "a", create=True)

                async def write() -> None:
                    for number in range(0, 200, 4):
                        await journal.append(claim, records[number : number + 4], durable=number % 20 == 0)

                writing = asyncio.ensure_future(write())
                while not writing.done():
                    seen = await self.stored(other, run)
                    _same(seen, records[: len(seen)])
                    await asyncio.sleep(0)
                await writing
                await journal.release(claim)

        self.run(work)

    # --- claims

    def test_a_run_that_is_not_there_is_unknown(self, tmp_path: Path) -> None:
        """To whoever claims it, and to whoever reads it."""

        async def work() -> None:
            async with self.opening(tmp_path) as journal:
                claim = await journal.claim(self.name(), "a", create=True)
                await journal.release(claim)
                missing = self.name()
                with pytest.raises(UnknownRun, match=missing):
                    await journal.claim(missing, "a")
                with pytest.raises(UnknownRun, match=missing):
                    await self.stored(journal, missing)

        self.run(work)

    def test_a_run_is_made_once(self, tmp_path: Path) -> None:
        """Who would make it again is refused, and it stays as it is."""

        async def work() -> None:
            run, records = self.name(), Writing().notes(2)
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                claim = await journal.claim(run, "a", create=True)
                await journal.append(claim, records, durable=True)
                await journal.release(claim)
                with pytest.raises(JournalFailed, match=run):
                    await other.claim(run, "b", create=True)
                _same(await self.stored(other, run), records)

        self.run(work)

    def test_one_writes_at_a_time(self, tmp_path: Path) -> None:
        """Another is refused until the first gives the run back; then it goes on where the first has ended."""

        async def work() -> None:
            run, writing = self.name(), Writing()
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                claim = await journal.claim(run, "a", create=True)
                first = writing.notes(2)
                await journal.append(claim, first, durable=True)
                with pytest.raises(RunHeld, match=run):
                    await other.claim(run, "b")
                await journal.release(claim)
                taken = await other.claim(run, "b")
                _same((taken.run, taken.owner), (run, "b"))
                second = writing.notes(2)
                await other.append(taken, second, durable=True)
                _same(await self.stored(journal, run), first + second)
                await other.release(taken)

        self.run(work)

    def test_one_of_many_gets_a_run(self, tmp_path: Path) -> None:
        """Of ten who claim it at once, nine are refused."""

        async def work() -> None:
            run = self.name()
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                await journal.release(await journal.claim(run, "first", create=True))
                tries: list[Awaitable[Claim]] = [(journal, other)[n % 2].claim(run, f"claimant {n}") for n in range(10)]
                got = await asyncio.gather(*tries, return_exceptions=True)
                claims = [each for each in got if isinstance(each, Claim)]
                _same((len(claims), sum(isinstance(each, RunHeld) for each in got)), (1, 9))
                await (journal, other)[got.index(claims[0]) % 2].release(claims[0])

        self.run(work)

    def test_a_claim_that_was_given_back_writes_nothing(self, tmp_path: Path) -> None:
        """Nor does one that another has followed; giving it back again does no harm to who has it now."""

        async def work() -> None:
            run, writing = self.name(), Writing()
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                old = await journal.claim(run, "a", create=True)
                await journal.release(old)
                with pytest.raises(ClaimLost, match=run):
                    await journal.append(old, writing.notes(1), durable=True)
                taken = await other.claim(run, "b")
                await journal.release(old)
                with pytest.raises(ClaimLost, match=run):
                    await journal.append(old, writing.notes(1), durable=False)
                good = Writing().notes(1)
                await other.append(taken, good, durable=True)
                _same(await self.stored(journal, run), good)
                await other.release(taken)

        self.run(work)

    # --- heads and the place

    def test_a_signed_head_and_a_place_are_kept(self, tmp_path: Path) -> None:
        """Signing stores; the place that people are told names the run."""

        async def work() -> None:
            run = self.name()
            async with self.opening(tmp_path) as journal:
                claim = await journal.claim(run, "a", create=True)
                await journal.append(claim, Writing().notes(1), durable=True)
                await journal.sign(claim, f"scaffold.trace/{run}\n1\nAAAA\n\n— somebody BBBB\n")
                hold(run in journal.location(run), "`location` does not contain the run's name")
                await journal.release(claim)

        self.run(work)

    # --- what people say

    def test_what_people_post_is_heard(self, tmp_path: Path) -> None:
        """By the process that writes the run, soon; the last word of each person on each question counts."""

        async def work() -> None:
            run = self.name()
            said = [
                Answer(id="q1", digest="d", granted=False, by="ann"),
                Answer(id="q1", digest="d", granted=True, by="ann", comment=_STRANGE.replace("\x00", "")),
                Answer(id="q1", digest="d", granted=True, by="../bob\n"),
                Answer(id="q2", digest="d", value="forty-two"),
            ]
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                claim = await journal.claim(run, "a", create=True)
                _same(list(journal.inbox(run)), [])
                for answer in said:
                    await other.post(run, answer)
                await self._until(lambda: len(journal.inbox(run)) == len(said) - 1)
                _same(sorted(journal.inbox(run), key=repr), sorted(said[1:], key=repr))
                _same(sorted(await asyncio.to_thread(other.inbox, run), key=repr), sorted(said[1:], key=repr))
                await journal.post(run, said[0])
                await self._until(lambda: said[0] in journal.inbox(run) and said[1] not in journal.inbox(run))
                await journal.release(claim)
                again = await other.claim(run, "b")
                _same(len(other.inbox(run)), 3)
                await other.release(again)

        self.run(work)

    async def _until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(self.patience_s):
            while not so():  # noqa: ASYNC110 - there is nothing to be told by
                await asyncio.sleep(0.01)

    # --- what runs act on

    def test_one_run_acts_on_a_thing(self, tmp_path: Path) -> None:
        """Of all that ask at once one gets it; the others are told who has it, until it is given back."""

        async def work() -> None:
            thing = self.name()
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                first, second = self._holding(journal), self._holding(other)
                claims = [await journal.claim(self.name(), "a", create=True) for _ in range(3)]
                claims += [await other.claim(self.name(), "b", create=True) for _ in range(3)]
                sides = [first] * 3 + [second] * 3
                got = await asyncio.gather(
                    *(side.hold(claim, thing, "0") for side, claim in zip(sides, claims, strict=True))
                )
                (winner,) = [place for place, holder in enumerate(got) if holder is None]
                for holder in got:
                    hold(holder in {None, Holder(claims[winner].run, "0", "under way")}, f"wrong holder: {holder}")
                _same(await sides[winner].hold(claims[winner], thing, "0"), None)
                _same(await sides[winner].holder(claims[winner], thing, "0"), None)
                hold(await sides[winner].holder(claims[winner], thing, "1") is not None, "it is free for another key")
                loser = (winner + 1) % 6
                await sides[loser].free(claims[loser], thing, "0")  # it was never its own
                taken = await sides[loser].hold(claims[loser], thing, "0")
                hold(taken is not None, "a run freed a thing that another run holds")
                await sides[winner].free(claims[winner], thing, "0")
                _same(await sides[loser].hold(claims[loser], thing, "0"), None)
                for journal_of, claim in zip([journal] * 3 + [other] * 3, claims, strict=True):
                    await journal_of.release(claim)

        self.run(work)

    def test_what_becomes_of_a_thing_is_read_from_its_holders_trace(self, tmp_path: Path) -> None:
        """Who went away before the intent has done nothing; after it, they may have, until a person says."""

        async def work() -> None:
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                theirs = self._holding(other)
                asks = await other.claim(self.name(), "asks", create=True)

                async def left(thing: str, rest: Callable[[Writing], Sequence[Record]]) -> str:
                    """A run that takes a thing, writes so much, and goes away."""
                    claim = await journal.claim(self.name(), "a", create=True)
                    _same(await self._holding(journal).hold(claim, thing, "0"), None)
                    await journal.append(claim, rest(Writing()), durable=True)
                    await journal.release(claim)
                    return claim.run

                thing = "untouched " + asks.run
                await left(thing, lambda it: it.acting("0", thing)[:1])
                _same(await theirs.hold(asks, thing, "0"), None)
                thing = "begun " + asks.run
                run = await left(thing, lambda it: it.acting("0", thing))
                holder = await theirs.hold(asks, thing, "0")
                _same(holder, Holder(run, "0", "unknown"))
                thing = "lost " + asks.run  # another thing was acted on at that key
                await left(thing, lambda it: it.acting("0", "another " + thing))
                _same(await theirs.hold(asks, thing, "0"), None)
                thing = "done " + asks.run
                run = await left(thing, lambda it: [*it.acting("0", thing), it.outcome("0", "performed")])
                holder = await theirs.holder(asks, thing, "0")
                _same(holder, Holder(run, "0", "performed"))
                thing = "failed " + asks.run
                await left(thing, lambda it: [*it.acting("0", thing), it.outcome("0", "failed")])
                _same(await theirs.hold(asks, thing, "0"), None)
                thing = "settled " + asks.run
                run = await left(thing, lambda it: [*it.acting("0", thing), it.outcome("0", "unknown")])
                await journal.post(run, Answer(id=settlement_id("0"), digest="d", granted=False, by="ann"))
                _same(await theirs.hold(asks, thing, "0"), None)
                await other.release(asks)

        self.run(work)

    def test_what_is_held_is_let_go_by_a_persons_word(self, tmp_path: Path) -> None:
        """Of a run whose trace is gone nothing else can tell; what is said to have happened stays held."""

        async def work() -> None:
            async with self.opening(tmp_path) as journal:
                if not isinstance(journal, HoldsForTheGone):
                    pytest.skip("the journal does not settle things held by removed runs")
                gone, other = [await journal.claim(self.name(), "a", create=True) for _ in range(2)]
                thing = "held by " + gone.run
                _same(await self._holding(journal).hold(gone, thing, "0"), None)
                for happened, held in ((True, True), (True, True), (False, True), (False, False)):
                    said = await asyncio.to_thread(journal.settle_gone, gone.run, "0", happened=happened)
                    _same(said, held)
                _same(await self._holding(journal).hold(other, thing, "0"), None)
                await journal.release(gone)
                await journal.release(other)

        self.run(work)

    def _holding(self, journal: Journal) -> HoldsIdentities:
        if not isinstance(journal, HoldsIdentities):
            pytest.skip("the journal does not hold identities")
        return journal

    def test_what_all_runs_did_can_be_looked_up(self, tmp_path: Path) -> None:
        """By when it was begun, since a time; without what was refused or has failed."""

        async def work() -> None:
            async with self.opening(tmp_path) as journal, self.opening(tmp_path) as other:
                done, failed = await self._did(journal, "performed"), await self._did(other, "failed")
                begun = await self._did(other, None)
                found = await asyncio.to_thread(elsewhere, journal, 1.7e9)
                mine = {each.run: each for each in found if each.run in {done, failed, begun}}
                _same(set(mine), {done, begun})
                _same((mine[done].key, mine[done].action, mine[done].arguments), ("0", "pay", {"what": "rent"}))
                since = await asyncio.to_thread(elsewhere, journal, mine[done].at)
                _same({each.run for each in since} & {done, begun}, {done, begun})
                _same(mine[done].at, 1.7e9 + 2)  # where it was begun, not where it was proposed
                later = await asyncio.to_thread(elsewhere, journal, 1.7e9 + 2.5)
                _same({each.run for each in later} & {done, begun}, set())

        self.run(work)

    async def _did(self, journal: Journal, status: str | None) -> str:
        claim = await journal.claim(self.name(), "a", create=True)
        writing = Writing()
        records = writing.acting("0", "it")
        await journal.append(claim, [*records, *([writing.outcome("0", status)] if status else [])], durable=True)
        await journal.release(claim)
        return claim.run

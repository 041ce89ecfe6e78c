"""The Journal protocol: where runs are stored, and who may write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from scaffold.interfaces.approver import Answer


class Record(msgspec.Struct, frozen=True, gc=False):
    """One event as stored: its spine line and its content line, without newlines."""

    seq: int
    line: bytes
    content: bytes = b""


class Claim(msgspec.Struct, frozen=True):
    """The right to write one run.

    Attributes:
        run: the run.
        owner: who holds it.
        epoch: counts claims; a journal refuses an older one.
        repaired: what was repaired on opening, in words; empty if nothing was.
    """

    run: str
    owner: str
    epoch: int = 0
    repaired: str = ""


@runtime_checkable
class Journal(Protocol):
    """Stores the events of runs, with one writer at a time and readers at any time.

    `append` stores records in the order of its calls, and may be called before an earlier call has returned; when it
    returns, all earlier records are stored too. With `durable` they survive a loss of power. `read` yields what was
    stored, in order, and changes nothing. The inbox holds people's answers to a run; the holder of the claim turns them
    into events.
    """

    async def claim(self, run: str, owner: str, *, create: bool = False) -> Claim:
        """Take the right to write; repair a torn tail.

        Raises:
            RunHeld: another process holds it.
            UnknownRun: there is no such run, and `create` is False.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Give up the right to write."""
        ...

    async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
        """Store records.

        Raises:
            JournalFailed: they are not stored; the run must end.
            ClaimLost: another process has taken over.
        """
        ...

    def read(self, run: str, after: int = 0) -> AsyncIterator[Record]:
        """Yield the records after a sequence number."""
        ...

    async def sign(self, claim: Claim, note: str) -> None:
        """Store a signed head beside the trace."""
        ...

    async def post(self, run: str, answer: Answer) -> None:
        """Put an answer into a run's inbox, replacing the same person's answer to the same question."""
        ...

    def inbox(self, run: str) -> Sequence[Answer]:
        """The answers in a run's inbox."""
        ...

    def location(self, run: str) -> str:
        """Return where people find the trace: a path or an address."""
        ...


class KeptRuns(Journal, Protocol):
    """A journal whose runs the command and reports can read."""

    @property
    def name(self) -> str:
        """Where the runs are, for people; contains no secret."""
        ...

    def runs(self) -> list[str]:
        """Return the ids of the runs stored here, oldest first."""
        ...

    def ended(self, runs: Sequence[str]) -> set[str]:
        """Return those of the runs that have ended or are gone; one that cannot be read has not ended."""
        ...

    def find(self, name: str) -> str:
        """Return the run meant by an id, a unique beginning or ending of one, or `last`.

        Raises:
            UnknownRun: no run matches, or more than one.
        """
        ...

    def folder(self, run: str, *, brief: bool = False) -> Path:
        """Return a folder with the run's files, or with copies of their current state.

        Args:
            run: its id.
            brief: the first and the last event are enough.
        """
        ...


@runtime_checkable
class Leases(Protocol):
    """A journal whose claims expire unless renewed, so that one can be lost while its owner lives."""

    def when_lost(self, claim: Claim, tell: Callable[[], None]) -> None:
        """Call a function once somebody else has taken over."""
        ...

    async def confirm(self, claim: Claim) -> None:
        """Check that the claim was not lost as of a moment ago; called right before every effect.

        Raises:
            ClaimLost: it was.
            JournalFailed: this cannot be told.
        """
        ...


class Holder(msgspec.Struct, frozen=True):
    """Who is acting, or has acted, on a thing.

    Attributes:
        run: the run.
        key: the action's key in that run.
        how: it was `performed`, nobody can tell (`unknown`), or the run is still doing it (`under way`).
        because: what else is known, in words.
    """

    run: str
    key: str
    how: Literal["performed", "unknown", "under way"]
    because: str = ""


@runtime_checkable
class HoldsIdentities(Protocol):
    """A journal that records which things its runs act on, so that no two runs act on the same one.

    `hold` is atomic across processes, and outlives the process. A thing stays held until it is given back, or its
    holder is seen to have done nothing; an action that may have happened keeps it.
    """

    async def holder(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Return who else holds it; None if nobody does.

        Raises:
            BadInput: this cannot be told, and waiting will not help: the action is refused.
            JournalFailed: this cannot be told now: the run is paused, to be resumed.
        """
        ...

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Hold it for the action at a key, or return who already does; raises as `holder`."""
        ...

    async def free(self, claim: Claim, identity: str, key: str) -> None:
        """Free it: the action is known not to have happened, or was undone."""
        ...


@runtime_checkable
class HoldsForTheGone(Protocol):
    """A journal that still knows what a run acted on after the run's trace has been deleted."""

    def settle_gone(self, run: str, key: str, *, happened: bool) -> bool:
        """Take a person's word on the action at a key of such a run; returns whether it held anything.

        Raises:
            BadInput: this cannot be told, and waiting will not help.
            JournalFailed: this cannot be told now.
        """
        ...


@runtime_checkable
class Witness(Protocol):
    """Keeps signed heads out of reach of those who can write to the run's folder, so that a rollback shows.

    A head is kept before the run goes on with what it covers: an irreversible action, a pause, the end.
    """

    async def keep(self, run: str, seq: int, note: str) -> None:
        """Keep the signed note of a run's head after its event `seq`. If this raises, the run warns and goes on."""
        ...

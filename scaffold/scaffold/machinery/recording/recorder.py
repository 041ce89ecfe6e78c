"""The recorder: numbers events, chains them, and passes them to the folds, in order and once.

Records are buffered until `flush`. Everything outside the process (asking a model, performing an action) waits for a
flush first, so what the outside has seen is never missing from the journal. A crash between two flushes loses only what
nobody outside has seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel

from scaffold.interfaces import Leases, Record
from scaffold.trace.chain import GENESIS, MISFIT, content_line, misfit, seal
from scaffold.trace.heads import Head
from scaffold.vocabulary import events
from scaffold.vocabulary.characters import cleaned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from scaffold.interfaces import Claim, Journal, Surroundings, Witness
    from scaffold.machinery.recording.redacting import Redaction
    from scaffold.trace.checked import Checked, Told
    from scaffold.trace.heads import Signer
    from scaffold.trace.sealing import Sealer
    from scaffold.vocabulary.events import Event

_SALT = 16  # bytes
_AT_ONCE = 256
_WITNESS_S = 5.0
_log = logging.getLogger(__name__)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} cannot be recorded")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def _encode_content(content: dict[str, Any]) -> bytes:
    try:
        return _encode(content)
    except UnicodeEncodeError:
        return _encode(cleaned(content))  # error messages of plug-ins may hold lone surrogates


Fold = Callable[["Event", bytes], None]
"""A fold over the events: called with each event and its content's bytes, if any."""


class Recorder:
    """The only writer of a run's trace.

    Attributes:
        seq: number of the last event.
        hash: its hash.
        t: seconds the run had been active at the last event.
        secret: the salt of the first content: the same on every resume, and not in the spine.
    """

    def __init__(
        self,
        journal: Journal,
        claim: Claim,
        surroundings: Surroundings,
        *,
        signer: Signer | None = None,
        witnesses: Sequence[Witness] = (),
        sealer: Sealer | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        self._journal = journal
        self._leases = journal if isinstance(journal, Leases) else None
        self.claim = claim
        self._now = surroundings.clock.now
        self._monotonic = surroundings.clock.monotonic
        self._reach = surroundings.reach
        self._signer = signer
        self._redaction = redaction
        self._content_line = content_line if sealer is None else sealer.line
        self._witnesses = witnesses
        self._signing = asyncio.Lock()  # keeps heads in the order of their events
        self._salts = _drawn_from(surroundings.random)
        self._waiting: list[Record] = []
        self._folds: list[Fold] = []
        self._partial_folds: list[Mapping[type[Event], Fold]] = []
        self._readers: tuple[Mapping[type[Event], Fold], ...] = ()
        self._folds_of: dict[type[Event], tuple[Fold, ...]] = {}
        self._started = self._monotonic()
        self._paused_at: float | None = None
        self._durable = Head(claim.run, 0, GENESIS)
        self.seq = 0
        self.hash = GENESIS
        self.t = 0.0
        self.secret = b""

    def follow(self, fold: Fold) -> None:
        """Pass every event from now on to a fold."""
        self._folds.append(fold)
        self._folds_of.clear()

    def follow_kinds(self, folds: Mapping[type[Event], Fold]) -> None:
        """Pass events to the fold given for their kind, if any, before the folds for all events."""
        self._partial_folds.append(folds)
        self._folds_of.clear()

    def _folding(self, kind: type[Event]) -> tuple[Fold, ...]:
        partial = [folds[kind] for folds in (*self._readers, *self._partial_folds) if kind in folds]
        folding = self._folds_of[kind] = (*partial, *self._folds)
        return folding

    def read_by(self, *readers: Mapping[type[Event], Fold]) -> None:
        """While reading from the journal, pass events to these folds first; `go_on` removes them."""
        self._readers = readers
        self._folds_of.clear()

    def adopt(self, told: Iterable[Told]) -> None:
        """Take in events read from the journal, each with its content; call `go_on` after the last.

        Raises:
            TraceDamaged: an event does not have the form in which its kind is written.
        """
        folds_of, folding = self._folds_of, self._folding
        for event, body in told:
            self.t = event.t
            kind = type(event)
            folds = folds_of.get(kind)
            try:
                for fold in folding(kind) if folds is None else folds:
                    fold(event, body)
            except MISFIT as error:
                raise misfit(event) from error

    def go_on(self, read: Checked) -> None:
        """Continue after the last event that was read, and count active seconds from its own."""
        self.read_by()
        self.seq, self.hash, self.secret = read.seq, read.hash, read.secret
        self._started = self._monotonic() - self.t

    def record(self, event: Event, content: dict[str, Any] | None = None, *, asked: bytes | None = None) -> bytes:
        """Record one event, and return its content's bytes.

        Args:
            event: what happened; its number, times and digests are filled in here.
            content: what the spine must not hold.
            asked: canonical bytes whose salted digest becomes `event.digest`.
        """
        body = b"" if content is None else _encode_content(content)  # before the number is taken: this may fail
        if self._redaction is not None and body:
            body = self._redaction.written(event, body)
        seq = self.seq = event.seq = self.seq + 1
        event.at = self._now()
        event.t = self.t = self.ticks() / 1e6
        line = b""
        if content is not None or asked is not None:
            salt = next(self._salts)
            self.secret = self.secret or salt
            if asked is not None:
                event.digest = sha256(salt + asked).hexdigest()  # type: ignore[attr-defined]  # who passes `asked` has the field
            if content is not None:
                event.content = sha256(salt + body).hexdigest()
                line = self._content_line(seq, salt, body)
        sealed, self.hash = seal(self.hash, events.encode(event))
        self._waiting.append(Record(seq, sealed, line))
        kind = type(event)
        folds = self._folds_of.get(kind)
        for fold in self._folding(kind) if folds is None else folds:
            fold(event, body)
        return body

    async def flush(self, *, durable: bool = False) -> None:
        """Pass all records so far to the journal; with `durable`, wait until they are on disk."""
        waiting, self._waiting = self._waiting, []
        seq, mark = self.seq, self.hash
        await self._journal.append(self.claim, waiting, durable=durable)
        if durable and seq > self._durable.seq:
            self._durable = Head(self.claim.run, seq, mark)

    async def sign(self) -> None:
        """Store a signed head of what is certainly on disk, if there is a key.

        A head that covered more, such as what other branches have recorded meanwhile, would make a crash look like
        forgery.
        """
        if self._signer is None:
            return
        async with self._signing:
            self._reach("head:before")
            head, signer = self._durable, self._signer
            note = await asyncio.to_thread(signer.sign, head) if signer.waits else signer.sign(head)
            await self._journal.sign(self.claim, note)
            for witness in self._witnesses:
                await self._have_kept(witness, head.seq, note)
            self._reach("head:after")

    async def _have_kept(self, witness: Witness, seq: int, note: str) -> None:
        try:
            async with asyncio.timeout(_WITNESS_S):
                await witness.keep(self.claim.run, seq, note)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the journal has the head
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            _log.warning("the signed head of event %d was not kept by %s: %s", seq, type(witness).__name__, said)

    async def confirm(self) -> None:
        """Check that the claim still holds, if it can be lost: the process may have been suspended for long.

        Raises:
            ClaimLost: another process has taken over the run.
        """
        if self._leases is not None:
            await self._leases.confirm(self.claim)

    def when_lost(self, tell: Callable[[], None]) -> None:
        """Register a function to be called once another process has taken over, if that can happen."""
        if self._leases is not None:
            self._leases.when_lost(self.claim, tell)

    def active(self) -> float:
        """Return the seconds the run has been active; waiting for people does not count."""
        return self.ticks() / 1e6

    def ticks(self) -> int:
        """Return the same in microseconds, the resolution of the trace."""
        until = self._monotonic() if self._paused_at is None else self._paused_at
        return int((until - self._started) * 1e6 + 0.5)

    def stand_still(self) -> None:
        """Stop counting active seconds."""
        if self._paused_at is None:
            self._paused_at = self._monotonic()

    def move_on(self) -> None:
        """Count active seconds again."""
        if self._paused_at is not None:
            self._started += self._monotonic() - self._paused_at
            self._paused_at = None


def _drawn_from(source: Random) -> Iterator[bytes]:
    """Yield salts, drawing many at a time."""
    while True:
        drawn = source.randbytes(_SALT * _AT_ONCE)
        for start in range(0, len(drawn), _SALT):
            yield drawn[start : start + _SALT]

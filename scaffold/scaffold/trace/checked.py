"""A run's events with all their content, each checked before use: what a run is resumed from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.errors import TraceDamaged
from scaffold.trace.chain import Chain, withheld

if TYPE_CHECKING:
    from scaffold.interfaces import Record
    from scaffold.vocabulary.events import Event

Told = tuple["Event", bytes]
"""An event and its content's bytes; empty if it has no content."""


class Checked:
    """Checks a run's records one after another, and that no content is missing.

    Attributes:
        seq: number of the last correct event.
        hash: its hash.
        secret: the salt of the first content.
    """

    def __init__(self) -> None:
        self._chain = Chain()
        self.secret = b""

    @property
    def seq(self) -> int:
        return self._chain.seq

    @property
    def hash(self) -> bytes:
        return self._chain.hash

    def take(self, record: Record) -> Told:
        """Check that a record follows the last one; return its event and content.

        Raises:
            TraceDamaged: it was altered, is out of order, or its content is withheld.
            NewerTrace: its kind is unknown to this version.
        """
        link = self._chain.follow(record)
        if link.content is None:
            if link.event.content:
                raise TraceDamaged(f"{withheld(record)}: a run can be resumed only with all of its content", record.seq)
            return link.event, b""
        self.secret = self.secret or link.content.salt
        return link.event, link.content.body

    def take_over(self, seq: int, mark: bytes, secret: bytes) -> None:
        """Continue from where another process has read to."""
        self._chain.seq, self._chain.hash = seq, mark
        self.secret = secret

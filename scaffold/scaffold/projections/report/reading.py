"""Yields the events of a stored run as far as they can be read, even if it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from scaffold.errors import NewerTrace, TraceDamaged
from scaffold.interfaces import Record
from scaffold.trace.chain import MISFIT, Chain, body_of
from scaffold.trace.records import read_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scaffold.trace.chain import Link
    from scaffold.vocabulary.events import Event

Kind = TypeVar("Kind")
Kept = Literal["none", "here", "withheld", "altered"]


class Told(msgspec.Struct, gc=False):
    """One event with its content.

    Attributes:
        event: what happened.
        content: what the spine must not hold; empty when there is none or it cannot be read.
        kept: whether the content is there, or what happened to it.
        body: the content's bytes as stored.
    """

    event: Event
    content: dict[str, Any]
    kept: Kept
    body: bytes = b""


class Reading:
    """Reads one run's folder, once.

    Args:
        folder: the run's folder.
        content: if false, all content is treated as withheld.
        heads_of: numbers of the events whose hashes are wanted.

    Attributes:
        content: whether content is read.
        heads: these hashes, in hex, as far as read.
        stopped: why reading stopped; empty if everything was read.
        events: number of events read.
    """

    def __init__(self, folder: Path, *, content: bool = True, heads_of: frozenset[int] = frozenset()) -> None:
        self._folder = folder
        self._heads_of = heads_of
        self.content = content
        self.heads: dict[int, str] = {}
        self.stopped = ""
        self.events = 0

    def __iter__(self) -> Iterator[Told]:
        """Yield events in order, up to the first that breaks the chain."""
        chain = Chain()
        for record in read_files(self._folder):
            try:
                link, altered = _follow(chain, record)
            except (TraceDamaged, NewerTrace) as error:
                self.stopped = str(error)
                return
            self.events = link.event.seq
            if self.events in self._heads_of:
                self.heads[self.events] = link.hash.hex()
            yield self._told(link, altered=altered)

    def _told(self, link: Link, *, altered: bool) -> Told:
        if not link.event.content:
            return Told(link.event, {}, "none")
        if altered:
            return Told(link.event, {}, "altered")
        if link.content is None or not self.content:
            return Told(link.event, {}, "withheld")
        try:
            body: Any = body_of(link.content)
        except MISFIT:
            body = None
        if not isinstance(body, dict):
            return Told(link.event, {}, "altered")
        return Told(link.event, body, "here", link.content.body)


def _follow(chain: Chain, record: Record) -> tuple[Link, bool]:
    """Check one record; if only its content does not fit, drop the content and say so."""
    try:
        return chain.follow(record), False
    except TraceDamaged:
        if not record.content:
            raise
    return chain.follow(Record(record.seq, record.line)), True


def dig(value: Any, kind: type[Kind], *path: str) -> Kind:
    """Return the value at a path in a content, or an empty one of the type, since others may write traces, too."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, kind) else kind()

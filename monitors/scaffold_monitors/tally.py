"""How often each action was done in a run, and what its numbers come to: behind `count` and `total`.

An action counts from the moment it is proposed, since it may happen from then on; it stops counting when it
is refused or known to have failed. One whose outcome is unknown keeps counting. Of two actions under review
at the same time, the one proposed first does not count the other, so that of two that do not both fit, one
goes through, and always the same one.
"""

from __future__ import annotations

import math
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.vocabulary import events
from scaffold.vocabulary.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

Amount = int | Decimal


def numbers(arguments: Mapping[str, Any]) -> dict[str, Amount]:
    """The numeric arguments; fractions as written in decimal, so that 0.1 and 0.2 make 0.3."""
    found: dict[str, Amount] = {}
    for name, value in arguments.items():
        if type(value) is int:
            found[name] = value
        elif type(value) is float and math.isfinite(value):
            found[name] = Decimal(repr(value))
    return found


def mark(action: str, arguments: Mapping[str, Any]) -> bytes:
    """Sixteen bytes that tell one call from another."""
    return blake2b(canonical((action, arguments)), digest_size=16).digest()


class Tally(msgspec.Struct):
    """Counts by action, sums by action and argument.

    Attributes:
        calls: how often each action was done.
        sums: how often it was with a number for an argument, and what these come to.
        below: what those of them come to that are below zero.
    """

    calls: dict[str, int] = msgspec.field(default_factory=dict)
    sums: dict[tuple[str, str], tuple[int, Amount]] = msgspec.field(default_factory=dict)
    below: dict[tuple[str, str], Amount] = msgspec.field(default_factory=dict)

    def add(self, action: str, amounts: Mapping[str, Amount]) -> None:
        """Count one more call."""
        self.calls[action] = self.calls.get(action, 0) + 1
        for name, amount in amounts.items():
            times, total = self.sums.get((action, name), (0, 0))
            self.sums[action, name] = (times + 1, total + amount)
            if amount < 0:
                self.below[action, name] = self.below.get((action, name), 0) + amount

    def total(self, action: str, argument: str) -> Amount | None:
        """The sum of an argument over all calls; None when some call does not have it as a number."""
        times, total = self.sums.get((action, argument), (0, 0))
        return total if times == self.calls.get(action, 0) else None


class Pending(msgspec.Struct, frozen=True):
    """An action that may happen, or may have happened."""

    action: str
    amounts: Mapping[str, Amount]
    seq: int
    plan: str
    mark: bytes


class History(msgspec.Struct):
    """What was done in a run so far: a fold over its trace.

    Each event takes the same time however long the run is. Memory grows by a mark of sixteen bytes for each
    action performed; all else is by action and by argument.

    Attributes:
        settled: what is known to have been performed.
        pending: what may be, by key.
        performed: marks of the calls performed.
    """

    settled: Tally = msgspec.field(default_factory=Tally)
    pending: dict[str, Pending] = msgspec.field(default_factory=dict)
    performed: set[bytes] = msgspec.field(default_factory=set)

    def follow(self, event: events.Event, content: Mapping[str, Any]) -> None:
        """Take in one more event."""
        if isinstance(event, events.ActionProposed):
            arguments = content.get("call", {}).get("arguments", {})
            self.pending[event.key] = Pending(
                event.action, numbers(arguments), event.seq, event.plan, mark(event.action, arguments)
            )
        elif isinstance(event, events.ActionOutcome) and event.status != "unknown":
            done = self.pending.pop(event.key, None)
            if done is not None and event.status == "performed":
                self.settled.add(done.action, done.amounts)
                self.performed.add(done.mark)
        elif isinstance(event, events.ActionRefused):
            self.pending.pop(event.key, None)

    def beside(self, key: str) -> list[Pending]:
        """What may happen besides the plan or action of that key, and has precedence over it."""
        own = self.pending.get(key)
        if own is not None and len(self.pending) == 1:
            return []
        return [other for name, other in self.pending.items() if name != key and not (own and other.seq > own.seq)]

"""Counts each action's calls in a run and sums up its numeric arguments, for the functions `count` and `total`.

An action counts from its proposal on, since it may happen from then on, until it is refused or known to have failed;
with an unknown outcome it keeps counting. Of two actions under review at the same time, the one proposed first does
not count the other. So if only one of them fits, always the same one passes.
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
    """Return the numeric arguments; fractions as decimals, so that 0.1 and 0.2 make 0.3."""
    found: dict[str, Amount] = {}
    for name, value in arguments.items():
        if type(value) is int:
            found[name] = value
        elif type(value) is float and math.isfinite(value):
            found[name] = Decimal(repr(value))
    return found


def mark(action: str, arguments: Mapping[str, Any]) -> bytes:
    """Return sixteen bytes that identify a call by action and arguments."""
    return blake2b(canonical((action, arguments)), digest_size=16).digest()


class Tally(msgspec.Struct):
    """Counts by action, sums by action and argument.

    Attributes:
        calls: number of calls of each action.
        sums: for each action and argument, how often it was a number, and the sum of these.
        below: the sum of the negative ones among them.
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
        """Return the sum of an argument over all calls; None if some call does not have it as a number."""
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
    """What was performed in a run so far: a fold over its trace.

    Each event takes constant time. Memory grows by a mark of sixteen bytes for each performed action; everything else
    is per action and argument.

    Attributes:
        settled: tally of what is known to have been performed.
        pending: actions that may be or have been performed, by key.
        performed: marks of the calls performed.
    """

    settled: Tally = msgspec.field(default_factory=Tally)
    pending: dict[str, Pending] = msgspec.field(default_factory=dict)
    performed: set[bytes] = msgspec.field(default_factory=set)

    def follow(self, event: events.Event, content: Mapping[str, Any]) -> None:
        """Process one more event."""
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
        """Return the pending actions that take precedence over the plan or action with this key."""
        own = self.pending.get(key)
        if own is not None and len(self.pending) == 1:
            return []
        return [other for name, other in self.pending.items() if name != key and not (own and other.seq > own.seq)]

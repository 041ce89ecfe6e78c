"""How samples become one answer: policies that say how many more to draw, or who has won.

A policy sees the votes in the order of their sample index, never of their arrival, so that one set of
samples has one outcome. What is malformed, over-long or fails a check is discarded and drawn again; it
is never repaired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

Check = Callable[[Any], "str | bool | None"]


class Draw(msgspec.Struct, frozen=True):
    """Draw `n` more samples."""

    n: int


class Won(msgspec.Struct, frozen=True):
    """The answer that won: the place of its first vote, and its share of those counted."""

    place: int
    share: float
    counted: int


class Lost(msgspec.Struct, frozen=True):
    """There will be no winner."""

    reason: str


class Sampling(Protocol):
    """A policy for one step.

    `decide` is given the votes so far (canonical forms of the values, in sample order, discards left out) and how
    many samples were drawn in all. It is asked again after each draw, must depend on nothing else, and must not
    draw beyond `cap`.
    """

    @property
    def cap(self) -> int:
        """Most samples it will ever draw."""
        ...

    @property
    def flags(self) -> tuple[Check, ...]:
        """Checks that each sample's value must pass; a string or False says no."""
        ...

    def decide(self, votes: list[bytes], drawn: int) -> Draw | Won | Lost:
        """Say what is next."""
        ...


class _First(msgspec.Struct, frozen=True):
    """The first acceptable sample."""

    cap: int
    flags: tuple[Check, ...] = ()

    def decide(self, votes: list[bytes], drawn: int) -> Draw | Won | Lost:
        if votes:
            return Won(0, 1.0, 1)
        if drawn >= self.cap:
            return Lost(f"no acceptable answer in {drawn} samples")
        return Draw(1)


class _Majority(msgspec.Struct, frozen=True):
    """More than half of n votes."""

    n: int
    cap: int
    flags: tuple[Check, ...] = ()

    def decide(self, votes: list[bytes], drawn: int) -> Draw | Won | Lost:
        counted = votes[: self.n]
        leader, count = _leader(counted)
        if count * 2 > self.n:
            return Won(counted.index(leader), count / len(counted), len(counted))
        missing = self.n - len(counted)
        if not missing:
            return Lost(f"no answer has more than half of {self.n} votes")
        if drawn >= self.cap:
            return Lost(f"only {len(counted)} of {drawn} samples are acceptable; {self.n} votes are needed")
        return Draw(min(missing, self.cap - drawn))


class _AheadBy(msgspec.Struct, frozen=True):
    """The first answer to lead every other by k votes."""

    k: int
    cap: int
    flags: tuple[Check, ...] = ()

    def decide(self, votes: list[bytes], drawn: int) -> Draw | Won | Lost:
        tally: Counter[bytes] = Counter()
        for place, vote in enumerate(votes):
            tally[vote] += 1
            ranks = tally.most_common(2)
            lead = ranks[0][1] - (ranks[1][1] if len(ranks) > 1 else 0)
            if lead >= self.k:
                leader = ranks[0][0]
                return Won(votes.index(leader), ranks[0][1] / (place + 1), place + 1)
        if drawn >= self.cap:
            return Lost(f"no answer leads by {self.k} after {drawn} samples")
        ranks = tally.most_common(2)
        lead = ranks[0][1] - (ranks[1][1] if len(ranks) > 1 else 0) if ranks else 0
        return Draw(min(self.k - lead, self.cap - drawn))


def _leader(votes: list[bytes]) -> tuple[bytes, int]:
    return Counter(votes).most_common(1)[0] if votes else (b"", 0)


def once(*, tries: int = 3, flags: tuple[Check, ...] = ()) -> Sampling:
    """One acceptable sample; what is flagged is drawn again, `tries` samples at most."""
    return _First(cap=_at_least_one(tries, "tries"), flags=flags)


def majority(n: int, *, cap: int | None = None, flags: tuple[Check, ...] = ()) -> Sampling:
    """More than half of n acceptable samples; stops as soon as that is certain."""
    return _Majority(n=_at_least_one(n, "n"), cap=max(n, cap or 2 * n), flags=flags)


def ahead_by(k: int, *, cap: int | None = None, flags: tuple[Check, ...] = ()) -> Sampling:
    """The first answer to lead every other by k (the first-to-ahead-by-k vote of MAKER, arXiv 2511.09030).

    Without a winner after `cap` samples the step fails; the first candidate is never taken instead.
    """
    return _AheadBy(k=_at_least_one(k, "k"), cap=max(k, cap or 8 * k), flags=flags)


def verified(critic: Callable[[Any], Any], *, tries: int = 8) -> Sampling:
    """The first sample of which a sound critic in code says something true; a text says why not."""

    def check(value: Any) -> str | bool:
        said = critic(value)
        return said or False if isinstance(said, str) else bool(said)

    return _First(cap=_at_least_one(tries, "tries"), flags=(check,))


def shorter_than(characters: int) -> Check:
    """Red flag: an answer this long or longer has usually gone astray (MAKER, arXiv 2511.09030)."""

    def check(value: Any) -> str | None:
        length = len(value if isinstance(value, str) else repr(value))
        return f"{length} characters, {characters} or more" if length >= characters else None

    return check


def _at_least_one(number: int, name: str) -> int:
    if number < 1:
        raise ValueError(f"{name} is {number}: it has to be at least 1")
    return number


ONCE = once()

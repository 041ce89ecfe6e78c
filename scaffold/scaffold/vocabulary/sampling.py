"""Sampling policies: how many samples of a step to draw, and which answer wins.

A policy sees the votes in the order of their sample index, never of their arrival, so that one set of samples has one
outcome. It is asked after every sample, in that order, and the first decision counts: samples beyond it are stopped and
have no vote. A sample that is malformed, over-long or fails a check is discarded and drawn again; it is never repaired.
Policies around a policy (`cascade`, `in_rotation`, `unless_sure`) are in `composed`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any, Protocol

import msgspec

MOST_SAMPLES = 10_000  # of one step, and at once: more would fill the memory

Said = str | bool | None
Check = Callable[[Any], Said | Awaitable[Said]]
"""Checks one sample's value: True, None or "" accepts it, a text says why not. A slow check is `async`.

Equal samples of one step are checked once.
"""


class Vote(msgspec.Struct, frozen=True, gc=False):
    """The vote of one sample.

    Attributes:
        value: canonical form of its value, without the confidence it states.
        confidence: how likely it is right: the stated confidence, calibrated. None if it stated none, or there is no
            calibration for it.
    """

    value: bytes
    confidence: float | None = None


Votes = Sequence["Vote | None"]
"""One per sample, in the order of their index; None for a discarded one."""


class Way(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One way to ask a step; what is left out is as in the step.

    Attributes:
        to: the role of another backend.
        prompt: the name of another template.
        instruction: the same instruction in other words; never text from elsewhere.
        temperature: another temperature.
    """

    to: str = ""
    prompt: str = ""
    instruction: str = ""
    temperature: float | None = None


class Draw(msgspec.Struct, frozen=True):
    """Draw `n` more samples; the one at place p among the votes is asked in `ways[p % len(ways)]`, if there are any."""

    n: int
    ways: tuple[Way, ...] = ()


class Won(msgspec.Struct, frozen=True):
    """An answer has won: the place of its first vote, and its share of the votes counted."""

    place: int
    share: float
    counted: int


class Lost(msgspec.Struct, frozen=True):
    """There will be no winner."""

    reason: str


class Sampling(Protocol):
    """A sampling policy for one step.

    `decide` is called before anything is drawn and after each sample in the order of their index. Its result must
    depend on the votes alone, and it must not draw beyond `cap`. While samples are under way, a `Draw` in the same ways
    means to wait for them; any other decision stops them. A policy may also have a `name`, which is written to the
    trace, `ways` that it may ask for, and `keeps_all`: all accepted samples become the thought's candidates.
    """

    @property
    def cap(self) -> int:
        """The most samples it will ever count."""
        ...

    @property
    def flags(self) -> tuple[Check, ...]:
        """Checks that each sample's value must pass; a string or False rejects it."""
        ...

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        """Decide what comes next."""
        ...


class _First(msgspec.Struct, frozen=True):
    """Takes the first acceptable sample."""

    cap: int
    flags: tuple[Check, ...] = ()

    @property
    def name(self) -> str:
        return f"once(cap={self.cap})"

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        for place, vote in enumerate(votes):
            if vote is not None:
                return Won(place, 1.0, 1)
        if len(votes) >= self.cap:
            return Lost(f"no acceptable answer in {len(votes)} samples")
        return Draw(1)


class _Tally:
    """Counts votes per answer, one vote at a time."""

    def __init__(self) -> None:
        self.votes: dict[bytes, int] = {}
        self.counted = 0

    def add(self, vote: Vote) -> int:
        """Count one vote; return how many its answer has now."""
        self.counted += 1
        self.votes[vote.value] = count = self.votes.get(vote.value, 0) + 1
        return count

    def won(self, votes: Votes, winner: Vote) -> Won:
        """Return the winning answer with its share of the votes counted so far."""
        return Won(_first(votes, winner.value), self.votes[winner.value] / self.counted, self.counted)


class _Majority(msgspec.Struct, frozen=True):
    """Wants more than half of n votes."""

    n: int
    cap: int
    batch: int = 1
    flags: tuple[Check, ...] = ()

    @property
    def name(self) -> str:
        return f"majority({self.n}, cap={self.cap})"

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        tally = _Tally()
        for vote in filter(None, votes):
            if tally.add(vote) * 2 > self.n:
                return tally.won(votes, vote)
            if tally.counted == self.n:
                break
        counted, drawn = tally.counted, len(votes)
        missing, most = self.n - counted, max(tally.votes.values(), default=0)
        if not missing:
            return Lost(f"no answer has more than half of {self.n} votes")
        if drawn >= self.cap:
            return Lost(f"only {counted} of {drawn} samples are acceptable; {self.n} votes are needed")
        if (most + min(missing, self.cap - drawn)) * 2 <= self.n:
            return Lost(f"no answer can still have more than half of {self.n} votes after {drawn} samples")
        # No more than could decide it: samples that are not counted cost money too.
        return Draw(min(max(self.batch, self.n // 2 + 1 - most), missing, self.cap - drawn))


class _AheadBy(msgspec.Struct, frozen=True):
    """Takes the first answer to lead every other by k votes."""

    k: int
    cap: int
    batch: int = 1
    flags: tuple[Check, ...] = ()

    @property
    def name(self) -> str:
        return f"ahead_by({self.k}, cap={self.cap})"

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        tally = _Tally()
        for vote in filter(None, votes):
            count = tally.add(vote)
            if count >= self.k:  # only the answer just voted for can have gained the lead
                others = max((each for value, each in tally.votes.items() if value != vote.value), default=0)
                if count - others >= self.k:
                    return tally.won(votes, vote)
        ranks = sorted(tally.votes.values(), reverse=True)
        lead = ranks[0] - (ranks[1] if len(ranks) > 1 else 0) if ranks else 0
        drawn, left = len(votes), self.cap - len(votes)
        if left <= 0:
            return Lost(f"no answer leads by {self.k} after {drawn} samples")
        if self.k - lead > left:
            return Lost(f"no answer can lead by {self.k} within {self.cap} samples any more, after {drawn}")
        return Draw(min(max(self.batch, self.k - lead), left))


class _Several(msgspec.Struct, frozen=True):
    """Takes the first n acceptable samples, for the planner to choose from."""

    n: int
    cap: int
    flags: tuple[Check, ...] = ()

    keeps_all = True

    @property
    def name(self) -> str:
        return f"several({self.n}, cap={self.cap})"

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        drawn, accepted = len(votes), [vote.value for vote in votes if vote is not None]
        if len(accepted) < self.n and drawn < self.cap:
            return Draw(min(self.n - len(accepted), self.cap - drawn))
        if not accepted:
            return Lost(f"no acceptable answer in {drawn} samples")
        return Won(_first(votes, accepted[0]), accepted.count(accepted[0]) / len(accepted), len(accepted))


def _first(votes: Votes, value: bytes) -> int:
    return next(place for place, vote in enumerate(votes) if vote is not None and vote.value == value)


def once(*, tries: int = 3, flags: tuple[Check, ...] = ()) -> Sampling:
    """Take the first acceptable sample; flagged ones are drawn again, up to `tries` samples.

    Raises:
        ValueError: `tries` is no number of samples.
        TypeError: `flags` are no checks.
    """
    return _First(cap=at_least_one(tries, "tries"), flags=_checks(flags))


def majority(n: int, *, cap: int | None = None, batch: int = 1, flags: tuple[Check, ...] = ()) -> Sampling:
    """Take the answer of more than half of n acceptable samples; stops as soon as that is certain or impossible.

    Args:
        n: how many votes there are.
        cap: most samples; 2 n if None.
        batch: least samples to draw at a time, even where fewer could decide: quicker, but dearer if they do.
        flags: checks that each sample must pass.

    Raises:
        ValueError: a number of samples is none, or `cap` is less than n.
        TypeError: `flags` are no checks.
    """
    n = at_least_one(n, "n")
    return _Majority(n=n, cap=_most(cap, n, 2 * n), batch=at_least_one(batch, "batch"), flags=_checks(flags))


def ahead_by(k: int, *, cap: int | None = None, batch: int = 1, flags: tuple[Check, ...] = ()) -> Sampling:
    """Take the first answer to lead every other by k (the first-to-ahead-by-k vote of MAKER, arXiv 2511.09030).

    Without a winner after `cap` samples the step fails; the first candidate is never taken instead.

    Args:
        k: the lead wanted.
        cap: most samples; 8 k if None.
        batch: least samples to draw at a time: quicker, but dearer if the vote is decided within a batch. The winner
            is the same.
        flags: checks that each sample must pass.

    Raises:
        ValueError: a number of samples is none, or `cap` is less than k.
        TypeError: `flags` are no checks.
    """
    k = at_least_one(k, "k")
    return _AheadBy(k=k, cap=_most(cap, k, 8 * k), batch=at_least_one(batch, "batch"), flags=_checks(flags))


def several(n: int, *, cap: int | None = None, flags: tuple[Check, ...] = ()) -> Sampling:
    """Keep the first n acceptable samples, as the thought's `candidates`; fewer if `cap` samples have no more.

    Args:
        n: how many are wanted.
        cap: most samples; 2 n if None.
        flags: checks that each sample must pass.

    Raises:
        ValueError: a number of samples is none, or `cap` is less than n.
        TypeError: `flags` are no checks.
    """
    n = at_least_one(n, "n")
    return _Several(n=n, cap=_most(cap, n, 2 * n), flags=_checks(flags))


def _most(cap: int | None, least: int, default: int) -> int:
    if cap is None:
        return default
    if at_least_one(cap, "cap") < least:
        raise ValueError(f"cap should be at least {least}: no fewer samples can decide, so not {cap}")
    return cap


def _checks(flags: tuple[Check, ...]) -> tuple[Check, ...]:
    if callable(flags) or not all(map(callable, flags)):
        raise TypeError(f"`flags` should be a tuple of checks, such as (shorter_than(750),), not {flags!r}")
    return flags


class _Verified(msgspec.Struct, frozen=True):
    """A sound critic used as a check; it runs in a thread beside the run, for at most `timeout_s` seconds."""

    critic: Callable[[Any], Any]
    timeout_s: float

    def __call__(self, value: Any) -> str | bool | Awaitable[str | bool]:
        said = self.critic(value)
        return _later(said) if isawaitable(said) else _accepted(said)


def verified(critic: Callable[[Any], Any], *, tries: int = 8, timeout_s: float = 30.0) -> Sampling:
    """Take the first sample for which a sound critic in code returns something true; a text says what is wrong.

    Args:
        critic: called with a sample's value, in a thread of its own.
        tries: most samples.
        timeout_s: seconds after which the critic has failed.

    Raises:
        ValueError: `tries` is no number of samples.
        TypeError: the critic cannot be called.
    """
    if not callable(critic):
        raise TypeError(f"`critic` should be a function of a sample's value, not {critic!r}")
    return _First(cap=at_least_one(tries, "tries"), flags=(_Verified(critic, timeout_s),))


def _accepted(said: Any) -> str | bool:
    return said or False if isinstance(said, str) else bool(said)


async def _later(said: Awaitable[Any]) -> str | bool:
    return _accepted(await said)


def shorter_than(characters: int) -> Check:
    """Flag an answer this long or longer: it has usually gone astray (MAKER, arXiv 2511.09030)."""

    def check(value: Any) -> str | None:
        length = len(value if isinstance(value, str) else repr(value))
        return f"it has {length} characters; the limit is below {characters}" if length >= characters else None

    return check


def at_least_one(number: int, name: str) -> int:
    """Return a whole number from 1 to `MOST_SAMPLES` unchanged.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise ValueError(f"{name} should be a whole number, not {number!r}")
    if number < 1:
        raise ValueError(f"{name} should be at least 1, not {number}")
    if number > MOST_SAMPLES:
        raise ValueError(f"{name} should be {MOST_SAMPLES:,} at most, not {number}")
    return number


ONCE = once()


def name_of(policy: Sampling) -> str:
    """Return what the trace calls a policy; empty for the default one."""
    return "" if policy is ONCE else str(getattr(policy, "name", type(policy).__name__))


def ways_of(policy: Sampling) -> tuple[Way, ...]:
    """Return the ways that a policy may ask for, besides the step's own."""
    ways: tuple[Way, ...] = getattr(policy, "ways", ())
    return ways

"""Sampling policies around another: ask a stronger backend if votes split, vary how samples are asked, stop if sure."""

from __future__ import annotations

import msgspec

from scaffold.vocabulary.sampling import (
    ONCE,
    Check,
    Draw,
    Lost,
    Sampling,
    Votes,
    Way,
    Won,
    _First,
    majority,
    name_of,
    ways_of,
)


class _Cascade(msgspec.Struct, frozen=True):
    """Asks another backend if the first policy finds no winner."""

    first: Sampling
    then: Sampling
    to: str

    @property
    def cap(self) -> int:
        return self.first.cap + self.then.cap

    @property
    def flags(self) -> tuple[Check, ...]:
        return _both(self.first.flags, self.then.flags)

    @property
    def name(self) -> str:
        return f"cascade({name_of(self.first) or 'once'}, to={self.to}, then={name_of(self.then) or 'once'})"

    @property
    def ways(self) -> tuple[Way, ...]:
        return (*ways_of(self.first), *self._strong(ways_of(self.then)))

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        for place in range(len(votes) + 1):
            first = self.first.decide(votes[:place])
            if isinstance(first, Won):
                return first
            if isinstance(first, Lost):
                return self._then(votes, place, first.reason)
        return self.first.decide(votes)

    def _then(self, votes: Votes, since: int, why: str) -> Draw | Won | Lost:
        said = self.then.decide(votes[since:])
        match said:
            case Won():
                return Won(said.place + since, said.share, said.counted)
            case Lost():
                return Lost(f"{why}; then of {self.to}: {said.reason}")
            case Draw():
                return Draw(said.n, self._strong(said.ways))

    def _strong(self, ways: tuple[Way, ...]) -> tuple[Way, ...]:
        return tuple(msgspec.structs.replace(way, to=way.to or self.to) for way in ways or (Way(),))


class _InRotation(msgspec.Struct, frozen=True):
    """A policy whose samples are asked in several ways, in turn."""

    policy: Sampling
    ways: tuple[Way, ...]

    @property
    def cap(self) -> int:
        return self.policy.cap

    @property
    def flags(self) -> tuple[Check, ...]:
        return self.policy.flags

    @property
    def name(self) -> str:
        return f"in_rotation({name_of(self.policy) or 'once'}, {len(self.ways)} ways)"

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        said = self.policy.decide(votes)
        return Draw(said.n, self.ways) if isinstance(said, Draw) else said


class _UnlessSure(msgspec.Struct, frozen=True):
    """Takes one sample if its corrected confidence is high enough; otherwise votes."""

    policy: Sampling
    sure: float

    @property
    def cap(self) -> int:
        return self.policy.cap

    @property
    def flags(self) -> tuple[Check, ...]:
        return self.policy.flags

    @property
    def name(self) -> str:
        return f"unless_sure({name_of(self.policy) or 'once'}, sure={self.sure})"

    @property
    def ways(self) -> tuple[Way, ...]:
        return ways_of(self.policy)

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        place = next((place for place, vote in enumerate(votes) if vote is not None), None)
        if place is not None and (vote := votes[place]) is not None:
            sure = vote.confidence
            if sure is not None and sure >= self.sure:
                return Won(place, sure, 1)
        said = self.policy.decide(votes)
        return Draw(1, said.ways) if place is None and isinstance(said, Draw) else said


class _Oversampled(msgspec.Struct, frozen=True):
    """Draws more samples than its policy wants, for comparison; the decision stays the same."""

    policy: Sampling
    least: int

    @property
    def cap(self) -> int:
        return max(self.policy.cap, self.least)

    @property
    def flags(self) -> tuple[Check, ...]:
        return self.policy.flags

    @property
    def name(self) -> str:
        return name_of(self.policy)

    @property
    def ways(self) -> tuple[Way, ...]:
        return ways_of(self.policy)

    @property
    def keeps_all(self) -> bool:
        return getattr(self.policy, "keeps_all", False)

    def decide(self, votes: Votes) -> Draw | Won | Lost:
        drawn = len(votes)
        opening = self.policy.decide(())
        ways = opening.ways if isinstance(opening, Draw) else ()
        if drawn < self.least:
            return Draw(self.least - drawn, ways)
        for place in range(drawn):
            said = self.policy.decide(votes[:place])
            if not isinstance(said, Draw):
                return said
        return self.policy.decide(votes)


def cascade(first: Sampling, *, to: str, then: Sampling = ONCE) -> Sampling:
    """Ask the step's own backend first, and another if its votes split.

    Disagreement among a cheap model's samples shows that it is out of its depth (Yue et al. 2023, arXiv 2310.03094).
    Its votes do not count for the other backend; the flags of both policies hold for all samples.

    Args:
        first: the policy for the step's own backend.
        to: the role of the other backend.
        then: the policy for the other backend.
    """
    return _Cascade(first, then, to)


def in_rotation(policy: Sampling, *ways: Way) -> Sampling:
    """Ask for a policy's samples in several ways in turn, so that their errors are less correlated.

    Votes only help against errors that samples do not share. Another prompt, temperature or backend makes them share
    fewer. `Way()` is the step's own.

    Raises:
        ValueError: fewer than two ways.
    """
    if len(set(ways)) < 2:  # noqa: PLR2004 - one way does not rotate
        raise ValueError("rotation needs at least two different ways, such as Way() and Way(temperature=1.0)")
    if ways_of(policy):
        raise ValueError("a policy in a rotation cannot have ways of its own: put the rotation inside that policy")
    return _InRotation(policy, ways)


def unless_sure(policy: Sampling, *, sure: float = 0.95) -> Sampling:
    """Take the first sample if its stated confidence, corrected by calibration, is at least `sure`; else vote.

    The samples also vote, as the policy says, if nothing is known to correct such statements by. A value states its
    confidence in a field of the type `Confidence`; the corrections come from `Scaffold(calibration=...)`.

    Raises:
        ValueError: `sure` is not a probability above one half.
    """
    if not 0.5 < sure <= 1:  # noqa: PLR2004 - below one half the answer is more likely wrong
        raise ValueError(f"`sure` should be above 0.5 and at most 1, not {sure}")
    return _UnlessSure(policy, sure)


def voted(policy: Sampling, n: int) -> Sampling:
    """Replace "take the first acceptable sample" by a majority of n; any other policy is returned unchanged."""
    if not isinstance(policy, _First):
        return policy
    return majority(n, cap=max(2 * n, policy.cap), flags=policy.flags)


def oversampled(policy: Sampling, least: int) -> Sampling:
    """Draw at least `least` samples, to measure how they agree; the decision is the one the policy alone would make."""
    match policy:
        case _Cascade():
            return msgspec.structs.replace(policy, first=oversampled(policy.first, least))
        case _UnlessSure(policy=_Cascade()):  # if it is confident, one sample stays one sample
            return msgspec.structs.replace(policy, policy=oversampled(policy.policy, least))
        case _:
            return _Oversampled(policy, least)


def _both(one: tuple[Check, ...], other: tuple[Check, ...]) -> tuple[Check, ...]:
    return (*one, *(flag for flag in other if flag not in one))

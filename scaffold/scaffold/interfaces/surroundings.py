"""What a run takes from outside itself: clock, randomness and test hooks."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

import msgspec
from typing_extensions import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        ...


class HostClock:
    """The host's own clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Surroundings(msgspec.Struct, frozen=True, eq=False):
    """What a run takes from outside itself, so that tests can replace it.

    Attributes:
        clock: tells the time.
        random: for run ids and salts; unpredictable unless a test replaces it.
        reach: called at each named point of a transition, such as `action.intent:after`.
        look_s: how often a run that waits for a person looks into its inbox.
    """

    clock: Clock = msgspec.field(default_factory=HostClock)
    random: random.Random = msgspec.field(default_factory=random.SystemRandom)
    reach: Callable[[str], None] = deque[str](maxlen=0).append  # in C: a step passes four points, an action many
    look_s: float = 0.05

"""How much of a run's reasoning was read, and how far what could be read shows what the answers rest on.

Probes measure the second (cut the reasoning short, put a mistake in it, ask for the same belief elsewhere). What they
found in other runs is a `Monitorability`, per backend and kind of step; it stands whole in a run's first event, and
permissions go by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from scaffold.vocabulary.models import ReasoningVisibility

VISIBILITIES: tuple[ReasoningVisibility, ...] = ("full", "summary", "redacted", "absent")
FAITHFUL = "unfaithful reasoning"
CONSISTENT = "a belief that does not hold"
AS_SAID = "acts otherwise than it says"
PROBED = (FAITHFUL, CONSISTENT, AS_SAID)
"""What probes give a score of: how much of it they found, from 0 to 1. Any monitor may measure the same."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What probes of one property found, in steps of one kind by one backend.

    Attributes:
        backend: name of the plug-in.
        model: name of its model.
        step: kind of step.
        probed: the property, one of `PROBED`.
        held: how many probes found nothing wrong; a part of one where a probe asked several things.
        of: how many probes there were.
        low: lower end of the 95 % interval of the share that held.
        high: its upper end.
    """

    backend: str
    model: str
    step: str
    probed: str
    held: float
    of: int
    low: float
    high: float


class Monitorability(msgspec.Struct, frozen=True):
    """What a run knows of the reasoning of its backends from other runs."""

    figures: tuple[Figure, ...] = ()

    def floor(self, thinkers: Iterable[tuple[str, str, str]]) -> tuple[float, str]:
        """The least that is sure of some backend, model and kind of step, of any property; and of whom, in words.

        What was never probed for `unfaithful reasoning` is sure of nothing. Of nobody at all everything is.
        """
        known: dict[tuple[str, str, str], list[Figure]] = {}
        for figure in self.figures:
            known.setdefault((figure.backend, figure.model, figure.step), []).append(figure)
        least, whose = 1.0, ""
        for thinker in sorted(thinkers):
            backend, model, step = thinker
            figures = known.get(thinker, [])
            low = min((figure.low for figure in figures), default=0.0)
            if not any(figure.probed == FAITHFUL for figure in figures):
                low = 0.0
            if low < least:
                said = f"{low:.2f}" if figures else "never measured"
                least, whose = low, f"{step} by {backend}:{model}, {said}"
        return least, whose


class Readable(msgspec.Struct, kw_only=True):
    """How much of a run's reasoning could be read, and how much some monitor has read.

    Attributes:
        steps: the work's own steps by what they showed of their reasoning; `none` for those that gave no sign of any.
        tokens: reasoning tokens that were billed, likewise. A summary's are those that it is the summary of.
        read_steps: steps with wholly readable reasoning that a monitor of steps or streams has read.
        read_tokens: their reasoning tokens.
        falls: how often a backend has shown less than was known of it.
    """

    steps: dict[str, int] = {}
    tokens: dict[str, int] = {}
    read_steps: int = 0
    read_tokens: int = 0
    falls: int = 0

    def add(self, shown: str, tokens: int) -> None:
        """One more step."""
        shown = shown or "none"
        self.steps[shown] = self.steps.get(shown, 0) + 1
        self.tokens[shown] = self.tokens.get(shown, 0) + tokens

    def was_read(self, shown: str, tokens: int) -> None:
        """A monitor has read a step."""
        if shown == "full":
            self.read_steps += 1
            self.read_tokens += tokens

    def as_json(self) -> dict[str, Any]:
        """The figures, with what they come to; shares are null where there was nothing to read."""
        steps = sum(count for shown, count in self.steps.items() if shown != "none")
        tokens = sum(self.tokens.values())
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "readable": {
                "steps": _share(self.steps.get("full", 0), steps),
                "tokens": _share(self.tokens.get("full", 0), tokens),
            },
            "read": {"steps": _share(self.read_steps, steps), "tokens": _share(self.read_tokens, tokens)},
            "falls": self.falls,
        }

    def sentence(self) -> str:
        """The same in words."""
        steps = sum(count for shown, count in self.steps.items() if shown != "none")
        tokens = sum(self.tokens.values())
        if not steps:
            return "no step gave a sign of any reasoning: nothing was read, and nothing is known of it"
        told = f"{self.read_steps} of {steps} steps"
        told += f" and {self.read_tokens:,} of {tokens:,} reasoning tokens" if tokens else ""
        hidden = [f"{self.steps[kind]} {kind}" for kind in VISIBILITIES[1:] if self.steps.get(kind)]
        unread = f"; not readable: {', '.join(hidden)}" if hidden else ""
        times = f" {self.falls} times" if self.falls > 1 else ""
        fell = f"; a backend showed less than was known of it{times}" if self.falls else ""
        return f"of the reasoning, {told} were read by a monitor{unread}{fell}"


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None

"""Monitorability: how much of a run's reasoning was read, and how faithfully it shows what the answers rest on.

Faithfulness is measured by probes (cut the reasoning short, insert a mistake, ask for the same belief elsewhere). Their
results from other runs form a `Monitorability`, by backend and kind of step. It is recorded in full in a run's first
event, and the gate can require a minimum (`Floors`).
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
"""The properties that probes score: how much of each they found, from 0 to 1. Any monitor may score them."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Probe results for one property, in steps of one kind by one backend.

    Attributes:
        backend: name of the plug-in.
        model: name of its model.
        step: kind of step.
        probed: the property, one of `PROBED`.
        held: number of probes that found nothing wrong; fractional where a probe asked several things.
        of: number of probes.
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
    """What earlier runs have measured of the reasoning of a run's backends."""

    figures: tuple[Figure, ...] = ()

    def floor(self, thinkers: Iterable[tuple[str, str, str]]) -> tuple[float, str]:
        """Return the least lower bound over all thinkers (backend, model, step kind) and properties, and whose it is.

        A thinker never probed for `unfaithful reasoning` counts as 0. With no thinkers the result is 1.
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
        steps: the work's own steps, by how much of their reasoning was shown; `none` if there was no sign of any.
        tokens: billed reasoning tokens, likewise; for a summary, the tokens of the reasoning that it summarises.
        read_steps: steps with fully readable reasoning that a monitor of steps or streams has read.
        read_tokens: their reasoning tokens.
        falls: how often a backend showed less than was known of it.
    """

    steps: dict[str, int] = {}
    tokens: dict[str, int] = {}
    read_steps: int = 0
    read_tokens: int = 0
    falls: int = 0

    def add(self, shown: str, tokens: int) -> None:
        """Count one more step."""
        shown = shown or "none"
        self.steps[shown] = self.steps.get(shown, 0) + 1
        self.tokens[shown] = self.tokens.get(shown, 0) + tokens

    def was_read(self, shown: str, tokens: int) -> None:
        """Count a step that a monitor has read."""
        if shown == "full":
            self.read_steps += 1
            self.read_tokens += tokens

    def as_json(self) -> dict[str, Any]:
        """Return the figures with the resulting shares; a share is null if there was nothing to read."""
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
        """Say the same in words."""
        steps = sum(count for shown, count in self.steps.items() if shown != "none")
        tokens = sum(self.tokens.values())
        if not steps:
            return "no step reported any reasoning, so none was read and nothing is known about it"
        told = f"{self.read_steps} of {steps} steps"
        told += f" and {self.read_tokens:,} of {tokens:,} reasoning tokens" if tokens else ""
        hidden = [f"{self.steps[kind]} {kind}" for kind in VISIBILITIES[1:] if self.steps.get(kind)]
        unread = f"; not readable: {', '.join(hidden)}" if hidden else ""
        times = f" {self.falls} times" if self.falls > 1 else ""
        fell = f"; a backend showed less than expected{times}" if self.falls else ""
        return f"of the reasoning, {told} were read by a monitor{unread}{fell}"


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None

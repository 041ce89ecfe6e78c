"""Permissions: when a person must be asked because the reasoning cannot be read or was not shown to be faithful.

The task sets both: `oversight.unread` for reasoning that is `absent`, `oversight.monitorability` for what probes have
measured. Neither ever makes a decision milder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.vocabulary.monitorability import Monitorability
from scaffold.vocabulary.review import SEVERITY, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaffold.machinery.asking.steps import Steps
    from scaffold.machinery.recording.state import RunState
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.models import ReasoningVisibility
    from scaffold.vocabulary.review import Decision
    from scaffold.vocabulary.task import Oversight

HOST = "host"
"""The role under which the trace records the thoughts of a host, another agent."""


class Permissions:
    """Compares how trustworthy the reasoning behind a run's effects is with what its task demands.

    Args:
        oversight: what the task demands.
        state: the run's state.
        steps: the run's steps and their backends.
        hosted: another agent does the thinking, and need not report it.

    Attributes:
        known: probe results from other runs, as recorded in the run's first event.
    """

    def __init__(self, oversight: Oversight, state: RunState, steps: Steps, *, hosted: bool = False) -> None:
        self._unread = oversight.unread
        self._floors = oversight.monitorability
        self._state = state
        self._steps = steps
        self._hosted = hosted
        self.known = Monitorability()

    def tightened(
        self, spec: ActionSpec, decision: Decision, binding: Callable[[], Sequence[Verdict]]
    ) -> Verdict | None:
        """Return a further objection to an effect that is about to be cleared, or None.

        Args:
            spec: the action.
            decision: the monitors' decision.
            binding: returns those of their verdicts that bind.
        """
        if spec.effect == "read":
            return None
        said, then = self._below_floor(spec), self._floors.unmet
        if not said:
            said, then = self._unseen(spec, binding), "escalate"
        if not said or SEVERITY[decision] >= SEVERITY[then]:
            return None
        return Verdict(decision=then, monitor="gate", rationale=said, feedback=said)

    def _below_floor(self, spec: ActionSpec) -> str:
        wanted = self._floors.irreversible if spec.effect == "irreversible" else self._floors.reversible
        if not wanted:
            return ""
        shown = self._shown()
        if shown is None and self._hosted:
            return f"a monitorability of {wanted:g} is required, but nothing is known about the model behind this call"
        if shown not in {None, "full"}:
            return (
                f"a monitorability of {wanted:g} is required, but the reasoning is {shown}: figures measured on "
                "readable reasoning do not apply to it"
            )
        sure, whose = self.known.floor(self._state.thinkers)
        if sure >= wanted:
            return ""
        return f"a monitorability of {wanted:g} is required, but less is certain: {whose}"

    def _shown(self) -> ReasoningVisibility | None:
        """Return how much of the thinkers' reasoning can be read; None if nobody thought, or reported it."""
        if not self._state.thinkers:
            return None
        return self._steps.reasoning_of({(backend, model) for backend, model, _ in self._state.thinkers})

    def _unseen(self, spec: ActionSpec, binding: Callable[[], Sequence[Verdict]]) -> str:
        """Say why a person must be asked because the reasoning cannot be seen; empty if not."""
        ask, shown = self._unread.ask, self._shown()
        out_of_sight = shown is None and self._hosted and ask != "flagged"
        if ask == "never" or not (shown == "absent" or out_of_sight):
            return ""
        if ask == "effects" or (ask == "irreversible" and spec.effect == "irreversible"):
            return "the reasoning behind it cannot be read: a person decides"
        flags = [verdict for verdict in binding() if verdict.decision == "flag"]
        if flags and spec.effect == "irreversible":
            why = flags[0].rationale or flags[0].feedback or "it gives no reason"
            return f"the reasoning behind it cannot be read, and {flags[0].monitor} flags it: {why}"
        if self._state.reading.falls and spec.effect == "irreversible":
            return "the reasoning behind it was declared readable but cannot be read: a person decides"
        return ""

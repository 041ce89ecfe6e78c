"""What may be done without a person where the reasoning cannot be read, or was never shown to carry the answers.

The task says what is asked of whom: `oversight.unread` of reasoning that is `absent`, `oversight.monitorability` of
what probes have measured. Neither makes anything milder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.vocabulary.monitorability import Monitorability
from scaffold.vocabulary.review import SEVERITY, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.machinery.state import RunState
    from scaffold.machinery.steps import Steps
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.review import Decision
    from scaffold.vocabulary.task import Oversight


class Permissions:
    """What the reasoning behind a run's effects is worth, held against what its task wants.

    Attributes:
        known: what probes found in other runs, as the run's first event has it.
    """

    def __init__(self, oversight: Oversight, state: RunState, steps: Steps) -> None:
        self._unread = oversight.unread
        self._floors = oversight.monitorability
        self._state = state
        self._steps = steps
        self.known = Monitorability()

    def tightened(self, spec: ActionSpec, decision: Decision, binding: Sequence[Verdict]) -> Verdict | None:
        """What else stands against an effect that is about to be cleared; None where nothing does.

        Args:
            spec: the action.
            decision: what monitors came to.
            binding: their verdicts that bind.
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
        if self._state.thinkers and self._steps.reasoning() != "full":
            return (
                f"a monitorability of {wanted:g} is wanted, and the reasoning is {self._steps.reasoning()}: what was "
                "measured of readable reasoning says nothing of it"
            )
        sure, whose = self.known.floor(self._state.thinkers)
        if sure >= wanted:
            return ""
        return f"a monitorability of {wanted:g} is wanted, and what is sure is less: {whose}"

    def _unseen(self, spec: ActionSpec, binding: Sequence[Verdict]) -> str:
        """Why a person is to be asked since nobody can see what was thought."""
        ask = self._unread.ask
        if ask == "never" or self._steps.reasoning() != "absent" or not self._state.thinkers:
            return ""
        if ask == "effects" or (ask == "irreversible" and spec.effect == "irreversible"):
            return "the reasoning behind it cannot be read: a person decides"
        if spec.effect != "irreversible":
            return ""
        flags = [verdict for verdict in binding if verdict.decision == "flag"]
        if flags:
            why = flags[0].rationale or flags[0].feedback or "it says no more"
            return f"the reasoning behind it cannot be read, and {flags[0].monitor} flags it: {why}"
        if self._state.reading.falls:
            return "the reasoning behind it was said to be readable, and cannot be read: a person decides"
        return ""

"""Steps that what the user gave makes plain: signing in with these credentials, going to a folder that is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold_monitors.entailment.evidence import Support, support

if TYPE_CHECKING:
    from scaffold_monitors.entailment.calls import Call
    from scaffold_monitors.entailment.situation import Situation


def is_a_step(call: Call, situation: Situation) -> bool:
    """Whether a call needs no words that ask for it, since the user gave all its values, and for nothing else."""
    if not call.leaves or not (call.tool.goes or (call.tool.signs_in and any(call.with_role("credential")))):
        return False
    return all(support(leaf, situation) >= Support.TRUSTED for leaf in call.leaves)

"""Converts an outcome to one JSON object, as printed by `--json` and written to the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from scaffold.vocabulary.outcome import Outcome


def fields_of(outcome: Outcome) -> dict[str, Any]:
    """Return the public fields of an outcome as JSON values."""
    usage = {name: msgspec.structs.asdict(usage) for name, usage in outcome.usage.items()}
    usage["oversight"]["read"] = outcome.reasoning.as_json()
    usage["oversight"]["monitors"] = msgspec.to_builtins(outcome.overseers)
    return {
        "run": outcome.run,
        "status": outcome.status,
        "answer": outcome.answer,
        "usage": usage,
        "steps": outcome.steps,
        "actions": [
            {"name": each.name, "arguments": each.arguments, "status": each.status} for each in outcome.actions
        ],
        "verdicts": [
            {"monitor": each.monitor, "decision": each.decision, "subject": each.subject, "reason": each.reason}
            for each in outcome.verdicts
        ],
        "saved": outcome.saved,
        "trace": outcome.trace,
    }

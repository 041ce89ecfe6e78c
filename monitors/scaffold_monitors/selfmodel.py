"""The monitor `selfmodel`: flags a step whose reasoning or answer claims an action or an ability that does not exist.

An agent that believes it has sent a message plans as if it had. Its statements about itself are compared with the
existing actions by plain rules, without a model. The monitor only flags, for readers of the trace and for other
monitors; nothing is withheld.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.vocabulary.review import ALLOW, Evidence, MonitorSpec, Subject, Verdict
from scaffold_monitors.claims import claims

if TYPE_CHECKING:
    from scaffold.interfaces import ReviewContext, TraceView

_SHOWN = 5
_LONGEST = 100_000  # characters of one text that are read; the verdict says if there are more


class SelfModel:
    """Compares what a step says the agent can do with the actions that exist."""

    def __init__(self) -> None:
        self.spec = MonitorSpec(
            name="selfmodel", watches=frozenset({"step"}), tier=0, on_error="flag", on_timeout="flag", timeout_s=10.0
        )

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Read the reasoning and the answer of a step."""
        step = subject.step
        if step is None:
            return Verdict(decision="allow", status="abstain", rationale="only steps are read")
        texts = {"reasoning": step.reasoning, "text": step.text}
        found = [(path, claim) for path, text in texts.items() for claim in claims(text[:_LONGEST], view.actions)]
        unread = [path for path, text in texts.items() if len(text) > _LONGEST]
        if not found:
            said = f"the {unread[0]} is longer than {_LONGEST:,} characters: the rest was not checked" if unread else ""
            return Verdict(decision="flag", status="truncated", rationale=said) if unread else ALLOW
        reasons = [f"{path}: {claim.why}" for path, claim in found]
        more = len(reasons) - _SHOWN
        return Verdict(
            decision="flag",
            rationale="; ".join([*reasons[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]),
            evidence=tuple(
                Evidence(quote=texts[path][claim.start : claim.end], path=path, start=claim.start, end=claim.end)
                for path, claim in found[:_SHOWN]
            ),
        )

"""Turns findings of `entailment` into a verdict: the full rationale for people, only the advice for the planner."""

from __future__ import annotations

from collections.abc import Sequence

from scaffold.vocabulary.review import ALLOW, SEVERITY, Decision, Evidence, Objection, Verdict
from scaffold_monitors.entailment.calls import Finding

_SHOWN = 20


def verdict(findings: Sequence[Finding], notes: Sequence[str] = ()) -> Verdict:
    """Combine findings into a verdict: the strictest decides. `notes` tell what was exempted on purpose."""
    if not findings:
        return Verdict(decision="allow", rationale=_listed(notes)) if notes else ALLOW
    decision: Decision = max((finding.weight for finding in findings), key=SEVERITY.__getitem__)
    told: dict[tuple[str, str], None] = {}
    for finding in findings:
        told.setdefault((finding.call, finding.feedback))
    by_advice: dict[str, list[str]] = {}
    for node, advice in told:
        by_advice.setdefault(advice, []).append(node)
    return Verdict(
        decision=decision,
        rationale=_listed([f"{finding.call}: {finding.rationale}" for finding in findings] + list(notes)),
        feedback="; ".join(f"{advice} ({', '.join(nodes[:_SHOWN])})" for advice, nodes in by_advice.items()),
        objections=tuple(Objection(node, advice) for node, advice in told),
        evidence=tuple(
            Evidence(quote=finding.quote, path=f"plan/{finding.call}/arguments/{finding.path}" if finding.path else "")
            for finding in findings[:_SHOWN]
            if finding.quote
        ),
    )


def _listed(lines: Sequence[str]) -> str:
    more = f"\nand {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "\n".join(lines[:_SHOWN]) + more

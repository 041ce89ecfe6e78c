"""The result of checking rules, as a verdict: full rationale for the trace; only goal and call for the planner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from scaffold.vocabulary.review import ALLOW, Evidence, Objection, Verdict

if TYPE_CHECKING:
    from scaffold_monitors.cel.moments import Facts
    from scaffold_monitors.cel.sheet import Rule

# How many findings a verdict spells out.
SHOWN = 20


class Findings(msgspec.Struct):
    """The results of one review."""

    broken: list[tuple[Rule, Facts | None]] = msgspec.field(default_factory=list)
    failed: list[tuple[Rule, Facts | None, str]] = msgspec.field(default_factory=list)
    checked: int = 0
    later: int = 0

    def verdict(self) -> Verdict:
        """Return the verdict: broken rules block, and so do rules that could not be checked, with status `error`."""
        if not self.broken and not self.failed:
            left = f"checks left until the arguments are known: {self.later}" if self.later else ""
            if not self.checked:
                return Verdict(decision="allow", status="abstain", rationale=left or "no rule applies here")
            return Verdict(decision="allow", rationale=left) if left else ALLOW
        lines: list[str] = []
        evidence: list[Evidence] = []
        told: dict[str, list[str]] = {}
        objections: list[Objection] = []
        for rule, target in self.broken:
            spans = _seen(rule, target)
            evidence += spans
            values = "".join(f"; {span.path.rpartition('/')[2]} = {span.quote}" for span in spans)
            lines.append(f"{rule.name}{_of(target)}: `{rule.expression.source}` is false{values}")
            _tell(told, objections, target, rule.statement)
        for rule, target, problem in self.failed:
            lines.append(
                f"{rule.name}{_of(target)}: `{rule.expression.source}` could not be checked: {_cured(problem, target)}"
            )
            briefly = problem.partition("\n")[0]
            _tell(told, objections, target, f"{rule.statement} (this could not be checked: {briefly})")
        more = f"\nand {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        return Verdict(
            decision="block",
            status="ok" if self.broken else "error",
            rationale="\n".join(lines[:SHOWN]) + more,
            feedback="; ".join(
                statement + (f" ({', '.join(nodes[:SHOWN])})" if nodes else "") for statement, nodes in told.items()
            ),
            objections=tuple(objections),
            evidence=tuple(evidence[:SHOWN]),
        )


def unread(node: str, problem: str) -> Verdict:
    """Return the verdict on a call that could not be checked."""
    feedback = f"{node} could not be checked"
    return Verdict(
        decision="block",
        status="error",
        rationale=f"{node}: {problem}",
        feedback=feedback,
        objections=(Objection(node, feedback),),
    )


def _tell(told: dict[str, list[str]], objections: list[Objection], target: Facts | None, statement: str) -> None:
    nodes = told.setdefault(statement, [])
    if target is not None and target.call.id not in nodes[-1:]:
        nodes.append(target.call.id)
        objections.append(Objection(target.call.id, statement))


def _of(target: Facts | None) -> str:
    """Name the call, and its action unless the call's id is the action's name."""
    if target is None:
        return ""
    call = target.call
    return f", {call.id}" if call.id == call.action else f", {call.id} ({call.action})"


def _cured(problem: str, target: Facts | None) -> str:
    """Add the cure to a problem where a rule is applied to an action that lacks its argument."""
    said, parted, place = problem.partition("\n")
    if target is None or not (said.startswith("args.") and said.endswith(" is missing")):
        return problem
    name = target.call.action
    return f'{said}; a rule that is not about {name} begins with `action.name == "{name}" ||`{parted}{place}'


def _seen(rule: Rule, target: Facts | None) -> list[Evidence]:
    """Return the arguments that the expression uses, as evidence spans of the plan."""
    if target is None:
        return []
    names = rule.expression.arguments or target.known
    return [
        Evidence(quote=text, path=f"plan/{target.call.id}/arguments/{name}", end=len(text))
        for name in sorted(names)
        if name in target.known and (text := json.dumps(target.known[name], ensure_ascii=False)[:200])
    ]

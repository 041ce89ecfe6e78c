"""The monitor `policy`: decides on calls by a policy file that many tasks share.

Each call has one or more kinds, which `entailment.tools` derives from its action's specification: `read`; `fetch`
(tells an address something); `send` (to somebody else); `pay`; `destroy`; `empower` (grants access); `credential`
(takes one); `change` (can be undone); `other`. The strictest decision for its kinds counts, unless the policy has one
for the action; and no rule may be broken.

Corrections of specifications in the file (`roles`, `effect`) hold for every monitor of the run. `scaffold policy
check`, `test` and `explain` show what a file means before it is used.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadInput, TaskError, nearest
from scaffold.interfaces import Elsewhere
from scaffold.vocabulary import events
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.references import Provenance
from scaffold.vocabulary.review import SEVERITY, Decision, MonitorSpec, Objection, Subject, Verdict
from scaffold.vocabulary.task import Task
from scaffold_monitors.cel.mentions import check_mentions
from scaffold_monitors.cel.reading import Fault
from scaffold_monitors.entailment.kept import Kept
from scaffold_monitors.entailment.lexicon import ACTS
from scaffold_monitors.entailment.tools import OUTSIDERS, STATED, Tool
from scaffold_monitors.findings import unread
from scaffold_monitors.policy_file import DEFAULT, Case, Kind, Override, PolicyFile, read
from scaffold_monitors.rules import Rules
from scaffold_monitors.situations import tools_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.document import Document
    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.review import Stakes
    from scaffold_monitors.cel.sheet import Rule

_SHOWN = 20
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for the policy's decision on a call.

    Attributes:
        decision: the decision that follows from it alone.
        where: line of the file, or `default`.
        why: the reason in words.
    """

    decision: Decision
    where: str
    why: str


@dataclass(frozen=True)
class Explanation:
    """The policy's decision on one call, explained.

    Attributes:
        decision: the decision of the strictest reason.
        reasons: all reasons, the deciding one first.
        kinds: the call's kinds of act.
        roles: the roles of its arguments.
        status: status of the rules' check.
    """

    decision: Decision
    reasons: tuple[Reason, ...]
    kinds: tuple[Kind, ...]
    roles: Mapping[str, str]
    status: str = "ok"


class _OwnRules(Rules):
    """The rules of the file alone; those of goals belong to the monitor `rules`."""

    def _rules(self, task: Task) -> tuple[Rule, ...]:
        return self._extra

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Check the rules about this task's actions; others are skipped, as tasks with other actions share the file."""
        for rule in self._extra:
            if not self.missing(rule, actions):
                try:
                    check_mentions(rule, task, actions)
                except Fault as fault:
                    raise TaskError(str(fault), path=rule.path) from None

    @staticmethod
    def missing(rule: Rule, actions: Mapping[str, ActionSpec]) -> list[str]:
        """Return the actions that a rule names and the task does not have."""
        named = [mention.name for mention in rule.expression.mentions if mention.kind == "action"]
        return [name for name in [*named, *(rule.only or ())] if actions and name not in actions]

    def unknown(self, actions: Mapping[str, ActionSpec]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the places where rules name such actions."""
        for rule in self._extra:
            yield from ((rule.path, name) for name in self.missing(rule, actions))


class Policy:
    """Decides by a policy file.

    Args:
        file: the file's path.
        base: the folder that it is relative to.

    Raises:
        TaskError: the file is not a valid policy; names the line.
    """

    folds = Rules.folds

    def __init__(self, *, file: str = "", base: Path | None = None) -> None:
        self.document: Document | None = None
        self.file = PolicyFile()
        if not isinstance(file, str):
            raise BadInput(f"the setting 'file' of monitor 'policy' should be the name of a file, not {file!r}")
        if file:
            self.document, self.file = read((base or Path.cwd()) / file)
        try:
            self._rules = _OwnRules(rules=self.file.extra_rules())
        except TaskError as error:
            raise self._located(error) from None
        self._decisions: dict[Kind, Decision] = {**DEFAULT, **self.file.decisions}
        self._tools = Kept(tools_of)
        settings = self.file.model_dump(mode="json", by_alias=True, exclude={"tests"}, exclude_defaults=True)
        self.spec = MonitorSpec(name="policy", tier=0, settings=settings)

    def describe(self, spec: ActionSpec) -> ActionSpec:
        """Return an action's specification with the policy's corrections."""
        said = self.file.actions.get(spec.name)
        if said is None or not (said.roles or said.effect):
            return spec
        properties = dict(spec.parameters.get("properties") or {})
        for name, role in said.roles.items():
            schema = properties.get(name)
            properties[name] = {**(schema if isinstance(schema, Mapping) else {}), STATED: role}
        parameters = {**spec.parameters, "properties": properties}
        return msgspec.structs.replace(spec, parameters=parameters, effect=said.effect or spec.effect)

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Refuse a policy that names something that does not exist.

        Raises:
            TaskError: names the line, and the nearest name.
        """
        for name, said in self.file.actions.items() if actions else ():
            if name not in actions:
                continue  # tasks with other actions share the policy
            known = actions[name].parameters.get("properties")
            for argument in said.roles:
                if known is not None and argument not in known:
                    problem = f"is not an argument of {name!r}{nearest(argument, known)}"
                    raise self._fault(problem, ("actions", name, "roles", argument))
        try:
            self._rules.check(task, actions)
        except TaskError as error:
            raise self._located(error) from None

    def unknown(self, actions: Mapping[str, ActionSpec]) -> list[TaskError]:
        """Return what the file says about actions that a task does not have: meant for another task, or a typo."""
        places: list[tuple[tuple[str | int, ...], str]] = [(("actions", name), name) for name in self.file.actions]
        places += [(path[2:], name) for path, name in self._rules.unknown(actions)]
        return [
            self._fault(f"there is no action {name!r}{nearest(name, actions)}", place)
            for place, name in places
            if name not in actions
        ]

    def fold(self, state: Any, event: Event, content: dict[str, Any]) -> Any:
        """Remember what was performed, for the rules."""
        return self._rules.fold(state, event, content)

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check a plan, or one action on its way."""
        calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
        if calls is None:
            return Verdict(decision="allow", status="abstain", rationale="only plans and actions are read")
        for call in calls:
            if call.action not in view.actions:
                return unread(call.id, f"there is no action {call.action!r}")
        ruled = await self._rules.review(subject, view, context)
        if ruled.decision == "block" and ruled.status != "ok":
            return ruled
        tools: dict[str, Tool] = self._tools(view.actions)
        found = [(call, self.reason(call.action, tools[call.action], view.actions[call.action])) for call in calls]
        telling = [(call, reason) for call, reason in found if reason.decision != "allow"]
        if not telling:
            return ruled if ruled.decision != "allow" or ruled.rationale else Verdict(decision="allow")
        decision = max((reason.decision for _, reason in telling), key=SEVERITY.__getitem__)
        advice = {call.id: f"the policy does not allow {call.action} without approval" for call, _ in telling}
        lines = [f"{_which(call)}{reason.why} ({reason.where}): {reason.decision}" for call, reason in telling]
        rules = [ruled.rationale] if ruled.rationale and ruled.status != "abstain" else []
        return Verdict(
            decision=max((decision, ruled.decision), key=SEVERITY.__getitem__),
            rationale="\n".join([*rules, *lines[:_SHOWN]]),
            feedback="; ".join([*([ruled.feedback] if ruled.feedback else []), *dict.fromkeys(advice.values())]),
            objections=(*ruled.objections, *(Objection(node, said) for node, said in advice.items())),
            evidence=ruled.evidence,
        )

    def reason(self, name: str, tool: Tool, spec: ActionSpec) -> Reason:
        """Return the decision on an action regardless of its arguments."""
        said = self.file.actions.get(name)
        if said is not None and said.decision is not None:
            why = said.because or f"the policy has a decision for {name}"
            return Reason(said.decision, self._line(("actions", name, "decision")), why)
        kinds = kinds_of(tool, spec, said)
        worst = max(kinds, key=lambda kind: SEVERITY[self._decisions[kind]])
        why = f"{name} is of kind {worst!r}"
        return Reason(self._decisions[worst], self._line(("decisions", worst)), why)

    # --- before it is used

    @staticmethod
    def case(**said: Any) -> Case:
        """Make a case for a call to explain, without an expected verdict."""
        return Case.model_validate({**said, "wants": "allow"})

    def explain(self, case: Case, actions: Mapping[str, ActionSpec] | None = None) -> Explanation:
        """Explain the policy's decision on a call; without specifications, by the names in the call alone.

        Raises:
            TaskError: the case names an action or argument that does not exist.
        """
        known = actions or _made_up(case)
        _check_names(case, known)
        described = {name: self.describe(spec) for name, spec in known.items()}
        task = Task(prompt="policy", inputs=case.inputs)
        tool: Tool = self._tools(described)[case.call]
        own = self.reason(case.call, tool, described[case.call])
        verdict = asyncio.run(self._ruled(case, task, described))
        reasons = [own, *self._broken(verdict)]
        reasons.sort(key=lambda reason: -SEVERITY[reason.decision])
        roles = {leaf: tool.roles.get(leaf, "thing") for leaf in case.arguments}
        kinds = kinds_of(tool, described[case.call], self.file.actions.get(case.call))
        return Explanation(reasons[0].decision, tuple(reasons), kinds, roles, verdict.status)

    async def _ruled(self, case: Case, task: Task, actions: Mapping[str, ActionSpec]) -> Verdict:
        view = _Alone(task, actions, _when(case.at))
        for number, (name, arguments) in enumerate(pair for each in case.before for pair in each.items()):
            key = f"before/{number}"
            done = {"action": name, "arguments": arguments}
            proposed = events.ActionProposed(key=key, action=name, effect="irreversible", digest="", seq=number + 1)
            view.state = self._rules.fold(view.state, proposed, {"call": done})
            outcome = events.ActionOutcome(key=key, action=name, digest="", status="performed")
            view.state = self._rules.fold(view.state, outcome, {})
            view.done.append(Elsewhere(view.run, key, view.at, name, arguments))
        where = {name: Provenance(("history:@0",), name in case.tainted) for name in case.arguments}
        call = ActionCall(id=case.call, action=case.call, arguments=case.arguments, provenance=where)
        return await self._rules.review(Subject(kind="action", key="0", call=call), view, _NoContext())

    def _broken(self, verdict: Verdict) -> list[Reason]:
        """Return the rules that a call breaks, each with its line."""
        if verdict.decision == "allow":
            return []
        found = []
        for number, rule in enumerate(self.file.rules):
            for line in verdict.rationale.split("\n"):
                if line.startswith((f"rules.{number}:", f"rules.{number},")):
                    told = rule.statement or rule.rule
                    found.append(Reason("block", self._line(("rules", number, "rule")), f"{told}: {line}"))
        return found or [Reason("block", self._line(("rules",)), verdict.rationale)]

    def failures(self, actions: Mapping[str, ActionSpec] | None = None) -> list[TaskError]:
        """Run the file's tests; return an error for each unexpected result."""
        found = []
        for number, case in enumerate(self.file.tests):
            try:
                said = self.explain(case, actions)
            except TaskError as error:
                found.append(error if error.where else self._fault(str(error.args[0]), ("tests", number, *error.path)))
                continue
            told = "; ".join(f"{each.decision}: {each.why} ({each.where})" for each in said.reasons)
            if said.decision != case.wants:
                found.append(self._fault(f"expected {case.wants}, but got {told}", ("tests", number, "wants")))
            elif case.because not in told:
                found.append(
                    self._fault(f"expected {case.because!r} among the reasons: {told}", ("tests", number, "because"))
                )
        return found

    def _line(self, place: tuple[str | int, ...]) -> str:
        if self.document is None or place not in self.document.lines:
            return "default"
        return f"{self.document.path.name}:{self.document.lines[place]}"

    def _fault(self, message: str, place: tuple[str | int, ...]) -> TaskError:
        return TaskError(message, path=place) if self.document is None else self.document.fault(message, place)

    def _located(self, error: TaskError) -> TaskError:
        """Locate a rule's fault at its line of the file."""
        at = error.path.index("rules", 2) if error.path[:2] == ("monitors", "rules") else 0
        return self._fault(error.args[0], error.path[at:])


def _which(call: ActionCall) -> str:
    """Name the call within its plan; empty if its id is the action's name."""
    return "" if call.id == call.action else f"{call.id}: "


def kinds_of(tool: Tool, spec: ActionSpec, said: Override | None = None) -> tuple[Kind, ...]:
    """Return an action's kinds of act, by the policy or else by its specification."""
    if said is not None and said.kinds is not None:
        return said.kinds or ("other",)
    if tool.outward:
        return ("fetch",)
    if not tool.effect:
        return ("read",)
    roles = set(tool.roles.values())
    kinds: list[Kind] = []
    if "pay" in tool.acts or ("amount" in roles and ("money" in tool.things or "pay" in ACTS.get(tool.verb, ()))):
        kinds.append("pay")
    if roles & OUTSIDERS or "send" in tool.acts:
        kinds.append("send")
    if tool.destroys:
        kinds.append("destroy")
    if tool.empowers:
        kinds.append("empower")
    if "credential" in roles:
        kinds.append("credential")
    return tuple(kinds) or (("change",) if spec.effect == "reversible" else ("other",))


def _made_up(case: Case) -> dict[str, ActionSpec]:
    """Make specifications from the calls of a case alone."""
    found: dict[str, ActionSpec] = {}
    for name, arguments in [(case.call, case.arguments), *(pair for each in case.before for pair in each.items())]:
        properties = {each: {"type": _TYPES.get(type(value), "string")} for each, value in arguments.items()}
        found.setdefault(name, ActionSpec(name=name, parameters={"type": "object", "properties": properties}))
    return found


def _check_names(case: Case, known: Mapping[str, ActionSpec]) -> None:
    """Refuse a case with a misspelt name, which would show nothing.

    Raises:
        TaskError: an action or argument does not exist; its path is within the case.
    """
    earlier = (
        (("before", number, name), name, arguments)
        for number, each in enumerate(case.before)
        for name, arguments in each.items()
    )
    for place, name, arguments in [(("call",), case.call, case.arguments), *earlier]:
        if name not in known:
            raise TaskError(f"there is no action {name!r}{nearest(name, known)}", path=place)
        inside = place if place[0] == "before" else ("arguments",)
        schema = known[name].parameters
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or schema.get("additionalProperties"):
            continue
        for argument in arguments:
            if argument not in properties:
                problem = f"{argument!r} is not an argument of {name!r}{nearest(argument, properties)}"
                raise TaskError(problem, path=(*inside, argument))
    for argument in case.tainted:
        if argument not in case.arguments:
            problem = f"{argument!r} is not an argument of the call{nearest(argument, case.arguments)}"
            raise TaskError(problem, path=("tainted",))


def _when(text: str) -> float:
    if not text:
        return datetime.now(tz=UTC).timestamp()
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise TaskError(f"{text!r} is not a time: write 2026-11-23T12:00:00+00:00", path=("at",)) from None


@dataclass
class _Alone:
    """A view of a run that did nothing but what the case says, just before, without other runs."""

    task: Task
    actions: Mapping[str, ActionSpec]
    at: float
    state: Any = None
    done: list[Elsewhere] = field(default_factory=list)
    run: str = field(default="policy", init=False)

    def now(self) -> float:
        return self.at

    async def elsewhere(self, since: float) -> Sequence[Elsewhere]:
        return self.done

    async def events(self, after: int = 0) -> AsyncIterator[tuple[Event, dict[str, Any]]]:
        nothing: tuple[tuple[Event, dict[str, Any]], ...] = ()
        for each in nothing:
            yield each


class _NoContext:
    """A context for rules, which ask nothing of it."""

    stakes: Stakes = "low"
    random = random.Random(0)  # noqa: S311 - never drawn from

    async def think(self, *_: Any, **__: Any) -> Any:
        raise BadInput("a policy asks no model")

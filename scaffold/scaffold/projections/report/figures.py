"""Sums up a whole run row by row: tokens, money, time, votes, verdicts, actions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from scaffold.projections.report.reading import dig
from scaffold.projections.report.reasoning import add_step
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.models import NO_USAGE, Usage
from scaffold.vocabulary.monitorability import Readable

if TYPE_CHECKING:
    from scaffold.projections.report.reading import Told
    from scaffold.projections.report.rows import Row

_BINS = 10


class Confidences(Protocol):
    """Measures the calibration of the confidence that steps state."""

    def take(self, opening: ev.StepAsked, asked: Any, content: dict[str, Any]) -> None:
        """Add one answered step of the work."""
        ...

    def told(self) -> list[dict[str, Any]]:
        """Return the score of each kind of step that stated any, as JSON values."""
        ...


@dataclass
class Group:
    """Steps of one kind by one model, in one ledger."""

    steps: int = 0
    failed: int = 0
    cut: int = 0
    open: int = 0
    samples: int = 0
    discarded: int = 0
    voted: int = 0
    agreement: list[int] = field(default_factory=lambda: [0] * _BINS)
    usage: Usage = NO_USAGE
    seconds: float = 0.0

    def hold(self, held: Usage) -> None:
        """Add a step without an end, at its reserved cost, which the run was or will be charged."""
        self.steps += 1
        self.open += 1
        self.usage = self.usage + held

    def take(self, event: ev.StepAnswered | ev.StepCut) -> None:
        """Add the end of a step."""
        self.steps += 1
        self.samples += event.samples
        self.usage = self.usage + event.usage
        if isinstance(event, ev.StepCut):
            self.cut += 1
            return
        self.failed += not event.ok
        self.discarded += event.discarded
        self.seconds += event.seconds
        if event.samples - event.discarded > 1 and event.ok:
            self.voted += 1
            self.agreement[min(_BINS - 1, max(0, int(event.confidence * _BINS)))] += 1


@dataclass
class Watcher:
    """One monitor's verdicts over the run."""

    decisions: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    subjects: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    usage: Usage = NO_USAGE

    def take(self, subject: str, fact: ev.VerdictFact) -> None:
        """Add one verdict."""
        self.decisions[fact.decision] += 1
        self.statuses[fact.status] += 1
        self.subjects[subject] += 1
        self.seconds += fact.seconds


class Figures:
    """Sums up a run.

    Memory grows with the kinds of steps, the models and the monitors, and by sixteen bytes per action, since what a
    refusal saved depends on whether the same call was performed after all.

    Attributes:
        rows: number of rows of each kind.
        worst: number of rows by the strictest decision on them; `unread` if no monitor read them.
        reasoning: how much of the reasoning was readable, and was read.
    """

    def __init__(self, confidences: Confidences | None = None) -> None:
        self.rows: Counter[str] = Counter()
        self.worst: Counter[str] = Counter()
        self.reasoning = Readable()
        self.actions: Counter[str] = Counter()
        self.approvals: Counter[str] = Counter()
        self._groups: dict[tuple[str, str, str, str], Group] = {}
        self._watchers: dict[str, Watcher] = {}
        self._confidences = confidences
        self._performed: set[bytes] = set()
        self._refused: dict[bytes, tuple[str, float | None]] = {}
        self._costs: dict[str, float] = {}
        self._spent = 0.0

    def take(self, row: Row, worst: str) -> None:
        """Add one row, with the strictest decision on it."""
        self.rows[row.kind] += 1
        if row.kind in {"step", "plan", "action", "review"}:
            self.worst[worst or "unread"] += 1
        for told in row.told:
            match told.event:
                case ev.Reviewed():
                    self._review(told.event, told)
                case ev.ApprovalAsked():
                    self.approvals["asked"] += 1
                case ev.ApprovalGiven() as event:
                    self.approvals["granted" if event.granted else "denied"] += 1
                case _:
                    pass
        if row.kind == "step":
            self._step(row)
        elif row.kind == "plan":
            self._plan(row)
        elif row.kind == "action":
            self._action(row)

    def _review(self, event: ev.Reviewed, told: Told) -> None:
        for fact in event.verdicts:
            self._watchers.setdefault(fact.monitor, Watcher()).take(event.subject, fact)
        for verdict in dig(told.content, list, "verdicts"):
            watcher = self._watchers.get(dig(verdict, str, "monitor"))
            usage = _usage(dig(verdict, dict, "usage"))
            if watcher is not None and usage is not None:
                watcher.usage = watcher.usage + usage

    def _step(self, row: Row) -> None:
        opening, end = row.told[0], row.last(ev.StepAnswered, ev.StepCut)
        event = opening.event
        if not isinstance(event, ev.StepAsked):
            return
        name = (event.ledger, event.step, event.backend, event.model)
        group = self._groups.setdefault(name, Group())
        if end is None or not isinstance(end.event, ev.StepAnswered | ev.StepCut):
            group.hold(_held(row, event))
            return
        group.take(end.event)
        if event.ledger == "model":
            add_step(self.reasoning, row)
            if self._confidences is not None and isinstance(end.event, ev.StepAnswered):
                self._confidences.take(event, opening.content.get("asked"), end.content)

    # --- actions, and what was spared

    def _plan(self, row: Row) -> None:
        told = row.last(ev.PlanDecided)
        if told is None or not isinstance(told.event, ev.PlanDecided) or told.event.allowed:
            return
        self.actions["plans refused"] += 1
        about = {dig(objection, str, "node") for objection in dig(told.content, list, "objections")}
        for call in dig(row.told[0].content, list, "calls"):
            if "" in about or dig(call, str, "id") in about:
                name = dig(call, str, "action")
                self.actions["refused in a plan"] += 1
                self._refused.setdefault(_call(name, dig(call, dict, "arguments")), (name, None))

    def _action(self, row: Row) -> None:
        opening, end = row.told[0], row.last(ev.ActionOutcome, ev.ActionRefused)
        event = opening.event
        if not isinstance(event, ev.ActionProposed):
            return
        self._costs[event.action] = max(event.cost, self._costs.get(event.action, 0.0))
        last = row.last(ev.ActionIntent, ev.ActionWithdrawn)
        begun = last is not None and isinstance(last.event, ev.ActionIntent)
        cleared = row.last(ev.ActionCleared)
        if cleared is not None and isinstance(cleared.event, ev.ActionCleared) and cleared.event.observed:
            self.actions["cleared while monitors only observed"] += 1
        arguments = dig(opening.content, dict, "call", "arguments")
        # If the arguments are withheld, equal calls cannot be recognised, since digests are salted.
        call = _call(event.action, arguments) if opening.kept == "here" else event.digest.encode()
        if end is None:
            self.actions["no outcome" if begun else "not started"] += 1
        elif isinstance(end.event, ev.ActionRefused):
            self.actions["refused"] += 1
            self._refused[call] = (event.action, event.cost)
        elif isinstance(end.event, ev.ActionOutcome):
            self.actions[end.event.status] += 1
            if end.event.status == "performed":
                self._performed.add(call)
            if end.event.status != "failed":
                self._spent += event.cost

    def _saved(self) -> dict[str, Any]:
        """Return the calls that were refused and never performed, and their declared cost."""
        spared = [said for call, said in self._refused.items() if call not in self._performed]
        costs = [self._costs.get(name) if cost is None else cost for name, cost in spared]
        return {
            "actions": len(spared),
            "usd": sum(cost for cost in costs if cost is not None),
            "unknown": sum(cost is None for cost in costs),
        }

    # --- all of it

    def told(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        ledgers = {name: Group() for name in ("model", "oversight")}
        for (ledger, *_), group in self._groups.items():
            _add(ledgers.setdefault(ledger, Group()), group)
        return {
            "rows": dict(self.rows),
            "worst": dict(self.worst),
            "reasoning": {**self.reasoning.as_json(), "sentence": self.reasoning.sentence()},
            "ledgers": {name: _plain(group) for name, group in ledgers.items()},
            "groups": [[*name, _plain(group)] for name, group in sorted(self._groups.items())],
            "monitors": {name: _plain(watcher) for name, watcher in sorted(self._watchers.items())},
            "actions": dict(self.actions),
            "approvals": dict(self.approvals),
            "actions_usd": self._spent,
            "saved": self._saved(),
            "confidence": self._confidences.told() if self._confidences is not None else [],
        }


def _held(row: Row, opening: ev.StepAsked) -> Usage:
    """Return the worst-case cost of a step without an end, as the ledger has it."""
    last = row.last(ev.StepReserved)
    if last is None or not isinstance(last.event, ev.StepReserved):
        return Usage(input=opening.tokens, usd=opening.usd)
    spent = last.event.spent
    return Usage(input=spent.tokens + last.event.tokens, usd=(spent.usd or 0.0) + last.event.usd)


def _add(sum_: Group, group: Group) -> None:
    for name in ("steps", "failed", "cut", "open", "samples", "discarded", "voted", "seconds"):
        setattr(sum_, name, getattr(sum_, name) + getattr(group, name))
    sum_.agreement = [sum(pair) for pair in zip(sum_.agreement, group.agreement, strict=True)]
    sum_.usage = sum_.usage + group.usage


def _plain(told: Group | Watcher) -> Any:
    return msgspec.to_builtins(told)


def _usage(said: dict[str, Any]) -> Usage | None:
    try:
        return msgspec.convert(said, Usage)
    except msgspec.ValidationError:
        return None


def _call(action: str, arguments: dict[str, Any]) -> bytes:
    return sha256(canonical([action, arguments])).digest()[:16]

"""Explains why one action was or was not performed: goal, steps and votes, provenance, verdicts, approval, outcome.

The trace is read twice, so that only what the answer needs is in memory: first the keys that everything came from, then
the events at those keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadInput, nearest
from scaffold.trace.chain import as_written, body_of
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from scaffold.trace.chain import Link

_SAID = 2_000
_DIGITS = 18
_LONGEST_LIST = 10

Read = Callable[[], "Iterable[Link]"]


class Argument(msgspec.Struct):
    """One argument: its value, its sources, and whether any of these is tainted."""

    name: str
    value: Any
    sources: list[str]
    tainted: bool = False


class Because(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that the action rests on: a step, an earlier action's result, or a person's answer.

    Attributes:
        what: `step`, `action` or `answer`.
        said: its result, shortened.
        votes: how many samples agreed with the winner, and of how many.
        sources: what it rests on in turn.
    """

    key: str
    what: str
    name: str
    said: Any = None
    reasoning: str = ""
    by: str = ""
    votes: str = ""
    confidence: float | None = None
    tainted: bool = False
    sources: list[str] = []


class Said(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One monitor's verdict, and its subject."""

    monitor: str
    subject: str
    decision: str
    status: str = "ok"
    score: float | None = None
    reason: str = ""


class Why(msgspec.Struct, kw_only=True):
    """The chain of reasons for one action.

    Attributes:
        became: `performed`, `failed`, `unknown`, `refused`, or how far it got.
        prompt: the run's request; `goals`, its goals as `kind: statement`.
        plan: the plan that it was part of: key, reason, decision.
        control: the sources of the decision to make this call.
        rests_on: what its arguments and that decision rest on, the nearest first.
        left_out: how many more there are.
        approval: who was asked, until when, and who answered what.
        clearance: the grounds on which the gate cleared it; empty if it did not.
        outcome: its outcome, with the number of attempts.
    """

    run: str
    key: str
    action: str
    effect: str
    cost: float = 0.0
    became: str = "proposed"
    prompt: str = ""
    goals: list[str] = []
    arguments: list[Argument] = []
    predicted: Any = None
    plan: dict[str, Any] = {}
    control: list[str] = []
    rests_on: list[Because] = []
    left_out: int = 0
    verdicts: list[Said] = []
    approval: dict[str, Any] = {}
    clearance: dict[str, Any] = {}
    outcome: dict[str, Any] = {}
    withheld: bool = False


def why(read: Read, which: str, *, most: int = 30) -> Why:
    """Explain one action.

    Args:
        read: returns the run's checked lines, each time from the first on.
        which: the action's key; or its name or its node in a plan, with `#N` for the Nth of that name, from 1.
        most: most things that it rests on to include.

    Raises:
        BadInput: the run has no such action, or more than one.
    """
    origins = _Origins()
    for link in read():
        with as_written(link.event):
            origins.follow(link)
    key = origins.key_of(which)
    keys = origins.behind(key)
    telling = _Telling(key, origins.plan_of.get(key, ""), keys[:most])
    for link in read():
        with as_written(link.event):
            telling.follow(link)
    found = telling.told()
    found.left_out = max(0, len(keys) - most)
    return found


class _Origins:
    """The first reading: collects the sources of everything, as keys."""

    def __init__(self) -> None:
        self._sources: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}  # keys of actions by their names and nodes
        self._inner: list[tuple[str, ...]] = []  # keys of all that the planner was told, in order, as parts
        self._told: dict[str, int] = {}  # how far each generator's history is taken in
        self._planned: dict[str, set[str]] = {}  # names and nodes of the actions of each plan that was not let through
        self.plan_of: dict[str, str] = {}

    def follow(self, link: Link) -> None:
        event = link.event
        match event:
            case ev.StepAsked(ledger="model") | ev.QuestionAsked():
                self._sources[event.key] = _asked_about(body_of(link.content))
            case ev.ActionProposed():
                self._propose(event, body_of(link.content).get("call", {}))
            case ev.PlanProposed():
                calls = body_of(link.content).get("calls", ())
                self._planned[event.key] = {each.get(name) for each in calls for name in ("action", "id")}
            case ev.PlanDecided(allowed=True):
                self._planned.pop(event.key, None)
            case ev.StepAnswered(ledger="model") | ev.ActionOutcome() | ev.QuestionAnswered():
                self._inner.append(tuple(event.key.split("/")))
            case _:
                pass

    def _propose(self, event: ev.ActionProposed, call: dict[str, Any]) -> None:
        key = event.key
        of = [*call.get("provenance", {}).values(), call.get("control", {})]
        self._sources[key] = [*dict.fromkeys(_sources_in(of)), *_texts(call.get("because", ()))]
        self.plan_of[key] = event.plan
        for name in {event.action, event.node} - {""}:
            self._names.setdefault(name, []).append(key)

    def key_of(self, which: str) -> str:
        """Return the key of the action meant."""
        if which in self.plan_of:
            return which
        for name, keys in self._names.items():
            for nth, key in enumerate(keys, start=1):
                if which == f"{name}#{nth}":
                    return key
        found = self._names.get(which, [])
        if len(found) == 1:
            return found[0]
        if found:
            said = ", ".join(found[:_LONGEST_LIST])
            raise BadInput(f"{which!r} matches {len(found)} actions, at the keys {said}: name one, or {which}#1")
        if plans := [plan for plan, names in self._planned.items() if which in names]:
            raise BadInput(
                f"{which!r} was in no plan that was let through: "
                f"`scaffold audit show RUN --at {plans[0]}` shows why not"
                + (f"; see also the keys {', '.join(plans[1:_LONGEST_LIST])}" if plans[1:] else "")
            )
        known = [*self.plan_of, *self._names]
        if not known:
            raise BadInput("the run has proposed no action")
        there = ", ".join(map(_named, known[:_LONGEST_LIST]))
        raise BadInput(f"the run has no action {which!r}{nearest(which, known) or f'; it has {there}'}")

    def behind(self, key: str) -> list[str]:
        """Return all that a key rests on, the nearest first."""
        seen: dict[str, None] = {}
        front = self._sources.get(key, [])
        while front:
            told = [each for source in front for each in self._expanded(source)]
            new = [each for each in dict.fromkeys(told) if each not in seen and each != key]
            seen.update(dict.fromkeys(new))
            front = [source for each in new for source in self._sources.get(each, ())]
        return list(seen)

    def _expanded(self, source: str) -> Iterator[str]:
        """Yield the keys that a source stands for."""
        kind, _, rest = source.partition(":")
        if kind in {"step", "action", "answer"}:
            yield rest
        elif kind == "history":
            path, _, ordinal = rest.rpartition("@")
            above = tuple(path.rstrip("/").split("/")) if path else ()
            until = _number(ordinal) or 0
            if until <= self._told.get(path, 0):
                return
            self._told[path] = until
            for parts in reversed(self._inner):
                # What its own generator, or a branch of it, was told before; and what was told before it was begun.
                if parts[: len(above)] == above and parts[len(above) : len(above) + 1] and _before(parts, above, until):
                    yield "/".join(parts)
            if len(above) >= 2:  # noqa: PLR2004 - a branch is named by its move and its number in it
                yield from self._expanded(f"history:{''.join(f'{part}/' for part in above[:-2])}@{above[-2]}")


def _before(parts: tuple[str, ...], above: tuple[str, ...], until: int) -> bool:
    step = _number(parts[len(above)])
    return step is not None and step < until


def _number(part: str) -> int | None:
    """Return a move's ordinal; None if the text is none."""
    return int(part) if part.isdecimal() and len(part) <= _DIGITS else None


class _Telling:
    """The second reading: collects the events at the keys that matter."""

    def __init__(self, key: str, plan: str, behind: Iterable[str]) -> None:
        self.found = Why(run="", key=key, action="", effect="")
        self._key = key
        self._plan = plan
        self._order = list(behind)
        self._because: dict[str, Because] = {}

    def follow(self, link: Link) -> None:
        event = link.event
        if isinstance(event, ev.RunStarted):
            self._started(event, link)
        elif event.key == self._key:
            self._own(event, link)
        elif event.key == self._plan and self._plan:
            self._planned(event, link)
        elif event.key in self._order:
            self._rested_on(event, link)

    def told(self) -> Why:
        """Return the result."""
        self.found.rests_on = [self._because[key] for key in self._order if key in self._because]
        return self.found

    def _started(self, event: ev.RunStarted, link: Link) -> None:
        self.found.run = event.run
        task = body_of(link.content).get("task", {})
        self.found.withheld = not task
        self.found.prompt = _cut(task.get("prompt", ""))
        self.found.goals = [
            f"{each['kind']}: {each['statement']}" + (f" [{each['rule']}]" if each.get("rule") else "")
            for each in task.get("goals", ())
        ]

    def _planned(self, event: ev.Event, link: Link) -> None:
        match event:
            case ev.PlanProposed():
                self.found.plan = {
                    "key": event.key,
                    "reason": _cut(body_of(link.content).get("reason", "")),
                    "actions": event.actions,
                }
            case ev.PlanDecided():
                self.found.plan |= {"decision": event.decision, "allowed": event.allowed}
            case ev.Reviewed() | ev.ApprovalAsked() | ev.ApprovalGiven():
                self._own(event, link)
            case _:
                pass

    def _own(self, event: ev.Event, link: Link) -> None:
        found, content = self.found, body_of(link.content)
        match event:
            case ev.ActionProposed():
                self._proposed(event, content)
            case ev.Reviewed():
                self._reviewed(event, content)
            case ev.ApprovalAsked():
                found.approval = {
                    "id": event.id,
                    "of": event.subject,
                    "asked": event.at,
                    "expires": event.expires,
                    "needs": event.needs,
                    "approvers": list(event.approvers),
                    "reasons": _texts(content.get("reasons", ())),
                }
            case ev.ApprovalGiven():
                by = [event.by, *event.beside]
                found.approval |= {"granted": event.granted, "by": by, "at": event.at}
                found.approval |= {"comment": _cut(content["comment"])} if content.get("comment") else {}
            case ev.ActionCleared():
                found.clearance = {"at": event.at, "decision": event.decision, "approval": event.approval}
                found.clearance["observed"] = event.observed
                found.became = "cleared"
            case ev.ActionIntent():
                found.outcome = {"begun": event.at, "attempts": event.attempt, "idempotency": event.idempotency}
                found.became = "started; its outcome is unknown"
            case ev.ActionWithdrawn() | ev.ActionOutcome():
                self._outcome(event, content)
            case ev.ActionRefused():
                found.outcome = {"status": "refused", "at": event.at, "feedback": content.get("feedback", "")}
                found.became = "refused"
            case ev.Released(subject="observation", ok=False):
                found.outcome["withheld"] = content.get("feedback", "")
            case _:
                pass

    def _outcome(self, event: ev.ActionWithdrawn | ev.ActionOutcome, content: dict[str, Any]) -> None:
        found = self.found
        found.became = event.status if isinstance(event, ev.ActionOutcome) else "withdrawn"
        found.outcome |= {"status": found.became, "at": event.at}
        found.outcome |= {"seconds": event.seconds} if isinstance(event, ev.ActionOutcome) else {}
        found.outcome |= {name: content[name] for name in ("value", "reason") if name in content}

    def _proposed(self, event: ev.ActionProposed, content: dict[str, Any]) -> None:
        found, call = self.found, content.get("call", {})
        found.action, found.effect, found.cost = event.action, event.effect, event.cost
        origins = call.get("provenance", {})
        found.arguments = [
            Argument(name, value, *_origin(origins.get(name, {}))) for name, value in call.get("arguments", {}).items()
        ]
        found.control = _origin(call.get("control", {}))[0]
        found.predicted = call.get("predicted")

    def _reviewed(self, event: ev.Reviewed, content: dict[str, Any]) -> None:
        whole = {each["monitor"]: each for each in content.get("verdicts", ())}
        subject = f"{event.subject}, to spare a person" if event.waives else event.subject
        for fact in event.verdicts:
            said = whole.get(fact.monitor, {})
            self.found.verdicts.append(
                Said(
                    monitor=fact.monitor,
                    subject=subject,
                    decision=fact.decision,
                    status=fact.status,
                    score=fact.score,
                    reason=_cut(said.get("rationale") or said.get("feedback") or ""),
                )
            )

    def _rested_on(self, event: ev.Event, link: Link) -> None:
        content = body_of(link.content)
        match event:
            case ev.StepAsked():
                sources = _asked_about(content)
                self._because[event.key] = Because(key=event.key, what="step", name=event.step, sources=sources)
                self._because[event.key].by = f"{event.backend}:{event.model}"
            case ev.StepAnswered() if event.key in self._because:
                self._answered(self._because[event.key], event, content)
            case ev.ActionProposed():
                of = content.get("call", {}).get("provenance", {})
                sources = list(dict.fromkeys(_sources_in(of.values())))
                self._because[event.key] = Because(key=event.key, what="action", name=event.action, sources=sources)
            case ev.ActionOutcome() if event.key in self._because:
                because = self._because[event.key]
                because.said = _short(content.get("value", content.get("reason")))
                because.tainted, because.by = event.tainted, event.status
            case ev.QuestionAsked():
                said, sources = _cut(content.get("title", "a question")), _asked_about(content)
                self._because[event.key] = Because(key=event.key, what="answer", name=said, sources=sources)
            case ev.QuestionAnswered() if event.key in self._because:
                self._because[event.key].said = _short(content.get("value"))
                self._because[event.key].by = event.by
            case _:
                pass

    def _answered(self, because: Because, event: ev.StepAnswered, content: dict[str, Any]) -> None:
        samples = content.get("samples", [])
        won = samples[event.winner] if 0 <= event.winner < len(samples) else {}
        because.said = _short(content.get("value", content.get("error", {}).get("message")))
        because.reasoning = _cut(won.get("reasoning", ""))
        because.votes = f"{event.votes} of {event.samples}"
        because.confidence, because.tainted = event.confidence, event.tainted


def _asked_about(content: dict[str, Any]) -> list[str]:
    """Return the sources of what a step or a question is about."""
    return _sources_in(content.get("provenance", ()))


def _origin(provenance: dict[str, Any]) -> tuple[list[str], bool]:
    return _sources_in([provenance]), bool(provenance.get("tainted"))


def _sources_in(provenances: Iterable[dict[str, Any]]) -> list[str]:
    return [source for each in provenances for source in _texts(each.get("sources", ()))]


def _texts(said: Any) -> tuple[str, ...]:
    return msgspec.convert(said, tuple[str, ...])


def _named(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _cut(said: Any) -> str:
    text = msgspec.convert(said, str)
    return text if len(text) <= _SAID else text[:_SAID] + "…"


def _short(value: Any) -> Any:
    """Return a value, or the beginning of its text if it is long."""
    if isinstance(value, str):
        return _cut(value)
    text = msgspec.json.encode(value).decode()
    return value if len(text) <= _SAID else text[:_SAID] + "…"


def as_json(found: Why) -> dict[str, Any]:
    """Convert the result to JSON values."""
    plain: dict[str, Any] = msgspec.to_builtins(found)
    return plain

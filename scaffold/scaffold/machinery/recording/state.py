"""The engine's memory of a run: a fold over the trace, the same live and on resume."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.machinery.recording.ledger import Ledger
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.characters import as_read
from scaffold.vocabulary.models import ReasoningVisibility, Usage
from scaffold.vocabulary.monitorability import VISIBILITIES, Readable
from scaffold.vocabulary.outcome import ActionSummary, Overseen, VerdictSummary
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.review import SEVERITY, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.task import Task


class Undoable(msgspec.Struct, frozen=True):
    """A performed action that can be undone.

    Attributes:
        call: the call.
        undo: the action that undoes it.
        gave: its result, as JSON.
        tainted: whether the result is untrusted.
        plan: the proposal that it was part of.
    """

    call: ActionCall
    undo: str
    gave: bytes
    tainted: bool
    plan: str


class Progress(msgspec.Struct, eq=False):
    """A plan, action, step or question that is not settled yet."""

    asked: bytes = b""
    digest: str = ""
    fingerprint: str = ""
    plan: str = ""
    previews: dict[str, Any] = {}
    verdicts: dict[tuple[str, str, str, str], Verdict] = {}
    approval: ev.ApprovalAsked | None = None
    approved: ev.ApprovalGiven | None = None
    comment: str = ""
    covered: str = ""
    question: ev.QuestionAsked | None = None
    action: ActionSummary | None = None
    intent: ev.ActionIntent | None = None
    attempts: int = 0
    outcome: tuple[ev.ActionOutcome, bytes] | None = None
    answered: tuple[ev.StepAnswered, bytes] | None = None
    tries: int = 0
    was_read: bool = False


class Asked(msgspec.Struct):
    """The part of a content that says what was asked."""

    asked: msgspec.Raw = msgspec.Raw(b"")


class _Called(msgspec.Struct):
    arguments: dict[str, Any]


class _Proposed(Asked, kw_only=True):
    """The parts of an action's proposal that are kept."""

    call: _Called


class _Whole(msgspec.Struct):
    call: ActionCall


class _Gave(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw(b"null")


_ASKED = b'{"asked":'
_AT = len(_ASKED)

_asked = msgspec.json.Decoder(Asked)
_proposed = msgspec.json.Decoder(_Proposed)
_whole = msgspec.json.Decoder(_Whole)
_gave = msgspec.json.Decoder(_Gave)
_json = msgspec.json.Decoder()


def asked_in(body: bytes) -> bytes:
    """Return the canonical bytes of what was asked, from an event's content."""
    return bytes(_asked.decode(body).asked) if body else b""


def is_asked_in(body: bytes, what: bytes) -> bool:
    """Whether an event's content says that exactly this was asked; usually decided without decoding."""
    in_front = body.startswith(_ASKED) and body.startswith(what, _AT) and body.startswith(b",", _AT + len(what))
    return in_front or asked_in(body) == what


def identity_of(spec: ActionSpec, arguments: dict[str, Any]) -> str:
    """Return a digest of the thing an action acts on: its identity fields, normalised, defaults filled in."""
    if not spec.identity:
        return ""
    schemas = spec.parameters.get("properties", {})
    defaults = {name: each["default"] for name, each in schemas.items() if isinstance(each, dict) and "default" in each}
    values = [arguments.get(name, defaults.get(name)) for name in spec.identity]
    return sha256(canonical([spec.name, *map(as_read, values)])).hexdigest()


def bounds_of(task: Task) -> dict[str, float]:
    """Return the limits on a run, as its first event states them."""
    work = task.budget.model_dump(exclude_none=True)
    oversight = task.oversight.budget.model_dump(exclude_none=True)
    return work | {f"{ev.OVERSIGHT}{name}": bound for name, bound in oversight.items()}


class RunState:
    """What follows from the events so far, once each has been passed to its taker.

    Attributes:
        bounds: the limits on the run, named as in its first event.
        model: the work's ledger.
        oversight: oversight's ledger.
        progress: what is under way, by key; dropped once settled.
        plans: allowed proposals: for each key, the canonical arguments of its nodes.
        scopes: allowed proposals that a person approved with all their calls: the approval's id and expiry.
        callers: for each node of an allowed plan, the key of the first action that was proposed for it.
        taken: for each thing acted on, the key of the action that acted on it, or may have.
        unknown: actions whose outcome is unknown: for each key, the digest of the call.
        undoable: performed actions that can be undone, by key.
        refused: how often each proposal was refused, by fingerprint.
        insists: why the run ends because of refusals; empty while the planner may still revise.
        actions: the result of each action.
        verdicts: verdicts stricter than `allow`.
        partial: the run's answer if it is cut short.
        suspicion: worst score over resampled tries so far; one drawn again without a score counts in full.
        visibility: how much of a backend's reasoning can be read, by backend and model, if its replies showed something
            else than its profile says.
        corrections: number of such corrections.
        thinkers: who has been asked steps of the work: backend, model and kind of step.
        reading: how much of the reasoning could be read, and was.
        overseers: what each monitor has cost, by name.
        key: verifier line of the key that signs heads, as last recorded; empty if none was.
        stop: who asked the run to stop; empty if nobody did.
        ended: the last `run.ended`, with its content.
        paused: the last `run.paused`.
        steps: steps answered for the work.
        takers: for each kind of event, the function that takes it in.
    """

    def __init__(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        self.bounds = bounds_of(task)
        self.model = Ledger(task.budget)
        self.oversight = Ledger(task.oversight.budget)
        self.progress: dict[str, Progress] = {}
        self.plans: dict[str, dict[str, bytes]] = {}
        self.scopes: dict[str, tuple[str, float]] = {}
        self.callers: dict[tuple[str, str], str] = {}
        self.taken: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.undoable: dict[str, Undoable] = {}
        self._calls: dict[str, ActionCall] = {}  # calls that can be undone once performed
        self.refused: dict[str, int] = {}
        self.refusals = 0
        self.insists = ""
        self.actions: dict[str, ActionSummary] = {}
        self.verdicts: list[VerdictSummary] = []
        self.partial: Any = None
        self.suspicion = 0.0
        self.visibility: dict[tuple[str, str], ReasoningVisibility] = {}
        self.corrections = 0
        self.thinkers: set[tuple[str, str, str]] = set()
        self.reading = Readable()
        self._beside: dict[str, tuple[Progress, list[str]]] = {}  # released steps, and the monitors still reading them
        self._kinds: dict[str, str] = {}  # kinds of open steps that may ask several backends
        self.overseers: dict[str, Overseen] = {}
        self.key = ""
        self.stop = ""
        self.ended: tuple[ev.Ended, dict[str, Any]] | None = None
        self.paused: ev.Paused | None = None
        self.steps = 0
        self._specs = actions
        self._rounds = task.oversight.rounds
        self.takers: dict[type[Event], Any] = {
            ev.RunResumed: self._run_resumed,
            ev.BudgetRaised: self._budget_raised,
            ev.KeyChanged: self._key_changed,
            ev.StepAsked: self._step_asked,
            ev.StepReserved: self._step_reserved,
            ev.StepAnswered: self._step_answered,
            ev.StepCut: self._step_cut,
            ev.ProfileCorrected: self._profile_corrected,
            ev.Released: self._released,
            ev.PlanProposed: self._plan_proposed,
            ev.PlanDecided: self._plan_decided,
            ev.Reviewed: self._reviewed,
            ev.ActionProposed: self._action_proposed,
            ev.ActionPreviewed: self._action_previewed,
            ev.ActionIntent: self._action_intent,
            ev.ActionWithdrawn: self._action_withdrawn,
            ev.ActionOutcome: self._action_outcome,
            ev.ActionRefused: self._action_refused,
            ev.ApprovalAsked: self._approval_asked,
            ev.ApprovalGiven: self._approval_given,
            ev.QuestionAsked: self._question_asked,
            ev.QuestionAnswered: self._question_answered,
            ev.Noted: self._noted,
            ev.StopAsked: self._stop_asked,
            ev.Paused: self._paused,
            ev.Ended: self._ended,
        }

    def at(self, key: str) -> Progress:
        """Return what is under way at a key."""
        progress = self.progress.get(key)
        if progress is None:
            progress = self.progress[key] = Progress()
        return progress

    def ledger(self, name: str) -> Ledger:
        """Return a ledger by name."""
        return self.model if name == "model" else self.oversight

    # --- steps

    def _run_resumed(self, _event: ev.RunResumed, _body: bytes) -> None:
        """Charge at the worst case what was under way when the last process died."""
        self.model.forfeit()
        self.oversight.forfeit()

    def _budget_raised(self, event: ev.BudgetRaised, _body: bytes) -> None:
        self.bounds = self.bounds | event.bounds
        self.model.widen(self.bounds)
        self.oversight.widen(ev.of_oversight(self.bounds))

    def _key_changed(self, event: ev.KeyChanged, _body: bytes) -> None:
        self.key = event.verifier

    def _step_asked(self, event: ev.StepAsked, body: bytes) -> None:
        if event.ledger == "model":
            self.model.reserve(event.key, event.tokens, event.usd, steps=1)
            self.thinkers.add((event.backend, event.model, event.step))
            if event.sampling:  # it may ask other backends too, now or later
                self._kinds[event.key] = event.step
                self._add_thinkers(event.key, body)
        else:
            self.oversight.reserve(event.key, event.tokens, event.usd, steps=1)

    def _add_thinkers(self, key: str, body: bytes) -> None:
        """Add the other backends that a step's policy asks."""
        if b'"ways"' in body and key in self._kinds:
            for way in _json.decode(body).get("ways", ()):
                self.thinkers.add((way["backend"], way["model"], self._kinds[key]))

    def _step_reserved(self, event: ev.StepReserved, body: bytes) -> None:
        if body:
            self._add_thinkers(event.key, body)
        self.ledger(event.ledger).reserve(event.key, event.tokens, event.usd, spent=event.spent)

    def _step_answered(self, event: ev.StepAnswered, body: bytes) -> None:
        if event.ledger == "model":
            self.model.settle(event.key, event.usage)
            self.steps += 1
            self.reading.add(event.reasoning, event.usage.reasoning)
            if self._kinds:
                self._kinds.pop(event.key, None)
        else:
            self.oversight.settle(event.key, event.usage)
            self._overseen(event.key, event.usage)
        if not event.final:
            progress = self.at(event.key)
            progress.answered = (event, body)
            progress.was_read = False
            progress.tries += 1

    def _step_cut(self, event: ev.StepCut, _body: bytes) -> None:
        self.ledger(event.ledger).settle(event.key, event.usage)
        if event.ledger == "oversight":
            self._overseen(event.key, event.usage)

    def _overseen(self, key: str, usage: Usage) -> None:
        """Count a question to a model, for the monitor that asked it."""
        name = key.partition("!")[2].partition("/")[0]
        overseen = self._of_monitor(name)
        overseen.questions += 1
        overseen.usage = overseen.usage + usage

    def _count_verdicts(self, event: ev.Reviewed) -> None:
        for fact in event.verdicts:
            overseen = self.overseers.get(fact.monitor) or self._of_monitor(fact.monitor)
            overseen.verdicts += 1
            overseen.seconds += fact.seconds

    def _of_monitor(self, name: str) -> Overseen:
        overseen = self.overseers.get(name)
        if overseen is None:
            overseen = self.overseers[name] = Overseen()
        return overseen

    def _profile_corrected(self, event: ev.ProfileCorrected, _body: bytes) -> None:
        self.visibility[event.backend, event.model] = event.reasoning
        self.corrections += 1
        if VISIBILITIES.index(event.reasoning) > VISIBILITIES.index(event.believed):
            self.reading.falls += 1
            said = f"the reasoning of {event.model} is {event.reasoning}, but was expected to be {event.believed}"
            self.verdicts.append(
                VerdictSummary(monitor="gate", decision="flag", subject="step", key=event.key, status="ok", reason=said)
            )

    def _released(self, event: ev.Released, _body: bytes) -> None:
        progress = self.progress.pop(event.key, None)
        if event.beside and progress is not None:
            self._beside[event.key] = progress, list(event.beside)

    # --- plans and actions

    def _plan_proposed(self, event: ev.PlanProposed, body: bytes) -> None:
        progress = self.at(event.key)
        progress.asked = asked_in(body)
        progress.digest = event.digest
        progress.fingerprint = sha256(progress.asked).hexdigest()

    def _plan_decided(self, event: ev.PlanDecided, body: bytes) -> None:
        progress = self.progress.pop(event.key, None)
        if progress is None:
            return
        if event.allowed:
            nodes = json.loads(progress.asked)
            self.plans[event.key] = {node[0]: canonical([node[1], node[2]]) for node in nodes}
            asked, given = progress.approval, progress.approved
            if asked is not None and given is not None and given.granted and given.scope:
                self.scopes[event.key] = (given.id, asked.expires)
        else:
            objections = _json.decode(body)["objections"]
            self._count_refusal(progress.fingerprint, f"{objections[0]['feedback']} (the plan at {event.key})")
            self._note_refused(event.key, json.loads(progress.asked), objections)

    def _note_refused(self, key: str, nodes: list[Any], objections: list[dict[str, str]]) -> None:
        """Record the actions of a plan that objections name, or all if they are about the whole plan."""
        reasons = {objection["node"]: objection["feedback"] for objection in objections}
        for node, name, arguments, _ in nodes:
            reason = reasons.get(node, reasons.get(""))
            if reason is not None:
                cost = self._specs[name].cost if name in self._specs else 0.0
                self.actions[f"{key}#{node}"] = ActionSummary(
                    key=key, name=name, arguments=arguments, status="refused", reason=reason, cost=cost
                )

    def planned(self) -> list[ActionSummary]:
        """Return the actions that are planned only, and those of plans on which nothing is decided yet."""
        planned = [summary for summary in self.actions.values() if summary.status == "planned"]
        for key, progress in self.progress.items():
            if progress.fingerprint:
                calls = json.loads(progress.asked)
                planned += [ActionSummary(key=key, name=name, arguments=arguments) for _, name, arguments, _ in calls]
        return planned

    def acted_on(self, key: str) -> str:
        """Return the identity of the action under way at a key; empty if there is none."""
        progress = self.progress.get(key)
        return "" if progress is None or progress.action is None else self._identity(progress.action)

    def _identity(self, summary: ActionSummary) -> str:
        spec = self._specs.get(summary.name)
        if spec is None or not spec.identity:
            return ""
        return identity_of(spec, summary.arguments)

    def _action_proposed(self, event: ev.ActionProposed, body: bytes) -> None:
        content = _proposed.decode(body)
        progress = self.at(event.key)
        progress.asked = bytes(content.asked)
        progress.digest = event.digest
        progress.action = summary = ActionSummary(
            key=event.key,
            name=event.action,
            arguments=content.call.arguments,
            cost=event.cost,
            compensates=event.compensates,
        )
        self.actions[event.key] = summary
        progress.plan = event.plan
        spec = self._specs.get(event.action)
        if spec is not None and spec.undo in self._specs:
            self._calls[event.key] = _whole.decode(body).call
        if event.plan:
            self.callers.setdefault((event.plan, event.node), event.key)

    def _action_previewed(self, event: ev.ActionPreviewed, body: bytes) -> None:
        content = _json.decode(body)
        said = content["value"] if event.ok else {"no preview": content["reason"]}
        self.at(event.key).previews[content["node"]] = said

    def _action_intent(self, event: ev.ActionIntent, _body: bytes) -> None:
        progress = self.at(event.key)
        progress.intent, progress.attempts = event, event.attempt
        progress.outcome = None
        summary = progress.action
        if event.attempt == 1:
            self.model.actions += 1
            self.model.actions_usd += 0.0 if summary is None else summary.cost
        if summary is not None:
            summary.status = "unknown"
            identity = self._identity(summary)
            if identity:
                self.taken[identity] = event.key

    def _action_withdrawn(self, event: ev.ActionWithdrawn, _body: bytes) -> None:
        progress = self.at(event.key)
        progress.intent = None
        if progress.action is not None:
            progress.action.status = "planned"
            self.taken.pop(self._identity(progress.action), None)

    def _action_outcome(self, event: ev.ActionOutcome, body: bytes) -> None:
        progress = self.at(event.key)
        progress.outcome = (event, body)
        summary = self.actions.get(event.key)
        if summary is not None:
            summary.status = event.status
            if event.status != "performed":
                summary.reason = _json.decode(body).get("reason", "") if body else ""
            if event.status == "unknown":
                self.unknown[event.key] = event.digest
            if event.status == "failed":
                identity = self._identity(summary)
                self.taken.pop(identity, None)
            self._note_undoing(event, summary, progress.plan, body)
        if event.final:
            del self.progress[event.key]

    def _note_undoing(self, event: ev.ActionOutcome, summary: ActionSummary, plan: str, body: bytes) -> None:
        """Record what can be undone and what was; an undo that may have happened is never tried again."""
        call = self._calls.pop(event.key, None)
        if call is not None and event.status == "performed":
            undo = self._specs[event.action].undo
            gave = bytes(_gave.decode(body).value)
            self.undoable[event.key] = Undoable(call, undo, gave, event.tainted, plan)
        undone = self.actions.get(summary.compensates) if summary.compensates else None
        if undone is not None:
            undone.undone = event.status
            if event.status != "failed":
                self.undoable.pop(undone.key, None)
            if event.status == "performed":
                self.taken.pop(self._identity(undone), None)

    def _action_refused(self, event: ev.ActionRefused, body: bytes) -> None:
        self._calls.pop(event.key, None)
        progress = self.progress.pop(event.key, None)
        summary = self.actions.get(event.key)
        if summary is not None:
            summary.status = "refused"
            summary.reason = _json.decode(body).get("feedback", "") if body else ""
        if progress is not None:
            fingerprint = "" if summary is None else sha256(_call(summary)).hexdigest()
            feedback = _json.decode(body).get("feedback", "") if body else ""
            self._count_refusal(fingerprint, f"{feedback} ({event.action} at {event.key})")

    def _count_refusal(self, fingerprint: str, refusal: str) -> None:
        self.refusals += 1
        if fingerprint in self.refused:
            self.insists = f"the planner proposed again what was refused: {refusal}"
        elif self.refusals >= self._rounds:
            self.insists = f"{self.refusals} proposals were refused: {refusal}"
        self.refused[fingerprint] = self.refused.get(fingerprint, 0) + 1

    # --- reviews and people

    def _reviewed(self, event: ev.Reviewed, body: bytes) -> None:
        progress = self._reviewing(event)
        self._count_verdicts(event)
        if progress.answered is not None and _is_of(event, progress.answered[0]) and not progress.was_read:
            progress.was_read = any(fact.status == "ok" for fact in event.verdicts)
            if progress.was_read:
                answered = progress.answered[0]
                self.reading.was_read(answered.reasoning, answered.usage.reasoning)
        if body:
            for verdict in msgspec.convert(_json.decode(body)["verdicts"], tuple[Verdict, ...]):
                if verdict.status == "ok":
                    progress.verdicts[event.subject, event.digest, verdict.monitor, verdict.settings] = verdict
                if _drew_again(event, verdict):
                    self.suspicion = max(self.suspicion, verdict.score or 1.0)
                if verdict.decision != "allow" or verdict.status != "ok":
                    self.verdicts.append(_summary(event, verdict))
        else:
            for fact in event.verdicts:
                if fact.status == "ok":
                    allowed = Verdict(decision=fact.decision, monitor=fact.monitor, settings=fact.settings)
                    progress.verdicts[event.subject, event.digest, fact.monitor, fact.settings] = allowed

    def _reviewing(self, event: ev.Reviewed) -> Progress:
        """Return what a review is of; a review of a step by an observing monitor may come after its release."""
        if event.subject == "step" and event.key not in self.progress:
            progress, readers = self._beside.get(event.key) or (Progress(), [])
            for fact in event.verdicts:
                if fact.monitor in readers:
                    readers.remove(fact.monitor)
            if not readers:
                self._beside.pop(event.key, None)
            return progress
        return self.at(event.key)

    def _approval_asked(self, event: ev.ApprovalAsked, _body: bytes) -> None:
        progress = self.at(event.key)
        progress.approval = event
        progress.approved = None

    def _approval_given(self, event: ev.ApprovalGiven, body: bytes) -> None:
        progress = self.at(event.key)
        progress.approved = event
        progress.comment = _json.decode(body).get("comment", "") if body else ""

    def _question_asked(self, event: ev.QuestionAsked, body: bytes) -> None:
        progress = self.at(event.key)
        progress.question = event
        progress.asked = asked_in(body)

    def _question_answered(self, event: ev.QuestionAnswered, _body: bytes) -> None:
        self.progress.pop(event.key, None)

    # --- the run

    def _noted(self, _event: ev.Noted, body: bytes) -> None:
        partial = _json.decode(body).get("partial")
        if partial is not None:
            self.partial = partial

    def _stop_asked(self, event: ev.StopAsked, _body: bytes) -> None:
        self.stop = event.by

    def _paused(self, event: ev.Paused, _body: bytes) -> None:
        self.paused = event

    def _ended(self, event: ev.Ended, body: bytes) -> None:
        self.ended = (event, _json.decode(body) if body else {})

    def usage(self) -> dict[str, Usage]:
        """Return what the work and its oversight used."""
        return {"model": self.model.used, "oversight": self.oversight.used}

    def saved(self) -> dict[str, float]:
        """Return what refusals saved: the number of actions not performed, and their declared cost in dollars."""
        done = {_call(summary) for summary in self.actions.values() if summary.status == "performed"}
        refused = {_call(each): each.cost for each in self.actions.values() if each.status == "refused"}
        spared = [cost for call, cost in refused.items() if call not in done]
        return {"actions": len(spared), "usd": sum(spared)}


def _drew_again(event: ev.Reviewed, verdict: Verdict) -> bool:
    """Whether the subject of a verdict was drawn again: a sample that is cut off always is."""
    return verdict.decision == "resample" or (event.subject == "stream" and verdict.severity >= SEVERITY["resample"])


def _is_of(event: ev.Reviewed, answered: ev.StepAnswered) -> bool:
    """Whether a review is of this answer, not of one drawn before it."""
    return event.subject == "stream" or (event.subject == "step" and event.digest == answered.content)


def _call(summary: ActionSummary) -> bytes:
    return canonical([summary.name, summary.arguments])


def _summary(event: ev.Reviewed, verdict: Verdict) -> VerdictSummary:
    return VerdictSummary(
        monitor=verdict.monitor,
        decision=verdict.decision,
        subject=event.subject,
        key=event.key,
        status=verdict.status,
        reason=verdict.rationale or verdict.feedback,
    )

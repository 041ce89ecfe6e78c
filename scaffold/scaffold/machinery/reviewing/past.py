"""Retells a stored run: what monitors would have read of it, and at which moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.machinery.reviewing.reviews import observed
from scaffold.trace.chain import as_written
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.models import Sample
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.review import StepRecord, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scaffold.vocabulary.events import Event

_INPUTS, _CHOICES = 3, 5  # positions in the list that `steps.asked` writes
_NOT_ASKED = ev.StepAsked(step="")


@dataclass(frozen=True, slots=True)
class Told:
    """Something to review again.

    Attributes:
        seq: number of the event that it comes from.
        subject: what monitors read.
        digest: its digest in the trace.
        samples: for a stream, what was generated.
        beside: another kind of subject for the same thing; monitors that read both read only that one.
        withheld: why it cannot be read; empty if it can.
    """

    seq: int
    subject: Subject
    digest: str
    samples: tuple[Sample, ...] = ()
    beside: str = ""
    withheld: str = ""


class Retelling:
    """Rebuilds monitors' subjects from the events of a run, fed one at a time.

    Plans and actions wait for the next event at their key, since previews are recorded in between.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Told]] = {}
        self._steps: dict[str, tuple[ev.StepAsked, Sequence[Any]]] = {}
        self._calls: dict[str, ActionCall] = {}
        self._previews: dict[str, dict[str, Any]] = {}

    def before(self, event: Event) -> Iterator[Told]:
        """Return the subjects to review before an event is taken in."""
        if event.key in self._waiting and not isinstance(event, ev.ActionPreviewed):
            previews = self._previews.pop(event.key, {})
            for told in self._waiting.pop(event.key):
                subject = msgspec.structs.replace(told.subject, previews=previews) if previews else told.subject
                yield Told(told.seq, subject, told.digest, beside=told.beside, withheld=told.withheld)

    def after(self, event: Event, content: dict[str, Any] | None) -> Iterator[Told]:
        """Return the subjects to review after an event is taken in; `content` is None if it is withheld."""
        match event:
            case ev.StepAsked(ledger="model"):
                self._steps[event.key] = event, (content or {}).get("asked") or ()
            case ev.StepAnswered(ledger="model") | ev.StepCut(ledger="model"):
                yield from self._step(event, content)
            case ev.PlanProposed():
                self._waiting[event.key] = [self._plan(event, content)]
            case ev.ActionProposed():
                self._waiting[event.key] = self._action(event, content)
            case ev.ActionPreviewed() if content is not None:
                said = content["value"] if "value" in content else content.get("reason")
                self._previews.setdefault(event.key, {})[content.get("node", "")] = said
            case ev.ActionOutcome() if event.key in self._calls:
                yield self._observation(event, content, self._calls.pop(event.key))
            case ev.Ended(status="solved"):
                subject = Subject(kind="answer", key="answer", answer=(content or {}).get("answer"))
                yield Told(event.seq, subject, event.content, withheld=_withheld(content))
            case _:
                pass

    def rest(self) -> Iterator[Told]:
        """Return the subjects left undecided when the run was cut off."""
        for told in self._waiting.values():
            yield from told
        self._waiting.clear()

    def _step(self, event: ev.StepAnswered | ev.StepCut, content: dict[str, Any] | None) -> Iterator[Told]:
        """Return what was generated, even if nothing came of it, and the thought, if there was one."""
        asked, what = self._steps.pop(event.key, (_NOT_ASKED, ()))
        samples = msgspec.convert((content or {}).get("samples", ()), tuple[Sample, ...])
        open_ = StepRecord(
            kind=asked.step,
            inputs=what[_INPUTS] if len(what) > _INPUTS else (),
            to=asked.to,
            backend=asked.backend,
            model=asked.model,
            choices=tuple(what[_CHOICES] or ()) if len(what) > _CHOICES else (),
        )
        stream = Subject(kind="stream", key=event.key, step=open_)
        yield Told(event.seq, stream, event.content, samples=samples, withheld=_withheld(content))
        if not isinstance(event, ev.StepAnswered) or not event.ok:
            return
        won = samples[event.winner] if 0 <= event.winner < len(samples) else Sample(0, "")
        record = msgspec.structs.replace(
            open_,
            value=(content or {}).get("value"),
            text=won.text,
            reasoning=won.reasoning,
            usage=event.usage,
            signals=won.signals,
            shown=event.reasoning,
        )
        subject = Subject(kind="step", key=event.key, step=record)
        yield Told(event.seq, subject, event.content, withheld=_withheld(content))

    @staticmethod
    def _plan(event: ev.PlanProposed, content: dict[str, Any] | None) -> Told:
        calls = msgspec.convert((content or {}).get("calls", ()), tuple[ActionCall, ...])
        subject = Subject(kind="plan", key=event.key, plan=calls, reason=(content or {}).get("reason", ""))
        return Told(event.seq, subject, event.digest, withheld=_withheld(content))

    def _action(self, event: ev.ActionProposed, content: dict[str, Any] | None) -> list[Told]:
        """Return the subjects of an action; one outside a plan is also read as a plan, by monitors of plans."""
        if content is None:
            subject = Subject(kind="action", key=event.key)
            return [Told(event.seq, subject, event.digest, withheld=_withheld(content))]
        call = self._calls[event.key] = msgspec.convert(content["call"], ActionCall)
        subject = Subject(kind="action", key=event.key, plan=(call,), call=call)
        if event.plan:
            return [Told(event.seq, subject, event.digest)]
        alone = Told(event.seq, Subject(kind="plan", key=event.key, plan=(call,)), event.digest)
        return [alone, Told(event.seq, subject, event.digest, beside="plan")]

    @staticmethod
    def _observation(event: ev.ActionOutcome, content: dict[str, Any] | None, call: ActionCall) -> Told:
        subject = Subject(kind="observation", key=event.key, observation=observed(event, content or {}, call))
        return Told(event.seq, subject, event.content, withheld=_withheld(content))


def _withheld(content: dict[str, Any] | None) -> str:
    return "its content is withheld" if content is None else ""


def specs_in(events: Iterable[tuple[Event, dict[str, Any] | None]]) -> dict[str, ActionSpec]:
    """Return the specifications of a run's actions, as far as its trace shows them.

    A trace holds only an action's effect and cost, and these only if it was proposed for execution. An action that
    occurs only in a plan counts as irreversible.
    """
    specs: dict[str, ActionSpec] = {}
    arguments: dict[str, set[str]] = {}
    for event, content in events:
        with as_written(event):
            calls: list[dict[str, Any]] = []
            match event:
                case ev.ActionProposed():
                    specs[event.action] = ActionSpec(name=event.action, effect=event.effect, cost=max(event.cost, 0.0))
                    calls = [content["call"]] if content and "call" in content else []
                case ev.PlanProposed():
                    calls = (content or {}).get("calls", [])
                case _:
                    pass
            for call in calls:
                arguments.setdefault(call["action"], set()).update(call.get("arguments", ()))
    for name, named in arguments.items():
        spec = specs.get(name) or ActionSpec(name=name, effect="irreversible")
        properties: dict[str, Any] = {argument: {} for argument in sorted(named)}
        specs[name] = msgspec.structs.replace(spec, parameters={"type": "object", "properties": properties})
    return specs

"""Converts steps to spans: the step itself, and the model call below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from scaffold.projections import conventions
from scaffold.projections.conventions import as_json
from scaffold.vocabulary import events as happened
from scaffold.vocabulary.models import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import SpanContext

    from scaffold.projections.conventions import Content
    from scaffold.projections.disclosure import Disclosure
    from scaffold.projections.open_spans import OpenSpans
    from scaffold.projections.unfinished import Unfinished
    from scaffold.vocabulary.events import Event

_WITHHELD = {"observation": "observation_withheld"}


class StepSpans:
    """Folds the events of steps, and the release of thoughts that a review held back.

    Attributes:
        used: the usage charged to each ledger in this session.
    """

    def __init__(self, open_spans: OpenSpans, disclosure: Disclosure) -> None:
        self.used: dict[str, Usage] = {}
        self._open = open_spans
        self._disclosure = disclosure

    def reactions(self) -> Mapping[type[Event], Callable[[Any, Content], None]]:
        """What to do with each kind of event."""
        return {
            happened.StepAsked: self._asked,
            happened.StepAnswered: self._answered,
            happened.StepCut: self._cut,
            happened.Released: self._released,
        }

    def _asked(self, event: happened.StepAsked, content: Content) -> None:
        self._withdraw(event)
        step = self._open.begin(
            event,
            f"step {event.step}",
            {"scaffold.step.kind": event.step},
            parent=self._reviewer(event),
        )
        # Each attribute costs microseconds, so the usual value is left out.
        if event.ledger != "model":
            step.attributes["scaffold.ledger"] = event.ledger
        if event.to != "default":
            step.attributes["scaffold.to"] = event.to
        call = self._open.begin(
            event,
            f"chat {event.model}".rstrip(),
            {"gen_ai.operation.name": "chat"},
            part="chat",
            parent=step.context,
            kind=SpanKind.CLIENT,
        )
        if event.model:
            call.attributes["gen_ai.request.model"] = event.model
        if event.backend:
            call.attributes["gen_ai.provider.name"] = event.backend
        messages = content.get("messages")
        self._disclosure.show(call.attributes, "gen_ai.input.messages", messages, conventions.input_messages)
        self._open.moves[event.key] = step
        self._open.calls[event.key] = call

    def _withdraw(self, event: happened.StepAsked) -> None:
        """End what an earlier try left open: it was answered and is redrawn, or it was given up."""
        for table in (self._open.calls, self._open.moves):
            earlier = table.pop(event.key, None)
            if earlier is not None:
                if earlier.waits:
                    earlier.attributes["scaffold.drawn_again"] = True
                else:
                    earlier.cut_off()
                self._open.end(earlier, event.at)

    def _reviewer(self, event: happened.StepAsked) -> SpanContext | None:
        """Return the review that a step of oversight belongs to: `2/0/1!goals/0` is asked by `goals` about `2/0/1`."""
        subject, mark, rest = event.key.rpartition("!")
        if not mark:
            return None
        monitor = rest.partition("/")[0]
        guard = self._open.guards.get((subject, monitor))
        if guard is None:
            guard = self._open.begin(
                event,
                f"guard {monitor}",
                {"scaffold.monitor": monitor, "scaffold.key": subject},
                part="guard",
                parent=self._open.above(subject),
            )
            self._open.guards[subject, monitor] = guard
        return guard.context

    def _charge(self, ledger: str, usage: Usage) -> None:
        self.used[ledger] = self.used.get(ledger, NO_USAGE) + usage

    def _call_of(self, event: happened.StepAnswered | happened.StepCut, seconds: float) -> Unfinished:
        """Return the model call that this event ends; a new one if it was cut off with an earlier process."""
        call = self._open.calls.pop(event.key, None)
        if call is None:
            attributes: conventions.Attributes = {"gen_ai.operation.name": "chat"}
            call = self._open.begin(event, "chat", attributes, kind=SpanKind.CLIENT, seconds=seconds)
        call.attributes |= conventions.usage_attributes(event.usage)
        if event.samples != 1:
            call.attributes["gen_ai.request.choice.count"] = event.samples
        return call

    def _answered(self, event: happened.StepAnswered, content: Content) -> None:
        self._charge(event.ledger, event.usage)
        call = self._call_of(event, event.seconds)
        if event.reasoning:
            call.attributes["scaffold.reasoning"] = event.reasoning
        samples = content.get("samples") or ()
        if samples:
            call.attributes["gen_ai.response.finish_reasons"] = conventions.finish_reasons(samples)
            if model := conventions.response_model(samples):
                call.attributes["gen_ai.response.model"] = model
            messages = conventions.output_messages
            self._disclosure.show(call.attributes, "gen_ai.output.messages", samples, messages)
        self._open.end(call, event.at)
        step = self._open.moves.get(event.key)
        if step is None:
            return
        step.attributes["scaffold.confidence"] = event.confidence
        if event.samples != 1:
            step.attributes |= {"scaffold.samples": event.samples, "scaffold.votes": event.votes}
        if event.discarded:
            step.attributes["scaffold.discarded"] = event.discarded
        if event.tainted:
            step.attributes["scaffold.tainted"] = True
        self._disclosure.show(step.attributes, "scaffold.step.value", content.get("value"), as_json)
        if not event.ok:
            step.fail(*self._failure(content.get("error")))
        step.waits = not event.final
        if event.final:
            self._open.end(self._open.moves.pop(event.key), event.at)

    def _failure(self, error: Any) -> tuple[str, str]:
        if isinstance(error, dict):
            return str(error.get("code") or "step_failed"), self._disclosure.text(error.get("message"))
        return "step_failed", self._disclosure.text(error)

    def _cut(self, event: happened.StepCut, content: Content) -> None:
        self._charge(event.ledger, event.usage)
        call = self._call_of(event, 0.0)
        step = self._open.moves.pop(event.key, None)
        for span in (call, step):
            if span is not None:
                span.fail("step_cut", self._disclosure.text(content.get("reason")))
                self._open.end(span, event.at)

    def _released(self, event: happened.Released, _content: Content) -> None:
        move = self._open.moves.pop(event.key, None)
        if move is None:
            return
        move.attributes["scaffold.released"] = event.ok
        if not event.ok:
            move.fail(_WITHHELD.get(event.subject, "step_refused"))
        self._open.end(move, event.at)

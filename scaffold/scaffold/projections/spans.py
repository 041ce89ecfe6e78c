"""Converts the trace to spans by a fold, with the same result live and afterwards.

The span tree of a run:

    invoke_agent {planner}        a session of the run: from its start, or a resume, to its pause or end
      step {kind}                 one cognitive step, with the review of its thought
        chat {model}              asking the model: one span for all samples of a step
        guard {monitor}           one verdict: `gen_ai.evaluation.result`
          step {kind}             a step of oversight's own, asked by that monitor
      plan {planner}              a plan under review
        guard ..., approval
      action {name}               a call on its way through the gate; `action refused` when it ended there
        guard ..., approval
        execute_tool {name}       the call itself, from intent to outcome
      question, note, stop asked, budget raised

A verdict is recorded as attributes of its guard, and as an event on the evaluated span. A signed head is recorded as
attributes of the irreversible calls and of the session that it was signed for.

A resumed run has one `invoke_agent` span per session, the later ones below the first, so that waiting for a person
does not count as work. Spans that wait (a plan, an action, an approval, a question) stay open over a pause.

If a session ends without an end event because its process was killed, open spans are closed at the time of the last
event and marked `scaffold.cut_off`; an outcome recorded by a later session gets a span of its own with the same key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource

from scaffold.projections import conventions
from scaffold.projections.conventions import as_text
from scaffold.projections.disclosure import Disclosure
from scaffold.projections.gate_spans import GateSpans
from scaffold.projections.identity import Identity
from scaffold.projections.open_spans import OpenSpans
from scaffold.projections.step_spans import StepSpans
from scaffold.vocabulary import events as happened

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from scaffold.projections.conventions import Attributes, Content
    from scaffold.projections.unfinished import Unfinished
    from scaffold.trace.heads import Head
    from scaffold.vocabulary.events import Event

# The host's traceparent; finish reasons and the code of an error.
_ALWAYS_READ = frozenset({happened.RunStarted, happened.StepAnswered})
_NO_FAILURE = frozenset({"solved", "waiting", "interrupted"})


class Spans:
    """Folds a run's events into spans, keeping only open ones.

    Args:
        capture: whether spans hold content; None defers to the environment.
        traceparent: the host application's span; by default the one in the run's `config`, which alone gives later
            exports the same ids.
        resource: the spans' resource.
    """

    def __init__(self, *, capture: bool | None = None, traceparent: str = "", resource: Resource | None = None) -> None:
        self._traceparent = traceparent
        self._disclosure = Disclosure(capture=capture)
        self._open = OpenSpans(resource or Resource.get_empty())
        self._steps = StepSpans(self._open, self._disclosure)
        self._gate = GateSpans(self._open, self._disclosure)
        self._last = 0.0
        self._react: dict[type[Event], Callable[[Any, Content], None]] = {
            happened.RunStarted: self._started,
            happened.RunResumed: self._resumed,
            happened.KeyChanged: self._key_changed,
            happened.QuestionAsked: self._question_asked,
            happened.QuestionAnswered: self._question_answered,
            happened.Noted: self._noted,
            happened.StopAsked: self._stop_asked,
            happened.BudgetRaised: self._budget_raised,
            happened.Paused: self._paused,
            happened.Ended: self._ended,
            **self._steps.reactions(),
            **self._gate.reactions(),
        }

    @property
    def run(self) -> str:
        """The run's id.

        Raises:
            TraceDamaged: no event has given it yet.
        """
        return self._open.identity.run

    @property
    def parent(self) -> SpanContext | None:
        """The host application's span, if there is one."""
        return self._open.identity.parent

    def feed(self, event: Event, content: Content) -> list[ReadableSpan]:
        """Process an event; return the spans that it completes.

        Raises:
            TraceDamaged: the first event of a run was not fed before this one.
        """
        self._open.settle()
        react = self._react.get(type(event))
        if react is not None:
            react(event, content)
        self._last = event.at
        return self._open.take()

    def sign(self, head: Head, note: str) -> list[ReadableSpan]:
        """Process a signed head, after the event with its number; return the spans that it completes."""
        attributes: Attributes = {
            "scaffold.head.seq": head.seq,
            "scaffold.head.hash": head.hash.hex(),
            "scaffold.head.note": note,
        }
        self._open.sign(head.seq, attributes)
        return self._open.take()

    def settle(self) -> list[ReadableSpan]:
        """Return the span of an ended session that still waits for a head, which will not come."""
        self._open.settle()
        return self._open.take()

    def reads(self, event: Event) -> bool:
        """Whether the content of an event is needed, so that others need not be decoded."""
        return self._disclosure.on or type(event) in _ALWAYS_READ

    def finish(self) -> list[ReadableSpan]:
        """Return the spans left open at the end of the trace; none for a run that ended or is paused."""
        self._cut_session_off()
        return self.settle()

    def _cut_session_off(self) -> None:
        session = self._open.session
        if session is not None:
            self._open.cut_off(self._last, waiting_too=True)
            session.cut_off()
            self._open.end_session(self._last)

    def _begin_session(self, event: Event, parent: SpanContext | None) -> Unfinished:
        planner = self._gate.planner
        attributes: Attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "scaffold",
            "gen_ai.agent.name": planner,
        }
        session = self._open.begin(event, f"invoke_agent {planner}", attributes, parent=parent)
        self._steps.used = {}
        self._open.session = session
        return session

    def _started(self, event: happened.RunStarted, content: Content) -> None:
        config = content.get("config") or {}
        identity = Identity(event.run, self._traceparent or config.get("traceparent") or "")
        self._open.belong_to(identity, event.scaffold)
        self._gate.planner = event.planner
        session = self._begin_session(event, identity.parent)
        self._open.root = session.context
        session.attributes["scaffold.version"] = event.scaffold
        if event.foreign:
            session.attributes["scaffold.foreign"] = event.foreign
        task = content.get("task") or {}
        if (task.get("tracing") or {}).get("content") is not None:
            self._disclosure.ask(allowed=bool(task["tracing"]["content"]))
        prompt = task.get("prompt")
        self._disclosure.show(session.attributes, "gen_ai.input.messages", prompt, _as_input)

    def _resumed(self, event: happened.RunResumed, _content: Content) -> None:
        self._cut_session_off()
        session = self._begin_session(event, self._open.root)
        session.attributes["scaffold.resumed"] = True

    def _key_changed(self, event: happened.KeyChanged, _content: Content) -> None:
        if self._open.session is not None:
            self._open.session.note("scaffold.key.changed", event.at, {"scaffold.key.verifier": event.verifier})

    def _close_session(self, event: happened.Paused | happened.Ended, content: Content, *, waiting_too: bool) -> None:
        self._open.cut_off(event.at, waiting_too=waiting_too)
        session = self._open.session
        if session is None:
            return
        session.attributes["scaffold.run.status"] = event.status
        for ledger, usage in self._steps.used.items():
            session.attributes |= conventions.ledger_attributes(ledger, usage)
        answer = content.get("answer", content.get("partial"))
        self._disclosure.show(session.attributes, "gen_ai.output.messages", answer, _as_output)
        if event.status not in _NO_FAILURE:
            session.fail(event.status, self._disclosure.text(content.get("reason")))
        self._open.end_session(event.at)

    def _paused(self, event: happened.Paused, content: Content) -> None:
        self._close_session(event, content, waiting_too=False)

    def _ended(self, event: happened.Ended, content: Content) -> None:
        self._close_session(event, content, waiting_too=True)

    def _question_asked(self, event: happened.QuestionAsked, content: Content) -> None:
        question = self._open.begin(event, "question", {"scaffold.question.id": event.id}, waits=True)
        self._disclosure.show(question.attributes, "scaffold.question.asked", content.get("asked"))
        self._open.asked[event.id] = question

    def _question_answered(self, event: happened.QuestionAnswered, content: Content) -> None:
        question = self._open.asked.pop(event.id, None) or self._open.begin(
            event, "question", {"scaffold.question.id": event.id}
        )
        question.attributes["scaffold.question.by"] = event.by
        self._disclosure.show(question.attributes, "scaffold.question.answer", content.get("value"))
        self._open.end(question, event.at)

    def _noted(self, event: happened.Noted, content: Content) -> None:
        note = self._open.begin(event, "note")
        self._disclosure.show(note.attributes, "scaffold.note", content.get("text"))
        self._open.end(note, event.at)

    def _stop_asked(self, event: happened.StopAsked, _content: Content) -> None:
        self._open.end(self._open.begin(event, "stop asked", {"scaffold.stop.by": event.by}), event.at)

    def _budget_raised(self, event: happened.BudgetRaised, _content: Content) -> None:
        bounds = {f"scaffold.budget.{name}": most for name, most in event.bounds.items()}
        self._open.end(self._open.begin(event, "budget raised", {"scaffold.budget.by": event.by, **bounds}), event.at)


def _as_input(prompt: Any) -> str:
    return conventions.input_messages([{"role": "user", "content": as_text(prompt)}])


def _as_output(answer: Any) -> str:
    return conventions.output_messages([{"text": as_text(answer)}])

"""What each event becomes, and under what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from scaffold.errors import TraceDamaged
from scaffold.projections.spans import Spans
from scaffold.vocabulary import events as happened
from scaffold.vocabulary.events import VerdictFact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    Fold = Callable[..., list[ReadableSpan]]


def facts(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes, to look into."""
    return dict(span.attributes or {})


def by_name(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    """All spans of a name."""
    return [span for span in spans if span.name == name]


def at(spans: Sequence[ReadableSpan], name: str, key: str | None) -> ReadableSpan:
    """The one span of a name at a key."""
    [found] = [span for span in by_name(spans, name) if facts(span).get("scaffold.key") == key]
    return found


def above(span: ReadableSpan, spans: Sequence[ReadableSpan]) -> ReadableSpan:
    """The span that another one is under."""
    assert span.parent is not None
    [found] = [other for other in spans if other.context.span_id == span.parent.span_id]
    return found


def told(story: Any, *kinds: type) -> list[Any]:
    """The events of some kinds in a story."""
    return [event for event, _ in story.told if isinstance(event, kinds)]


def test_every_step_call_verdict_and_action_has_its_span(invoices: Any, fold: Fold) -> None:
    """Each step, model call, verdict, plan, action, approval and question of a run is one span."""
    spans = fold(invoices)
    starting = [span.name.split()[0] for span in spans]
    verdicts = [fact for event in told(invoices, happened.Reviewed) for fact in event.verdicts]
    assert starting.count("invoke_agent") == 1
    assert starting.count("step") == starting.count("chat") == len(told(invoices, happened.StepAsked))
    assert starting.count("guard") == len(verdicts)
    assert starting.count("plan") == len(told(invoices, happened.PlanProposed))
    assert starting.count("execute_tool") == len(told(invoices, happened.ActionIntent))
    assert starting.count("action") == len(told(invoices, happened.ActionProposed))
    assert starting.count("approval") == starting.count("question") == starting.count("note") == 1
    assert len({span.context.span_id for span in spans}) == len(spans)


def test_spans_stand_where_they_belong(invoices: Any, fold: Fold) -> None:
    """Calls are under their step or action, reviews under what they read, oversight's steps under those."""
    spans = fold(invoices)
    [root] = by_name(spans, "invoke_agent deliberate")
    assert root.parent is None
    assert root.kind is SpanKind.INTERNAL
    for key in ("0", "1/0/0", "1/1/0"):
        chat = at(spans, "chat gpt-5-mini", key)
        step = above(chat, spans)
        assert chat.kind is SpanKind.CLIENT
        assert facts(step)["scaffold.key"] == key
        assert step.name.startswith("step ")
        assert above(step, spans) is root
    judged = at(spans, "step evaluate", "2!goals/0")
    assert above(judged, spans) is at(spans, "guard goals", "2")
    assert above(above(judged, spans), spans) is at(spans, "plan deliberate", "2")
    assert above(at(spans, "guard patterns", "1/0/0"), spans).name == "step propose"
    assert above(at(spans, "approval", "4"), spans) is at(spans, "plan deliberate", "4")
    assert above(at(spans, "execute_tool pay", "5"), spans) is at(spans, "action pay", "5")
    assert above(at(spans, "guard injection", "5"), spans) is at(spans, "action pay", "5")
    assert above(at(spans, "guard rules", "6"), spans) is at(spans, "action refused", "6")
    for span in spans:
        if span is not root:
            over = above(span, spans)
            assert over.start_time is not None
            assert over.end_time is not None
            assert span.end_time is not None
            assert span.end_time <= over.end_time


def test_a_step_says_how_its_samples_became_an_answer(invoices: Any, fold: Fold) -> None:
    """Votes and confidence stand on the step; tokens, choices and finish reasons on the call."""
    spans = fold(invoices)
    step = facts(at(spans, "step propose", "1/1/0"))
    chat = facts(at(spans, "chat gpt-5-mini", "1/1/0"))
    assert step["scaffold.votes"] == 3
    assert step["scaffold.discarded"] == 1
    assert step["scaffold.confidence"] == 0.75
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.provider.name"] == "openai"
    assert chat["gen_ai.request.model"] == "gpt-5-mini"
    assert chat["gen_ai.request.choice.count"] == 3
    assert chat["gen_ai.response.finish_reasons"] == ("stop", "stop", "length")
    assert chat["gen_ai.usage.input_tokens"] == 100
    assert chat["gen_ai.usage.output_tokens"] == 60
    assert chat["gen_ai.usage.cache_read.input_tokens"] == 40
    assert chat["gen_ai.usage.reasoning.output_tokens"] == 5
    assert chat["gen_ai.conversation.id"] == "run-of-the-invoices"


def test_the_root_sums_up_both_ledgers(invoices: Any, fold: Fold) -> None:
    """The root says how the run ended, and what the model and oversight used, apart."""
    root = facts(by_name(fold(invoices), "invoke_agent deliberate")[0])
    assert root["scaffold.run.status"] == "solved"
    assert root["scaffold.usage.model.input_tokens"] == 300
    assert root["scaffold.usage.oversight.output_tokens"] == 20
    assert root["gen_ai.agent.name"] == "deliberate"


EVALUATION = {
    "gen_ai.evaluation.name": "achieves-goals",
    "gen_ai.evaluation.score.label": "revise",
    "gen_ai.evaluation.score.value": 0.25,
}


def evaluations(span: ReadableSpan) -> list[dict[str, Any]]:
    """The evaluation results that a span holds as events."""
    return [dict(event.attributes or {}) for event in span.events if event.name == "gen_ai.evaluation.result"]


def test_a_verdict_is_an_evaluation_result(invoices: Any, fold: Fold) -> None:
    """What was evaluated has the event of the conventions; a guard bears the same, and lasts as long as the review."""
    spans = fold(invoices)
    plan, guard = at(spans, "plan deliberate", "2"), at(spans, "guard goals", "2")
    assert evaluations(plan)[0] == EVALUATION | {"scaffold.monitor": "goals"}
    assert [each["scaffold.monitor"] for each in evaluations(plan)] == ["goals", "rules", "judge"]
    assert facts(guard).items() >= EVALUATION.items()
    assert guard.end_time is not None
    assert guard.start_time == guard.end_time - 2_000_000_000
    assert facts(guard)["scaffold.stakes"] == "high"


def test_each_subject_has_its_evaluations(invoices: Any, fold: Fold) -> None:
    """Verdicts on steps, plans, actions and observations are events of just these; there are as many as guards."""
    spans = fold(invoices)
    assert [each["scaffold.monitor"] for each in evaluations(at(spans, "step propose", "1/0/0"))] == ["patterns"]
    assert [each["scaffold.monitor"] for each in evaluations(at(spans, "action pay", "5"))] == ["rules", "injection"]
    assert [each["scaffold.monitor"] for each in evaluations(at(spans, "action refused", "6"))] == ["rules"]
    guards = [span for span in spans if span.name.startswith("guard ")]
    assert sum(len(evaluations(span)) for span in spans) == len(guards)


def test_a_check_that_was_not_made_is_no_pass(invoices: Any, fold: Fold) -> None:
    """A timed-out verdict is labelled by its status and its span is an error."""
    guard = at(fold(invoices), "guard judge", "2")
    assert guard.status.status_code is StatusCode.ERROR
    assert facts(guard)["gen_ai.evaluation.score.label"] == "timeout"


def test_actions_say_what_came_of_them(invoices: Any, fold: Fold) -> None:
    """Performed, refused and unknown actions differ in status, error type and whether there was a call."""
    spans = fold(invoices)
    performed, unknown = at(spans, "execute_tool pay", "5"), at(spans, "execute_tool pay", "7")
    refused = at(spans, "action refused", "6")
    assert performed.status.status_code is StatusCode.UNSET
    assert facts(performed)["gen_ai.tool.call.id"] == "5"
    assert facts(performed)["gen_ai.tool.name"] == "pay"
    assert facts(unknown)["error.type"] == "outcome_unknown"
    assert unknown.status.status_code is StatusCode.ERROR
    assert facts(refused)["error.type"] == "action_refused"
    assert facts(refused)["scaffold.decision"] == "block"
    assert not by_name(spans, "execute_tool delete")
    assert facts(at(spans, "plan deliberate", "2"))["scaffold.allowed"] is False
    assert facts(at(spans, "plan deliberate", "4"))["scaffold.allowed"] is True


def test_a_failed_step_is_an_error(story: Any, fold: Fold) -> None:
    """A step without an acceptable sample names its code; one withheld by oversight says that it was."""
    story.begin()
    story.ask("0")
    story.tell(happened.StepAnswered, {"error": {"code": "no_winner", "message": "2 to 2"}}, key="0", ok=False)
    story.ask("1")
    story.answer("1", final=False)
    story.review("1", "step", VerdictFact("patterns", "block"))
    story.tell(happened.Released, key="1", subject="step", ok=False)
    story.ask("2")
    story.tell(happened.StepCut, {"reason": "stopped"}, key="2")
    story.end("failed")
    spans = fold(story)
    assert [facts(at(spans, "step solve", key)).get("error.type") for key in "012"] == [
        "no_winner",
        "step_refused",
        "step_cut",
    ]
    assert facts(spans[-1])["error.type"] == "failed"


def test_a_call_that_was_withdrawn_has_a_span_of_its_own(story: Any, fold: Fold) -> None:
    """It failed, and the action's span goes on until the call that was made."""
    story.begin()
    story.propose("0")
    story.intend("0")
    story.tell(happened.ActionWithdrawn, {"reason": "interrupted"}, key="0", action="pay", digest="d")
    story.intend("0")
    story.outcome("0")
    story.end()
    spans = fold(story)
    calls = [facts(span)["scaffold.action.status"] for span in by_name(spans, "execute_tool pay")]
    assert calls == ["withdrawn", "performed"]
    (whole,) = by_name(spans, "action pay")
    assert (facts(whole)["scaffold.action.status"], "error.type" in facts(whole)) == ("performed", False)
    assert not any("scaffold.cut_off" in facts(span) for span in spans)


def test_a_step_drawn_again_leaves_no_open_span(story: Any, fold: Fold) -> None:
    """When oversight has a step sampled again in silence, each try is a span, and none was cut off."""
    story.begin()
    for final in (False, True):
        story.ask("0")
        story.answer("0", final=final)
    story.end()
    tries = by_name(fold(story), "step solve")
    assert [facts(span).get("scaffold.drawn_again", False) for span in tries] == [True, False]
    assert not any("scaffold.cut_off" in facts(span) for span in tries)


def test_content_is_off_unless_asked_for(invoices: Any, fold: Fold) -> None:
    """No prompt, answer, argument, result, reason or rationale is in any span by default."""
    assert not [span for span in fold(invoices) if "DE02" in span.to_json()]


@pytest.mark.parametrize("setting", ["true", "SPAN_ONLY", "span_and_event"])
def test_the_environment_switches_content_on(
    invoices: Any, fold: Fold, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """The switch that GenAI instrumentations share puts messages, arguments and results into the spans."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", setting)
    spans = fold(invoices)
    tool = facts(at(spans, "execute_tool pay", "5"))
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"from": "account DE02-1203"}
    assert json.loads(tool["gen_ai.tool.call.result"]) == "account DE02-1203"
    assert "gen_ai.evaluation.explanation" in facts(at(spans, "guard goals", "2"))
    assert "gen_ai.evaluation.explanation" in evaluations(at(spans, "plan deliberate", "2"))[0]
    assert json.loads(facts(at(spans, "action refused", "6"))["scaffold.action.arguments"])


@pytest.mark.parametrize(
    ("said", "environment", "shown"),
    [(False, "true", False), (True, "", True), (True, "false", False), (None, "true", True), (None, "", False)],
)
def test_the_task_has_a_word_on_content(
    story: Any, fold: Fold, monkeypatch: pytest.MonkeyPatch, *, said: bool | None, environment: str, shown: bool
) -> None:
    """Its no always holds; its yes, unless the environment says no; without its word the environment decides."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", environment)
    story.begin()
    story.told[0][1]["task"]["tracing"] = {"content": said}
    story.ask("0")
    story.answer("0")
    story.end()
    assert any("DE02" in span.to_json() for span in fold(story)) is shown


def test_a_caller_does_not_overrule_the_task(story: Any, fold: Fold) -> None:
    """Content that the task keeps back is kept back from an export that asks for it."""
    story.begin()
    story.told[0][1]["task"]["tracing"] = {"content": False}
    story.ask("0")
    story.end()
    assert not any("DE02" in span.to_json() for span in fold(story, capture=True))


def test_keys_and_foreign_agents_are_told(story: Any, fold: Fold) -> None:
    """The session says with which key its heads are signed, and of whose agent an imported trace tells."""
    story.begin()
    story.told[0][0].foreign = "langgraph"
    story.tell(happened.KeyChanged, verifier="scaffold+1+x")
    story.ask("0")
    story.answer("0", reasoning="summary")
    story.end()
    spans = fold(story)
    session = at(spans, "invoke_agent deliberate", None)
    assert facts(session)["scaffold.foreign"] == "langgraph"
    [event] = session.events
    assert dict(event.attributes or {}) == {"scaffold.key.verifier": "scaffold+1+x"}
    assert facts(at(spans, "chat gpt-5-mini", "0"))["scaffold.reasoning"] == "summary"


def test_who_really_answered_is_told(story: Any, fold: Fold) -> None:
    """Where a backend around others chose one, the call bears that one's model beside the one asked for."""
    story.begin()
    story.ask("0")
    story.answer("0")
    story.told[-1][1]["samples"][0]["origin"] = {"backend": "llamacpp", "model": "smollm2"}
    story.end()
    chat = facts(at(fold(story), "chat gpt-5-mini", "0"))
    assert (chat["gen_ai.request.model"], chat["gen_ai.response.model"]) == ("gpt-5-mini", "smollm2")


def test_what_an_action_would_do_is_told_on_what_is_reviewed(story: Any, fold: Fold) -> None:
    """A preview is an event of the plan or the action that it was made for."""
    story.begin()
    story.propose("5")
    story.tell(happened.ActionPreviewed, {"node": "1", "value": "books 19.75"}, key="5", action="pay")
    story.intend("5")
    story.outcome("5")
    story.end()
    [preview] = at(fold(story, capture=True), "action pay", "5").events
    assert preview.name == "scaffold.action.previewed"
    assert dict(preview.attributes or {})["scaffold.preview"] == "books 19.75"


def test_messages_have_the_shape_of_the_conventions(invoices: Any, fold: Fold) -> None:
    """Each message has a role and parts; each sample is a message with reasoning and finish reason."""
    chat = facts(at(fold(invoices, capture=True), "chat gpt-5-mini", "1/1/0"))
    asked = json.loads(chat["gen_ai.input.messages"])
    said = json.loads(chat["gen_ai.output.messages"])
    assert asked[0] == {"role": "system", "parts": [{"type": "text", "content": "think"}]}
    assert [message["finish_reason"] for message in said] == ["stop", "stop", "length"]
    assert [part["type"] for part in said[0]["parts"]] == ["reasoning", "text"]
    assert said[0]["role"] == "assistant"


def test_long_content_is_cut_as_opentelemetry_is_told(
    invoices: Any, fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual limit on the length of attributes holds for content."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10")
    chat = facts(at(fold(invoices, capture=True), "chat gpt-5-mini", "0"))
    assert len(chat["gen_ai.input.messages"]) == 10


def test_withheld_content_leaves_the_same_spans(invoices: Any, fold: Fold) -> None:
    """A spine without its content gives the same spans, with the same ids, in the same places."""
    whole = fold(invoices)
    invoices.told = [(event, {}) for event, _ in invoices.told]
    assert [(span.name, span.context, span.parent) for span in fold(invoices)] == [
        (span.name, span.context, span.parent) for span in whole
    ]


def test_events_before_the_first_are_refused() -> None:
    """A trace read from its middle says so instead of inventing a run."""
    with pytest.raises(TraceDamaged, match=r"does not begin with 'run\.started'"):
        Spans().feed(happened.StepAsked(seq=7, step="solve"), {})

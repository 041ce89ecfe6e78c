"""What single backends are given beside the conventions, and the verdicts that they take by their own APIs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.projections.live import LiveExport
from scaffold.projections.otlp import export
from scaffold.projections.overlays import dressed, kind_of
from scaffold.vocabulary.events import VerdictFact

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan

    from scaffold.projections.overlays import Backend

    Fold = Callable[..., list[ReadableSpan]]


def added(span: ReadableSpan, backend: Backend) -> dict[str, Any]:
    """What a backend is given beyond the conventions."""
    had = span.attributes or {}
    return {name: value for name, value in (dressed(span, backend).attributes or {}).items() if name not in had}


def one(spans: list[ReadableSpan], name: str, key: str) -> ReadableSpan:
    """The one span of a name at a key."""
    [found] = [span for span in spans if span.name == name and (span.attributes or {}).get("scaffold.key") == key]
    return found


def test_every_span_has_a_kind_everywhere(invoices: Any, fold: Fold) -> None:
    """In each backend's words, no span is left untyped, and the same ones are agents, calls, guards and the rest."""
    spans = fold(invoices)
    kinds = Counter(kind_of(span.attributes or {}) for span in spans)
    assert kinds == {"AGENT": 1, "CHAIN": 11, "LLM": 4, "TOOL": 2, "GUARDRAIL": 8, "EVALUATOR": 1}
    assert Counter(added(span, "phoenix")["openinference.span.kind"] for span in spans) == kinds
    told = Counter(added(span, "mlflow")["mlflow.spanType"] for span in spans)
    assert told == {("CHAT_MODEL" if kind == "LLM" else kind): count for kind, count in kinds.items()}
    told = Counter(added(span, "langfuse")["langfuse.observation.type"] for span in spans)
    assert told["guardrail"] == 8
    assert told["generation"] == 4


@pytest.mark.parametrize("backend", ["phoenix", "mlflow", "langfuse", "generic"])
def test_an_overlay_only_adds(invoices: Any, fold: Fold, backend: Backend) -> None:
    """Ids, times, events and the attributes of the conventions are as they were."""
    for span in fold(invoices, capture=True):
        worn = dressed(span, backend)
        assert (worn.context, worn.parent, worn.start_time, worn.end_time) == (
            span.context,
            span.parent,
            span.start_time,
            span.end_time,
        )
        assert worn.events == span.events
        assert (worn.attributes or {}).items() >= (span.attributes or {}).items()
        assert backend != "generic" or worn is span


@pytest.mark.parametrize("backend", ["phoenix", "mlflow", "langfuse"])
def test_an_overlay_shows_no_content_that_the_span_does_not_hold(invoices: Any, fold: Fold, backend: Backend) -> None:
    """With content off, nothing of prompts, answers, arguments and reasons is added either."""
    for span in fold(invoices):
        assert "DE02" not in str(dressed(span, backend).attributes)


def test_reasoning_and_money_reach_phoenix(invoices: Any, fold: Fold) -> None:
    """A model call tells its reasoning tokens and its cost, where Phoenix looks for them."""
    told = added(one(fold(invoices), "chat gpt-5-mini", "0"), "phoenix")
    assert told["llm.token_count.completion_details.reasoning"] == 5
    assert told["llm.cost.total"] == 0.001
    assert told["llm.provider"] == "openai"


def test_reasoning_stands_in_the_outputs_for_mlflow(invoices: Any, fold: Fold) -> None:
    """Each sample is a choice with its text and its reasoning, in structures rather than text."""
    told = added(one(fold(invoices, capture=True), "chat gpt-5-mini", "1/1/0"), "mlflow")
    choices = told["mlflow.spanOutputs"]["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "stop", "length"]
    assert choices[0]["message"]["reasoning_content"] == "it says account DE02-1203"
    assert told["mlflow.spanInputs"]["messages"][0] == {"role": "system", "content": "think"}


def test_inputs_and_outputs_say_what_happened(invoices: Any, fold: Fold) -> None:
    """Plans, verdicts, calls and people have what was asked as input and what came of it as output."""
    spans = fold(invoices, capture=True)

    def shown(name: str, key: str) -> tuple[Any, Any]:
        told = added(one(spans, name, key), "mlflow")
        return told.get("mlflow.spanInputs"), told.get("mlflow.spanOutputs")

    refused = shown("action refused", "6")
    assert refused[0] == {"from": "account DE02-1203"}
    assert refused[1]["status"] == "refused"
    assert shown("plan deliberate", "2")[1]["decision"] == "revise"
    assert shown("guard goals", "2")[1] == {"decision": "revise", "score": 0.25, "rationale": "account DE02-1203"}
    assert shown("execute_tool pay", "7") == ({"from": "account DE02-1203"}, "unknown")
    assert shown("approval", "4")[1]["granted"] is True
    assert shown("question", "8")[1]["by"] == "ann"


def test_content_that_was_cut_is_shown_as_text(invoices: Any, fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a limit on lengths has cut the JSON of messages, what is left is shown as it is."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "20")
    chat = one(fold(invoices, capture=True), "chat gpt-5-mini", "0")
    assert len(added(chat, "phoenix")["input.value"]) == 20


def test_mlflow_is_told_of_an_experiment(invoices: Any, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header is sent, with the experiment that MLflow's own variable names, beside the user's own headers."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=payments")
    export(invoices.told, backend="mlflow")
    assert desk.headers[-1]["x-mlflow-experiment-id"] == "0"
    assert desk.headers[-1]["x-team"] == "payments"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    export(invoices.told, backend="mlflow")
    assert desk.headers[-1]["x-mlflow-experiment-id"] == "7"


def test_phoenix_is_told_of_a_project(invoices: Any, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phoenix' own variable names the project that the spans are for."""
    monkeypatch.setenv("PHOENIX_PROJECT_NAME", "payments")
    export(invoices.told, backend="phoenix")
    resource = {fact.key: fact.value.string_value for fact in desk.requests[0].resource_spans[0].resource.attributes}
    assert resource["openinference.project.name"] == "payments"


def test_verdicts_go_to_phoenix_as_annotations(invoices: Any, desk: Any, fold: Fold) -> None:
    """Each verdict is an annotation of what was evaluated, named after its monitor, known by its guard's span."""
    result = export(invoices.told, backend="phoenix")
    assert (result.badges, result.badges_failed) == (8, 0)
    told = [each for method, path, body in desk.asked for each in body["data"] if path == "/v1/span_annotations"]
    plan = one(fold(invoices), "plan deliberate", "2")
    assert plan.context is not None
    on_plan = {each["name"]: each["result"] for each in told if each["span_id"] == f"{plan.context.span_id:016x}"}
    assert on_plan == {
        "goals": {"label": "revise", "score": 0.25},
        "rules": {"label": "allow"},
        "judge": {"label": "timeout"},
    }
    assert len({each["identifier"] for each in told}) == 8


def test_two_verdicts_of_a_monitor_on_one_span_are_not_averaged(story: Any, desk: Any) -> None:
    """The second has a name of its own, since Phoenix averages annotations of one name."""
    story.begin()
    story.propose("5")
    story.review("5", "action", VerdictFact("rules", "allow", score=0.1))
    story.intend("5")
    story.outcome("5", final=False)
    story.review("5", "observation", VerdictFact("rules", "flag", score=0.9))
    story.end()
    export(story.told, backend="phoenix")
    told = [each for _, _, body in desk.asked for each in body["data"]]
    assert [(each["name"], each["result"]["score"]) for each in told] == [("rules", 0.1), ("rules (2)", 0.9)]


def test_verdicts_go_to_mlflow_as_assessments_and_to_langfuse_as_scores(invoices: Any, desk: Any) -> None:
    """Each with the trace, the span that was evaluated, the monitor, and the rationale when content is captured."""
    export(invoices.told, backend="mlflow", capture=True)
    told = [body["assessment"] for method, path, body in desk.asked if method == "POST"]
    assert len(told) == 8
    goals = next(each for each in told if each["assessment_name"] == "goals")
    assert goals["feedback"] == {"value": "revise"}
    assert goals["rationale"] == "account DE02-1203"
    assert {path for method, path, _ in desk.asked if method == "POST"} == {
        f"/api/3.0/mlflow/traces/{goals['trace_id']}/assessments"
    }
    desk.asked.clear()
    export(invoices.told, backend="langfuse")
    scores = [body for _, path, body in desk.asked if path == "/api/public/scores"]
    assert len({each["id"] for each in scores}) == 8
    assert Counter(each["value"] for each in scores)["allow"] == 3
    assert not any("comment" in each for each in scores)


def test_verdicts_that_are_refused_do_not_hold_up_the_spans(invoices: Any, desk: Any) -> None:
    """When the API of badges fails, all spans arrive, and the result says how many verdicts did not, and why."""
    desk.refuses = "/v1/span_annotations"
    result = export(invoices.told, backend="phoenix")
    assert (result.spans, result.failed, result.badges, result.badges_failed) == (27, 0, 0, 8)
    assert result.reason == "HTTP 503 Service Unavailable"


def test_a_live_run_is_dressed_too(invoices: Any, desk: Any) -> None:
    """A run shown while it goes gives its backend the same attributes and verdicts as a later export."""
    live = LiveExport(backend="phoenix")
    for event, content in invoices.told:
        live.feed(event, content)
    assert live.close() == 0
    then = [request.SerializeToString() for request in desk.requests]
    badges = [each for _, _, body in desk.asked for each in body["data"]]
    desk.requests.clear()
    desk.asked.clear()
    export(invoices.told, backend="phoenix")
    assert [request.SerializeToString() for request in desk.requests] == then
    assert [each for _, _, body in desk.asked for each in body["data"]] == badges
    assert len(badges) == 8

"""Adds attributes that single backends need beyond the conventions; they are added on export and never recorded.

With `gen_ai.*` alone Phoenix and MLflow leave more than half of a run's spans untyped, and show inputs and outputs of
only a few. An overlay adds attributes under a backend's own names; it changes nothing else, and adds no content that
the span does not contain.

Sources: OpenInference semantic conventions 0.1 (kinds, `input.value`, token counts), read by arize-phoenix 20.26;
mlflow 3.17 (`mlflow.spanType`, `mlflow.spanInputs`, `mlflow.spanOutputs`); Langfuse's documentation of its
OpenTelemetry endpoint, "Attribute mapping".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from scaffold.projections.conventions import as_json
from scaffold.projections.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Kind: TypeAlias = Literal["AGENT", "CHAIN", "LLM", "TOOL", "GUARDRAIL", "EVALUATOR"]
Backend: TypeAlias = Literal["generic", "phoenix", "mlflow", "langfuse"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

_KINDS: Mapping[str, Kind] = {"invoke_agent": "AGENT", "chat": "LLM", "execute_tool": "TOOL", "plan": "CHAIN"}
_LANGFUSE: Mapping[Kind, str] = {
    "AGENT": "agent",
    "CHAIN": "chain",
    "LLM": "generation",
    "TOOL": "tool",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluator",
}


def kind_of(attributes: Mapping[str, Any]) -> Kind:
    """Return a span's kind in OpenInference's terms; a step of oversight's own is an evaluator."""
    kind = _KINDS.get(attributes.get("gen_ai.operation.name", ""))
    if kind is not None:
        return kind
    if "scaffold.monitor" in attributes:
        return "GUARDRAIL"
    return "EVALUATOR" if attributes.get("scaffold.ledger") == "oversight" else "CHAIN"


def _openinference(span: ReadableSpan) -> dict[str, Any]:
    """Return attributes for Phoenix, which itself derives messages, reasoning included, from `gen_ai.*`."""
    have = span.attributes or {}
    kind, values = kind_of(have), shown(have)
    added: dict[str, Any] = {"openinference.span.kind": kind, "session.id": have.get("gen_ai.conversation.id", "")}
    for name, value in (("input", values.input), ("output", values.output)):
        if value is not None:
            plain = isinstance(value, str)
            added[f"{name}.value"] = value if plain else as_json(value)
            added[f"{name}.mime_type"] = "text/plain" if plain else "application/json"
    if reasoning := have.get("gen_ai.usage.reasoning.output_tokens"):
        added["llm.token_count.completion_details.reasoning"] = reasoning
    if kind == "LLM" and (usd := have.get("scaffold.usd")) is not None:
        added["llm.cost.total"] = usd
    if kind == "LLM" and (provider := have.get("gen_ai.provider.name")):
        added["llm.provider"] = provider
    return added


def _mlflow(span: ReadableSpan) -> dict[str, Any]:
    """Return attributes for MLflow, which prefers `input.value`, and shows reasoning only inside the outputs."""
    have = span.attributes or {}
    kind, values = kind_of(have), shown(have)
    added = {
        "mlflow.spanType": "CHAT_MODEL" if kind == "LLM" else kind,
        # MLflow takes structures, and would show JSON as plain text.
        "mlflow.spanInputs": values.input,
        "mlflow.spanOutputs": values.output,
    }
    return {name: value for name, value in added.items() if value is not None}


def _langfuse(span: ReadableSpan) -> dict[str, Any]:
    have = span.attributes or {}
    kind, values = kind_of(have), shown(have)
    added: dict[str, Any] = {
        "langfuse.observation.type": _LANGFUSE[kind],
        "langfuse.session.id": have.get("gen_ai.conversation.id", ""),
    }
    for name, value in (("langfuse.observation.input", values.input), ("langfuse.observation.output", values.output)):
        if value is not None:
            added[name] = as_json(value)
    if kind == "LLM" and (usd := have.get("scaffold.usd")) is not None:
        added["langfuse.observation.cost_details"] = as_json({"total": usd})
    if have.get("scaffold.decision") in ("flag", "revise", "resample", "escalate"):
        added["langfuse.observation.level"] = "WARNING"
    return added


_OVERLAYS: Mapping[Backend, Callable[[ReadableSpan], dict[str, Any]]] = {
    "phoenix": _openinference,
    "mlflow": _mlflow,
    "langfuse": _langfuse,
}


def dressed(span: ReadableSpan, backend: Backend) -> ReadableSpan:
    """Add a backend's own attributes to a span, beside the conventions'."""
    overlay = _OVERLAYS.get(backend)
    if overlay is None:
        return span
    return with_attributes(span, {**(span.attributes or {}), **overlay(span)})


def with_attributes(span: ReadableSpan, attributes: Mapping[str, Any]) -> ReadableSpan:
    """Copy a span with other attributes."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class Overlay(SpanExporter):
    """Adds a backend's attributes to spans on their way to the wrapped exporter.

    Args:
        exporter: the wrapped exporter.
        backend: the backend.
        delivered: called with the original spans after they were sent.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        backend: Backend,
        delivered: Callable[[Sequence[ReadableSpan]], None] | None = None,
    ) -> None:
        self._exporter = exporter
        self._backend = backend
        self._delivered = delivered

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export([dressed(span, self._backend) for span in spans])
        if self._delivered is not None and result is SpanExportResult.SUCCESS:
            self._delivered(spans)
        return result

    def shutdown(self) -> None:
        """Stop the wrapped exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the wrapped exporter."""
        return self._exporter.force_flush(timeout_millis)

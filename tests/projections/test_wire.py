"""What is written of spans is, to the last field, what OpenTelemetry's own encoder writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from scaffold.projections.otlp import export
from scaffold.projections.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=90)
VALUES = st.recursive(
    PLAIN | st.binary(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["a", "b.c", "", "\N{SNOWMAN}" * 70]) | st.text(max_size=9), VALUES, max_size=5
)
TIMES = st.integers(0, 2**63)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(TraceFlags(1)),
    st.sampled_from([TraceState(), TraceState([("vendor", "1"), ("other", "2")])]),
)
SPANS = st.builds(
    ReadableSpan,
    name=st.text(max_size=200),
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=st.sampled_from([Resource({"service.name": "x", "n": 1}), Resource({}, "https://example.org/schema")]),
    attributes=ATTRIBUTES,
    events=st.lists(st.builds(Event, st.text(max_size=9), ATTRIBUTES, TIMES), max_size=2),
    links=st.lists(st.builds(Link, CONTEXTS, st.just({"reason": "x"})), max_size=2),
    kind=st.sampled_from(SpanKind),
    status=st.sampled_from(
        [Status(StatusCode.UNSET), Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "why")]
    ),
    start_time=TIMES,
    end_time=TIMES,
    instrumentation_scope=st.sampled_from(
        [None, InstrumentationScope("scaffold", "1"), InstrumentationScope("s", "", "https://example.org", {"k": "v"})]
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SPANS, max_size=4))
def test_any_span_is_written_as_opentelemetry_writes_it(spans: list[ReadableSpan]) -> None:
    """Ids, times, kinds, states, resources, scopes, events, links, and attributes of every kind and depth."""
    assert ExportTraceServiceRequest.FromString(encode(spans)) == encode_spans(spans)


@pytest.mark.parametrize("capture", [False, True])
def test_the_spans_of_a_run_are_written_as_opentelemetry_writes_them(
    invoices: Any, fold: Callable[..., list[ReadableSpan]], *, capture: bool
) -> None:
    """All of them, with and without content."""
    spans = fold(invoices, capture=capture)
    assert ExportTraceServiceRequest.FromString(encode(spans)) == encode_spans(spans)


def test_what_cannot_be_written_so_is_left_to_opentelemetry(
    invoices: Any, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails here, and whoever wants the exporter's own counts, is served by its own encoder."""
    export(invoices.told)
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    export(invoices.told)
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")

    def fails(_: Any) -> bytes:
        raise TypeError("an attribute cannot hold a complex")

    monkeypatch.setattr("scaffold.projections.collector.encode", fails)
    export(invoices.told)
    first, *others = desk.requests
    assert [first] * 2 == others

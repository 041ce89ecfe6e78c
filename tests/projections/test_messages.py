"""What is written of spans is, byte by byte, what OpenTelemetry's own encoder writes."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode
from packaging.version import Version

from scaffold.projections.messages import encode
from scaffold.projections.otlp import export

if TYPE_CHECKING:
    from collections.abc import Callable

OPENTELEMETRY = Version(version("opentelemetry-exporter-otlp-proto-http"))
WRITES_NONE = Version("1.43") <= OPENTELEMETRY  # older ones leave the attribute out, and say so in the log
NONE: st.SearchStrategy[None] = st.none() if WRITES_NONE else st.nothing()
PLAIN = NONE | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=20)
ALIKE = NONE | st.sampled_from([0, 0.0, -0.0, False, "", 1, 1.0, True, "1"])
VALUES = st.recursive(
    PLAIN | ALIKE | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["a", "b.c", ""]) | st.text(max_size=9), VALUES, max_size=5)
TIMES = st.integers(0, 2**64 - 1)
CONTEXTS = st.builds(
    SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), st.just(TraceFlags(1))
)
SPANS = st.builds(
    ReadableSpan,
    name=st.text(max_size=20),
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=st.just(Resource({"service.name": "x", "n": 1}, "https://example.org/schema")),
    attributes=st.none() | ATTRIBUTES,
    events=st.lists(st.builds(Event, st.text(max_size=9), ATTRIBUTES, TIMES), max_size=2),
    kind=st.sampled_from(SpanKind),
    status=st.builds(Status, st.sampled_from(StatusCode)) | st.just(Status(StatusCode.ERROR, "why")),
    start_time=TIMES,
    end_time=TIMES,
    instrumentation_scope=st.just(InstrumentationScope("scaffold", "1", None, {"k": "v"})),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(SPANS, min_size=1, max_size=4))
def test_any_span_is_written_as_opentelemetry_writes_it(spans: list[ReadableSpan]) -> None:
    """Ids, times, kinds, states, events, and attributes of every kind and depth, alike or not."""
    assert encode(spans) == encode_spans(spans).SerializeToString()


def test_what_is_alike_is_not_taken_for_the_same() -> None:
    """Attributes of one name whose values Python finds equal are told apart by their kind and sign."""
    context = SpanContext(1, 1, is_remote=False)
    values: list[Any] = [1, True, 1.0, 0, False, 0.0, -0.0, "", *([None] * WRITES_NONE), (1,), (True,), [1.0], "1"]
    spans = [
        ReadableSpan("alike", context, resource=Resource({}), attributes={"a": value}, start_time=1, end_time=2)
        for value in values
    ]
    assert encode(spans) == encode_spans(spans).SerializeToString()


@pytest.mark.parametrize("capture", [False, True])
def test_the_spans_of_a_run_are_written_as_opentelemetry_writes_them(
    invoices: Any, fold: Callable[..., list[ReadableSpan]], *, capture: bool
) -> None:
    """All of them, with and without content."""
    spans = fold(invoices, capture=capture)
    assert encode(spans) == encode_spans(spans).SerializeToString()


@pytest.mark.skipif(Version("1.45") > OPENTELEMETRY, reason="older exporters send no ready bytes: they make them all")
def test_what_cannot_be_written_so_is_left_to_opentelemetry(
    invoices: Any, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages are made here; whoever wants the exporter's own counts, and whatever fails, is served by its encoder."""
    made: list[int] = []

    def encodes(spans: list[ReadableSpan]) -> bytes:
        made.append(len(spans))
        return encode(spans)

    monkeypatch.setattr("scaffold.projections.collector.encode", encodes)
    export(invoices.told)
    assert sum(made) > 0
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    export(invoices.told)
    assert len(made) == len(desk.requests) - 1
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")

    def fails(_: Any) -> bytes:
        raise TypeError("an attribute cannot hold a complex")

    monkeypatch.setattr("scaffold.projections.collector.encode", fails)
    export(invoices.told)
    first, *others = desk.requests
    assert [first] * 2 == others

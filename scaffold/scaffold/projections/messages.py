"""Encodes spans as OTLP messages in OpenTelemetry's own message classes; shared attributes are made only once.

OpenTelemetry's encoder makes two objects for every attribute of every span, which is half the cost of tracing a run.
The spans of a run have few distinct attributes, so here each is made once per message. The bytes are the same.

Source: opentelemetry-proto 1.x, `trace/v1/trace.proto` and `common/v1/common.proto`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace.status import StatusCode

_HAS_REMOTE, _REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK, SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_SCALARS = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
_KINDS = {kind: Span.SpanKind.Value(f"SPAN_KIND_{kind.name}") for kind in SpanKind}
_ALIKE_IF_EQUAL = frozenset({str, int, bool})  # not so floats (0.0 equals -0.0) and containers

_Known: TypeAlias = dict[tuple[str, type, Any] | None, KeyValue]


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Encode spans made by `Unfinished` (one resource and scope, no links) as an `ExportTraceServiceRequest`.

    Raises:
        TypeError: an attribute's value has a type that OTLP lacks.
        ValueError: a number is out of bounds, or a text is not valid Unicode.
    """
    request = encode_spans(spans[:1])  # which has the resource and the scope
    messages = request.resource_spans[0].scope_spans[0].spans
    del messages[:]
    known: _Known = {}
    for span in spans:
        context, parent = span.context, span.parent
        if context is None:
            raise ValueError(f"the span {span.name!r} has no id")
        messages.add(
            trace_id=context.trace_id.to_bytes(16),
            span_id=context.span_id.to_bytes(8),
            parent_span_id=parent.span_id.to_bytes(8) if parent is not None else b"",
            name=span.name,
            kind=_KINDS[span.kind],
            start_time_unix_nano=span.start_time or 0,
            end_time_unix_nano=span.end_time or 0,
            attributes=_attributes(span.attributes, known),
            events=[_event(event, known) for event in span.events],
            status=_status(span.status.status_code, span.status.description),
            flags=_HAS_REMOTE | (_REMOTE if parent is not None and parent.is_remote else 0),
        )
    return request.SerializeToString()


def _event(event: Event, known: _Known) -> Span.Event:
    return Span.Event(name=event.name, time_unix_nano=event.timestamp, attributes=_attributes(event.attributes, known))


@lru_cache(maxsize=64)
def _status(code: StatusCode, description: str | None) -> Status:
    return Status(code=Status.StatusCode.Value(f"STATUS_CODE_{code.name}"), message=description or "")


def _attributes(attributes: Mapping[str, Any] | None, known: _Known) -> list[KeyValue]:
    made = []
    for name, value in (attributes or {}).items():
        kind = type(value)
        place = (name, kind, value) if kind in _ALIKE_IF_EQUAL else None  # with its kind, since True equals 1
        attribute = known.get(place)
        if attribute is None:
            attribute = KeyValue(key=name)
            _fill(attribute.value, value)
            if place is not None:
                known[place] = attribute
        made.append(attribute)
    return made


def _fill(message: AnyValue, value: Any) -> None:
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        setattr(message, scalar, value)
    elif isinstance(value, Mapping):
        message.kvlist_value.SetInParent()
        for name, each in value.items():
            _fill(message.kvlist_value.values.add(key=str(name)).value, each)
    elif isinstance(value, list | tuple):
        message.array_value.SetInParent()
        for each in value:
            _fill(message.array_value.values.add(), each)
    elif value is None:
        message.SetInParent()
    else:
        raise TypeError(f"an attribute cannot hold a {type(value).__name__}")

"""Spans as the bytes that OTLP over HTTP carries, written directly.

OpenTelemetry's own encoder makes a protobuf object of every attribute and copies it from list to list, which is half of
what showing a run costs it. The message here is the same: the tests hold it against that encoder's, field by field.

Source: opentelemetry-proto 1.x, `collector/trace/v1/trace_service.proto`, `trace/v1/trace.proto` and
`common/v1/common.proto`, for the field numbers; Protocol Buffers, "Encoding", for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_SEVEN_BITS, _SMALL = 0x7F, 0x80
_fixed64 = Struct("<Q").pack
_fixed32 = Struct("<I").pack
_double = Struct("<d").pack
_IS_KNOWN, _IS_REMOTE = 0x100, 0x200  # bits of a span's flags: whether it is known that its parent is remote
_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
# Most attributes of a run's spans say one of a few things.
_REMEMBERED, _LONGEST_REMEMBERED = frozenset({str, int, bool}), 64
_ONE_BYTE = [bytes([number]) for number in range(_SMALL)]


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(number: int) -> bytes:
    if number < _SMALL:
        return _ONE_BYTE[number]
    parts = bytearray()
    while number >= _SMALL:
        parts.append(number & _SEVEN_BITS | _SMALL)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _field(number: int, data: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(data)) + data


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """Spans as an ExportTraceServiceRequest, by resource and scope.

    Raises:
        TypeError: an attribute's value is of no kind that OTLP has, or a span has no id.
    """
    grouped: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
    writing = _Writing()
    for span in spans:
        scopes = grouped.setdefault(span.resource, {})
        scopes.setdefault(span.instrumentation_scope or None, []).append(writing.span(span))
    return b"".join(_field(1, _resource_spans(writing, *each)) for each in grouped.items())


def _resource_spans(
    writing: _Writing, resource: Resource, scopes: Mapping[InstrumentationScope | None, list[bytes]]
) -> bytes:
    parts = [_field(1, writing.attributes(1, resource.attributes))]
    for scope, spans in scopes.items():
        about, schema = b"", b""
        if scope is not None:
            about = _text(1, scope.name) + _text(2, scope.version) + writing.attributes(3, scope.attributes)
            schema = _text(3, scope.schema_url)
        parts.append(_field(2, b"".join([_field(1, about), *(_field(2, span) for span in spans), schema])))
    parts.append(_text(3, resource.schema_url))
    return b"".join(parts)


def _text(number: int, value: str | None) -> bytes:
    return _field(number, value.encode()) if value else b""


def _value(value: Any) -> bytes:
    """An AnyValue."""
    kind = type(value)
    if kind is str:
        data = value.encode()
        return b"\x0a%b%b" % (_varint(len(data)), data)
    if kind is int:
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return _other_value(value)


def _other_value(value: Any) -> bytes:
    match value:
        case bool():
            data = b"\x10\x01" if value else b"\x10\x00"
        case str():
            data = _field(1, value.encode())
        case int():
            data = b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        case float():
            data = b"\x21" + _double(value)
        case None:
            data = b""
        case bytes():
            data = _field(7, value)
        case Mapping():
            data = _field(6, b"".join(_field(1, _pair(str(name), each)) for name, each in value.items()))
        case Sequence():
            data = _field(5, b"".join(_field(1, _value(each)) for each in value))
        case _:
            raise TypeError(f"an attribute cannot hold a {type(value).__name__}")
    return data


def _pair(name: str, value: Any) -> bytes:
    """A KeyValue."""
    return _text(1, name) + _field(2, _value(value))


class _Writing:
    """One message under way, with what it has written more than once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, type, Any], bytes] = {}
        self._names: dict[str, bytes] = {}

    def attributes(self, number: int, attributes: Mapping[str, Any] | None) -> bytes:
        """The fields of a message that hold its attributes."""
        if not attributes:
            return b""
        known, parts = self._known, []
        for name, value in attributes.items():
            kind = type(value)
            if kind not in _REMEMBERED:
                parts.append(self._attribute(number, name, value))
                continue
            place = (number, name, kind, value)  # a kind of its own each: True is 1 to a dictionary
            part = known.get(place)
            if part is None:
                part = self._attribute(number, name, value)
                if kind is not str or len(value) <= _LONGEST_REMEMBERED:
                    known[place] = part
            parts.append(part)
        return b"".join(parts)

    def _attribute(self, number: int, name: str, value: Any) -> bytes:
        key = self._names.get(name)
        if key is None:
            key = self._names[name] = _text(1, name)
        data = _value(value)
        size = _varint(len(data))
        return b"%b%b%b\x12%b%b" % (
            _tag(number, _BYTES),
            _varint(len(key) + 1 + len(size) + len(data)),
            key,
            size,
            data,
        )

    def span(self, span: ReadableSpan) -> bytes:
        """A Span."""
        context, parent, status = span.get_span_context(), span.parent, span.status
        if context is None:
            raise TypeError(f"the span {span.name!r} has no id")
        parts = [
            b"\x0a\x10%b\x12\x08%b" % (context.trace_id.to_bytes(16), context.span_id.to_bytes(8)),
            b"\x22\x08" + parent.span_id.to_bytes(8) if parent is not None else b"",
            _text(5, span.name),
            b"\x30%b\x39%b\x41%b"
            % (_ONE_BYTE[_KINDS[span.kind]], _fixed64(span.start_time or 0), _fixed64(span.end_time or 0)),
            self.attributes(9, span.attributes),
        ]
        if context.trace_state:
            parts.append(_text(3, context.trace_state.to_header()))
        parts.extend([_field(11, self._event(event)) for event in span.events])
        parts.extend([_field(13, self._link(link.context, link)) for link in span.links])
        for field, dropped in ((10, span.dropped_attributes), (12, span.dropped_events), (14, span.dropped_links)):
            if dropped:
                parts.append(_number(field, dropped))
        parts.append(_status(status.status_code.value, status.description))
        parts.append(_flags(16, parent))
        return b"".join(parts)

    def _event(self, event: Event) -> bytes:
        return b"".join(
            [
                b"\x09" + _fixed64(event.timestamp),
                _text(2, event.name),
                self.attributes(3, event.attributes),
                _number(4, event.dropped_attributes),
            ]
        )

    def _link(self, context: SpanContext, link: Any) -> bytes:
        return b"".join(
            [
                b"\x0a\x10" + context.trace_id.to_bytes(16),
                b"\x12\x08" + context.span_id.to_bytes(8),
                self.attributes(4, link.attributes),
                _number(5, link.dropped_attributes),
                _flags(6, context),
            ]
        )


def _number(field: int, value: int) -> bytes:
    return _tag(field, _VARINT) + _varint(value) if value else b""


@lru_cache(maxsize=64)
def _status(code: int, description: str | None) -> bytes:
    return _field(15, _text(2, description) + _number(3, code))


def _flags(field: int, above: SpanContext | None) -> bytes:
    remote = _IS_REMOTE if above is not None and above.is_remote else 0
    return _tag(field, _FIXED32) + _fixed32(_IS_KNOWN | remote)

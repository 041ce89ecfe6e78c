"""OTLP files: JSON, JSON lines and protobuf, as collectors and SDKs write them; spans as plain data.

Source: https://opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding" (ids in hex, 64-bit numbers as text), and the
collector's file exporter (a JSON object a line; protobuf messages each after four bytes of length).
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_TRACE_BYTES, _LENGTH_BYTES = 16, 4
_FAILED = 2


class Span(msgspec.Struct, kw_only=True):
    """One span.

    Attributes:
        at: when it began, in seconds since the epoch; `until`, when it ended.
        error: what its status says went wrong; empty when nothing did.
        events: what happened in it: names, times and attributes.
    """

    trace: str
    id: str
    parent: str
    name: str
    at: float
    until: float
    attributes: dict[str, Any]
    error: str = ""
    events: list[tuple[str, float, dict[str, Any]]] = []
    service: str = ""


def read_spans(path: Path) -> list[Span]:
    """Read the spans of a file.

    Raises:
        BadInput: it cannot be read, or holds no spans.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    try:
        told = list(_requests(data)) if data.lstrip()[:1] in {b"{", b"["} else list(_from_protobuf(data))
        spans = [span for request in told for span in _spans(request)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} holds no OTLP spans that can be read: {error}") from None
    if not spans:
        raise BadInput(f"{path} holds no spans: OTLP is wanted, as JSON, JSON lines or protobuf")
    return spans


def _requests(data: bytes) -> Iterator[dict[str, Any]]:
    """The requests in JSON: one, a list of them, or one a line."""
    text = data.decode()
    try:
        told = json.loads(text)
    except ValueError:
        told = [json.loads(line) for line in text.splitlines() if line.strip()]
    yield from told if isinstance(told, list) else [told]


def _from_protobuf(data: bytes) -> Iterator[dict[str, Any]]:
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    def decoded(part: bytes) -> dict[str, Any]:
        return MessageToDict(TracesData.FromString(part))

    try:
        yield decoded(data)
    except DecodeError:
        try:
            yield from [decoded(part) for part in _framed(data)]
        except DecodeError as error:
            raise ValueError(str(error)) from None


def _framed(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        part = data[at + _LENGTH_BYTES : at + _LENGTH_BYTES + length]
        if len(part) != length:
            raise ValueError("it is cut off, or no protobuf")
        yield part
        at += _LENGTH_BYTES + length


def _of(told: dict[str, Any], name: str, default: Any = None) -> Any:
    """A field by its name in lowerCamelCase, or as it is in protobuf."""
    if name in told:
        return told[name]
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return told.get(snake, default)


def _spans(request: dict[str, Any]) -> Iterator[Span]:
    for resource in _of(request, "resourceSpans", ()):
        about = _attributes(_of(_of(resource, "resource", {}), "attributes", ()))
        scopes = _of(resource, "scopeSpans") or _of(resource, "instrumentationLibrarySpans", ())
        for scope in scopes:
            for told in _of(scope, "spans", ()):
                yield _span(told, str(about.get("service.name", "")))


def _span(told: dict[str, Any], service: str) -> Span:
    status = _of(told, "status", {})
    events = [
        (str(_of(each, "name", "")), _seconds(_of(each, "timeUnixNano", 0)), _attributes(_of(each, "attributes", ())))
        for each in _of(told, "events", ())
    ]
    failed = _of(status, "code", 0) in {_FAILED, "STATUS_CODE_ERROR"}
    said = [about.get("exception.message") for name, _, about in events if name == "exception"]
    error = str(_of(status, "message", "") or (said[-1] if said else "") or "it failed") if failed else ""
    return Span(
        trace=_identity(_of(told, "traceId", "")),
        id=_identity(_of(told, "spanId", "")),
        parent=_identity(_of(told, "parentSpanId", "")),
        name=str(_of(told, "name", "")),
        at=_seconds(_of(told, "startTimeUnixNano", 0)),
        until=_seconds(_of(told, "endTimeUnixNano", 0)),
        attributes=_attributes(_of(told, "attributes", ())),
        error=error,
        events=events,
        service=service,
    )


def _identity(said: str) -> str:
    """An id in hex, which some write in base64, as protobuf's own JSON has bytes."""
    if all(letter in "0123456789abcdefABCDEF" for letter in said) and len(said) in {0, _TRACE_BYTES, 2 * _TRACE_BYTES}:
        return said.lower()
    return base64.b64decode(said).hex()


def _seconds(nanoseconds: Any) -> float:
    return int(nanoseconds) / 1e9


def _attributes(told: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: _value(each.get("value", {})) for each in told}


def _value(told: dict[str, Any]) -> Any:
    """An attribute's value as plain data."""
    for kind, value in told.items():
        match kind:
            case "intValue" | "int_value":
                return int(value)
            case "arrayValue" | "array_value":
                return [_value(each) for each in value.get("values", ())]
            case "kvlistValue" | "kvlist_value":
                return _attributes(value.get("values", ()))
            case _:
                return value
    return None

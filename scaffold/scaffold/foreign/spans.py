"""Reads OTLP files, as collectors and SDKs write them (JSON, JSON lines, protobuf), into spans as plain data.

Source: https://opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding" (ids in hex, 64-bit numbers as text), and the
collector's file exporter (a JSON object per line; protobuf messages each after four bytes of length).
"""

from __future__ import annotations

import base64
import codecs
import io
import json
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from scaffold.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_TRACE_BYTES, _LENGTH_BYTES = 16, 4
_FAILED = 2
_LATEST = 1 << 64  # nanoseconds
LARGEST = 64 << 20  # bytes, which take several times as much when decoded
_PEEK = 512
_RESOURCE_SPANS = b"\x0a"  # tag of field 1 of TracesData, with its wire type
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd
_LINES = "write it as JSON lines, one request per line, as the collector's file exporter does"


class Span(msgspec.Struct, kw_only=True):
    """One span.

    Attributes:
        at: when it began, in seconds since the epoch; `until`, when it ended.
        error: the error in its status; empty if there is none.
        events: its events: names, times and attributes.
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


def read_spans(path: Path) -> Iterator[Span]:
    """Yield the spans of a file, with one request at a time in memory.

    Raises:
        BadInput: it cannot be read, holds no spans, or a request in it is too large to be read whole.
    """
    found = 0
    try:
        with path.open("rb") as file:
            for request in _requests(file):
                for span in _spans(request):
                    found += 1
                    yield span
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except TooLarge as error:
        raise BadInput(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise BadInput(f"{path} has no readable OTLP spans: {error}") from None
    if not found:
        raise BadInput(f"{path} has no spans: expected OTLP as JSON, JSON lines or protobuf")


class TooLarge(ValueError):
    """A part of a file that can only be read whole is too large."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what} is larger than the limit of {LARGEST >> 20} MB: {cure}")


def _requests(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the requests in a file of any format."""
    if file.peek(_PEEK).startswith(codecs.BOM_UTF8):  # type: ignore[attr-defined]  # as below
        file.read(len(codecs.BOM_UTF8))
    beginning = file.peek(_PEEK)  # type: ignore[attr-defined]  # an open file is a BufferedReader
    if beginning.lstrip()[:1] in {b"{", b"["}:
        return _from_json(file)
    if beginning.startswith(_COMPRESSED):
        raise ValueError("it is compressed: unpack it first")
    return _from_protobuf(file) if beginning[:1] == _RESOURCE_SPANS else _framed(file)


def _from_json(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the requests in JSON: one per line, or one over several lines, or a list of them."""
    alone = None  # a first line that is not complete JSON begins something longer
    for line in iter(lambda: _line(file), b""):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except ValueError:
            if alone is not None:
                raise
            alone = line
            break
        alone = b""
        yield from told if isinstance(told, list) else [told]
    if alone:
        rest = file.read(LARGEST - len(alone) + 1)
        if len(alone) + len(rest) > LARGEST:
            raise TooLarge("its JSON", _LINES)
        told = json.loads(alone + rest)
        yield from told if isinstance(told, list) else [told]


def _line(file: BinaryIO) -> bytes:
    line = file.readline(LARGEST + 1)
    if len(line) > LARGEST:
        raise TooLarge("a line of it", _LINES)
    return line


def _from_protobuf(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the parts of a `TracesData`: the spans of each resource, after a tag and a length."""
    while tag := file.read(1):
        if tag != _RESOURCE_SPANS:
            raise ValueError("it is cut off, or not protobuf")
        yield from _resource_spans(_part(file, _varint(file)))


def _framed(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield messages, each after four bytes of length."""
    while length := file.read(_LENGTH_BYTES):
        if len(length) != _LENGTH_BYTES or not any(length):
            raise ValueError("it is cut off, or not protobuf")
        yield from _from_protobuf(io.BytesIO(_part(file, int.from_bytes(length, "big"))))


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 35, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004 - the highest bit means that more bytes follow
            return value
    raise ValueError("it is cut off, or not protobuf")


def _part(file: BinaryIO, length: int) -> bytes:
    if length > LARGEST and (not file.seekable() or length <= _left(file)):
        raise TooLarge("a message in it", "have the collector write smaller batches")
    part = file.read(min(length, LARGEST))
    if len(part) != length:
        raise ValueError("it is cut off, or not protobuf")
    return part


def _left(file: BinaryIO) -> int:
    at = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(at)
    return size - at


def _resource_spans(part: bytes) -> Iterator[dict[str, Any]]:
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

    try:
        yield {"resourceSpans": [MessageToDict(ResourceSpans.FromString(part))]}
    except DecodeError as error:
        raise ValueError(str(error)) from None


def _of(told: dict[str, Any], name: str, default: Any = None) -> Any:
    """Return a field by its name in lowerCamelCase, or as in protobuf."""
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
    """Return an id in hex; some write it in base64, as protobuf's own JSON does for bytes."""
    if all(letter in "0123456789abcdefABCDEF" for letter in said) and len(said) in {0, _TRACE_BYTES, 2 * _TRACE_BYTES}:
        return said.lower()
    return base64.b64decode(said).hex()


def _seconds(nanoseconds: Any) -> float:
    found = int(nanoseconds)
    if not 0 <= found < _LATEST:
        raise ValueError(f"{str(nanoseconds)[:40]} is not a time: OTLP has 64 bits from the epoch on")
    return found / 1e9


def _attributes(told: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: _value(each.get("value", {})) for each in told}


def _value(told: dict[str, Any]) -> Any:
    """Convert an attribute's value to plain data."""
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

"""Sends spans to an OTLP collector, and tracks what did not arrive.

The exporter below is OpenTelemetry's own and reads all `OTEL_EXPORTER_OTLP_*` settings itself. It reports why a batch
failed only in its log, and flushing always reports success; so this module counts, and listens to the log.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_TRACES_HEADERS
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers
from opentelemetry.util.types import AttributeValue

from scaffold.projections.messages import encode
from scaffold.projections.overlays import with_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold.projections.overlays import Backend

# Collectors refuse larger requests: the OpenTelemetry Collector from 20 MiB on, others from 4 MiB.
REQUEST_CHARACTERS = 4 * 1024 * 1024

_COUNTS_ITSELF = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
# With these OpenTelemetry takes its connections from a credential provider.
_SESSIONS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)
_TOO_LARGE = "HTTP 413"
_LONGEST_REASON = 200
_NUMBERS = frozenset({int, float, bool})
_SHORT = 1024  # if a span is too large, only attributes with at most this many characters are sent

_exporter_log = logging.getLogger(OTLPSpanExporter.__module__)


class _Exporter(OTLPSpanExporter):
    """OpenTelemetry's OTLP/HTTP exporter, configured by the environment as usual, with a faster encoder.

    Messages encoded by `messages.py` take two fifths of the time. It falls back to OpenTelemetry's encoder if the
    exporter is to count what it sends, if its client is not of the kind known since version 1.45, or if a span has a
    value that `messages.py` cannot encode.

    Attributes:
        rejected: how many spans collectors rejected in requests that they accepted otherwise (OTLP's partial success);
            more than there are spans if it was no collector that answered, but a page to sign in at.
        rejection: what they said of the last ones.
        refusal: the latest answer if it refused a whole request, which may be tried again; else empty.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(headers=headers(backend) if backend == "mlflow" else None, session=self._listening())
        self.rejected = 0
        self.rejection = ""
        self.refusal = ""

    def _listening(self) -> requests.Session | None:
        """Return a session that reads answers, which the exporter does not; None if the host brings its own."""
        if any(os.environ.get(name) for name in _SESSIONS):
            return None
        session = requests.Session()
        session.hooks["response"].append(self._answered)
        return session

    def _answered(self, response: requests.Response, **_: object) -> None:
        self.refusal = "" if response.ok else f"HTTP {response.status_code} {response.reason}"[:_LONGEST_REASON]
        if not response.ok:
            return
        kind = response.headers.get("content-type", "")
        if response.is_redirect:  # which OpenTelemetry does not follow, and counts as success
            self._reject(f"it sends on to {_place(urljoin(response.url, response.headers['location']))}")
        elif kind.startswith("text/html"):
            self._reject("it answered with a web page, and is no collector")
        elif response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            self._reject(f"it answered HTTP {response.status_code}, and is no collector")
        if not kind.startswith("application/x-protobuf"):
            return
        try:
            partial = ExportTraceServiceResponse.FromString(response.content).partial_success
        except DecodeError:
            return
        if partial.rejected_spans > 0:
            self.rejected += partial.rejected_spans
            self.rejection = partial.error_message[:_LONGEST_REASON]

    def _reject(self, why: str) -> None:
        self.rejected += sys.maxsize
        self.rejection = why[:_LONGEST_REASON]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        client = getattr(self, "_client", None)
        if client is None or os.environ.get(_COUNTS_ITSELF, "").strip().lower() == "true":
            return super().export(spans)
        try:
            message = encode(spans)
        except (TypeError, ValueError):
            return super().export(spans)
        return SpanExportResult.SUCCESS if client.export(message).success else SpanExportResult.FAILURE


def headers(backend: Backend = "generic") -> dict[str, str]:
    """Return the headers of each request: those from the environment, and for MLflow the experiment, by default 0."""
    said = os.environ.get(OTEL_EXPORTER_OTLP_TRACES_HEADERS) or os.environ.get(OTEL_EXPORTER_OTLP_HEADERS, "")
    told = dict(parse_env_headers(said, liberal=True))
    if backend == "mlflow":
        told.setdefault("x-mlflow-experiment-id", os.environ.get("MLFLOW_EXPERIMENT_ID", "0"))
    return told


def resource(backend: Backend = "generic") -> Resource:
    """Return the spans' resource, from `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`; by default `scaffold`."""
    described = Resource.create()
    if str(described.attributes[SERVICE_NAME]).startswith("unknown_service"):
        described = described.merge(Resource({SERVICE_NAME: "scaffold"}))
    project = os.environ.get("PHOENIX_PROJECT_NAME")
    if backend == "phoenix" and project and "openinference.project.name" not in described.attributes:
        described = described.merge(Resource({"openinference.project.name": project}))
    return _Resource(described.attributes, described.schema_url)


class _Resource(Resource):
    """A resource with a cached hash, which OpenTelemetry's encoder needs for each span and computes from JSON."""

    def __init__(self, attributes: Mapping[str, AttributeValue], schema_url: str | None = None) -> None:
        super().__init__(attributes, schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash

    __eq__ = Resource.__eq__


class Collector(SpanExporter):
    """Counts what the wrapped exporter delivers and loses, and keeps requests small enough to be accepted.

    Attributes:
        sent: number of spans that the collector accepted.
        failed: number of the others.
    """

    def __init__(self, backend: Backend = "generic") -> None:
        self.sent = 0
        self.failed = 0
        self._reason = ""
        self._exporter = _Exporter(backend)
        self._heard: list[str] = []
        self._exporting: int | None = None
        self._stopped = False
        _exporter_log.addFilter(self._overhear)

    @property
    def reason(self) -> str:
        """Why the last ones failed, or are tried again, in a few words."""
        return self._reason or self._exporter.refusal

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, in as many requests as their size requires."""
        result = SpanExportResult.SUCCESS
        waiting = list(_requests(spans))[::-1]
        while waiting:
            part = waiting.pop()
            rejected = self._exporter.rejected
            if not self._stopped and self._deliver(part):
                rejected = min(self._exporter.rejected - rejected, len(part))
                self.sent += len(part) - rejected
                self.failed += rejected
                if rejected:
                    self._reason = self._exporter.rejection or "it did not say why"
            elif not self._stopped and _TOO_LARGE in self.reason and (smaller := _smaller(part)):
                waiting += smaller[::-1]
            else:
                self.failed += len(part)
                result = SpanExportResult.FAILURE
        return result

    def shutdown(self) -> None:
        """Stop: a waiting retry is given up, and later exports fail. May be called twice."""
        if not self._stopped:
            self._stopped = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # OpenTelemetry did not annotate it
            self._stop_listening()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing, since nothing is queued here."""
        return self._exporter.force_flush(timeout_millis)

    def _deliver(self, spans: Sequence[ReadableSpan]) -> bool:
        self._heard.clear()
        self._exporting = threading.get_ident()
        try:
            delivered = self._exporter.export(spans) is SpanExportResult.SUCCESS
        finally:
            self._exporting = None
            self._stop_listening()
        if not delivered:
            self._reason = self._exporter.refusal or _gist(self._heard)
        return delivered

    def _stop_listening(self) -> None:
        # An export still under way at shutdown logs more, which nobody needs.
        if self._stopped and self._exporting is None:
            _exporter_log.removeFilter(self._overhear)

    def _overhear(self, record: logging.LogRecord) -> bool:
        """Keep the exporter's messages during our own export, rather than log them for each batch and retry."""
        if record.thread != self._exporting:
            return True
        self._heard.append(record.getMessage())
        return False


def _place(address: str) -> str:
    """Return an address without the user, password and query in it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _requests(spans: Sequence[ReadableSpan]) -> Iterator[Sequence[ReadableSpan]]:
    size = start = 0
    for index, span in enumerate(spans):
        length = _length(span.attributes)
        for event in span.events:
            length += _length(event.attributes)
        if size + length > REQUEST_CHARACTERS and index > start:
            yield spans[start:index]
            size, start = 0, index
        size += length
    if start < len(spans):
        yield spans[start:]


def _length(attributes: Mapping[str, Any] | None) -> int:
    """Count the characters of all texts among values, nested ones included; other values are small."""
    size = 0
    for value in (attributes or {}).values():
        kind = type(value)  # faster than isinstance, and done for each attribute of each span
        if kind is str:
            size += len(value)
        elif kind in _NUMBERS:
            continue
        elif isinstance(value, Mapping):
            size += _length(value)
        elif isinstance(value, list | tuple):
            size += _length({str(place): each for place, each in enumerate(value)})
    return size


def _smaller(spans: Sequence[ReadableSpan]) -> list[Sequence[ReadableSpan]]:
    """Split a request that was too large into halves; of a single span, keep only short attributes."""
    if len(spans) > 1:
        middle = len(spans) // 2
        return [spans[:middle], spans[middle:]]
    [span] = spans
    have = span.attributes or {}
    short = {name: value for name, value in have.items() if len(str(value)) <= _SHORT}
    if len(short) == len(have):
        return []
    return [[with_attributes(span, {**short, "scaffold.content_dropped": len(have) - len(short)})]]


def _gist(heard: Sequence[str]) -> str:
    """Find the cause in the messages; for a failed connection the retries name it, not the last message."""
    for message in heard:
        if cause := re.search(r"\[Errno -?\d+\] ([A-Z][\w ]+)", message):
            return cause[1]
        if "timed out" in message:
            return "timed out"
    if not heard:
        return "no reason given"
    if answer := re.search(r"code: (\d+), reason: (.+)", heard[-1]):
        return f"HTTP {answer[1]} {answer[2]}"
    return "no answer in time" if "due to timeout" in heard[-1] else heard[-1][:_LONGEST_REASON]

"""Exports spans over OTLP/HTTP, live or from a stored trace.

Importing this is slow; ask `scaffold.projections.environment.wants_live_export` first. The protocol is
OTLP/HTTP with protobuf, OTLP specification 1.x; gRPC is not spoken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_HEADERS
from opentelemetry.sdk.trace.export import SpanExportResult

from scaffold.errors import Unavailable
from scaffold.projections import environment
from scaffold.projections.badges import Badges
from scaffold.projections.collector import Collector, resource
from scaffold.projections.live import LiveExport, live_from_environment
from scaffold.projections.overlays import Overlay
from scaffold.projections.spans import Spans
from scaffold.projections.unfinished import nanoseconds
from scaffold.trace.chain import as_written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from scaffold.projections.conventions import Content
    from scaffold.projections.overlays import Backend
    from scaffold.trace.heads import Head
    from scaffold.vocabulary.events import Event

__all__ = ["ExportResult", "LiveExport", "export", "live_from_environment"]

BATCH = 512
BADGE_SECONDS = 600.0
_UNKNOWN_TO_IT = ("HTTP 401", "HTTP 403")
_NOT_NOW = ("HTTP 429", "HTTP 502", "HTTP 503", "HTTP 504")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of an export.

    Attributes:
        spans: how many spans the collector accepted.
        failed: how many it refused.
        badges: how many verdicts the backend accepted beside the spans.
        badges_failed: how many it refused.
        reason: why, in a few words; empty if nothing was refused.
    """

    spans: int
    failed: int
    badges: int = 0
    badges_failed: int = 0
    reason: str = ""


def _all_spans(
    events: Iterable[tuple[Event, Content]], heads: Iterable[tuple[Head, str]], spans: Spans
) -> Iterator[ReadableSpan]:
    waiting = deque(heads)
    for event, content in events:
        with as_written(event):
            nanoseconds(event.at)  # the last event's also ends what it leaves open
            done = list(spans.feed(event, content))
        yield from done
        while waiting and waiting[0][0].seq <= event.seq:
            yield from spans.sign(*waiting.popleft())
    yield from spans.finish()


def export(
    events: Iterable[tuple[Event, Content]],
    *,
    heads: Iterable[tuple[Head, str]] = (),
    capture: bool | None = None,
    traceparent: str = "",
    backend: Backend = "generic",
) -> ExportResult:
    """Send a stored trace, in constant memory; sending it again gives the same spans with the same ids.

    A single refused batch is counted. If the first is refused, or two in a row, no more are tried.

    Args:
        events: all events of one run with their contents, in order.
        heads: the run's signed heads with their notes, in order.
        capture: whether spans hold content; None defers to the environment and the task.
        traceparent: the host application's span, if the trace does not hold it.
        backend: the backend whose overlay spans get; verdicts go to its own API, if it has one.

    Raises:
        Unavailable: the collector cannot be reached or refuses; gives its address and what to do.
        TraceDamaged: the events do not begin with the run's first.
    """
    spans = Spans(capture=capture, traceparent=traceparent, resource=resource(backend))
    stream = _all_spans(events, heads, spans)
    collector = Collector(backend)
    badges = None if backend == "generic" else Badges(backend, patient=True)
    overlay = Overlay(collector, backend, None if badges is None else badges.delivered)
    try:
        refused_before = True
        while batch := list(islice(stream, BATCH)):
            refused = overlay.export(batch) is SpanExportResult.FAILURE
            if refused and refused_before:
                raise Unavailable(_cannot_export(collector))
            refused_before = refused
    finally:
        overlay.shutdown()
        if badges is not None:
            badges.close(BADGE_SECONDS)
    if badges is None:
        return ExportResult(collector.sent, collector.failed, reason=collector.reason)
    return ExportResult(collector.sent, collector.failed, badges.sent, badges.failed, collector.reason or badges.reason)


def _cannot_export(collector: Collector) -> str:
    some = f"takes no more spans ({collector.reason}; it took {collector.sent})"
    if collector.reason.startswith(_UNKNOWN_TO_IT):
        cure = f"give what it wants of its users in {OTEL_EXPORTER_OTLP_HEADERS}"
    elif collector.reason.startswith(_NOT_NOW):
        cure = "wait until it takes them"
    else:
        cure = (
            "start a collector for OTLP over HTTP there, usually at port 4318 and not at gRPC's 4317, or set"
            f" {environment.ENDPOINT}"
        )
    said = some if collector.sent else f"takes no spans ({collector.reason})"
    return f"{environment.collector_address()} {said}: {cure}, and export again"

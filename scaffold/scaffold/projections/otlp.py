"""Export of spans over OTLP/HTTP: while a run goes, or afterwards from its stored trace.

Importing this is slow; ask `scaffold.projections.environment.wants_live_export` first. The protocol is
OTLP/HTTP with protobuf, OTLP specification 1.x; gRPC is not spoken.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from scaffold.errors import Unavailable
from scaffold.projections import environment
from scaffold.projections.collector import Collector, exporter, resource
from scaffold.projections.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from scaffold.projections.conventions import Content
    from scaffold.vocabulary.events import Event

__all__ = ["ExportResult", "LiveExport", "export", "exporter", "live_from_environment"]

_decode = msgspec.json.decode

BATCH = 512
CLOSE_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What came of an export.

    Attributes:
        spans: how many the collector took.
        failed: how many it refused.
    """

    spans: int
    failed: int


def _all_spans(events: Iterable[tuple[Event, Content]], spans: Spans) -> Iterator[ReadableSpan]:
    for event, content in events:
        yield from spans.feed(event, content)
    yield from spans.finish()


def export(
    events: Iterable[tuple[Event, Content]], *, capture: bool | None = None, traceparent: str = ""
) -> ExportResult:
    """Send a stored trace, in constant memory; sending it again gives the same spans with the same ids.

    A batch refused on its own is counted. When the first is refused, or two in a row, no more are tried.

    Args:
        events: all events of one run with their contents, in order.
        capture: whether spans hold content; None leaves it to the environment.
        traceparent: the host application's span, when the trace does not hold it.

    Raises:
        Unavailable: the collector cannot be reached or refuses; says where it was looked for and what to do.
        TraceDamaged: the events do not begin with the run's first.
    """
    stream = _all_spans(events, Spans(capture=capture, traceparent=traceparent, resource=resource()))
    collector = Collector()
    try:
        refused_before = True
        while batch := list(islice(stream, BATCH)):
            failed = collector.failed
            collector.export(batch)
            refused = collector.failed > failed
            if refused and refused_before:
                raise Unavailable(_cannot_export(collector))
            refused_before = refused
    finally:
        collector.shutdown()
    return ExportResult(collector.sent, collector.failed)


def _cannot_export(collector: Collector) -> str:
    return (
        f"{environment.collector_address()} takes no spans ({collector.reason}; {collector.sent} sent):"
        " start a collector for OTLP over HTTP there, usually at port 4318 and not at gRPC's 4317, or set"
        f" {environment.ENDPOINT}, and export again"
    )


class LiveExport:
    """Shows a run to a collector while it goes; a listener that never raises and never waits for the network.

    Spans are sent by a thread. When it cannot keep up they are dropped, which `close` counts and reports in
    one line of log; the trace has them all.

    Args:
        capture: whether spans hold content; None leaves it to the environment.
        traceparent: the host application's span, when the run's `config` does not hold it.
        resumed: the run was begun by another process, which sent its own spans: `follow` then reads every
            event from the first, and only what `send` is called for is sent.
    """

    def __init__(self, *, capture: bool | None = None, traceparent: str = "", resumed: bool = False) -> None:
        self._spans = Spans(capture=capture, traceparent=traceparent, resource=resource())
        self._collector = Collector()
        self._room = environment.queue_size()
        self._processor = BatchSpanProcessor(self._collector, max_queue_size=self._room)
        self._completed = 0
        self._queued = 0
        self._fault = ""
        self._closed = False
        self._resumed = resumed
        self._held: list[ReadableSpan] = []

    def follow(self, event: Event, body: bytes) -> None:
        """Read an event with the bytes of its content, whether it happens now or was read from the trace."""
        spans = self._fold(event, body)
        if self._resumed:
            self._held = spans
        else:
            self._pass_on(spans)

    def send(self, _event: Event, _body: bytes) -> None:
        """Pass on the spans of the event followed last, which happened now."""
        self._pass_on(self._held)
        self._held = []

    def feed(self, event: Event, content: Content) -> None:
        """Read the next event, and pass on the spans that it completes."""
        self._pass_on(self._fold(event, content))

    def close(self, timeout: float = CLOSE_SECONDS) -> int:
        """Send what is left, and say how many spans were lost; may be called twice.

        Args:
            timeout: most seconds to wait for the collector.
        """
        if self._closed:
            return 0
        self._closed = True
        self._pass_on(self._spans.finish())
        # The processor's own flush knows no time limit, and its shutdown waits for 30 seconds.
        flushing = threading.Thread(target=self._processor.shutdown, name="scaffold-tracing-close", daemon=True)
        flushing.start()
        flushing.join(timeout)
        in_time = not flushing.is_alive()
        if not in_time:
            self._collector.shutdown()
        lost = self._completed - self._collector.sent
        reason = self._collector.reason or ("too many at once" if in_time else "too slow")
        if self._fault:
            self._warn(f"the run was shown only until an event that could not be read ({self._fault})")
        elif lost:
            where = environment.collector_address()
            self._warn(f"{lost} of {self._completed} spans did not reach {where} ({reason})")
        return lost

    def _fold(self, event: Event, content: Content | bytes) -> list[ReadableSpan]:
        if self._fault:
            return []
        try:
            if isinstance(content, bytes):
                content = _decode(content) if content and self._spans.reads(event) else {}
            return self._spans.feed(event, content)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with showing a run must not end it
            self._fault = str(error) or type(error).__name__
            return []

    def _pass_on(self, spans: list[ReadableSpan]) -> None:
        for span in spans:
            # A host that does not sample its trace does not want our part of it either.
            if span.context is None or not span.context.trace_flags.sampled:
                continue
            self._completed += 1
            if self._queued - self._collector.sent - self._collector.failed < self._room:
                self._queued += 1
                self._processor.on_end(span)

    def _warn(self, what: str) -> None:
        try:
            run = self._spans.run
        except Exception:  # noqa: BLE001 - a run that was never caught up with has no name here
            run = "RUN"
        _log.warning("%s; the trace has it all: scaffold audit export %s", what, run)


def live_from_environment(
    *, capture: bool | None = None, traceparent: str = "", resumed: bool = False
) -> LiveExport | None:
    """Begin a live export when the environment names a collector; None when it does not, or is wrong."""
    if not environment.wants_live_export():
        return None
    try:
        return LiveExport(capture=capture, traceparent=traceparent, resumed=resumed)
    except Exception as error:  # noqa: BLE001 - settings of tracing that do not work must not keep a run from starting
        _log.warning("no spans are sent to %s: %s", environment.collector_address(), error)
        return None

"""Destinations of live spans: the host's own tracing, or the collector set in the environment."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from scaffold.projections import environment
from scaffold.projections.badges import Badges
from scaffold.projections.collector import Collector, resource
from scaffold.projections.overlays import Overlay
from scaffold.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import Sampler

    from scaffold.projections.overlays import Backend


@dataclass(frozen=True, slots=True)
class Loss:
    """What was lost.

    Attributes:
        spans: how many spans; 0 with a `reason` if the number is not known.
        reason: why, in a few words; empty if nothing is known to be lost.
    """

    spans: int = 0
    reason: str = ""


class Sink(Protocol):
    """Takes finished spans, without waiting for the network and without raising.

    Attributes:
        resource: the spans' resource.
        sampler: decides which traces are wanted.
        where: description of the destination for people.
    """

    @property
    def resource(self) -> Resource: ...
    @property
    def sampler(self) -> Sampler: ...
    @property
    def where(self) -> str: ...

    def put(self, span: ReadableSpan) -> None:
        """Take a span."""
        ...

    def close(self, timeout: float) -> Loss:
        """Send what is left within `timeout` seconds, and return what was lost."""
        ...


class CollectorSink:
    """A batch processor of our own with a counting exporter.

    A thread sends the spans. If it cannot keep up, spans are dropped, and `close` reports how many.
    """

    def __init__(self, backend: Backend = "generic") -> None:
        self.resource = resource(backend)
        self.sampler = TracerProvider(resource=self.resource, shutdown_on_exit=False).sampler
        self._collector = Collector(backend)
        self._badges = None if backend == "generic" else Badges(backend, patient=False)
        dressed = Overlay(self._collector, backend, self._badges.delivered if self._badges is not None else None)
        self._room = environment.queue_size()
        self._processor = BatchSpanProcessor(dressed, max_queue_size=self._room)
        self._taken = 0
        self._queued = 0

    @property
    def where(self) -> str:
        """The collector's address."""
        return environment.collector_address()

    def put(self, span: ReadableSpan) -> None:
        """Queue a span, or drop it if the queue is full."""
        self._taken += 1
        if self._queued - self._collector.sent - self._collector.failed < self._room:
            self._queued += 1
            self._processor.on_end(span)

    def close(self, timeout: float) -> Loss:
        """Send what is left."""
        # The processor's own flush has no time limit, and its shutdown waits for 30 seconds.
        flushing = threading.Thread(target=self._processor.shutdown, name="scaffold-tracing-close", daemon=True)
        until = time.monotonic() + timeout
        flushing.start()
        flushing.join(timeout)
        in_time = not flushing.is_alive()
        if not in_time:
            self._collector.shutdown()
        if self._badges is not None:
            self._badges.close(max(0.0, until - time.monotonic()))
        lost = self._taken - self._collector.sent
        if lost:
            return Loss(lost, self._collector.reason or ("too many at once" if in_time else "too slow"))
        if self._badges is not None and self._badges.failed:
            return Loss(0, f"{self._badges.failed} verdict badges were lost: {self._badges.reason}")
        return Loss()


class HostSink:
    """The span processors of the host's own TracerProvider, which the host itself flushes and closes.

    They report losses only in the log, so that is listened to.
    """

    where = "the host's tracing"

    def __init__(self, tracer: Tracer) -> None:
        self.resource = tracer.resource
        self.sampler = tracer.sampler
        self._processor = tracer.span_processor
        self._trouble = _Trouble()
        self._fault = ""

    def put(self, span: ReadableSpan) -> None:
        """Pass a span to the host's processors."""
        try:
            self._processor.on_end(span)
        except Exception as error:  # noqa: BLE001 - a fault in the host's tracing must not end the run
            self._fault = str(error) or type(error).__name__

    def close(self, timeout: float) -> Loss:
        """Return the losses known from the log, without waiting."""
        self._trouble.stop()
        return Loss(0, self._fault or self._trouble.heard)


class _Trouble(logging.Handler):
    """Notes the first error logged by OpenTelemetry's processors and exporters, without suppressing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = ""
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        about_spans = record.name.startswith(("opentelemetry.sdk._shared_internal", "opentelemetry.exporter"))
        said = record.getMessage()
        if about_spans and not self.heard and "transient" not in said.lower():  # retried, so not lost
            self.heard = said[:200]

    def stop(self) -> None:
        self._logger.removeHandler(self)


def sink(backend: Backend = "generic") -> Sink:
    """Return the host's own tracing if there is any, else the collector in the environment."""
    if environment.host_has_tracing():
        tracer = trace.get_tracer("scaffold", VERSION)
        if isinstance(tracer, Tracer):
            return HostSink(tracer)
    return CollectorSink(backend)

"""Live tracing of a run: sends spans and metrics to the host's own tracing or to a collector."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision

from scaffold.projections import environment, metrics
from scaffold.projections.overlays import BACKENDS
from scaffold.projections.sinks import sink
from scaffold.projections.spans import Spans
from scaffold.trace.heads import read_heads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from scaffold.projections.conventions import Content
    from scaffold.projections.overlays import Backend
    from scaffold.vocabulary.events import Event

    _Taken: TypeAlias = tuple[Event, Content | bytes, bool]  # and whether it happens now

_decode = msgspec.json.decode

CLOSE_SECONDS = 5.0
AT_ONCE = 128  # events: read together, a span costs two thirds of what it costs alone
LATEST_SECONDS = 1.0

_log = logging.getLogger(__name__)


class LiveExport:
    """A listener that traces a run live; it never raises and never waits for the network.

    Events are read in batches, at most a second late: read one by one between the run's own steps, each would find cold
    processor caches. `close` counts spans lost on the way and logs them in one line; the trace has everything.

    Args:
        capture: whether spans hold content; None defers to the environment and the task.
        traceparent: the host application's span, if the run's `config` does not hold it.
        resumed: whether another process began the run and sent its own spans. `follow` then reads every event from
            the first on, and only those for which `send` is called are sent.
        backend: the backend whose overlay spans get.
    """

    def __init__(
        self,
        *,
        capture: bool | None = None,
        traceparent: str = "",
        resumed: bool = False,
        backend: Backend = "generic",
    ) -> None:
        self._sink = sink(backend)
        self._figures = metrics.figures(self._sink.resource)
        self._spans = Spans(capture=capture, traceparent=traceparent, resource=self._sink.resource)
        self._sampled: bool | None = None
        self._completed = 0
        self._fault = ""
        self._closed = False
        self._resumed = resumed
        self._followed: tuple[Event, bytes] | None = None
        self._waiting: deque[_Taken] = deque()
        self._reading = threading.Lock()  # a run is closed by another thread
        self._due: asyncio.TimerHandle | None = None

    def follow(self, event: Event, body: bytes) -> None:
        """Take an event with the bytes of its content, live or read from the trace."""
        self._put_aside()
        if len(self._waiting) >= AT_ONCE:
            self._read()
        self._followed = event, body

    def send(self, event: Event, body: bytes) -> None:
        """Mark the event followed last as live, so that its spans are sent."""
        self._followed = None
        self._waiting.append((event, body, True))
        if self._due is None:
            try:
                self._due = asyncio.get_running_loop().call_later(LATEST_SECONDS, self._read_in_time)
            except RuntimeError:  # there is no event loop that would do it later
                self._read()

    def feed(self, event: Event, content: Content) -> None:
        """Read the next live event, and pass on the spans that it completes."""
        self._waiting.append((event, content, True))
        self._read()

    async def keep(self, _run: str, _seq: int, note: str) -> None:
        """Add a newly signed head to the spans, which are one place to keep a copy of it."""
        self._put_aside()
        self._read()
        if not self._fault:
            for head, whole in read_heads(note):
                self._pass_on(self._spans.sign(head, whole))

    def close(self, timeout: float = CLOSE_SECONDS) -> int:
        """Send what is left, and return how many spans were lost; may be called twice.

        Args:
            timeout: most seconds to wait for the collector.
        """
        if self._closed:
            return 0
        self._closed = True
        self._put_aside()
        self._read()
        if not self._resumed:
            self._pass_on(self._spans.finish())
        closing = None
        if self._figures is not None:
            closing = threading.Thread(target=self._figures.close, args=(timeout,), daemon=True)
            closing.start()
        loss = self._sink.close(timeout)
        if closing is not None:
            closing.join(timeout)
        if self._fault:
            self._warn(f"the run was shown only until an event that could not be read ({self._fault})")
        elif loss.spans:
            what = f"{loss.spans} of {self._completed} spans did not reach {self._sink.where} ({loss.reason})"
            self._warn(what)
        elif loss.reason:
            self._warn(f"{self._sink.where} may not have all of the run ({loss.reason})")
        return loss.spans

    def _put_aside(self) -> None:
        """Queue the event followed last as not live."""
        if self._followed is not None:
            self._waiting.append((*self._followed, False))
            self._followed = None

    def _read_in_time(self) -> None:
        self._due = None
        self._read()

    def _read(self) -> None:
        """Read the queued events: first for spans, then for metrics, so that each stays in the caches."""
        with self._reading:
            read: list[_Taken] = []
            while self._waiting:
                event, content, happens = taken = self._waiting.popleft()
                if self._resumed:
                    self._spans.settle()  # the earlier process has sent the session that ended in it
                spans = self._fold(event, content)
                self._resumed = self._resumed and not happens
                if not self._resumed:
                    self._pass_on(spans)
                read.append(taken)
            if read:
                self._count(read)

    def _fold(self, event: Event, content: Content | bytes) -> list[ReadableSpan]:
        if self._fault:
            return []
        try:
            if isinstance(content, bytes):
                content = _decode(content) if content and self._spans.reads(event) else {}
            return self._spans.feed(event, content)
        except Exception as error:  # noqa: BLE001 - a fault in tracing must not end the run
            self._fault = str(error) or type(error).__name__
            return []

    def _count(self, events: Sequence[_Taken]) -> None:
        if self._figures is None:
            return
        try:
            for event, _, happens in events:
                self._figures.follow(event)
                if happens:
                    self._figures.count(event)
            self._figures.hand_over()
        except Exception:  # noqa: BLE001 - the host's views and exporters run here, and must not end the run
            _log.warning("metrics of this run are no longer counted", exc_info=True)
            self._figures = None

    def _pass_on(self, spans: list[ReadableSpan]) -> None:
        for span in spans:
            if self._is_wanted(span):
                self._completed += 1
                self._sink.put(span)

    def _is_wanted(self, span: ReadableSpan) -> bool:
        """Ask the sampler once; if the host does not sample its trace, our part is not sent either."""
        if self._sampled is None:
            context, parent = span.context, self._spans.parent
            if context is None:
                return False
            above = trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent is not None else None
            asked = self._sink.sampler.should_sample(above, context.trace_id, span.name)
            self._sampled = context.trace_flags.sampled and asked.decision is Decision.RECORD_AND_SAMPLE
        return self._sampled

    def _warn(self, what: str) -> None:
        try:
            run = self._spans.run
        except Exception:  # noqa: BLE001 - without its first event the run has no id here
            run = "RUN"
        _log.warning("%s; the trace has all of it: scaffold audit export %s", what, run)


def live_from_environment(
    *, capture: bool | None = None, traceparent: str = "", resumed: bool = False
) -> LiveExport | None:
    """Begin a live export if the host traces or the environment names a collector; None if not, or if it fails."""
    if not (environment.wants_live_export() or environment.host_has_tracing()):
        return None
    try:
        return LiveExport(capture=capture, traceparent=traceparent, resumed=resumed, backend=_backend())
    except Exception as error:  # noqa: BLE001 - faulty tracing settings must not keep a run from starting
        _log.warning("no spans are sent to %s: %s", environment.collector_address(), error)
        return None


def _backend() -> Backend:
    named = environment.backend_named()
    for backend in BACKENDS:
        if named == backend:
            return backend
    if named:
        _log.warning(
            "%s=%r is not one of %s: the spans are sent without additions", environment.FOR, named, ", ".join(BACKENDS)
        )
    return "generic"

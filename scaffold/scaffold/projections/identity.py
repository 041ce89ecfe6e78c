"""Derives trace and span ids from the run alone, so that a span has the same id in every export.

Source: W3C Trace Context, level 1 (`traceparent`).
"""

from __future__ import annotations

import hashlib
import os

from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


def current_traceparent() -> str:
    """The host application's span that a run belongs under: the current one, else `$TRACEPARENT`, else empty.

    A run has to keep this with its task: later exports need it to give the same ids.
    """
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", os.environ.get("TRACEPARENT", ""))


def _span_context(traceparent: str) -> SpanContext | None:
    context = get_current_span(_propagator.extract({"traceparent": traceparent})).get_span_context()
    return context if context.is_valid else None


class Identity:
    """Gives the spans of one run their ids.

    The trace id is the first 16 bytes of SHA-256 of the run's id, or the host's when it has one; a span id is
    the first 8 bytes of SHA-256 of the run, the opening event's number, and which of its spans it is.

    Attributes:
        run: the run's id.
        parent: the host application's span; None when it has none, or names none that is valid.
    """

    __slots__ = ("_flags", "_prefix", "_trace", "parent", "run")

    def __init__(self, run: str, traceparent: str = "") -> None:
        self.run = run
        self.parent = _span_context(traceparent) if traceparent else None
        if self.parent is None:
            self._trace = int.from_bytes(hashlib.sha256(run.encode()).digest()[:16])
            self._flags = TraceFlags(TraceFlags.SAMPLED)
        else:
            self._trace = self.parent.trace_id
            self._flags = self.parent.trace_flags
        self._prefix = hashlib.sha256(f"{run}/".encode())

    def context(self, seq: int, part: str = "") -> SpanContext:
        """Name the span that the event `seq` opens; `part` tells apart several that one event opens."""
        hashed = self._prefix.copy()
        hashed.update(f"{seq}/{part}".encode())
        return SpanContext(self._trace, int.from_bytes(hashed.digest()[:8]), is_remote=False, trace_flags=self._flags)

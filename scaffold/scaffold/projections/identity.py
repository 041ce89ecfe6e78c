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
    """Return the host application's span above a run: the current one, else `$TRACEPARENT`, else empty.

    A run must keep this with its task, since later exports need it to give the same ids.
    """
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", os.environ.get("TRACEPARENT", ""))


def _span_context(traceparent: str) -> SpanContext | None:
    context = get_current_span(_propagator.extract({"traceparent": traceparent})).get_span_context()
    return context if context.is_valid else None


class Identity:
    """Derives the ids of one run's spans.

    The trace id is the host's if there is one, else the first 16 bytes of SHA-256 of the run's id. A span id is the
    first 8 bytes of SHA-256 of the run, the opening event's number, and which of that event's spans it is.

    Attributes:
        run: the run's id.
        parent: the host application's span; None if there is none, or it is not valid.
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
        """Return the context of a span that the event `seq` opens; `part` distinguishes several of one event."""
        hashed = self._prefix.copy()
        hashed.update(f"{seq}/{part}".encode())
        return SpanContext(self._trace, int.from_bytes(hashed.digest()[:8]), is_remote=False, trace_flags=self._flags)

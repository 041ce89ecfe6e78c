"""An open span, as the fold keeps it until it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import Status, StatusCode

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext

    from scaffold.projections.conventions import Attributes

_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
CUT_OFF = "scaffold.cut_off"
_LATEST = 1 << 64


def nanoseconds(at: float) -> int:
    """Convert seconds since the epoch to nanoseconds; a float is precise only to microseconds.

    Raises:
        OverflowError: it is not a time that OTLP can hold, 64 bits from the epoch on.
    """
    found = round(at * 1e6) * 1000
    if not 0 <= found < _LATEST:
        raise OverflowError(f"{at:g} s is outside what OTLP can hold")
    return found


@dataclass(slots=True)
class Unfinished:
    """An open span.

    Attributes:
        start: nanoseconds since the epoch.
        waits: whether it may stay open during a pause, and even never end.
        seq: number of the event that opened it.
    """

    name: str
    context: SpanContext
    parent: SpanContext | None
    start: int
    attributes: Attributes
    kind: SpanKind = SpanKind.INTERNAL
    waits: bool = False
    seq: int = 0
    status: Status = _UNSET
    events: list[SpanEvent] = field(default_factory=list)

    def fail(self, error_type: str, description: str = "") -> None:
        """Mark it as failed, with an error class of low cardinality."""
        self.attributes["error.type"] = error_type
        self.status = Status(StatusCode.ERROR, description) if description else _ERROR

    def cut_off(self) -> None:
        """Mark it as never ended."""
        self.attributes[CUT_OFF] = True
        if not self.waits:
            self.fail("cut_off")

    def note(self, name: str, at: float, attributes: Attributes) -> None:
        """Add an event."""
        self.events.append(SpanEvent(name, attributes, timestamp=nanoseconds(at)))

    def finished(self, at: float, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
        """End it; if the clock was set back, it ends where it began."""
        return ReadableSpan(
            name=self.name,
            context=self.context,
            parent=self.parent,
            resource=resource,
            attributes=self.attributes,
            events=self.events,
            kind=self.kind,
            status=self.status,
            start_time=self.start,
            end_time=max(self.start, nanoseconds(at)),
            instrumentation_scope=scope,
        )

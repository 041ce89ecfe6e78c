"""The open spans of one run, indexed by what later events use to find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from scaffold.errors import TraceDamaged
from scaffold.projections.unfinished import Unfinished, nanoseconds

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from scaffold.projections.conventions import Attributes
    from scaffold.projections.identity import Identity
    from scaffold.vocabulary.events import Event


class OpenSpans:
    """The open spans; nothing is kept of ended ones.

    Attributes:
        root: the run's first `invoke_agent` span.
        session: the current session's span; None if the run is paused or over.
        moves: steps, plans and actions, by key.
        calls: model calls and tool calls, by key.
        guards: reviews that have asked a model, by their subject's key and the monitor.
        asked: approvals and questions, by id.
    """

    def __init__(self, resource: Resource) -> None:
        self.root: SpanContext | None = None
        self.session: Unfinished | None = None
        self.moves: dict[str, Unfinished] = {}
        self.calls: dict[str, Unfinished] = {}
        self.guards: dict[tuple[str, str], Unfinished] = {}
        self.asked: dict[str, Unfinished] = {}
        self._done: list[ReadableSpan] = []
        self._closed: tuple[Unfinished, float] | None = None
        self._resource = resource
        self._scope = InstrumentationScope("scaffold")
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """The identity of the run.

        Raises:
            TraceDamaged: no event has given it yet.
        """
        if self._identity is None:
            raise TraceDamaged("the trace does not begin with 'run.started': read it from its first event", line=1)
        return self._identity

    def belong_to(self, identity: Identity, version: str) -> None:
        """Set the run's identity, and the version of the project that wrote the trace."""
        self._identity = identity
        self._scope = InstrumentationScope("scaffold", version)

    def begin(
        self,
        event: Event,
        name: str,
        attributes: Attributes | None = None,
        *,
        part: str = "",
        parent: SpanContext | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        seconds: float = 0.0,
        waits: bool = False,
    ) -> Unfinished:
        """Open a span, below `parent`, or else below the move at the event's key, or else below the session.

        Args:
            event: the event that opens it.
            name: the span's name.
            attributes: attributes beyond those of every span.
            part: which of the event's spans it is, if it opens several.
            parent: the span above it.
            kind: the span's kind.
            seconds: how many seconds before the event it began.
            waits: whether it may stay open over a pause.
        """
        identity = self.identity
        common: Attributes = {"gen_ai.conversation.id": identity.run, "scaffold.seq": event.seq}
        if event.key:
            common["scaffold.key"] = event.key
        if attributes:
            common.update(attributes)
        return Unfinished(
            name=name,
            context=identity.context(event.seq, part),
            parent=parent or self.above(event.key),
            start=nanoseconds(max(0.0, event.at - seconds)),
            attributes=common,
            kind=kind,
            waits=waits,
            seq=event.seq,
        )

    def above(self, key: str) -> SpanContext | None:
        """Return the span above whatever happens at a key."""
        move = self.moves.get(key)
        if move is not None:
            return move.context
        return self.session.context if self.session is not None else self.root

    def end(self, span: Unfinished, at: float) -> None:
        """Close a span at a time, in seconds since the epoch."""
        self._done.append(span.finished(at, self._resource, self._scope))

    def cut_off(self, at: float, *, waiting_too: bool) -> None:
        """Close the open spans below the session as never ended; waiting ones only if `waiting_too`."""
        tables: tuple[dict[Any, Unfinished], ...] = (self.calls, self.guards, self.asked, self.moves)
        for table in tables:
            for name, span in list(table.items()):
                if waiting_too or not span.waits:
                    del table[name]
                    span.cut_off()
                    self.end(span, at)

    def end_session(self, at: float) -> None:
        """Close the session, if any; `settle` hands it over later, since its head is signed after its end."""
        if self.session is not None:
            self.settle()
            self._closed = (self.session, at)
            self.session = None

    def settle(self) -> None:
        """Hand over the session closed last, since nothing more will be added to it."""
        if self._closed is not None:
            self.end(*self._closed)
            self._closed = None

    def sign(self, seq: int, attributes: Attributes) -> None:
        """Add a signed head to what it was signed for: calls whose intent it covers, and the session it closes."""
        for call in self.calls.values():
            # An irreversible call waits for its head, so the first head from its intent on belongs to it.
            irreversible = call.attributes.get("scaffold.action.effect") == "irreversible"
            if irreversible and call.seq <= seq and "scaffold.head.seq" not in call.attributes:
                call.attributes |= attributes
        if self._closed is not None:
            self._closed[0].attributes |= attributes
            self.settle()

    def take(self) -> list[ReadableSpan]:
        """Hand over the spans that have ended since the last time."""
        done, self._done = self._done, []
        return done

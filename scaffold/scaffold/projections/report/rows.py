"""Groups the events of one move: a step, a plan, an action, a question, or the run itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.projections.report.reading import Told
    from scaffold.vocabulary.events import Event

_OPENS: dict[type[Event], str] = {
    ev.StepAsked: "step",
    ev.PlanProposed: "plan",
    ev.ActionProposed: "action",
    ev.QuestionAsked: "question",
}
# Events about a move can follow after it is settled, for example from a monitor that only observes.
_LINGER = 256


class Row:
    """One move with all its events.

    Attributes:
        kind: `step`, `plan`, `action`, `question`, `note`, `review` or `run`.
        key: its key in the planner's structure.
        told: its events, in order.
        settled: whether nothing is outstanding.
    """

    __slots__ = ("key", "kind", "settled", "told")

    def __init__(self, kind: str, told: Told) -> None:
        self.kind = kind
        self.key = told.event.key
        self.told = [told]
        self.settled = False

    @property
    def seq(self) -> int:
        """The number of its first event."""
        return self.told[0].event.seq

    def of(self, *kinds: type[Event]) -> Iterator[Told]:
        """Yield its events of some kinds, the last first."""
        return (told for told in reversed(self.told) if isinstance(told.event, kinds))

    def last(self, *kinds: type[Event]) -> Told | None:
        """Return the last of its events of some kinds."""
        return next(self.of(*kinds), None)


class Rows:
    """Groups events into rows; returns each row once it is settled and no more events are likely."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}  # by key, under way or lingering
        self._lingering: dict[str, None] = {}

    def take(self, told: Told) -> Iterator[Row]:
        """Add one event; yield the rows that are now complete."""
        event = told.event
        kind = _OPENS.get(type(event))
        known = self._rows.get(event.key) if event.key else None
        if kind is None and known is None:
            yield _alone(told)
            return
        if kind is None and known is not None:
            known.told.append(told)
        else:
            if known is not None:
                yield self._leave(event.key)
            known = self._rows[event.key] = Row(kind or "", told)
        if _settles(event) and not known.settled:
            known.settled = True
            self._lingering[event.key] = None
            if len(self._lingering) > _LINGER:
                yield self._leave(next(iter(self._lingering)))

    def rest(self) -> Iterator[Row]:
        """Yield the remaining rows at the end of the trace."""
        for key in list(self._rows):
            yield self._leave(key)

    def _leave(self, key: str) -> Row:
        self._lingering.pop(key, None)
        return self._rows.pop(key)


def _alone(told: Told) -> Row:
    match told.event:
        case ev.Noted():
            kind = "note"
        case ev.Reviewed():  # of the answer, or of another run
            kind = "review"
        case _:
            kind = "run"
    row = Row(kind, told)
    row.settled = True
    return row


def _settles(event: Event) -> bool:
    match event:
        case ev.StepAnswered() | ev.ActionOutcome():
            return event.final
        case ev.StepCut() | ev.PlanDecided() | ev.ActionRefused() | ev.Released() | ev.QuestionAnswered():
            return True
        case _:
            return False

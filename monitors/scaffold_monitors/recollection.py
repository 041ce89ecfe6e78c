"""A bounded memory of what a run has done and read so far: the fold behind the monitors `scope` and `dataflow`.

Only the newest results are kept. A value whose result was evicted counts as never read, which makes it harder to act
on, never easier.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from scaffold.vocabulary import events
from scaffold.vocabulary.plan import ActionCall
from scaffold_monitors.entailment.sightings import pieces
from scaffold_monitors.entailment.wording import plain, stands_in

_MOST_TOLD = 512
# How many recent results are searched for a value of unknown origin.
_RECENT = 64
_MOST_BYTES = 4_000_000
_NUMBER_BYTES = 20
_MOST_STEPS = 4_096
# How many effects are kept with their arguments, since a request can license an effect by its values.
_MOST_EFFECTS = 64
# How many steps a value is traced back through thoughts that rest on other thoughts.
_FARTHEST = 64


class Told(msgspec.Struct, frozen=True):
    """One action's result, and its call in the encoded form of the event."""

    asked: Mapping[str, Any]
    value: Any
    trusted: bool
    size: int

    @property
    def call(self) -> ActionCall:
        """The decoded call; computed only when something depends on the result."""
        return msgspec.convert(self.asked, ActionCall)


FOLLOWED: frozenset[type[events.Event]] = frozenset(
    {events.RunStarted, events.ActionProposed, events.ActionOutcome, events.ActionRefused, events.StepAnswered}
)
"""The kinds of event that it takes in."""


@dataclass(slots=True)
class Recollection:
    """A fold over a run's trace.

    Attributes:
        seen: how many events it has processed.
        hosted: whether another agent's loop makes the calls.
        effects: how often each effect was performed, or may have been.
        pending: names of the effects under way, by key.
        asked: all calls under way, reads included, by key.
        done: the calls of the most recent effects, by key.
        told: the results of actions, by key; the oldest are evicted first.
        size: approximate bytes of `told`.
        steps: the sources of each thought.
        cells: for each field of the recent results, normalised, the key of the last result that has it.
        prose: the free text of the recent results, by key.
    """

    seen: int = 0
    hosted: bool = False
    effects: Counter[str] = field(default_factory=Counter)
    pending: dict[str, str] = field(default_factory=dict)
    asked: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    done: OrderedDict[str, Mapping[str, Any]] = field(default_factory=OrderedDict)
    told: OrderedDict[str, Told] = field(default_factory=OrderedDict)
    size: int = 0
    steps: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)
    cells: dict[str, str] = field(default_factory=dict)
    prose: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)
    _recent: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)

    def follow(self, event: events.Event, content: Mapping[str, Any]) -> None:
        """Process one more event."""
        self.seen += 1
        match event:
            case events.ActionProposed():
                self.asked[event.key] = content.get("call", {})
                if event.effect != "read":
                    self.pending[event.key] = event.action
            case events.ActionOutcome():
                call = self.asked.pop(event.key, None)
                effect = self.pending.pop(event.key, None)
                if effect is not None and event.status != "failed":
                    self.effects[effect] += 1
                    self._remember(event.key, call)
                if event.status == "performed" and call and content.get("value") is not None:
                    self._keep(event, call, content["value"])
            case events.ActionRefused():
                self.asked.pop(event.key, None)
                self.pending.pop(event.key, None)
            case events.RunStarted():
                self.hosted = event.hosted
            case events.StepAnswered():
                self.steps[event.key] = event.sources
                if len(self.steps) > _MOST_STEPS:
                    self.steps.popitem(last=False)
            case _:
                pass

    def _remember(self, key: str, call: Mapping[str, Any] | None) -> None:
        if call:
            self.done[key] = call
            if len(self.done) > _MOST_EFFECTS:
                self.done.popitem(last=False)

    def _keep(self, event: events.ActionOutcome, call: Mapping[str, Any], value: Any) -> None:
        if isinstance(value, (int, float)):
            size = _NUMBER_BYTES
        else:
            size = len(value) if isinstance(value, str) else len(msgspec.json.encode(value))
        if size > _MOST_BYTES:
            return
        self.told[event.key] = Told(call, value, trusted=not event.tainted, size=size)
        self.size += size
        self._index(event.key, value)
        while len(self.told) > _MOST_TOLD or self.size > _MOST_BYTES:
            self.size -= self.told.popitem(last=False)[1].size

    def _index(self, key: str, value: Any) -> None:
        """Index a new result by its fields."""
        if isinstance(value, (int, float)):
            cells: tuple[str, ...] = (str(value),)
        else:
            found = pieces(value)
            cells = tuple({plain(piece.text).strip() for piece in found if piece.cell})
            prose = tuple(piece.text for piece in found if not piece.cell)
            if prose:
                self.prose[key] = prose
        for cell in cells:
            self.cells[cell] = key
        self._recent[key] = cells
        if len(self._recent) > _RECENT:
            old, gone = self._recent.popitem(last=False)
            self.prose.pop(old, None)
            for cell in gone:
                if self.cells.get(cell) == old:
                    del self.cells[cell]

    def where(self, text: str) -> list[str]:
        """Return the keys of the recent results that contain a value."""
        key = self.cells.get(plain(text).strip())
        found = [] if key is None or key not in self.told else [key]
        if not self.prose:
            return found
        return found + [other for other, prose in self.prose.items() if any(stands_in(text, each) for each in prose)]

    def before(self, key: str) -> Counter[str]:
        """Count how often each effect was performed, or may have been, without the plan or action with this key."""
        found = Counter(self.effects)
        found.update(action for other, action in self.pending.items() if other != key)
        return found

    def earlier(self, action: str, key: str) -> list[ActionCall]:
        """Return an effect's recent calls, performed or under way, without the plan or action with this key."""
        known = [*self.done.values(), *(call for other, call in self.asked.items() if other != key)]
        return [msgspec.convert(call, ActionCall) for call in known if call.get("action") == action]

    def composed(self, sources: tuple[str, ...]) -> bool:
        """Whether a model may have written a value: its sources name a thought, or a history with thoughts in it.

        Another agent's history has its model's thoughts in it, told or not.
        """
        return (self.hosted or bool(self.steps)) and any(source.startswith(("step:", "history:")) for source in sources)

    def behind(self, sources: tuple[str, ...]) -> tuple[str, ...]:
        """Replace each thought among some sources by what it rests on."""
        found: dict[str, None] = {}
        ahead = list(sources)
        seen: set[str] = set()
        while ahead and len(seen) < _FARTHEST:
            source = ahead.pop(0)
            kind, _, key = source.partition(":")
            if kind == "step" and key in self.steps and key not in seen:
                seen.add(key)
                ahead += self.steps[key]
            elif source not in seen:
                seen.add(source)
                found[source] = None
        return tuple(found)


def recollect(state: Any, event: events.Event, content: dict[str, Any]) -> Recollection:
    """Fold in one event. A plain function, so that the engine runs it once for all monitors that use it."""
    past = state if isinstance(state, Recollection) else Recollection()
    past.follow(event, content)
    return past

"""What a run did and was told so far: the fold behind the monitors `scope` and `dataflow`.

What actions gave back is kept within bounds, the newest first to stay: a value that was let go counts as one that was
never read, which makes it harder to act on and never easier.
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
# How many results are searched for a value of which nobody says where it came from.
_RECENT = 64
_MOST_BYTES = 4_000_000
_NUMBER_BYTES = 20
_MOST_STEPS = 4_096
# How many effects are kept with what they were done to, for those that the request licenses by their values.
_MOST_EFFECTS = 64
# How many steps back a value is followed through thoughts that rest on thoughts.
_FARTHEST = 64


class Told(msgspec.Struct, frozen=True):
    """What one action gave back, and the call that asked for it as its event has it."""

    asked: Mapping[str, Any]
    value: Any
    trusted: bool
    size: int

    @property
    def call(self) -> ActionCall:
        """The call that asked for it; read only when something rests on what it gave back."""
        return msgspec.convert(self.asked, ActionCall)


FOLLOWED: frozenset[type[events.Event]] = frozenset(
    {events.ActionProposed, events.ActionOutcome, events.ActionRefused, events.StepAnswered}
)
"""The kinds of event that it takes in."""


@dataclass(slots=True)
class Recollection:
    """A fold over a run's trace.

    Attributes:
        seen: how many events it has taken in.
        effects: how often each action was done, or may have been.
        pending: actions on their way, by key; those that only read are none.
        asked: the calls on their way, by key.
        done: the calls of the effects done last, by key.
        told: what actions gave back, by key; the oldest go first.
        size: bytes of that, about.
        steps: what each thought rests on.
        cells: the fields of what was told last, each in one spelling, to the key of the last result that has it.
        prose: the free text of what was told last, by key.
    """

    seen: int = 0
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
        """Take in one more event."""
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
        """Make what was told last findable by its fields."""
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
        """The keys of the results told last that hold a value."""
        key = self.cells.get(plain(text).strip())
        found = [] if key is None or key not in self.told else [key]
        if not self.prose:
            return found
        return found + [other for other, prose in self.prose.items() if any(stands_in(text, each) for each in prose)]

    def before(self, key: str) -> Counter[str]:
        """How often each effect was done, or may have been, besides the plan or action of a key."""
        found = Counter(self.effects)
        found.update(action for other, action in self.pending.items() if other != key)
        return found

    def earlier(self, action: str, key: str) -> list[ActionCall]:
        """The calls of an effect that were done last, or may have been, besides the plan or action of a key."""
        known = [*self.done.values(), *(call for other, call in self.asked.items() if other != key)]
        return [msgspec.convert(call, ActionCall) for call in known if call.get("action") == action]

    def composed(self, sources: tuple[str, ...]) -> bool:
        """Whether a model's words may be in a value: it names a thought, or all that was told, with thoughts in it."""
        return bool(self.steps) and any(source.startswith(("step:", "history:")) for source in sources)

    def behind(self, sources: tuple[str, ...]) -> tuple[str, ...]:
        """Sources with each thought replaced by what it rests on."""
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
    """The fold of every monitor that follows a run so; a plain function, so that one is kept for all of them."""
    past = state if isinstance(state, Recollection) else Recollection()
    past.follow(event, content)
    return past

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

_MOST_TOLD = 512
_MOST_BYTES = 4_000_000
_MOST_STEPS = 4_096
# How many steps back a value is followed through thoughts that rest on thoughts.
_FARTHEST = 64


class Told(msgspec.Struct, frozen=True):
    """What one action gave back, and the call that asked for it."""

    call: ActionCall
    value: Any
    trusted: bool
    size: int


@dataclass(slots=True)
class Recollection:
    """A fold over a run's trace.

    Attributes:
        effects: how often each action was done, or may have been.
        pending: actions on their way, by key; those that only read are none.
        asked: the calls on their way, by key.
        told: what actions gave back, by key; the oldest go first.
        size: bytes of that, about.
        steps: what each thought rests on.
    """

    effects: Counter[str] = field(default_factory=Counter)
    pending: dict[str, str] = field(default_factory=dict)
    asked: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    told: OrderedDict[str, Told] = field(default_factory=OrderedDict)
    size: int = 0
    steps: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)

    def follow(self, event: events.Event, content: Mapping[str, Any]) -> None:
        """Take in one more event."""
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

    def _keep(self, event: events.ActionOutcome, call: Mapping[str, Any], value: Any) -> None:
        size = len(value) if isinstance(value, str) else len(msgspec.json.encode(value))
        if size > _MOST_BYTES:
            return
        asked = msgspec.convert(call, ActionCall)
        self.told[event.key] = Told(asked, value, trusted=not event.tainted, size=size)
        self.size += size
        while len(self.told) > _MOST_TOLD or self.size > _MOST_BYTES:
            self.size -= self.told.popitem(last=False)[1].size

    def before(self, key: str) -> Counter[str]:
        """How often each effect was done, or may have been, besides the plan or action of a key."""
        found = Counter(self.effects)
        found.update(action for other, action in self.pending.items() if other != key)
        return found

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

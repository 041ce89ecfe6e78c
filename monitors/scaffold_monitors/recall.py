"""A bounded fold over the trace: the thoughts since the last plan."""

from __future__ import annotations

from typing import Any

import msgspec

from scaffold.vocabulary import events as ev

_MOST_STEPS = 500
_MOST_TEXT = 900_000  # characters


class Recalled(msgspec.Struct, frozen=True):
    """Steps that were answered since the last plan.

    Attributes:
        thoughts: the latest of them.
        size: their total characters.
        lost: how many earlier ones were evicted.
        kinds: the kind of each step under way, by its key.
    """

    thoughts: tuple[Thinking, ...] = ()
    size: int = 0
    lost: int = 0
    kinds: dict[str, str] = {}


class Thinking(msgspec.Struct, frozen=True):
    """One step's answer.

    Attributes:
        seq: number of its event.
        key: the step's key.
        kind: the step's kind.
        sample: index of the winning sample among all samples.
        reasoning: its readable reasoning.
        text: its text.
    """

    seq: int
    key: str
    kind: str
    sample: int
    reasoning: str
    text: str

    @property
    def size(self) -> int:
        """How many characters it has."""
        return len(self.reasoning) + len(self.text)


def recall(state: Any, event: ev.Event, content: dict[str, Any]) -> Recalled:
    """Return the state after one more event; the monitors' own steps are left out."""
    known: Recalled = state or Recalled()
    match event:
        case ev.PlanDecided():
            return Recalled(kinds=known.kinds)
        case ev.StepAsked(ledger="model"):
            return msgspec.structs.replace(known, kinds={**known.kinds, event.key: event.step})
        case ev.StepAnswered(ledger="model"):
            kind = known.kinds.get(event.key, "")
            kinds = {key: each for key, each in known.kinds.items() if key != event.key}
            samples = content.get("samples", ())
            if not 0 <= event.winner < len(samples):
                return msgspec.structs.replace(known, kinds=kinds)
            sample = samples[event.winner]
            thought = Thinking(
                event.seq, event.key, kind, event.winner, sample.get("reasoning", ""), sample.get("text", "")
            )
            return _bounded((*known.thoughts, thought), known.size + thought.size, known.lost, kinds)
        case _:
            return known


def _bounded(thoughts: tuple[Thinking, ...], size: int, lost: int, kinds: dict[str, str]) -> Recalled:
    while len(thoughts) > _MOST_STEPS or (size > _MOST_TEXT and len(thoughts) > 1):
        size -= thoughts[0].size
        thoughts, lost = thoughts[1:], lost + 1
    return Recalled(thoughts, size, lost, kinds)

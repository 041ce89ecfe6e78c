"""Recorded results that a resuming host is given again instead of having the move repeated.

A host keeps its own memory, and its moves have no structure from which keys could be derived. So a repeated move is
recognised by what it asks: the same call gets the same key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import StepRefused
from scaffold.machinery.asking.steps import thought_from
from scaffold.machinery.gating.effects import observation_from, withheld_from
from scaffold.machinery.gating.gate import refusal_from, review_from
from scaffold.machinery.gating.people import answer_from
from scaffold.machinery.recording.state import asked_in
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical, decode

if TYPE_CHECKING:
    from scaffold.vocabulary.events import Event


class Told(msgspec.Struct, frozen=True):
    """How a move ended: its outcome's event, the content's bytes, and if it was withheld, with what feedback."""

    event: Event
    body: bytes
    withheld: str | None = None


class _Sample(msgspec.Struct):
    text: str = ""
    reasoning: str = ""


class _Content(msgspec.Struct):
    samples: list[_Sample] = []


_content = msgspec.json.Decoder(_Content)


class Recalling:
    """Collects, while a trace is read, which moves have ended and how.

    Args:
        anew: the host begins anew and is given every result again. Otherwise it remembers, and only the results after
            its last move, or of moves concurrent with it, may not have reached it.
        host: the role under which the host model's output is recorded; what it said is part of what such a step asks.

    Attributes:
        ended: by key, in the order in which they ended: what was asked and how it ended.
    """

    def __init__(self, *, anew: bool, host: str) -> None:
        self._anew = anew
        self._host = host
        self._asked: dict[str, bytes] = {}
        self._under_way: set[str] = set()
        self._saying: set[str] = set()
        self._unreleased: dict[str, Told] = {}
        self.ended: dict[str, tuple[bytes, Told]] = {}

    def feed(self, event: Event, body: bytes) -> None:
        """Take in one recorded event."""
        if isinstance(event, ev.RunResumed):
            self._under_way.clear()
        if not event.key.isdigit():  # oversight's own steps, and events that are not of a move
            return
        match event:
            case ev.StepAsked() | ev.PlanProposed() | ev.ActionProposed() | ev.QuestionAsked():
                self._begins(event, asked_in(body))
            case ev.StepAnswered():
                if event.key in self._saying:
                    self._asked[event.key] += said_bytes(*_winner(event, body))
                self._ends(Told(event, body), final=event.final)
            case ev.ActionOutcome():
                self._ends(Told(event, body), final=event.final)
            case ev.PlanDecided() | ev.QuestionAnswered() | ev.ActionRefused():
                self._ends(Told(event, body), final=True)
            case ev.Released() if event.key in self._unreleased:
                told = self._unreleased.pop(event.key)
                self._ends(told if event.ok else Told(told.event, told.body, decode(body)["feedback"]), final=True)
            case ev.Noted():
                self._begins(event, canonical(decode(body)["text"]))
                self._ends(Told(event, body), final=True)
            case _:
                pass

    def _begins(self, event: Event, what: bytes) -> None:
        if not self._anew and event.key not in self._asked and not self._under_way:
            self.ended.clear()
        self._under_way.add(event.key)
        self._asked[event.key] = what
        if isinstance(event, ev.StepAsked) and event.to == self._host:
            self._saying.add(event.key)

    def _ends(self, told: Told, *, final: bool) -> None:
        key = told.event.key
        if not final:
            self._unreleased[key] = told
        elif key in self._asked:
            self._under_way.discard(key)
            self.ended[key] = (self._asked.pop(key), told)


def said_bytes(text: str, reasoning: str) -> bytes:
    """Return the canonical bytes of what the host's model said, as part of what such a step asks."""
    return canonical([text, reasoning])


def _winner(event: ev.StepAnswered, body: bytes) -> tuple[str, str]:
    samples = _content.decode(body).samples if body else []
    sample = samples[event.winner] if -len(samples) <= event.winner < len(samples) else _Sample()
    return sample.text, sample.reasoning


def retold(told: Told, move: Any) -> Any:
    """Return to the host the recorded outcome of a move, as it was then."""
    event, body = told.event, told.body
    match event:
        case ev.ActionOutcome():
            return observation_from(event, body) if told.withheld is None else withheld_from(event, body, told.withheld)
        case ev.ActionRefused():
            return refusal_from(event, body)
        case ev.StepAnswered():
            return thought_from(event, body, move) if told.withheld is None else StepRefused(told.withheld, event.key)
        case ev.PlanDecided():
            return review_from(event, body)
        case ev.QuestionAnswered():
            return answer_from(event, body, move)
        case _:
            return None

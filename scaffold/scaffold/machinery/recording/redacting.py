"""Redaction: what a task wants left out is removed before it is recorded, and so also for the planner.

It applies to what comes from outside: the task's prompt and inputs, samples, results, what people and reviewers say.
What a planner derives from these is then derived from redacted parts. Patterns replace their matches in any text.
Fields are replaced at any depth, also in text that is JSON: texts by the mark, other values by 0, false or null.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.task import Redact, Task

MARK = "[redacted]"
# Their content was made by the planner, from redacted parts, and replay compares it: it is left alone.
_OURS: frozenset[type[Event]] = frozenset(
    {ev.RunStarted, ev.StepAsked, ev.StepReserved, ev.PlanProposed, ev.ActionProposed, ev.QuestionAsked}
)
_NAMES = frozenset({"monitor", "decision", "status", "settings", "property", "node", "version", "model", "kind"})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Redaction:
    """Removes what a task wants left out."""

    def __init__(self, said: Redact) -> None:
        self._patterns = re.compile("|".join(f"(?:{each})" for each in said.patterns)) if said.patterns else None
        self._fields = frozenset(each.casefold() for each in said.fields)

    def written(self, event: Event, body: bytes) -> bytes:
        """Return the bytes of an event's content as they are to be recorded."""
        if type(event) in _OURS:
            return body
        return _encode({name: self._part(name, each) for name, each in _decode(body).items()})

    def _part(self, name: str, value: Any) -> Any:
        """Redact one part of a content: its values, not its structure."""
        match name:
            case "value" | "answer" | "partial" | "about" | "previews":
                return self.value(value)
            case "samples":
                return [self._sample(each) for each in value]
            case "error":
                return {**value, "message": self.text(value["message"]), "data": self._data(value["data"])}
            case "verdicts" | "objections" | "reasons" | "reason" | "feedback" | "comment" | "text" | "title":
                return self._said(value)
            case _:
                return value

    def _sample(self, sample: dict[str, Any]) -> dict[str, Any]:
        blocks = [{**each, "text": self.text(each.get("text", ""))} for each in sample.get("blocks", ())]
        told = dict(sample)
        told |= {name: self.text(sample[name]) for name in ("text", "reasoning", "flag") if name in sample}
        return told | ({"blocks": blocks} if blocks else {})

    def _data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Redact an error's data besides its message; a failed step's votes are keyed by their values."""
        said = {name: self._said(each) for name, each in data.items()}
        if "votes" in data:
            votes: Counter[str] = Counter()
            for value, number in data["votes"].items():
                votes[self._vote(value)] += number
            said["votes"] = votes
        return said

    def _vote(self, value: str) -> str:
        """Redact the value of a vote, which is JSON; if it was cut short, its fields are unknown, so it goes whole."""
        try:
            return json.dumps(self.value(json.loads(value)), ensure_ascii=False)
        except ValueError:
            return MARK if self._fields else self.text(value)

    def _said(self, value: Any) -> Any:
        """Redact somebody's words, but not the names in them."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {name: each if name in _NAMES else self._said(each) for name, each in value.items()}
            case list():
                return [self._said(each) for each in value]
            case _:
                return value

    def value(self, value: Any) -> Any:
        """Redact a JSON value."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {
                    name: _emptied(each) if name.casefold() in self._fields else self.value(each)
                    for name, each in value.items()
                }
            case list() | tuple():
                return [self.value(each) for each in value]
            case _:
                return value

    def text(self, text: str) -> str:
        """Redact a text; if it is JSON, its fields too."""
        if self._fields and text.lstrip()[:1] in {"{", "["}:
            with contextlib.suppress(ValueError, RecursionError):
                text = json.dumps(self.value(json.loads(text)), ensure_ascii=False)
        return self._patterns.sub(MARK, text) if self._patterns is not None else text


def _emptied(value: Any) -> Any:
    match value:
        case str():
            return MARK
        case bool():
            return False
        case int() | float():
            return 0
        case list():
            return []
        case dict():
            return {}
        case _:
            return None


def redaction_of(task: Task) -> Redaction | None:
    """Return the redaction a task asks for, or None."""
    return Redaction(task.redact) if task.redact.patterns or task.redact.fields else None


def as_recorded(task: Task) -> Task:
    """Return a task as a resumed run will read it: its inputs as JSON has them, all of it redacted as it asks."""
    from scaffold.vocabulary.canonical import adapter

    plain = task.model_copy(update={"inputs": adapter(dict[str, Any]).dump_python(task.inputs, mode="json")})
    redaction = redaction_of(task)
    if redaction is None:
        return plain
    return plain.model_copy(update={"prompt": redaction.text(plain.prompt), "inputs": redaction.value(plain.inputs)})

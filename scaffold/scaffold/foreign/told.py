"""The common form into which logs of other agents are converted, whatever their format."""

from __future__ import annotations

from typing import Any

import msgspec

from scaffold.vocabulary.models import Message, Usage


class Turn(msgspec.Struct, kw_only=True):
    """One answer of a model.

    Attributes:
        at: when it was asked, in seconds since the epoch; `until`, when it had answered.
        messages: what it was asked.
        texts: what it answered, a text for each sample.
        reasonings: the reasoning that can be read, likewise.
        error: why there is no answer.
    """

    at: float
    until: float
    provider: str = ""
    model: str = ""
    messages: list[Message] = []
    texts: list[str] = []
    reasonings: list[str] = []
    finish: str = "stop"
    usage: Usage = msgspec.field(default_factory=Usage)
    error: str = ""


class Deed(msgspec.Struct, kw_only=True):
    """One call of a tool.

    Attributes:
        at: when it was called; `until`, when it was over.
        id: what the model's call and the tool's result have in common.
        error: why it failed.
    """

    at: float
    until: float
    name: str
    arguments: dict[str, Any] = {}
    value: Any = None
    error: str = ""
    effect: str = "irreversible"
    id: str = ""


class Story(msgspec.Struct, kw_only=True):
    """One run of another agent.

    Attributes:
        source: what it was read from, in words.
        id: names the run in its source.
        agent: the agent's name.
        items: what it did, in any order.
        answer: what it answered in the end.
        error: why it did not.
        notes: what else its source says that is worth keeping, such as scores.
    """

    source: str
    id: str
    at: float
    until: float
    agent: str = ""
    prompt: str = ""
    items: list[Turn | Deed] = []
    answer: Any = None
    error: str = ""
    notes: list[str] = []


def call_as_text(name: str, arguments: str) -> str:
    """A model's call of a tool, as it stands in its answer's text."""
    return f"→ {name}({arguments})"

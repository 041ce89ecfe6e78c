"""The common form into which logs of other agents are converted, whatever their format."""

from __future__ import annotations

from typing import Any

import msgspec

from scaffold.vocabulary.models import Message, Usage


class Turn(msgspec.Struct, kw_only=True):
    """One answer of a model.

    Attributes:
        at: when it was asked, in seconds since the epoch; `until`, when it had answered.
        messages: the input messages.
        texts: the answers, one text per sample.
        reasonings: the readable reasoning, likewise.
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
        id: links the model's call with the tool's result.
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
        source: description of its source.
        id: the run's id in its source.
        agent: the agent's name.
        items: its turns and deeds, in any order.
        answer: its final answer.
        error: why there is none.
        notes: further information in its source, such as scores.
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
    """Render a model's tool call as part of its answer's text."""
    return f"→ {name}({arguments})"

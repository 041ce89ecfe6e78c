"""Recognises an answer's API by its shape, to say so if it is not the configured one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Known = Literal["chat", "responses", "messages", "gemini", "ollama"]

# The APIs' names, and how to get a backend for each.
_NAMES: dict[Known, str] = {
    "chat": "OpenAI chat completions: use `openai:MODEL`, or option `dialect: chat`",
    "responses": "OpenAI Responses: use `responses:MODEL`, or option `dialect: responses`",
    "messages": "Anthropic Messages: use `anthropic:MODEL`, or option `dialect: messages`",
    "gemini": "Google Gemini: use `gemini:MODEL`, or option `dialect: gemini`",
    "ollama": "Ollama's own API: use `ollama:MODEL`, or a URL that ends in /v1",
}


def recognise(value: Any) -> Known | None:
    """Return the API that a decoded answer, event or error comes from; None if unclear."""
    if isinstance(value, list):  # Gemini, where it was not asked for events
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    return next((name for name, fits in _SHAPES.items() if fits(value)), None)


def _is_google(error: Any) -> bool:
    """Whether an error is Google's, with a `status` in capitals such as NOT_FOUND."""
    status = error.get("status") if isinstance(error, dict) else None
    return isinstance(status, str) and status.isupper()


def _kind(value: dict[str, Any]) -> str:
    return str(value.get("type") or "")


_SHAPES: dict[Known, Callable[[dict[str, Any]], bool]] = {
    "responses": lambda value: _kind(value).startswith("response.") or value.get("object") == "response",
    "messages": lambda value: (
        _kind(value).startswith(("message", "content_block_"))
        or (_kind(value) == "error" and isinstance(value.get("error"), dict))
    ),
    "gemini": lambda value: (
        bool(value.keys() & {"candidates", "usageMetadata", "promptFeedback"}) or _is_google(value.get("error"))
    ),
    "chat": lambda value: "choices" in value or str(value.get("object") or "").startswith("chat.completion"),
    "ollama": lambda value: "done" in value and bool(value.keys() & {"message", "response"}),
}


def recognised(body: bytes, wanted: str) -> str:
    """Return what to use instead, as the last clause of a message; empty if unknown."""
    try:
        value = json.loads(body.decode("utf-8", "replace").partition("\n")[0] if b"\n{" in body else body)
    except (ValueError, RecursionError):
        return ""
    spoken = recognise(value)
    if spoken is None:
        return ""
    if spoken == wanted:
        return ". It sent a whole answer instead of a stream"
    return f". It speaks {_NAMES[spoken]}"

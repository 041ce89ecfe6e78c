"""The backend `scripted`, for task files without a model: `{use: scripted, replies: [Paris, London]}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaffold.errors import TaskError
from scaffold.testing.backends import Scripted


def scripted(
    model: str = "",
    *,
    replies: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "ok",
    delay: float = 0.0,
) -> Scripted:
    """Says what is written here, without a model: for documentation and tests.

    Args:
        model: one reply to every step, when the spec holds it: `scripted:Paris`.
        replies: the same; or one reply after another; or for words of the prompt, either.
        delay: seconds before each sample.

    Raises:
        TaskError: the replies are not texts.
    """
    said = model or replies
    entries: list[Any] = list(said.values()) if isinstance(said, Mapping) else [said]
    for entry in entries:
        texts = [entry] if isinstance(entry, str) else entry
        if not isinstance(texts, Sequence) or not all(isinstance(each, str) for each in texts):
            raise TaskError(f"a reply is text, not {entry!r}: put it in quotes", path=("replies",))
    return Scripted(said, delay=delay)

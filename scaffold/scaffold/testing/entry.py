"""The backend `scripted`, for task files that run without a model.

    backends: {default: {use: scripted, replies: [Paris, London]}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scaffold.errors import TaskError
from scaffold.testing.backends import Scripted


def scripted(
    model: str = "", *, replies: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "ok", delay: float = 0.0
) -> Scripted:
    """Says what is written here, without a model: for documentation and tests.

    Args:
        model: one reply to every step, when the spec holds it: `scripted:Paris`.
        replies: the same; or one reply after another; or for words of the prompt, either of these.
        delay: seconds before each sample.

    Raises:
        TaskError: the replies are not texts.
    """
    said = model or replies
    entries = list(said.values()) if isinstance(said, Mapping) else [said]
    for entry in entries:
        if not isinstance(entry, str) and not (isinstance(entry, Sequence) and all(isinstance(each, str) for each in entry)):
            raise TaskError(f"a reply is text, not {entry!r}: put it in quotes", path=("replies",))
    return Scripted(said, delay=delay)

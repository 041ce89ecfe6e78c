"""Text that can be encoded, whatever was sent: surrogates joined where both halves are there, replaced where not."""

from __future__ import annotations

from typing import Any


def clean(text: str) -> str:
    """Give text that can be encoded: surrogate pairs are joined, a lone surrogate becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cleaned(value: Any, *, ends: bool = False) -> Any:
    """Give decoded JSON in which every text can be encoded.

    Args:
        value: what was decoded.
        ends: leave half a character at an end of a text, where its other half may be in another event.
    """
    if isinstance(value, str):
        return _but_ends(value) if ends else clean(value)
    if isinstance(value, list | tuple):
        return [cleaned(each, ends=ends) for each in value]
    if isinstance(value, dict):
        return {cleaned(name): cleaned(each, ends=ends) for name, each in value.items()}
    return value


def _but_ends(text: str) -> str:
    first = 1 if "\udc00" <= text[:1] <= "\udfff" else 0
    last = len(text) - (1 if len(text) > first and "\ud800" <= text[-1] <= "\udbff" else 0)
    return text[:first] + clean(text[first:last]) + text[last:]


def joined(half: str, piece: str, *, last: bool) -> tuple[str, str]:
    """Go on with a text that comes in pieces, which may be cut within a surrogate pair.

    Args:
        half: what waits of the pieces before.
        piece: the next one.
        last: nothing follows.

    Returns:
        What can be encoded now, and the first half of a pair, if it ends in one, which waits for the next piece.
    """
    text = half + piece
    if last or not "\ud800" <= text[-1:] <= "\udbff":
        return clean(text), ""
    return clean(text[:-1]), text[-1]

"""Unicode repairs: text that can always be encoded, and one form for texts that look the same.

Models and tools may send lone surrogates: pairs are joined, single halves replaced. `as_read` normalises names, so that
two spellings that a reader cannot tell apart count as one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# Default-ignorable code points and blanks: they may change how a text is drawn, but not what it says.
UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)

_LEAST, _MOST = -(2.0**63), 2.0**64  # integers beyond these have a canonical form only as floats


def as_read(value: Any) -> Any:
    """Normalise a value as a reader sees it; lists and objects part by part.

    Text is put into NFC, loses invisible characters, and keeps one space per run of white space. Case and alphabet
    stay, since names may differ in these alone. A float that is a whole number becomes an int.
    """
    match value:
        case str():
            if value.isascii() and value.isalnum():
                return value
            return " ".join(UNSEEN.sub("", unicodedata.normalize("NFC", value)).split())
        case float() if value.is_integer() and _LEAST <= value < _MOST:  # in JSON Schema 17.0 is the integer 17
            return int(value)
        case list():
            return [as_read(each) for each in value]
        case dict():
            return {as_read(name): as_read(each) for name, each in value.items()}
        case _:
            return value


def clean(text: str) -> str:
    """Return text that can be encoded: surrogate pairs are joined, a lone surrogate becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cleaned(value: Any, *, ends: bool = False) -> Any:
    """Return decoded JSON in which every text can be encoded.

    Args:
        value: the decoded JSON.
        ends: keep a lone surrogate at either end of a text, since its other half may be in another event.
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
    """Add one piece to a text that arrives in pieces, which may be cut inside a surrogate pair.

    Args:
        half: the half of a pair held back from the piece before, if any.
        piece: the next piece.
        last: nothing follows.

    Returns:
        The text that can be encoded now, and the first half of a pair at its end, which waits for the next piece.
    """
    text = half + piece
    if last or not "\ud800" <= text[-1:] <= "\udbff":
        return clean(text), ""
    return clean(text[:-1]), text[-1]

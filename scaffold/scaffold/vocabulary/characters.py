"""Text that can be encoded, whatever was sent: surrogates joined where both halves are there, replaced where not.

And text as it reads: two spellings that nobody can tell apart are one name.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# Default ignorable for Unicode, or blank: it changes how a text is drawn, if anything, and not what it says.
UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)

_LEAST, _MOST = -(2.0**63), 2.0**64  # whole numbers beyond these have no canonical form but as floats


def as_read(value: Any) -> Any:
    """Give a text composed, without what is not seen, with one space where there are any, and a whole number as such.

    Letters stay as they are, capital or small, of one alphabet or another: names may differ in these alone. A list or
    an object is read part by part.
    """
    match value:
        case str():
            if value.isascii() and value.isalnum():
                return value
            return " ".join(UNSEEN.sub("", unicodedata.normalize("NFC", value)).split())
        case float() if value.is_integer() and _LEAST <= value < _MOST:  # for JSON Schema 17.0 is the integer 17
            return int(value)
        case list():
            return [as_read(each) for each in value]
        case dict():
            return {as_read(name): as_read(each) for name, each in value.items()}
        case _:
            return value


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

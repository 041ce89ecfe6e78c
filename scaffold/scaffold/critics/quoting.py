"""Checks that quotations occur in the source, word for word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from scaffold.critics.calling import Said
from scaffold.vocabulary.references import Reference

_CLOSING = {
    '"': '"',
    "“": "”",
    "”": "”",
    "„": "“”",
    "«": "»",
    "»": "«",
    "‹": "›",  # noqa: RUF001 - as people write
    "›": "‹",  # noqa: RUF001 - as above
    "「": "」",
    "『": "』",
}
_ANY_MARK = re.compile("[" + "".join({*_CLOSING, *"".join(_CLOSING.values())}) + "]")
_STRAIGHT = str.maketrans({"\u2019": "'", "\u2018": "'", "“": '"', "”": '"', "\u00a0": " ", "\u00ad": None})
_SHOWN = 80
_DEEPEST = 8  # quotations within others


def quoted_from(
    source: str | Reference[str], *, quotes: Callable[[Any], Iterable[str]] | None = None, least: int = 1
) -> Callable[[Any], Said]:
    """Make a critic that wants every quotation to occur in a source, ignoring whitespace and the shape of quote marks.

    A word or number cut short does not count: `paid 1` is not a quotation of `paid 12`, nor of `paid 1.50`.

    Args:
        source: what may be quoted.
        quotes: picks the quotations of a value; if None, a text is one, and a list of texts is several.
            `in_quotation_marks` picks those of prose.
        least: how many there must be.
    """
    text = _plain(source.value if isinstance(source, Reference) else source)
    pick = quotes or _all

    def check(value: Any) -> Said:
        try:
            found = [str(each) for each in pick(value)]
        except TypeError:
            return f"a {type(value).__name__} has no quotations: it should be text, or a list of texts"
        for quote in found:
            plain = _plain(quote)
            if not plain or not _occurs(plain, text):
                shown = quote if len(quote) <= _SHOWN else f"{quote[:_SHOWN]}..."
                return f"the source does not contain {shown!r}"
        if len(found) < least:
            return f"it has {len(found)} quotations, but needs at least {least}"
        return True

    return check


def _occurs(quote: str, text: str) -> bool:
    """Whether a text has a quotation somewhere, whole at both ends."""
    place = text.find(quote)
    while place >= 0:
        if _cuts(text, place):
            place += 1
            while place < len(text) and _cuts(text, place):  # to where a word begins: it could be found at each letter
                place += 1
            place = text.find(quote, place)
        elif _cuts(text, place + len(quote)):
            place = text.find(quote, place + 1)
        else:
            return True
    return False


def _cuts(text: str, place: int) -> bool:
    """Whether a word or a number goes on across a place; scripts without letter case have no words to cut."""
    before, after = text[max(0, place - 2) : place], text[place : place + 2]
    if not before or not after:
        return False
    one, other = before[-1], after[0]
    if one.isdigit() and other.isdigit():
        return True
    if one.isdigit() and other in ".," and after[1:].isdigit():
        return True
    if one in ".," and other.isdigit() and before[:-1].isdigit():
        return True
    return one.lower() != one.upper() and other.lower() != other.upper()


def in_quotation_marks(text: Any) -> list[str]:
    """Return the parts of a text in double quotation marks of any kind, including nested ones."""
    said = str(text)
    opened: list[tuple[str, int]] = []
    found: list[tuple[int, str]] = []
    for match in _ANY_MARK.finditer(said):
        mark, place = match[0], match.start()
        closes = next((at for at in reversed(range(len(opened))) if mark in _CLOSING[opened[at][0]]), None)
        if closes is not None:
            start = opened[closes][1]
            del opened[closes:]  # what was opened since was no quotation: 5" tall
            if said[start:place].strip():
                found.append((start, said[start:place]))
        elif mark in _CLOSING:
            opened = [*opened[1 - _DEEPEST :], (mark, match.end())]
    return [quote for _, quote in sorted(found)]


def _all(value: Any) -> Iterable[str]:
    return [value] if isinstance(value, str) else list(value)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).translate(_STRAIGHT).split())

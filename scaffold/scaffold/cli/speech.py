"""Text for terminals: nothing that a model or tool wrote moves the cursor, hides a line or fakes a prompt."""

from __future__ import annotations

import json
import re
from typing import Any

_LINES = frozenset("\n\t")
# Greek, Cyrillic, Armenian and Cherokee have letters that look like Latin ones.
_ALIKE = re.compile(r"[\u0370-\u058f\u13a0-\u13ff\u1c80-\u1c8f\u1f00-\u1fff\u2de0-\u2dff\ua640-\ua69f\uab70-\uabbf]")
_LATIN = re.compile(r"[A-Za-z]")
_WORD = re.compile(r"\w+")


def plain(text: str) -> str:
    """Text with every control and invisible character written out, and every letter that passes for another one."""
    if text.isascii() and text.isprintable():
        return text
    text = _WORD.sub(lambda word: _told_apart(word[0]), text)
    return "".join(letter if letter.isprintable() or letter in _LINES else _escaped(letter) for letter in text)


def _told_apart(word: str) -> str:
    """A word; where Latin letters stand in it and letters like them, which no language mixes, the latter written out.

    After Unicode Technical Standard 39, section 5.2.
    """
    if word.isascii() or not (_LATIN.search(word) and _ALIKE.search(word)):
        return word
    return _ALIKE.sub(lambda letter: _escaped(letter[0]), word)


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - what fits two hex digits


def line(value: Any, width: int = 0) -> str:
    """A value on one line: text as it is, anything else as JSON; cut at `width` letters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = plain(" ".join(text.split()))
    return text if not width or len(text) <= width else text[: width - 1] + "…"


def sentence(text: str, width: int = 0) -> str:
    """The lines of a text on one line, parted by semicolons; marks under a line are left out."""
    told = (each.strip() for each in text.splitlines())
    return line("; ".join(each for each in told if each.strip("^")), width)


def call(name: str, arguments: dict[str, Any], width: int = 0) -> str:
    """A call as code would write it: `pay(invoice="A-1", cents=1200)`."""
    inner = ", ".join(
        f"{plain(each)}={line(json.dumps(value, ensure_ascii=False, default=str))}" for each, value in arguments.items()
    )
    text = f"{plain(name)}({inner})"
    return text if not width or len(text) <= width else text[: width - 2] + "…)"


def count(number: int, word: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"

"""Text for terminals: nothing that a model or tool wrote moves the cursor, hides a line or fakes a prompt."""

from __future__ import annotations

import json
from typing import Any

_LINES = frozenset("\n\t")


def plain(text: str) -> str:
    """Text with every control and invisible character written out."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in _LINES else _escaped(letter) for letter in text)


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

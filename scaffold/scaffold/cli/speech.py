"""Escapes text for terminals: nothing that a model or tool wrote can move the cursor, hide a line or fake a prompt."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from scaffold.vocabulary.characters import UNSEEN

# Greek, Coptic, Cyrillic, Armenian, Cherokee and Lisu have letters that look like Latin ones, as have full-width forms.
_ALIKE = re.compile(
    r"[\u0370-\u058f\u13a0-\u13ff\u1c80-\u1c8f\u1f00-\u1fff\u2160-\u217f\u2c80-\u2dff\ua4d0-\ua4ff\ua640-\ua69f"
    r"\uab70-\uabbf\uff10-\uff5a]"
)
_LATIN = re.compile(r"[A-Za-z]")
_WORD = re.compile(r"\w+")
_TYPES = re.compile("[\U0001d400-\U0001d7ff]")  # mathematical alphanumeric symbols
_SPACES = re.compile(r"(?<= ) ")
_NOT_ASCII = re.compile(r"[^\n -~]")
_MOVES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # control and bidi characters


def plain(text: str) -> str:
    """Put text on one line, with control and invisible characters and look-alike letters escaped."""
    if text.isascii() and text.isprintable():
        return text
    text = _WORD.sub(lambda word: _told_apart(word[0]), text)
    for hidden in (UNSEEN, _TYPES):  # Python considers many of these printable
        text = hidden.sub(lambda letter: _escaped(letter[0]), text)
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def lines(text: str) -> str:
    """The same for a text whose line breaks are ours."""
    return "\n".join(map(plain, text.split("\n")))


def steady(text: str) -> str:
    """Keep a text's letters and lines, but escape what moves the cursor or changes the reading direction."""
    return _MOVES.sub(lambda letter: _escaped(letter[0]), text.replace("\r\n", "\n"))


def _told_apart(word: str) -> str:
    """Escape look-alike letters in a word that mixes them with Latin ones, which no language does.

    After Unicode Technical Standard 39, section 5.2.
    """
    if word.isascii() or not (_LATIN.search(word) and _ALIKE.search(word)):
        return word
    return _ALIKE.sub(lambda letter: _escaped(letter[0]), word)


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - digits


def json_text(value: Any, indent: int | None = None) -> str:
    """Render a value as JSON for stdout, with invisible and unencodable characters escaped."""
    known = (sys.stdout.encoding or "").lower().replace("_", "-").startswith("utf-")
    text = json.dumps(value, ensure_ascii=not known, indent=indent)
    return _NOT_ASCII.sub(lambda letter: letter[0] if letter[0].isprintable() else json.dumps(letter[0])[1:-1], text)


def line(value: Any, width: int = 0) -> str:
    """Render a value on one line: text as it is, anything else as JSON; cut at `width` letters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = plain(" ".join(text.split()))
    return text if not width or len(text) <= width else text[: width - 1] + "…"


def sentence(text: str, width: int = 0) -> str:
    """Join a text's lines with semicolons; carets under a line are left out."""
    told = (each.strip() for each in text.splitlines())
    return line("; ".join(each for each in told if each.strip("^")), width)


def call(name: str, arguments: dict[str, Any], width: int = 0) -> str:
    """Render a call like code: `pay(invoice="A-1", cents=1200)`."""
    inner = ", ".join(f"{plain(each)}={_exact(value)}" for each, value in arguments.items())
    text = f"{plain(name)}({inner})"
    return text if not width or len(text) <= width else text[: width - 2] + "…)"


def _exact(value: Any) -> str:
    """Render a value as JSON in which no run of spaces can hide its length or imitate line breaks."""
    return _SPACES.sub(r"\\u0020", plain(json.dumps(value, ensure_ascii=False, default=str)))

"""What a text holds once its wrappings are taken off: percent-encoding, character references, Base64, hexadecimal.

Whoever wants to carry something out unseen wraps it. Each text is unwrapped twice at most, and what stands in one kind
of wrapping is one text, so that the cost stays in proportion to its length.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from scaffold_monitors.entailment.wording import visible

# A run of letters that is as long as this may be something encoded.
_RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_SHORTEST = 12
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
_DEEPEST = 2


def forms(text: str) -> Iterator[tuple[str, str]]:
    """A text, and what it holds in wrappings: how each was wrapped ("" for the text itself), and the text."""
    ahead = [("", visible(text), 0)]
    seen: set[str] = set()
    while ahead:
        how, form, depth = ahead.pop(0)
        if form in seen:
            continue
        seen.add(form)
        yield how, form
        if depth < _DEEPEST:
            ahead += [(f"{how} {inner}".strip(), visible(each), depth + 1) for inner, each in _unwrapped(form)]


def _unwrapped(text: str) -> Iterator[tuple[str, str]]:
    if "%" in text:
        yield "percent-encoded", unquote_plus(text)
    if "&" in text and ";" in text:
        yield "in character references", html.unescape(text)
    held: dict[str, dict[str, None]] = {"in hexadecimal": {}, "in Base64": {}}
    for run in _RUN.findall(text):
        if _HEX.fullmatch(run):
            held["in hexadecimal"] |= dict.fromkeys(_readable(bytes.fromhex(run)))
        for part in dict.fromkeys((run, *run.split("/"))):  # a slash may also part an address
            held["in Base64"] |= dict.fromkeys(_base64(part))
    for how, texts in held.items():
        if texts:
            yield how, "\n".join(texts)  # one text of all: many small ones would take far longer to read


def _base64(run: str) -> Iterator[str]:
    if len(run) < _SHORTEST:
        return
    bare = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        yield from _readable(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
    except binascii.Error:
        return


def _readable(content: bytes) -> Iterator[str]:
    """Text, when it is some: bytes by chance are none."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    if all(letter.isprintable() or letter.isspace() for letter in text):
        yield text

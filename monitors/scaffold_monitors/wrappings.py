"""Decodes what is hidden in a text by percent-encoding, character references, Base64 or hexadecimal.

Exfiltrated data is often encoded. Each text is decoded at most twice, and all pieces in one encoding are joined into
one text, so the cost stays proportional to the length.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from scaffold_monitors.entailment.wording import visible

# A run of letters at least this long may be encoded.
_RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_SHORTEST = 12
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
# Bytes one by one: "54 72 30", "54:72:30", "0x54, 0x72", and escapes as in programs.
_BYTES = re.compile(r"(?:(?:\\x|\\u00|0x)?[0-9a-fA-F]{2}[\s:,]{0,2}){8,}")
_BETWEEN = re.compile(r"\\x|\\u00|0x|[\s:,]")
_DEEPEST = 2


def forms(text: str) -> Iterator[tuple[str, str]]:
    """Yield a text and its decoded contents, each after the name of its encoding ("" for the text itself)."""
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
    for run in _BYTES.findall(text):
        held["in hexadecimal"] |= dict.fromkeys(_readable(bytes.fromhex(_BETWEEN.sub("", run))))
    for run in _RUN.findall(text):
        if _HEX.fullmatch(run):
            held["in hexadecimal"] |= dict.fromkeys(_readable(bytes.fromhex(run)))
        for part in dict.fromkeys((run, *run.split("/"))):  # a slash may also separate parts of an address
            held["in Base64"] |= dict.fromkeys(_base64(part))
    for how, texts in held.items():
        if texts:
            yield how, "\n".join(texts)  # joined, since many small texts would take far longer to read


def _base64(run: str) -> Iterator[str]:
    if len(run) < _SHORTEST:
        return
    bare = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        yield from _readable(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
    except binascii.Error:
        return


def _readable(content: bytes) -> Iterator[str]:
    """Yield the content as text, if it is text rather than random bytes."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    if all(letter.isprintable() or letter.isspace() for letter in text):
        yield text

"""Finds what a reader cannot read in a text: encodings, invisible characters, another script than the request's.

It works by rules, without a model. An encoding is no proof of intent; the decoded content is passed to the judge.
Another language in the same script is left to the judge.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from scaffold_monitors.entailment.wording import unseen
from scaffold_monitors.wrappings import forms

Kind = Literal["encoded", "unreadable", "unseen", "script"]

_FEWEST_UNSEEN = 4
_FORMS = "\ufe0e\ufe0f\u200d"
_FEW_LETTERS = 10  # fewer different characters are no encoding, but for example a line of dashes
_MUCH = 0.1
_WRAPPED = 1.4  # characters per encoded letter, about
_RUN = re.compile(r"[A-Za-z0-9+/=_-]{60,}")
_FEWEST_LETTERS = 20
_SAMPLE = 20_000  # characters from which the script is determined
_SHOWN = 200
_DECODED = 4_000
_OTHERS = 0.5  # from this share of letters in another script, a text counts as written in it


@dataclass(frozen=True, slots=True)
class Obscured:
    """One unreadable piece of a text.

    Attributes:
        kind: its kind.
        quote: its beginning, as written; empty if it is the text as a whole.
        start: offset of the quote.
        holds: its decoded content, if that is text.
        why: the reason in words.
        share: its share of the text, from 0 to 1.
    """

    kind: Kind
    quote: str
    start: int
    holds: str
    why: str
    share: float = 1.0


def obscured(text: str, request: str = "") -> list[Obscured]:
    """Find what cannot be read in a text.

    Args:
        text: the text.
        request: words in a language that the text's reader is expected to know.
    """
    return [*_encoded(text), *_unseen(text), *_foreign(text, request)]


def _encoded(text: str) -> list[Obscured]:
    found = []
    for how, form in forms(text):
        if "Base64" in how or "hexadecimal" in how:
            share = min(1.0, _WRAPPED * len(form) / len(text))
            found.append(Obscured("encoded", "", 0, form[:_DECODED], f"{how}: {form[:_SHOWN]!r}", share))
    return found or _unreadable(text)


def _unreadable(text: str) -> list[Obscured]:
    """Find runs that are no words, if they are much of the text; a single checksum is not unusual."""
    runs = [match for match in _RUN.finditer(text) if len(set(match[0])) > _FEW_LETTERS]
    length = sum(len(run[0]) for run in runs)
    if not runs or length < _MUCH * len(text):
        return []
    longest = max(runs, key=lambda run: len(run[0]))
    why = f"{length} characters are in long runs that are not words"
    return [Obscured("unreadable", longest[0][:_SHOWN], longest.start(), "", why, length / len(text))]


def _unseen(text: str) -> list[Obscured]:
    if text.isascii():
        return []
    places = [place for place, letter in enumerate(text) if not letter.isascii() and _is_hidden(text, place)]
    if len(places) < _FEWEST_UNSEEN:
        return []
    start = places[0]
    return [Obscured("unseen", text[start : start + _SHOWN], start, "", f"{len(places)} invisible characters")]


def _is_hidden(text: str, place: int) -> bool:
    """Whether a letter is invisible; the variation selector of an emoji does not count."""
    letter = text[place]
    if not unseen(letter):
        return False
    return letter not in _FORMS or not place or unicodedata.category(text[place - 1])[0] in "LNPZ"


def _foreign(text: str, request: str) -> list[Obscured]:
    if not request or text.isascii():
        return []
    wanted, written = _scripts(request), _scripts(text[:_SAMPLE])
    letters = sum(written.values())
    if not wanted or letters < _FEWEST_LETTERS:
        return []
    others = {script: count for script, count in written.items() if script not in wanted}
    if sum(others.values()) < _OTHERS * letters:
        return []
    names = ", ".join(script.title() for script in sorted(others, key=others.__getitem__, reverse=True)[:3])
    why = f"most of it is in {names} script, unlike the request"
    return [Obscured("script", text.strip()[:_SHOWN], text.find(text.strip()), "", why)]


def _scripts(text: str) -> Counter[str]:
    return Counter(_script(letter) for letter in text if letter.isalpha())


def _script(letter: str) -> str:
    return "LATIN" if letter.isascii() else unicodedata.name(letter, "?").split(" ")[0]

"""Normalises ("folds") text piece by piece while it is written, and maps matches back to the original letters.

Folding works letter by letter: it unifies compatibility forms, look-alikes and case, drops marks and invisible
characters, and collapses white space. So the pieces of a text fold to the same as the whole.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from scaffold_monitors.entailment.wording import unseen

# The commonest letters of other scripts that look like Latin ones (Unicode TR 39).
_LOOKALIKES = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u043a\u043c\u0442\u0432\u043d"
        "\u03b1\u03b5\u03bf\u03c1\u03bd\u03c4\u03c5\u03c7\u03b9\u03ba\u0131\u0261\u2018\u2019\u201c\u201d\u2013\u2014\u2212`",
        "aeopcyxijsdqwhkmtbh" + "aeopvtuxikig''\"\"---'",
        strict=True,
    )
)
_SPACES = re.compile(r"\s+")
_CIRCLED = 4_000  # characters searched for repeating passages
_SHORTEST = 8  # characters of a passage that counts
_TRIES = 8  # how many lengths of a passage are tried


@lru_cache(maxsize=8192)
def _letter(letter: str) -> str:
    """Fold one letter: often to one letter, sometimes to several, to nothing if it is invisible."""
    if letter.isspace():
        return " "
    if unseen(letter):
        return ""
    flat = unicodedata.normalize("NFKD", letter)
    bare = "".join(_LOOKALIKES.get(each, each) for each in flat.casefold() if not unicodedata.combining(each))
    return "" if unseen(bare) else bare


def folded(text: str) -> str:
    """Fold a text."""
    flat = text.lower().replace("`", "'") if text.isascii() else "".join(map(_letter, text))
    return _SPACES.sub(" ", flat)


class Folded:
    """A growing text, with its end folded.

    Attributes:
        raw: all of it, as it was written.
    """

    __slots__ = ("_kept", "_pieces", "_window")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._kept = ""
        self._window = ""

    @property
    def raw(self) -> str:
        """All of it, as it was written."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, piece: str, tail: int) -> str:
        """Add a piece; return it folded, after the last `tail` folded letters before it."""
        self._pieces.append(piece)
        more = folded(piece)
        if more.startswith(" ") and (not self._kept or self._kept.endswith(" ")):
            more = more[1:]
        self._window = (self._kept[-tail:] if tail else "") + more
        kept = max(tail, _CIRCLED)
        # Cut now and then, so that the cost of a piece does not grow with the text.
        self._kept += more
        if len(self._kept) > 2 * kept:
            self._kept = self._kept[-kept:]
        return self._window

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Map a span of what `add` last returned to the raw text, by counting letters back from the end."""
        raw = self.raw
        behind = len(self._window) - end
        length = end - start
        last = first = len(raw)
        seen, spaced = 0, False
        for place in range(len(raw) - 1, -1, -1):
            flat = _letter(raw[place]) if not raw[place].isascii() else (" " if raw[place].isspace() else raw[place])
            if flat == " ":
                if spaced:
                    continue
                spaced = True
            elif flat:
                spaced = False
            if seen < behind:
                seen += len(flat)
                last = first = place
                continue
            first = place
            seen += len(flat)
            if seen >= behind + length:
                break
        return first, last

    def circling(self, times: int) -> int:
        """Return the length of a passage that the text ends in more than `times` times in a row; 0 if none."""
        text = self._kept[-_CIRCLED:]
        end = text[-_SHORTEST:]
        place = len(text) - _SHORTEST
        for _ in range(_TRIES):
            place = text.rfind(end, 0, place + _SHORTEST - 1)
            length = len(text) - _SHORTEST - place
            if place < 0 or length * (times + 1) > len(text):
                return 0
            if length >= _SHORTEST and text.endswith(text[-length:] * (times + 1)):
                return length
        return 0

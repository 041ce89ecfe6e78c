"""Text in one spelling, folded piece by piece while it is written, with the way back to the letters as they stood.

Folding goes letter by letter (compatibility forms unified, marks and unseen characters dropped, look-alikes and case
unified, white space made one space), so a text that comes in pieces folds to the same as the whole.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from scaffold_monitors.entailment.wording import unseen

# Letters of other scripts that pass for Latin ones at a glance (Unicode TR 39), the commonest.
_LOOKALIKES = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u043a\u043c\u0442\u0432\u043d"
        "\u03b1\u03b5\u03bf\u03c1\u03bd\u03c4\u03c5\u03c7\u03b9\u03ba\u0131\u0261\u2018\u2019\u201c\u201d\u2013\u2014\u2212`",
        "aeopcyxijsdqwhkmtbh" + "aeopvtuxikig''\"\"---'",
        strict=True,
    )
)
_SPACES = re.compile(r"\s+")
_CIRCLED = 4_000  # characters in which going round in circles is looked for
_SHORTEST = 8  # of a passage that counts
_TRIES = 8  # how many lengths of it are tried


@lru_cache(maxsize=8192)
def _letter(letter: str) -> str:
    """One letter as it is compared: often one letter, sometimes several, and nothing for what is not seen."""
    if letter.isspace():
        return " "
    if unseen(letter):
        return ""
    flat = unicodedata.normalize("NFKD", letter)
    bare = "".join(_LOOKALIKES.get(each, each) for each in flat.casefold() if not unicodedata.combining(each))
    return "" if unseen(bare) else bare


def folded(text: str) -> str:
    """A text in one spelling."""
    flat = text.lower().replace("`", "'") if text.isascii() else "".join(map(_letter, text))
    return _SPACES.sub(" ", flat)


class Folded:
    """A text that grows, and its end in one spelling.

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
        """Take in a piece; gives the folded piece behind the last `tail` letters of what came before it."""
        self._pieces.append(piece)
        more = folded(piece)
        if more.startswith(" ") and (not self._kept or self._kept.endswith(" ")):
            more = more[1:]
        self._window = (self._kept[-tail:] if tail else "") + more
        kept = max(tail, _CIRCLED)
        # Cut now and then, so that a long text costs no more a piece than a short one.
        self._kept += more
        if len(self._kept) > 2 * kept:
            self._kept = self._kept[-kept:]
        return self._window

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch of what `add` gave last stands in the raw text: found from its end, letter by letter."""
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
        """How long the passage is that the text ends in more than so many times in a row; 0 for none."""
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

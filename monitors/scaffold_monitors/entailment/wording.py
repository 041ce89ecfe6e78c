"""Compares texts: normalises characters, matches whole tokens, and stems words.

A value occurs ("stands") in a text only as a whole: `acme` does not occur in `acme-evil`, nor `evil.com` in
`not-evil.com`. Confusable characters (Unicode TR 39) never match each other here; `skeleton` detects look-alikes.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from scaffold.vocabulary.characters import UNSEEN

_QUOTES = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u00ab": '"',
        "\u00bb": '"',
        "`": "'",
        "\u2013": "-",
        "\u2014": "-",
        "\u2212": "-",
        "\u00a0": " ",
    }
)
_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?", re.UNICODE)
_ENDS = ".,;:!?()[]{}<>\"'`*"
# Small letters of other alphabets, and the Latin ones that they look like.
_LETTERS = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb"
        "\u043a\u043c\u0442\u0432\u043d\u03b1\u03b5\u03bf\u03c1\u03bd\u03c4\u03c5\u03c7\u03b9\u03ba\u03b3",
        "aeopcyxijsdqwhkmtbhaeopvtuxiky",
        strict=True,
    )
)
_CAPITALS = {each.upper(): letter.upper() for each, letter in _LETTERS.items()} | {"\u039d": "N", "\u03a5": "Y"}
_LATIN = str.maketrans(_LETTERS | _CAPITALS)
_ALIEN = "".join(map(chr, _LATIN))
# It is tried at the beginning of a run of letters only: one without a match would take quadratic time.
_MIXED = re.compile(f"(?<![A-Za-z{_ALIEN}])(?:[A-Za-z]+[{_ALIEN}]|[{_ALIEN}]+[A-Za-z])[A-Za-z{_ALIEN}]*")
_LOOKALIKES = str.maketrans(_LETTERS | dict(zip("01|$\u217c\u0131\u0261", "oll" + "slig", strict=True)) | {"i": "l"})
# Scripts with letters that look alike, by the beginning of the characters' names.
_ALIKE = frozenset(
    {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "FULLWIDTH", "MATHEMATICAL"}
)
_HOUR = re.compile(r"[\d:]+")
_PARTING = re.compile(r"[,;|<>()\"'\[\]{}=]+")
_WITH_COMMA = re.compile(
    r"(?<![\d,.])(?:\d{1,3}(?:[,']\d{2,3})*[,']\d{3}|\d+,\d\d?|\d{1,3}(?:\.\d{3})+,\d\d?)(?![\d,])"
)
_HYPHENED = re.compile(r"[a-z]+(?:[-_][a-z]+)+")
_ADDRESS = re.compile(r"^(?:[a-z][a-z0-9+.-]*://)?(?:www\.)?")


def unseen(text: str) -> bool:
    """Whether a text contains invisible characters."""
    return bool(UNSEEN.search(text))


def mixed_scripts(text: str) -> bool:
    """Whether a word of a text mixes scripts with look-alike letters (Latin, Greek, Cyrillic, full-width)."""
    if text.isascii():
        return False
    return any(len(_scripts(word)) > 1 for word in re.split(r"[\s@./:_-]+", text))


def latin(text: str) -> str:
    """Replace letters that look like Latin ones, in words that mix alphabets; the length stays."""
    if text.isascii():
        return text
    return _MIXED.sub(lambda word: word[0].translate(_LATIN), text)


def _scripts(word: str) -> set[str]:
    found = {unicodedata.name(letter, "?").split(" ")[0] for letter in word if letter.isalpha()}
    return found & _ALIKE


def visible(text: str) -> str:
    """Return a text as it looks: compatibility forms unified, invisible characters removed; case and quotes stay."""
    return text if text.isascii() else UNSEEN.sub("", unicodedata.normalize("NFKC", text))


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """Normalise a text: compatibility forms, case and quotes unified, invisible characters removed."""
    if text.isascii():
        return text.lower().replace("`", "'")
    return UNSEEN.sub("", unicodedata.normalize("NFKC", text).translate(_QUOTES)).casefold()


@lru_cache(maxsize=4096)
def skeleton(text: str) -> str:
    """Return a text's skeleton (Unicode TR 39): different texts with equal skeletons look alike."""
    flat = unicodedata.normalize("NFKD", plain(text))
    return (
        "".join(c for c in flat if not unicodedata.combining(c))
        .translate(_LOOKALIKES)
        .translate(_LOOKALIKES)  # look-alikes of i look like l, too
        .replace("rn", "m")
        .replace("vv", "w")
    )


# Words of at most this many letters are not stemmed.
_SHORT = 3


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Return a word without its inflection; derivation, which changes the meaning, stays."""
    if len(word) <= _SHORT or not word.isascii():
        return word
    word = _singular(word.removesuffix("'s"))
    for suffix in ("ing", "ed"):
        base = word.removesuffix(suffix)
        if base != word and len(base) >= _SHORT and re.search("[aeiouy]", base):
            word = _undoubled(base)
            break
    if word.endswith("i") and len(word) > _SHORT:
        word = word[:-1] + "y"
    return word[:-1] if word.endswith("e") and len(word) > _SHORT else word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > _SHORT + 1:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _undoubled(base: str) -> str:
    """Undouble the last letter: `stop` for `stopp`, `cancel` for `cancell`; `call` and `pass` stay."""
    if len(base) <= _SHORT or base[-1] != base[-2] or base[-1] in "sz":
        return base
    return base if base[-1] == "l" and len(base) <= _SHORT + 2 else base[:-1]


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """Return the words of a text in order, normalised."""
    return tuple(_WORD.findall(plain(text)))


@lru_cache(maxsize=2048)
def stems(text: str) -> frozenset[str]:
    """Return the stems of a text's words."""
    return frozenset(stem(word) for word in words(text))


@lru_cache(maxsize=1024)
def solids(text: str) -> frozenset[str]:
    """Return the unbroken strings of a text, and their parts; with and without punctuation and an address's scheme."""
    found = set()
    for piece in plain(text).split():
        # The comma in a number is no separator.
        inner = _WITH_COMMA.sub(lambda found: found[0].replace(",", "\0").replace("'", "\1"), piece)
        for part in {piece, *(each.replace("\0", ",").replace("\1", "'") for each in _PARTING.split(inner))}:
            bare = part.strip(_ENDS)
            if bare:
                found.add(bare)
                found.add(address(bare))
                if ":" in bare and "//" not in bare and not _HOUR.fullmatch(bare):
                    found.add(bare.rpartition(":")[2])
    return frozenset(found)


def address(text: str) -> str:
    """Strip scheme, `www.` and final slash from an address; return anything else unchanged."""
    return _ADDRESS.sub("", text).rstrip("/") if "." in text else text


def stands_in(value: str, text: str) -> bool:
    """Whether a value occurs in a text as a whole token, or as a run of whole words."""
    bare = plain(value).strip().strip(_ENDS).strip()
    if not bare:
        return False
    if " " not in bare and not bare.isalpha():
        if _HYPHENED.fullmatch(bare) and runs_in(tuple(re.split("[-_]", bare)), words(text)):
            return True  # people write "front desk" for `front-desk`
        return bare in solids(text) or (("." in bare or "/" in bare) and address(bare) in solids(text))
    run = words(bare)
    if not run:
        return bare in plain(text)
    return runs_in(run, words(text)) and (not _glued(bare) or bare in plain(text))


def _glued(bare: str) -> bool:
    """Whether some piece of it is an identifier, whose punctuation must match too."""
    return any(
        "@" in piece or "/" in piece or (any(c.isdigit() for c in piece) and not piece.strip(_ENDS).isalnum())
        for piece in bare.split()
    )


def runs_in(run: tuple[str, ...], among: tuple[str, ...]) -> bool:
    """Whether some words occur in a row among others."""
    if not run:
        return False
    first, length = run[0], len(run)
    place = -1
    while True:
        try:
            place = among.index(first, place + 1)
        except ValueError:
            return False
        if among[place : place + length] == run:
            return True

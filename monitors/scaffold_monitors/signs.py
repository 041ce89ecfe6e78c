"""Finds signs of prompt injection: that a text addresses the machine that reads it rather than a person.

The rules are readable, and written from general knowledge of such texts, not from any collection of them:

- *override*: asks to ignore earlier instructions (Perez & Ribeiro 2022, arXiv:2211.09527), in sixteen languages;
- *address*: speaks to an assistant, or tells it what it is (Greshake et al. 2023, arXiv:2302.12173);
- *principal*: speaks of "the user" to somebody who acts for them, or asks to keep something from them;
- *markup*: imitates the marks that structure a conversation (Chen et al. 2024, StruQ, arXiv:2402.06363), such as
  those of ChatML, Llama, Alpaca and this project;
- *oversight*: imitates a verdict, an approval or a trace event;
- *tool*: names a tool in the way programs do;
- *hidden*: contains what people do not see: tag characters, runs of variation selectors, zero-width characters within
  words, bidirectional overrides (Boucher & Anderson 2021, arXiv:2111.00169), HTML comments and styles;
- any of these in an encoding: Base64, hexadecimal, percent-encoding, character references.

They are only evidence: an ordinary request between people has none of them, a text about attacks may have all.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from scaffold_monitors.entailment.wording import latin, visible
from scaffold_monitors.wrappings import forms

Kind = Literal["override", "address", "principal", "markup", "oversight", "tool", "hidden"]

_FILE: dict[str, Any] = tomllib.loads(files(__package__).joinpath("signs.toml").read_text(encoding="utf-8"))
_SENTENCE = re.compile("[^.!?\n\u3002\uff01\uff1f]{1,400}[.!?\u3002\uff01\uff1f]?")
# Where a line of a paragraph ends, as in mail that was wrapped or quoted.
_WRAP = re.compile(r"(?<=[\w,'\u2019-])[ \t]{0,4}\r?\n[ \t>]{0,8}(?=\w)")
_QUOTED = 200
_MOST_COMMENTS = 50
_LONGEST_COMMENT = 4_000
_FEWEST_SELECTORS = 4
_FEWEST_SPLITS = 3


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign in one text.

    Attributes:
        kind: its kind.
        score: its strength, from 0 to 1; a rank, not a probability.
        start: offset of its first character in the text as given; 0 for encoded text.
        end: offset after its last.
        quote: its words.
    """

    kind: Kind
    score: float
    start: int
    end: int
    quote: str


def signs(text: str, tools: Collection[str] = ()) -> list[Sign]:
    """Find the signs in a text, in order.

    Args:
        text: the text.
        tools: names of tools; only those that never occur in prose count (`send_money`, `sendMoney`).
    """
    found = [*_hidden(text)]
    for how, form in forms(text):
        here = [each for reading in dict.fromkeys((form, _flat(form))) for each in _plainly(reading, tools)]
        if not how and form == text:
            found += [replace(each, quote=_quote(text[each.start : each.end])) for each in here]
        else:
            what = how or "between unseen characters"
            found += [Sign(each.kind, each.score, 0, 0, f"{what}: {each.quote}") for each in here]
    return sorted(set(found), key=lambda sign: (sign.start, sign.end, sign.kind, sign.quote))


def score(found: Collection[Sign]) -> float:
    """Combine signs into a score: the strongest one's, plus a tenth for each further kind, at most 0.99."""
    if not found:
        return 0.0
    kinds = {sign.kind for sign in found}
    return min(0.99, round(max(sign.score for sign in found) + 0.1 * (len(kinds) - 1), 2))


def _flat(text: str) -> str:
    """Return a text without line breaks within sentences and with look-alike letters in Latin; the length stays."""
    return latin(_WRAP.sub(lambda wrap: " " * len(wrap[0]), text))


def _plainly(text: str, tools: Collection[str]) -> Iterator[Sign]:
    for kind, weight, pattern in _PATTERNS:
        yield from (_sign(kind, weight, match) for match in pattern.finditer(text))
    for match in _SENTENCE.finditer(text):
        said = match[0].casefold()
        if _overrides(said):
            yield _sign("override", 0.9, match)
        if _addresses(said):
            yield _sign("address", 0.7, match)
    if (names := _named(frozenset(tools))) is not None:
        yield from (_sign("tool", 0.6, match) for match in names.finditer(text))


def _sign(kind: Kind, weight: float, match: re.Match[str]) -> Sign:
    return Sign(kind, weight, match.start(), match.end(), _quote(match[0]))


def _quote(text: str) -> str:
    return text.strip()[:_QUOTED]


# --- words


def _either(words: Collection[str], *, spaced: bool = True) -> str:
    choice = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return rf"(?<!\w)(?:{choice})(?!\w)" if spaced else f"(?:{choice})"


_OVERRIDES = [
    tuple(
        re.compile(_either(each[part].split(), spaced=each.get("spaced", True))) for part in ("verbs", "nouns", "about")
    )
    for each in _FILE["override"].values()
]
_MACHINE = _FILE["machine"]
_NAME = rf"(?:{_either(_MACHINE['names'])}|{_either(_MACHINE['unspaced'], spaced=False)})"
# "Dear assistant, ...", "AI, ...", "to the language model: ..."; a bare "Agent: ..." is a label.
_VOCATIVE = re.compile(
    rf"^\W*(?:(?:{_either(_MACHINE['greetings'].split())})\W{{1,3}}(?:(?:the|any|all|an?)\s)?{_NAME}s?\s*[,:!\uff0c\uff1a\u3001]"
    rf"|{_NAME}s?\s*[,!\uff0c\u3001])"
)
_TOLD = re.compile(
    rf"(?:{_either(_MACHINE['told'])}|{_either(_MACHINE['told-unspaced'], spaced=False)})"
    rf"(?:\W{{1,3}}\w+){{0,5}}?\W{{0,3}}{_NAME}"
)
_READING = re.compile(
    rf"{_NAME}s?\s(?:that|who|which|reading|processing|summari[sz]ing|handling|parsing)\b"
    rf"|\b(?:instructions?|message|note|notice|task)\s(?:for|to)\s(?:the\s|any\s|all\s)?{_NAME}"
)


def _overrides(said: str) -> bool:
    return any(all(pattern.search(said) for pattern in language) for language in _OVERRIDES)


def _addresses(said: str) -> bool:
    return bool(_VOCATIVE.search(said) or _TOLD.search(said) or _READING.search(said))


@lru_cache(maxsize=64)
def _named(tools: frozenset[str]) -> re.Pattern[str] | None:
    told = [name for name in tools if "_" in name.strip("_") or re.search(r"[a-z][A-Z]", name)]
    return re.compile(_either(told)) if told else None


# --- forms


_PATTERNS: list[tuple[Kind, float, re.Pattern[str]]] = [
    (each["kind"], each["score"], re.compile("".join(each["pattern"]), re.IGNORECASE | re.MULTILINE))
    for each in _FILE["patterns"]
]

# --- what is not seen

_TAGS = re.compile("(?<!\U0001f3f4)(?<![\U000e0020-\U000e007f])[\U000e0020-\U000e007f]{2,}")
_SELECTORS = re.compile(f"[\ufe00-\ufe0f\U000e0100-\U000e01ef]{{{_FEWEST_SELECTORS},}}")
_SPLITS = re.compile("[A-Za-z][\u200b-\u200d\u2060\ufeff]+(?=[A-Za-z])")
_RUN = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff]{4,}")
_TURNED = re.compile("[\u202d\u202e]")
_TO_THE_LEFT = re.compile("[\u0590-\u08ff]")
_ISOLATES = re.compile("[\u202a\u202b\u2066-\u2068]")
_UNSHOWN = re.compile(
    r"<\w+[^<>]{0,300}(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])"
    r"|color\s*:\s*(?:white|transparent|#fff(?:fff)?)\b)[^<>]{0,300}>",
    re.IGNORECASE,
)


def _hidden(text: str) -> Iterator[Sign]:
    if not text.isascii():
        for match in _TAGS.finditer(text):
            shown = "".join(chr(ord(letter) - 0xE0000) for letter in match[0])
            yield Sign("hidden", 0.9, match.start(), match.end(), f"in tag characters: {shown[:_QUOTED]}")
        for pattern, what in ((_SELECTORS, "variation selectors"), (_RUN, "zero-width characters")):
            yield from (_unseen(match, 0.8, f"a run of {what}") for match in pattern.finditer(text))
        splits = list(_SPLITS.finditer(text))
        if len(splits) >= _FEWEST_SPLITS:
            yield _unseen(splits[0], 0.6, "zero-width characters within words")
        yield from (_unseen(match, 0.8, "a bidirectional override") for match in _TURNED.finditer(text))
        if not _TO_THE_LEFT.search(text):
            yield from (_unseen(match, 0.6, "a bidirectional isolate") for match in _ISOLATES.finditer(text))
    for start, end in _comments(text):
        inside = visible(text[start + 4 : end]).removesuffix("-->").casefold()
        telling = any(_overrides(said) or _addresses(said) for said in _SENTENCE.findall(inside))
        yield Sign("hidden", 0.9 if telling else 0.4, start, end, text[start:end][:_QUOTED])
    yield from (
        Sign("hidden", 0.5, match.start(), match.end(), match[0][:_QUOTED]) for match in _UNSHOWN.finditer(text)
    )


def _comments(text: str) -> Iterator[tuple[int, int]]:
    """Find HTML comments; an unclosed one is cut off."""
    end = 0
    for _ in range(_MOST_COMMENTS):
        start = text.find("<!--", end)
        if start < 0:
            return
        close = text.find("-->", start, start + _LONGEST_COMMENT)
        end = close + 3 if close > 0 else min(len(text), start + _LONGEST_COMMENT)
        yield start, end


def _unseen(match: re.Match[str], weight: float, what: str) -> Sign:
    return Sign("hidden", weight, match.start(), match.end(), what)

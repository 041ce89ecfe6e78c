"""Tokenises a request into words and literals (quotes, addresses, files, identifiers, numbers)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from scaffold_monitors.entailment.lexicon import SPELLINGS, TITLES
from scaffold_monitors.entailment.wording import plain, stem

Kind = Literal["word", "quote", "email", "url", "file", "identifier", "version", "number", "stop", "mark"]

_TAIL = r"""[^\s,;"'<>()]*[^\s,;"'<>().!?:]"""
# The dot of "Dr. Haas" does not end a sentence.
_NO_TITLE = "".join(rf"(?<!\b{title.capitalize()})" for title in sorted(TITLES))
# Groups of digits that are neither a range nor a day: with a leading zero, or more than two of them.
_CODE = (
    r"(?<![\w.,/:@+-])(?!\d{4}-\d\d?(?:-\d\d?)?(?![\d-])|\d\d?-\d\d?(?:-\d{2,4})?(?![\d-])|\d\d?-\d{4}(?![\d-]))"
    r"(?=0|[\d-]*-0|\d+-\d+-)\d+(?:-\d{2,})+(?![\w@/-]|[.,:]\d)"
)
_TOKEN = re.compile(
    rf"""
    (?P<quote>"[^"\n]{{1,2000}}"|(?<![\w])'[^\n]{{1,2000}}?'(?!\w))
  | (?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)
  | (?P<url>(?:https?://|www\.){_TAIL}
        |(?<![\w.@])(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|gov|edu|info|app|co|ai|eu|de|uk|ch|fr)(?:/{_TAIL})?(?!\w))
  | (?P<file>(?<![\w/.])~?/[\w~-]+(?:[/.][\w~-]+)*
        |(?:[\w~-]*/)*[\w-]+(?:\.[\w-]+)*\.[a-z][a-z0-9]{{1,4}}(?!\w|\.\w))
  | (?P<identifier>[\#@](?=[\w-]*[A-Za-z])[\w-]+
        |(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)+
        |(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{{8,}}
        |[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+
        |{_CODE}
        |(?<![\w.@])(?:[a-z0-9-]+\.)+[a-z]{{6,24}}(?!\w|\.\w))  # a host, a module
  | (?P<version>(?<![\w.])v?
        (?!\d{{1,2}}\.\d{{1,2}}\.\d{{2,4}}(?![\w.]))(?!\d+(?:\.\d{{3}})+(?![\w.]))  # neither a day nor thousands
        \d+(?:\.\d+){{2,}}(?:[-/+][\w.-]*\w)?(?!\w))
  | (?P<number>(?<![A-Za-z])[-+]?[$€£¥]?\d+(?:[.,:]\d+)*(?:st|nd|rd|th|[kKmM%])?(?!\w)|[$€£¥])
  | (?P<word>[^\W\d_]+(?:['\u2019-][^\W\d_]+)*)
  | (?P<stop>{_NO_TITLE}[.!?](?=\s|$|["')])|\n+)
  | (?P<mark>[,:;()\u2022*\u2013\u2014-])
  """,
    re.VERBOSE | re.UNICODE,
)
_MEASURE = re.compile(r"\d+(?:st|nd|rd|th)?-[a-z]+(?:-[a-z]+)?")
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a request.

    Attributes:
        text: the text as written.
        norm: the text normalised; for a quote, its contents.
        stem: the stem of a word; empty for other kinds.
        kind: the kind of token.
        start: offset of its first character.
        end: offset after its last.
    """

    text: str
    norm: str
    stem: str
    kind: Kind
    start: int
    end: int

    @property
    def named(self) -> bool:
        """Whether it is capitalised like a name."""
        return self.kind == "word" and self.text[:1].isupper()

    @property
    def literal(self) -> bool:
        """Whether it is a literal."""
        return self.kind in ("quote", "email", "url", "file", "identifier", "number")


def sentences(text: str) -> list[list[Token]]:
    """Return the tokens of each sentence of a text, up to a limit."""
    found: list[list[Token]] = [[]]
    for match in _TOKEN.finditer(text[:_MOST]):
        kind: Kind = match.lastgroup  # type: ignore[assignment] # the groups are named after the kinds
        if kind == "stop":
            if found[-1] and not _is_number_of_item(found[-1]):
                found.append([])
            continue
        found[-1].append(_token(match, kind))
    return [each for each in found if each]


def _token(match: re.Match[str], kind: Kind) -> Token:
    raw = match[0]
    if kind == "identifier" and _MEASURE.fullmatch(raw):
        kind = "number"  # "2-hour", "k-th"
    if kind == "version":
        kind = "identifier"
    norm = plain(raw[1:-1] if kind == "quote" else raw)
    if kind == "word" and not raw.isupper():
        norm = SPELLINGS.get(norm, norm)
    return Token(raw, norm, stem(norm) if kind == "word" else "", kind, match.start(), match.end())


def _is_number_of_item(tokens: list[Token]) -> bool:
    """Whether the tokens so far are the number of a list item, whose dot ends no sentence."""
    return len(tokens) == 1 and tokens[0].kind == "number"

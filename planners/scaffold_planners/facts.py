"""Extracts facts from a text by plain rules, and checks which of them another text still contains.

Facts are numbers, dates, names, quotations and binding sentences (duties, prohibitions, limits). No model is asked, so
the same text always has the same facts. The rules prefer to find too much: a fact wrongly called lost costs a few words
when it is put back, one wrongly called kept is gone. Numbers, dates and quotations are found in any language; names if
the script has capitals; months and weekdays by their English, German, French, Spanish and Italian names; binding
sentences by words of these languages, Russian, Chinese and Japanese. A reworded binding sentence counts as kept if
names, figures and negations are in the same order, since who may and who may not depends on it. A number is matched by
value and unit, not by what it counts: a bare `3` counts as kept wherever there is a 3.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Kind = Literal["constraint", "date", "number", "name", "quote"]
# The order in which lost facts are put back if not all fit.
_ORDER: tuple[Kind, ...] = ("constraint", "date", "number", "name", "quote")

_UNITS = (
    "%|°C|°F|°|€|\\$|£|¥|EUR|USD|GBP|CHF|JPY|kg|mg|g|t|km|cm|mm|m|l|ml|ms|s|min|h|kWh|kW|MW|W|V|mA|A|bar|hPa|Pa|px|"
    "kB|MB|GB|TB|kHz|MHz|GHz|Hz"
)
_MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|"
    "Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|"
    "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre|"
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|"
    "gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
)
_DAYS = (
    "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|Montag|Dienstag|Mittwoch|Donnerstag|Freitag|Samstag|Sonntag|"
    "lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|lunes|martes|miércoles|jueves|viernes|sábado|domingo|"
    "lunedì|martedì|mercoledì|giovedì|venerdì"
)
_DATE = re.compile(
    rf"""
      \b\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}})?)?
    | \b\d{{1,2}}[./]\d{{1,2}}[./](?:\d{{4}}|\d{{2}})\b
    | \b\d{{1,2}}(?::\d{{2}}(?::\d{{2}})?)?\ ?(?:[ap]m|[AP]M|Uhr)\b
    | \b\d{{1,2}}:\d{{2}}(?::\d{{2}})?\b
    | \b\d{{1,2}}\.?\ [^\W\d_]{{3,10}}\.?\ \d{{4}}\b(?!-)
    | \b[^\W\d_]{{3,10}}\.?\ \d{{1,2}},\ \d{{4}}\b
    | \b\d{{1,2}}(?:st|nd|rd|th|\.)?\ (?:of\ )?(?:{_MONTHS})\b
    | \b(?:{_MONTHS})\.?\ \d{{1,2}}(?:st|nd|rd|th)?\b
    | \b(?:{_DAYS})\b
    | \d{{4}}年\d{{1,2}}月\d{{1,2}}日
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(
    rf"(?P<before>[$€£¥]\s?)?(?P<number>(?:(?<![\w.,])[-+\u2212])?\d(?:[\d.,'\u2019\u00a0\u202f]*\d)?)"
    rf"(?:\s?(?P<unit>{_UNITS})(?!\w))?"
)
_QUOTE = re.compile(r"\"([^\"\n]{2,80})\"|“([^”\n]{2,80})”|„([^“”\n]{2,80})[“”]|«([^»\n]{2,80})»|「([^」\n]{1,80})」")
# A word with letters and digits, an address, a path, or words joined by _.
_IDENTIFIER = re.compile(
    r"""
      https?://\S+[\w/]
    | (?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]*\w
    | (?:/[\w.-]+){2,}
    | \b(?=[\w-]{0,40}[A-Za-z])(?=[\w-]{0,40}\d)[A-Za-z0-9][A-Za-z0-9_-]*[A-Za-z0-9]\b
    | \b[^\W_]+_\w+\b
    """,
    re.VERBOSE,
)
_FIGURES: tuple[tuple[re.Pattern[str], Kind], ...] = ((_DATE, "date"), (_IDENTIFIER, "name"), (_NUMBER, "number"))
_WORD = re.compile(r"[^\W_][\w'\u2019-]*")
_SENTENCE = re.compile(r"(?:[^.!?;\n\u3002\uff01\uff1f]|[.](?=\w))+[.!?;\u3002\uff01\uff1f]*")
_BINDS = re.compile(
    r"""\b(?:must|never|only|cannot|can't|shall|don't|do\ not|may\ not|at\ most|at\ least|
        no\ (?:more|less|fewer|later|earlier|sooner|longer)\ than|should\ not|shouldn't|mustn't|may\ only|
        at\ the\ latest|avoid|exceed|not\ allowed|maximum|minimum|mandatory|
        unless|until|forbidden|prohibited|required|except|deadline|limit|
        muss|müssen|darf|dürfen|nie|niemals|nur|höchstens|mindestens|verboten|ausser|außer|frist|
        doit|doivent|jamais|seulement|uniquement|interdit|au\ plus|au\ moins|sauf|
        debe|deben|nunca|solo|sólo|prohibido|como\ máximo|al\ menos|salvo|
        deve|devono|mai|soltanto|vietato|al\ massimo|almeno|
        должен|должна|должны|нельзя|никогда|только|запрещено)\b
        |必须|不得|禁止|至少|至多|只能|必ず|してはならない|のみ""",
    re.VERBOSE | re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:not|no|never|cannot|can't|don't|without|nicht|kein\w*|nie|niemals|ne|pas|jamais|nunca|sin|non|mai|не|нет|никогда)\b|不|ない",
    re.IGNORECASE,
)
_SAME_WORDS = 0.8  # share of a binding sentence's words that a rewording must contain
_SHORT_WORD = 3
_OF_A_THOUSAND = 3  # digits between two separators


class Fact(NamedTuple):
    """One fact, as written in the text."""

    kind: Kind
    text: str


def facts_in(text: str) -> tuple[Fact, ...]:
    """Return the facts of a text, binding sentences first, each once."""
    found = dict.fromkeys(_found(text))
    return tuple(sorted(found, key=lambda fact: _ORDER.index(fact.kind)))


def missing(facts: Iterable[Fact], text: str) -> tuple[Fact, ...]:
    """Return the facts that a text no longer contains."""
    kept = _Kept(text)
    return tuple(fact for fact in facts if not kept.has(fact))


def _found(text: str) -> Iterator[Fact]:
    for sentence in _SENTENCE.findall(text):
        if _BINDS.search(sentence):
            yield Fact("constraint", " ".join(sentence.split()).lstrip("-*• "))
    rest = text
    for pattern, kind in _FIGURES:
        for match in pattern.finditer(rest):
            yield Fact(kind, match[0].strip())
        rest = pattern.sub(_blank, rest)  # so that a date's digits are not found as numbers, too
    for match in _QUOTE.finditer(text):
        yield Fact("quote", next(group for group in match.groups() if group))
    yield from _names(text)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _names(text: str) -> Iterator[Fact]:
    """Find runs of capitalised words; a single word counts only if it does not begin a sentence."""
    run: list[str] = []
    end, opens = -2, False
    for match in _WORD.finditer(text):
        word = match[0]
        capital = word[0].isupper() and (len(word) > 1 or word.isalpha())
        follows = match.start() == end + 1 and text[end] == " "
        if run and not (capital and follows):
            yield from _name(run, opens=opens)
            run = []
        if capital:
            if not run:
                opens = _opens(text, match.start())
            run.append(word)
        end = match.end()
    if run:
        yield from _name(run, opens=opens)


def _name(run: list[str], *, opens: bool) -> Iterator[Fact]:
    alone = len(run) == 1
    if alone and (len(run[0]) == 1 or (opens and not run[0].isupper())):
        return  # the first word of a sentence is always capitalised
    yield Fact("name", " ".join(run))


def _opens(text: str, start: int) -> bool:
    """Whether a sentence, a line or a quotation begins here."""
    while start and text[start - 1] in " \t":
        start -= 1
    return not start or text[start - 1] in '.!?:;\n"“„«(-*•'


class _Kept:
    """An index of a text, for looking up many facts."""

    def __init__(self, text: str) -> None:
        self._plain = _plain(text)
        self._words = {word.casefold() for word in _WORD.findall(text)}
        self._numbers: set[tuple[str, str]] = set()
        for each in (text, _IDENTIFIER.sub(_blank, _DATE.sub(_blank, text))):
            for match in _NUMBER.finditer(each):
                unit = _unit(match)
                for reading in _readings(match["number"]):
                    self._numbers |= {(reading, unit), (reading, "")}
        self._binding = [
            (_content_words(sentence), _DENIES.search(sentence) is not None, _order(sentence))
            for sentence in _SENTENCE.findall(text)
            if _BINDS.search(sentence) or _DENIES.search(sentence)
        ]

    def has(self, fact: Fact) -> bool:
        """Whether the text still contains a fact, in any form."""
        match fact.kind:
            case "number":
                return self._has_number(fact.text)
            case "name" if _IDENTIFIER.fullmatch(fact.text) is None:
                return all(word.casefold() in self._words for word in fact.text.split(" "))
            case "constraint":
                return _plain(fact.text) in self._plain or self._binds(fact.text)
            case _:
                return _stands_in(_plain(fact.text), self._plain)

    def _has_number(self, text: str) -> bool:
        match = _NUMBER.search(text)
        if match is None:
            return _plain(text) in self._plain
        return any((reading, _unit(match)) in self._numbers for reading in _readings(match["number"]))

    def _binds(self, sentence: str) -> bool:
        """Whether a binding sentence has nearly all of these words, and the same negations."""
        words, denies, order = _content_words(sentence), _DENIES.search(sentence) is not None, _order(sentence)
        return bool(words) and any(
            also == denies
            and len(words & others) >= _SAME_WORDS * len(words)
            and _figures(words) <= others
            and _in_order(order, their_order)
            for others, also, their_order in self._binding
        )


def _stands_in(words: str, text: str) -> bool:
    """Whether words occur in a text as whole words."""
    place = text.find(words)
    while place >= 0:
        beside = text[max(0, place - 1) : place] + text[place + len(words) : place + len(words) + 1]
        if not any(letter.isalnum() or letter == "_" for letter in beside):
            return True
        place = text.find(words, place + 1)
    return False


def _content_words(sentence: str) -> set[str]:
    words = (word.casefold() for word in re.findall(r"\w+", sentence))
    return {word for word in words if len(word) > _SHORT_WORD or any(letter.isdigit() for letter in word)}


def _order(sentence: str) -> list[str]:
    """Return a sentence's names, figures and negations in order, which decides who is meant."""
    words = _WORD.findall(sentence)
    return [
        "not" if _DENIES.fullmatch(word) else word.casefold()
        for place, word in enumerate(words)
        if _DENIES.fullmatch(word) or any(map(str.isdigit, word)) or (place and word[0].isupper())
    ]


def _in_order(some: list[str], more: list[str]) -> bool:
    """Whether some words occur among others in the same order."""
    rest = iter(more)
    return all(word in rest for word in some)


def _figures(words: set[str]) -> set[str]:
    return {word for word in words if any(letter.isdigit() for letter in word)}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _unit(match: re.Match[str]) -> str:
    return (match["unit"] or (match["before"] or "").strip()).casefold()


@lru_cache(maxsize=16_384)
def _readings(number: str) -> frozenset[str]:
    """Return the values that digits with points and commas can mean; `1.200` has two."""
    digits = re.sub(r"['\u2019\u00a0\u202f]", "", number.replace("\u2212", "-"))
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        decimal = max(".", ",", key=digits.rfind)
        other = "," if decimal == "." else "."
        return _values(digits, digits.replace(other, "").replace(decimal, "."))
    separator = "." if points else ","
    first, *others = digits.split(separator)
    in_thousands = all(len(group) == _OF_A_THOUSAND for group in others) and len(first.lstrip("+-")) <= _OF_A_THOUSAND
    forms = [digits.replace(separator, "")] if in_thousands or not others else []
    forms += [digits.replace(separator, ".")] if len(others) == 1 else []
    return _values(digits, *forms)


def _values(verbatim: str, *forms: str) -> frozenset[str]:
    """Normalise forms of a number; digits that are no number, or begin with a zero (`007`), stay as written."""
    plain = verbatim.lstrip("+-")
    if not forms or (plain.startswith("0") and plain[1:2].isdigit()):
        return frozenset({verbatim})
    return frozenset(str(Decimal(form).normalize()) for form in forms)

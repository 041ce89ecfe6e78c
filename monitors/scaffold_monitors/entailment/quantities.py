"""Parses numbers and dates: `1,100.00 EUR`, `eleven hundred`, `1.1k`; `May 26th`, `26.05.2024`, `2024-05-26`."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from scaffold_monitors.entailment.wording import plain, words

_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
# A longer text is no number.
_LONGEST = 40
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SMALL = {name: value for value, name in enumerate(_SMALL)} | {name: 20 + 10 * place for place, name in enumerate(_TENS)}
_SCALES = {
    "hundred": 100,
    "thousand": 1_000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "dozen": 12,
    "lakh": 100_000,
}
_SHORT = {"k": 1_000, "m": 1_000_000, "mn": 1_000_000, "bn": 1_000_000_000} | _SCALES
_ORDINALS = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
}
# A whole run of digits with separators, outside of identifiers.
_NUMBER = re.compile(
    r"(?<![\w.,@/-])(?P<sign>[-+]?)[$€£¥]?\s?"
    r"(?P<digits>\d{1,3}(?:[,. '\u2009\u202f]\d{3})+(?:[.,]\d{1,2})?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d{1,2})?|\d+(?:[.,]\d+)?)"
    r"\s?(?P<scale>k|m|mn|bn|hundred|thousand|million|billion|dozen|lakh)?(?![\w@/]|[.,']\d)"
)
_NUMBERS = re.compile(r"(?<![\w.,@/-])\d{1,3}(?:,\d{1,3}){2,}(?![\w@/]|[.,']\d)")
# Thousands, or three decimals: it cannot be told.
_AMBIGUOUS = re.compile(r"\d{1,3}\.\d{3}")
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug"),
            *("september sep sept", "october oct", "november nov", "december dec"),
        ),
        1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:(?:,? (?:of |in )?|-)(\d{4}|'\d\d))?"
_DATES = (
    (re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)"), "ymd"),
    (re.compile(rf"(?<!\w)({_MONTH})\.? (?:the )?{_DAY}{_YEAR}(?!\w)"), "Mdy"),
    (re.compile(rf"(?<!\w){_DAY}(?: of|-)? ?({_MONTH})\.?{_YEAR}(?!\w)"), "dMy"),
    (re.compile(r"(?<![\d.])(\d{1,2})[/.-](\d{1,2})[/.-](\d{4}|\d\d)(?!\d|[.-]\d)"), "??y"),
)
_MONTHLY = (
    (re.compile(r"(?<![\d-])(\d{4})-(\d{1,2})(?![\d-])"), "ym"),
    (re.compile(rf"(?<!\w)({_MONTH})\.?,? (?:of )?(\d{{4}})(?!\w)"), "My"),
)
_DAYS_IN_WORDS = _ORDINALS | {
    "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30, "thirty-first": 31,
    **{f"twenty-{name}": 20 + number for name, number in list(_ORDINALS.items())[:9]},
}  # fmt: skip
# "The 9th and the 16th of April": two days of April.
_SHARED_MONTH = re.compile(
    rf"(?<![\w.])(\d{{1,2}}(?:st|nd|rd|th)?)(?:,? (?:and|or)|,)"
    rf"( (?:the )?\d{{1,2}}(?:st|nd|rd|th)? (?:of )?)({_MONTH})\b"
)
# "On the 19th", of any month.
_LONE_DAY = re.compile(
    r"\b(?:on|from|until|till|by|before|after|to|and) the (\d{1,2})(?:st|nd|rd|th)"
    r"(?=$|[.,;:!?]| (?:at|from|to|and|until|till|please)\b)"
    r"|\bthe (\d{1,2})(?:st|nd|rd|th)(?= (?:works?|suits?|fits?|would|will|could|is (?:fine|ok|good|possible))\b)"
)
_WORDED = "|".join(sorted(_DAYS_IN_WORDS, key=len, reverse=True))
_BEFORE_MONTH = re.compile(rf"\b({_WORDED})(?= (?:of )?(?:{_MONTH})\b)")
_AFTER_MONTH = re.compile(rf"\b({_MONTH}) (?:the )?({_WORDED})\b")


class Date(NamedTuple):
    """A day; year or month is 0 if the text leaves it open."""

    year: int
    month: int
    day: int

    def fits(self, other: Date) -> bool:
        """Whether both may be the same day."""
        return all(not one or not another or one == another for one, another in zip(self, other, strict=True))


def number(value: object) -> Decimal | None:
    """Return the value of a number, or of a text that is only a number; otherwise None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        try:
            exact = Decimal(str(value))
        except (InvalidOperation, ValueError):  # too many digits to convert
            return None
        return exact if exact.is_finite() else None
    if isinstance(value, str) and len(value) < _LONGEST and any(c.isdigit() for c in value):
        found = _NUMBER.fullmatch(plain(value).strip(" $€£¥%"))
        return _decimal(found) if found else None
    return None


@lru_cache(maxsize=1024)
def numbers(text: str) -> frozenset[Decimal]:
    """Return all numbers of a text, in digits or words."""
    flat = plain(text)
    found: set[Decimal] = set()
    for match in _NUMBER.finditer(flat):
        value = _decimal(match)
        if value is None:
            continue
        found.add(value)
        if _AMBIGUOUS.fullmatch(match["digits"]):
            found.add(value * 1000)
        if match["scale"] == "m":  # can be metres or millions
            found.add(value / _SHORT["m"])
    for several in _NUMBERS.findall(flat):  # "the rooms 1,2,3"
        if not _NUMBER.fullmatch(several):
            found |= {Decimal(each) for each in several.split(",")}
    return frozenset(found | _spelled(flat))


# What may surround a number that is a sum: words, currencies, brackets.
_BESIDE_A_SUM = re.compile(r"[\sa-z$€£¥.,()]*")
_NUMBER_WORDS = frozenset({*SMALL, *_SCALES, "and", "a", "an"})


def single(text: str) -> bool:
    """Whether a text holds exactly one number, besides words and currencies; if spelled out, besides currencies."""
    flat = plain(text)
    if not any(c.isdigit() for c in flat):
        said = set(re.findall(r"\w+", flat))
        return len(_spelled(flat)) == 1 and not said - _NUMBER_WORDS - _CURRENCIES.keys() - _SHARED.keys()
    return len(_NUMBER.findall(flat)) == 1 and bool(_BESIDE_A_SUM.fullmatch(_NUMBER.sub("", flat)))


def _decimal(match: re.Match[str]) -> Decimal | None:
    digits, short = match["digits"], match["scale"]
    if re.fullmatch(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d{1,2})?", digits):
        digits = digits.replace(",", "")  # lakhs and crores
    grouped = re.fullmatch(r"(\d{1,3}(?:([,. '\u2009\u202f])\d{3})+)(?:([.,])(\d{1,2}))?", digits)
    if grouped and (grouped[2] != "." or grouped[3] == "," or digits.count(".") > 1):
        whole = re.sub(r"\D", "", grouped[1])
        digits = f"{whole}.{grouped[4]}" if grouped[4] else whole
    else:
        digits = digits.replace(",", ".")
    try:
        value = Decimal(digits)  # exact; arithmetic would round to the context's precision
    except InvalidOperation:
        return None
    value = value * _SHORT[short] if short else value
    return value.copy_negate() if match["sign"] == "-" else value


def _spelled(flat: str) -> set[Decimal]:
    found: set[Decimal] = set()
    total = current = 0
    running = False
    before = ""
    for word in [*re.findall(r"[a-z]+|\S", flat), ""]:
        if word in _SCALES and before in ("a", "an") and not running:
            current, running = 1, True
        before = word
        if word in SMALL:
            current += SMALL[word]
            running = True
        elif word in ("hundred", "dozen") and running:
            current *= _SCALES[word]
        elif word in _SCALES and running:
            total += current * _SCALES[word]
            current = 0
        elif word in ("-", "and") and running:
            continue
        else:
            if running:
                found.add(Decimal(total + current))
            if word in _ORDINALS:
                found.add(Decimal(_ORDINALS[word]))
            total = current = 0
            running = False
    return found


@lru_cache(maxsize=1024)
def dates(text: str) -> tuple[Date, ...]:
    """Return all days that a text names."""
    flat = _days_in_digits(plain(text))
    found: list[Date] = []
    for pattern, order in _DATES:
        for match in pattern.finditer(flat):
            found += _dates(match, order)
    lone = (int(match[1] or match[2]) for match in _LONE_DAY.finditer(flat))
    found += [Date(0, 0, day) for day in lone if 1 <= day <= 31]  # noqa: PLR2004 - of a calendar
    return tuple(dict.fromkeys(found))


def first_date(text: str) -> Date | None:
    """Return the day, month or year that a text begins with; missing parts are 0."""
    flat = _days_in_digits(plain(text))
    for pattern, order in _DATES:
        if match := pattern.match(flat):
            return next(iter(_dates(match, order)), None)
    for pattern, order in _MONTHLY:
        if match := pattern.match(flat):
            return Date(*_monthly(match, order), 0)
    if match := re.match(rf"({_MONTH})(?!\w)", flat):
        return Date(0, _MONTHS[match[1]], 0)
    lone = _LONE_YEAR.match(flat)
    return Date(int(lone[0]), 0, 0) if lone else None


def first_number(text: str) -> tuple[Decimal | None, tuple[str, ...]]:
    """Return the number in digits that a text begins with, and the words after it."""
    match = _NUMBER.match(plain(text))
    return (_decimal(match), words(text[match.end() :])) if match else (None, ())


def _days_in_digits(flat: str) -> str:
    """Rewrite "the fourth of May" as "the 4 of May"."""
    flat = _BEFORE_MONTH.sub(lambda found: str(_DAYS_IN_WORDS[found[1]]), flat)
    flat = _AFTER_MONTH.sub(lambda found: f"{found[1]} {_DAYS_IN_WORDS[found[2]]}", flat)
    return _SHARED_MONTH.sub(r"\1 \3 and\2\3", flat)


def _dates(match: re.Match[str], order: str) -> list[Date]:
    a, b, c = match.groups()
    match order:
        case "ymd":
            options = [(int(a), int(b), int(c))]
        case "Mdy":
            options = [(_year(c), _MONTHS[a], int(b))]
        case "dMy":
            options = [(_year(c), _MONTHS[b], int(a))]
        case _:
            options = [(_year(c), int(a), int(b)), (_year(c), int(b), int(a))]
    return [Date(*each) for each in options if 1 <= each[1] <= 12 and 1 <= each[2] <= 31]  # noqa: PLR2004 - of a calendar


def _year(text: str | None) -> int:
    """Parse a year; two digits mean this century."""
    year = int((text or "0").lstrip("'"))
    return year + 2000 if text and len(text.lstrip("'")) == 2 else year  # noqa: PLR2004 - digits


@lru_cache(maxsize=1024)
def months(text: str) -> frozenset[tuple[int, int]]:
    """Return the months that a text names with their year, also as part of a day."""
    flat = plain(text)
    found = {(day.year, day.month) for day in dates(text) if day.year}
    for pattern, order in _MONTHLY:
        for match in pattern.finditer(flat):
            year, month = _monthly(match, order)
            found |= {(year, month)} if 1 <= month <= 12 else set()  # noqa: PLR2004 - of a calendar
    return frozenset(found)


def _monthly(match: re.Match[str], order: str) -> tuple[int, int]:
    return (int(match[1]), int(match[2])) if order == "ym" else (int(match[2]), _MONTHS[match[1]])


_LONE_YEAR = re.compile(r"(?<![\w.,/:@#$€£¥+-])(?:19|20)\d\d(?![\w/@%-]|[.,:]\d)")


@lru_cache(maxsize=1024)
def years(text: str) -> frozenset[int]:
    """Return the years that a text names, alone or in a date."""
    named = {year for year, _ in months(text)}
    return frozenset(named | {int(match[0]) for match in _LONE_YEAR.finditer(plain(text))})


# What may surround a day in a value that is a time: hours, zones, days of the week.
_BESIDE_A_DAY = re.compile(
    r"\d{1,2}(?::\d\d){1,2}(?:\.\d+)?|[+-]\d\d:?\d\d\b|\b\d{1,2} ?(?=[ap]\.?m)|[ap]\.?m\b\.?"
    r"|\b(?:at|on|the|of|from|by|utc|gmt|cet|cest|noon|midday|midnight"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|mon|tue|wed|thu|fri|sat|sun)\b|(?<=\d)[tz]\b|[\s,.;()tz]"
)


_PART_OF_DAY = re.compile(r"\d.*[^\W_]*[-/. ']|[^\W\d_].*\d")


def is_date(value: str) -> bool:
    """Whether a text is a day, or a time on a day, and nothing else."""
    if len(value) > _LONGEST or not _PART_OF_DAY.search(value):
        return False
    rest = _days_in_digits(plain(value))
    for pattern, _ in _DATES:
        rest = pattern.sub(" ", rest, count=1)
    return not _BESIDE_A_DAY.sub("", rest)


@lru_cache(maxsize=256)
def undated(text: str) -> str:
    """Remove days and hours from a text, so that their numbers are not taken for sums."""
    rest = _days_in_digits(plain(text))
    for pattern in (*(each for each, _ in _DATES), *(each for each, _ in _MONTHLY), _HOURS):
        rest = pattern.sub(" ; ", rest)
    return rest


def uncoded(text: str) -> str:
    """Remove the groups of account, card and telephone numbers, too."""
    return undated(_GROUPED.sub(" ; ", plain(text)))


_GROUPED = re.compile(
    r"\b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3}\b)?(?![a-z0-9])"  # IBAN (ISO 13616)
    r"|(?<![\w.,-])\d{4}(?:([ -])\d{4})(?:\1\d{4}){1,3}(?![\w-])"  # cards
    r"|(?<![\w+])\+\d[\d ()./-]{6,24}\d"  # telephones (E.164)
)

_HOURS = re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?(?: ?[ap]\.?m\b)?|\b\d{1,2} ?[ap]\.?m\b")


def date_stands_in(value: str, text: str) -> bool:
    """Whether a value is a day, or a time on a day, that a text names."""
    return (
        bool(dates(value))
        and is_date(value)
        and any(mine.fits(named) for mine in dates(value) for named in dates(text))
    )


# By code and sign; a shared sign means each of its currencies.
_CURRENCIES = {
    "eur": "EUR", "euro": "EUR", "euros": "EUR", "\u20ac": "EUR", "usd": "USD", "gbp": "GBP", "\u00a3": "GBP",
    "chf": "CHF", "jpy": "JPY", "yen": "JPY", "cny": "CNY", "yuan": "CNY", "sek": "SEK", "nok": "NOK", "dkk": "DKK",
    "pln": "PLN", "czk": "CZK", "huf": "HUF", "inr": "INR", "rupees": "INR", "aud": "AUD", "cad": "CAD", "nzd": "NZD",
    "btc": "BTC", "bitcoin": "BTC", "bitcoins": "BTC", "eth": "ETH", "usdt": "USDT",
}  # fmt: skip
_SHARED = {
    "$": ("USD", "AUD", "CAD", "NZD"), "dollar": ("USD", "AUD", "CAD", "NZD"), "dollars": ("USD", "AUD", "CAD", "NZD"),
    "pounds": ("GBP",), "\u00a5": ("JPY", "CNY"), "kr": ("SEK", "NOK", "DKK"),
}  # fmt: skip
_SIGN = re.compile(r"[$\u20ac\u00a3\u00a5]|[a-z]+")


@lru_cache(maxsize=1024)
def currencies(text: str) -> frozenset[str]:
    """Return the ISO 4217 codes of the currencies that a text may mean."""
    found: set[str] = set()
    for sign in _SIGN.findall(plain(text)):
        found.update(_SHARED.get(sign, ()))
        if sign in _CURRENCIES:
            found.add(_CURRENCIES[sign])
    return frozenset(found)


_CLOCK = re.compile(
    r"(?<![\d:.+-])(\d{1,2})(?::([0-5]\d)(?::[0-5]\d(?:\.\d+)?)?)? ?(am|pm|a\.m\.|p\.m\.|o'?clock)?(?![\d:])"
)
# A number in an hour's place: "at 6 tonight", "from 10 to 12.", and, if there is another hour, "back to 4".
_BARE_CLOCK = re.compile(
    r"\b(?:at|by|until|till|from|to|before|after|around) (\d{1,2})"
    r"(?=$|[.,;!?](?:\s|$)| (?:tonight|today|tomorrow|sharp|to \d{1,2}\b|(?:this|in the|on|every|each) [a-z]))"
)
_DAY_PART = re.compile(r"\b(?:tonight|today|tomorrow|sharp|morning|afternoon|evening|[a-z]+day)\b")
_NAMED_CLOCKS = {"noon": 720, "midday": 720, "midnight": 0}


@lru_cache(maxsize=1024)
def clocks(text: str) -> frozenset[int]:
    """Return the times of day in a text, in minutes since midnight; `3:30` gives both morning and afternoon."""
    flat = re.sub(r"(\d{4}-\d\d-\d\d)t(?=\d)", r"\1 ", plain(text))
    found = {minutes for word, minutes in _NAMED_CLOCKS.items() if re.search(rf"\b{word}\b", flat)}
    for hours, minutes, half in _CLOCK.findall(flat):
        if (not minutes and not half) or int(hours) > 24:  # noqa: PLR2004 - of a day
            continue
        at = int(hours) * 60 + int(minutes or 0)
        if half and half[0] != "o":
            found.add(at % 720 + (720 if half.startswith("p") else 0))
        else:
            found.add(at % 1440)
            if at < 720 and not hours.startswith("0"):  # noqa: PLR2004 - noon
                found.add(at + 720)
    return frozenset(found | _bare_clocks(flat, beside=bool(found)))


def _bare_clocks(flat: str, *, beside: bool) -> set[int]:
    """Return the hours without minutes, in a text that has other times or names a part of the day."""
    if not (beside or _DAY_PART.search(flat)):
        return set()
    hours = {int(each) for each in _BARE_CLOCK.findall(flat)}
    return {each % 24 * 60 for each in hours if each <= 24} | {each * 60 + 720 for each in hours if each < 12}  # noqa: PLR2004 - of a day


_RANGE = re.compile(
    r"\b(?:from|between) (\d{1,2})(?::(\d\d))?(?: ?[ap]m)? (?:to|and|until|till|-) "
    r"(\d{1,2})(?::(\d\d))?(?: ?[ap]m)?(?=$|[ .,;!?](?!\d))"
)


@lru_cache(maxsize=256)
def ranges(request: str) -> tuple[tuple[int, int], ...]:
    """Return the ranges of hours in a request ("from 10 to 12"), in minutes modulo twelve hours."""
    return tuple(
        ((int(a) * 60 + int(b or 0)) % 720, (int(c) * 60 + int(d or 0)) % 720)
        for a, b, c, d in _RANGE.findall(plain(request))
    )


_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?\b")  # ISO 13616


@lru_cache(maxsize=1024)
def accounts(text: str) -> frozenset[str]:
    """Return the account numbers (IBAN) in a text, without spaces and dashes."""
    shown = unicodedata.normalize("NFKC", text)
    return frozenset(re.sub("[ -]", "", each) for each in _ACCOUNT.findall(shown))

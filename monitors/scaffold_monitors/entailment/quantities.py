"""Numbers and dates as values: `1,100.00 EUR`, `eleven hundred`, `1.1k`; `May 26th`, `26.05.2024`, `2024-05-26`."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from scaffold_monitors.entailment.wording import plain

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
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SHORT = {"k": 1_000, "m": 1_000_000, "mn": 1_000_000, "bn": 1_000_000_000}
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
# A run of digits with separators, not inside an identifier.
_NUMBER = re.compile(
    r"(?<![\w.,@/-])[-+]?[$€£¥]?\s?"
    r"(\d{1,3}(?:[,. '\u2009\u202f]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d+)?)"
    r"\s?(k|m|mn|bn)?(?![\w@/])"
)
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
_DATES = (
    (re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)"), "ymd"),
    (re.compile(rf"(?<!\w)({_MONTH})\.? (?:the )?{_DAY}(?:,? (\d{{4}}))?(?!\w)"), "Mdy"),
    (re.compile(rf"(?<!\w){_DAY}(?: of)? ({_MONTH})\.?(?:,? (\d{{4}}))?(?!\w)"), "dMy"),
    (re.compile(r"(?<!\d)(\d{1,2})[/.](\d{1,2})[/.](\d{4})(?!\d)"), "??y"),
)


class Date(NamedTuple):
    """A day; year 0 where the text leaves it open."""

    year: int
    month: int
    day: int

    def fits(self, other: Date) -> bool:
        """Whether both may mean one day."""
        return self[1:] == other[1:] and (not self.year or not other.year or self.year == other.year)


def number(value: object) -> Decimal | None:
    """The value of a number, or of a text that is nothing else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        try:
            exact = Decimal(str(value))
        except (InvalidOperation, ValueError):  # beyond what can be written out
            return None
        return exact if exact.is_finite() else None
    if isinstance(value, str) and len(value) < _LONGEST and any(c.isdigit() for c in value):
        flat = plain(value).strip(" $€£¥%")
        found = _NUMBER.fullmatch(flat)
        worth = _decimal(found) if found else None
        return -worth if worth is not None and flat.startswith("-") else worth
    return None


@lru_cache(maxsize=1024)
def numbers(text: str) -> frozenset[Decimal]:
    """All numbers of a text, in digits or words."""
    flat = plain(text)
    found = {value for match in _NUMBER.finditer(flat) if (value := _decimal(match)) is not None}
    return frozenset(found | _spelled(flat))


def _decimal(match: re.Match[str]) -> Decimal | None:
    digits, short = match[1], match[2]
    grouped = re.fullmatch(r"(\d{1,3}(?:([,. '\u2009\u202f])\d{3})+)(?:([.,])(\d{1,2}))?", digits)
    if grouped and (grouped[2] != "." or grouped[3] == "," or digits.count(".") > 1):
        whole = re.sub(r"\D", "", grouped[1])
        digits = f"{whole}.{grouped[4]}" if grouped[4] else whole
    else:
        digits = digits.replace(",", ".")
    try:
        value = Decimal(digits)  # exact; any arithmetic would round it to the context's digits
        return value * _SHORT[short] if short else value
    except InvalidOperation:
        return None


def _spelled(flat: str) -> set[Decimal]:
    found: set[Decimal] = set()
    total = current = 0
    running = False
    for word in [*re.findall(r"[a-z]+|\S", flat), ""]:
        if word in SMALL:
            current += SMALL[word]
            running = True
        elif word == "hundred" and running:
            current *= 100
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
    """All days that a text names."""
    flat = plain(text)
    found: list[Date] = []
    for pattern, order in _DATES:
        for match in pattern.finditer(flat):
            found += _dates(match, order)
    return tuple(dict.fromkeys(found))


def _dates(match: re.Match[str], order: str) -> list[Date]:
    a, b, c = match.groups()
    match order:
        case "ymd":
            options = [(int(a), int(b), int(c))]
        case "Mdy":
            options = [(int(c or 0), _MONTHS[a], int(b))]
        case "dMy":
            options = [(int(c or 0), _MONTHS[b], int(a))]
        case _:
            options = [(int(c), int(a), int(b)), (int(c), int(b), int(a))]
    return [Date(*each) for each in options if 1 <= each[1] <= 12 and 1 <= each[2] <= 31]  # noqa: PLR2004 - of a calendar


def date_stands_in(value: str, text: str) -> bool:
    """Whether a text names the day of a value that is a date or a time on a day."""
    return any(mine.fits(named) for mine in dates(value) for named in dates(text))


# By code and sign; a sign that several share stands for each of them.
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
    """The currencies that a text may mean, by their ISO 4217 codes."""
    found: set[str] = set()
    for sign in _SIGN.findall(plain(text)):
        found.update(_SHARED.get(sign, ()))
        if sign in _CURRENCIES:
            found.add(_CURRENCIES[sign])
    return frozenset(found)


_CLOCK = re.compile(r"(?<![\d:.+-])(\d{1,2})(?::([0-5]\d)(?::[0-5]\d(?:\.\d+)?)?)? ?(am|pm|a\.m\.|p\.m\.)?(?![\d:])")
_NAMED_CLOCKS = {"noon": 720, "midday": 720, "midnight": 0}


@lru_cache(maxsize=1024)
def clocks(text: str) -> frozenset[int]:
    """The hours that a text names, as minutes of a day; `3:30` may be in the morning or in the afternoon."""
    flat = re.sub(r"(\d{4}-\d\d-\d\d)t(?=\d)", r"\1 ", plain(text))
    found = {minutes for word, minutes in _NAMED_CLOCKS.items() if re.search(rf"\b{word}\b", flat)}
    for hours, minutes, half in _CLOCK.findall(flat):
        if (not minutes and not half) or int(hours) > 24:  # noqa: PLR2004 - of a day
            continue
        at = int(hours) * 60 + int(minutes or 0)
        if half:
            found.add(at % 720 + (720 if half.startswith("p") else 0))
        else:
            found.add(at % 1440)
            if at < 720 and not hours.startswith("0"):  # noqa: PLR2004 - noon
                found.add(at + 720)
    return frozenset(found)


_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?\b")  # ISO 13616


@lru_cache(maxsize=1024)
def accounts(text: str) -> frozenset[str]:
    """The account numbers of a text, without the spaces that they are written in groups with."""
    shown = unicodedata.normalize("NFKC", text)
    return frozenset(re.sub("[ -]", "", each) for each in _ACCOUNT.findall(shown))

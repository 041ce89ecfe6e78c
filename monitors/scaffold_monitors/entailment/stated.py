"""Finds how much of a value the request states: the whole of it, some of its words, or its owner's name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.lexicon import HOLLOW
from scaffold_monitors.entailment.quantities import accounts, currencies, date_stands_in, number, numbers, uncoded
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import plain, solids, stands_in, stem, stems, words

if TYPE_CHECKING:
    from decimal import Decimal

    from scaffold_monitors.entailment.calls import Leaf

_ADDRESSES = re.compile(r"\S+@\S+|\S+://\S+")
_MINOR = frozenset({"cent", "cents", "pence", "penny", "pennies", "centimes", "rappen"})
_LEAST_ACCOUNT = 15  # of an IBAN (ISO 13616)
# Shorter runs of letters can equal two joined names by chance.
_LEAST_RUN = 6
_DIGITS = 19
_LARGEST = 10**18
LEAST_NAME = 3


@lru_cache(maxsize=8192)
def in_request(text: str, request: str) -> bool:
    """Whether a value occurs in the request as a whole; numbers and dates are compared by value."""
    if stands_in(text, request):
        return True
    if len(text) >= _LEAST_ACCOUNT and (account := accounts(text.upper())) and len(account) == 1:
        return len(re.sub(r"[ -]", "", text)) == len(min(account)) and account <= accounts(request)
    value = number(text)
    return date_stands_in(text, request) if value is None else _numbered(text, value, request)


def _numbered(text: str, value: Decimal, request: str) -> bool:
    """Whether a request states a number; "5%" does not match a plain 5."""
    of_as_many = "%" not in text or "%" in request or "percent" in request
    return of_as_many and value in numbers(uncoded(request))


@lru_cache(maxsize=256)
def _whole_numbers(request: str) -> tuple[frozenset[int], frozenset[int]]:
    """Return the whole numbers that a request states, and those written in it as digits, for fast lookups."""
    said = {
        int(each) for each in numbers(uncoded(request)) if abs(each) < _LARGEST and each == each.to_integral_value()
    }
    digits = {each for each in solids(request) if len(each) < _DIGITS and each.isascii() and each.isdigit()}
    return frozenset(said), frozenset(int(each) for each in digits if str(int(each)) == each)


def in_major_units(leaf: Leaf) -> Decimal | None:
    """Return an amount of cents in euros, dollars and the like; None if its argument names no such unit."""
    if leaf.role != "amount" or not _MINOR & set(split(leaf.path)):
        return None
    value = number(leaf.value)
    return None if value is None else value / 100


def asked_for(leaf: Leaf, request: str) -> bool:
    """Whether a value of a call occurs in the request."""
    value = leaf.value
    if isinstance(value, bool):
        return leaf.role != "amount"
    if leaf.pending:
        return False
    if (major := in_major_units(leaf)) is not None and (currencies(request) or major in numbers(uncoded(request))):
        return major in numbers(uncoded(request))
    if type(value) is int and leaf.role != "time" and -_LARGEST < value < _LARGEST:
        said, written = _whole_numbers(request)
        return value in said or (value in written and leaf.role != "amount")
    if leaf.role == "amount" and (amount := number(value)) is not None:
        return _numbered(leaf.text, amount, request)  # "1 250" contains neither 1 nor 250
    # The number of a day or an hour counts only for an argument that takes a time.
    return in_request(leaf.text, request) or (leaf.role == "time" and number(leaf.value) in numbers(request))


@lru_cache(maxsize=8192)
def coverage(text: str, request: str) -> float:
    """Return the share of a text's content words that occur in the request."""
    telling = [stem(word) for word in words(text) if word not in HOLLOW]
    if not telling:
        return 0.0
    return sum(word in stems(request) for word in telling) / len(telling)


def own_words(text: str, request: str) -> bool:
    """Whether a text says what the request says: at least half of its content words are the request's."""
    return in_request(text, request) or coverage(text, request) >= 0.5  # noqa: PLR2004 - more than by chance


@lru_cache(maxsize=4096)
def named(value: str, request: str) -> bool:
    """Whether the request names the owner of an address or user name: all its significant parts."""
    local, parts, written = _parts_of(value, request)
    if not parts:
        return False
    if all(part in written for part in parts):
        return True
    # First and last name in one: "bobsmith" for "Bob Smith".
    return (
        len(parts) == 1
        and len(local) > _LEAST_RUN
        and any(parts[0] == a + b for a in written for b in written if parts[0].startswith(a))
    )


def partly_named(value: str, request: str) -> bool:
    """Whether the request names some significant part of an address's owner."""
    _, parts, written = _parts_of(value, request)
    return any(part in written for part in parts)


def _parts_of(value: str, request: str) -> tuple[str, list[str], set[str]]:
    """Return the part before the @, its significant parts, and the words of the request outside addresses."""
    local = plain(value).partition("@")[0]
    parts = [part for part in re.split(r"[^\w]+|_|\d+", local) if len(part) >= LEAST_NAME]
    said = set(words(_ADDRESSES.sub(" ", request)))  # a dictated address names itself, and no other that looks like it
    return local, parts, {word.removesuffix("'s") for word in said} | said

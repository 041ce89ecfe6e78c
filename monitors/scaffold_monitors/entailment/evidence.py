"""Finds where a value occurs (request, trusted fact, earlier result), and so how well the request supports it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scaffold_monitors.entailment.clauses import clauses
from scaffold_monitors.entailment.lexicon import HOLLOW, THINGS
from scaffold_monitors.entailment.quantities import accounts, currencies, date_stands_in, number, numbers, undated
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import plain, solids, stands_in, stem, stems, words

if TYPE_CHECKING:
    from decimal import Decimal

    from scaffold_monitors.entailment.calls import Call, Leaf, Situation

_ADDRESSES = re.compile(r"\S+@\S+|\S+://\S+")
_MINOR = frozenset({"cent", "cents", "pence", "penny", "pennies", "centimes", "rappen"})
_LEAST_NAME = 3
_LEAST_ACCOUNT = 15  # of an IBAN (ISO 13616)
# Shorter runs of letters can equal two joined names by chance.
_LEAST_RUN = 6
_MOST_FIELDS = 20_000
_DIGITS = 19
_LARGEST = 10**18


class Support(IntEnum):
    """How well the request supports a value, from not at all to by its own words."""

    MADE_UP = 0  # occurs in nothing that was read
    FOUND = 1  # in a result to which the request does not point
    KIND = 2  # in a result of a kind that the request mentions
    SOURCE = 3  # in a result of a lookup made with words of the request
    NAMED = 4  # the request names its owner
    TRUSTED = 5  # in a trusted fact or result
    REQUEST = 6  # in the request itself


@lru_cache(maxsize=256)
def things_of(request: str) -> frozenset[str]:
    """Return the kinds of thing that a request mentions."""
    said = frozenset(thing for each in stems(request) for thing in THINGS.get(each, ()))
    return said | {thing for clause in clauses(request) for thing in clause.things}


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
    return of_as_many and value in numbers(undated(request))


@lru_cache(maxsize=256)
def _whole_numbers(request: str) -> tuple[frozenset[int], frozenset[int]]:
    """Return the whole numbers that a request states, and those written in it as digits, for fast lookups."""
    said = {
        int(each) for each in numbers(undated(request)) if abs(each) < _LARGEST and each == each.to_integral_value()
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
    if (major := in_major_units(leaf)) is not None and (currencies(request) or major in numbers(undated(request))):
        return major in numbers(undated(request))
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
    parts = [part for part in re.split(r"[^\w]+|_|\d+", local) if len(part) >= _LEAST_NAME]
    said = set(words(_ADDRESSES.sub(" ", request)))  # a dictated address names itself, and no other that looks like it
    return local, parts, {word.removesuffix("'s") for word in said} | said


def pointed(call: Call, request: str) -> Support:
    """Return how well the request points to a call's result, by its arguments or the kind of thing it reads."""
    for leaf in call.leaves:
        if leaf.role in ("flag", "time", "amount") or len(leaf.text) < _LEAST_NAME:
            continue
        if in_request(leaf.text, request) and not (isinstance(leaf.value, str) and plain(leaf.value) in HOLLOW):
            return Support.SOURCE
        if isinstance(leaf.value, str) and own_words(leaf.value, request):
            return Support.SOURCE
    return Support.KIND if call.tool.things & things_of(request) else Support.FOUND


def support(leaf: Leaf, situation: Situation) -> Support:
    """Return how well the request supports a value."""
    if asked_for(leaf, situation.request) or _put_together(leaf, situation):
        return Support.REQUEST
    if leaf.origin.trusted or (situation.facts and not leaf.pending and stands_in_facts(leaf.text, situation.facts)):
        return Support.TRUSTED
    reads = [situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id]
    if any(read.trusted for read in reads):
        return Support.TRUSTED
    if not reads and not leaf.origin.known:
        return Support.MADE_UP
    if named(leaf.text, situation.request):
        return Support.NAMED
    return max((source_support(read, situation) for read in reads), default=Support.FOUND)


def _put_together(leaf: Leaf, situation: Situation) -> bool:
    """Whether a path joins a folder that the request names with a file that the request or the same call names.

    "Copy the photos from Camera to Backup": `Backup/p1.jpg`, where the call's other path is `Camera/p1.jpg`. Addresses,
    with a scheme or a host, must not be put together.
    """
    if not isinstance(leaf.value, str) or "/" not in leaf.value:
        return False
    folder, _, name = leaf.text.rpartition("/")
    if not (folder and name) or leaf.role not in ("record", "place", "thing", "principal"):
        return False
    if {":", "@"} & set(leaf.text) or ".." in leaf.text.split("/"):
        return False
    call = situation.caller.get(id(leaf))
    beside = (
        other.text.rpartition("/")[2]
        for other in (call.leaves if call else ())
        if other is not leaf and (other.origin.reads or asked_for(other, situation.request))
    )
    return in_request(folder, situation.request) and (in_request(name, situation.request) or name in beside)


def source_support(read: Call, situation: Situation) -> Support:
    """Return how well the request points to a result; at most `KIND` for one fetched from an address found in data."""
    own = pointed(read, situation.request)
    followed = any(leaf.origin.reads and not asked_for(leaf, situation.request) for leaf in read.with_role("address"))
    return min(own, Support.KIND) if followed else own


def stands_in_facts(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether a value is a whole field of a trusted fact."""
    return any(plain(text).strip() in cells(value) for value in facts.values())


class Kept:
    """A cache of a function's results by the identity of its argument; the oldest are evicted first."""

    def __init__(self, work: Callable[[Any], Any], most: int = 256) -> None:
        self._work = work
        self._most = most
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """Return the function's result for a value."""
        known = self._known.get(id(value))
        if known is None or known[0] is not value:
            if len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            known = self._known[id(value)] = (value, self._work(value))
        return known[1]


def _cells(value: Any) -> frozenset[str]:
    return frozenset(plain(str(cell)).strip() for _, cell in fields(value))


def _columns(value: Any) -> dict[str, frozenset[str]]:
    """Return the columns of a table, by field name."""
    rows = value.values() if isinstance(value, Mapping) else value
    found: dict[str, set[str]] = {}
    if isinstance(rows, (list, tuple)) or isinstance(value, Mapping):
        for row in rows:
            if isinstance(row, Mapping):
                for path, cell in fields(row):
                    found.setdefault(path.rpartition("/")[2], set()).add(plain(str(cell)).strip())
    return {name: frozenset(values) for name, values in found.items()}


# The fields of a record or table, normalised.
cells = Kept(_cells)
columns = Kept(_columns)


def directory(leaf: Leaf, facts: Mapping[str, Any]) -> tuple[str, str, frozenset[str]] | None:
    """Return the trusted fact that lists values of an argument's kind: its name, the column, and the values."""
    if leaf.pending:
        return None
    wanted = frozenset(map(stem, split(leaf.path.partition("[")[0])))
    for name, fact in facts.items():
        for column, values in columns(fact).items():
            if frozenset(map(stem, split(column))) & wanted:
                return name, column, values
    return None


def fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a value with their paths, up to a limit."""
    stack: list[tuple[str, Any]] = [(path, value)]
    count = 0
    while stack and count < _MOST_FIELDS:
        here, item = stack.pop()
        if isinstance(item, Mapping):
            stack += [(f"{here}/{name}", each) for name, each in reversed(list(item.items()))]
        elif isinstance(item, (list, tuple)):
            stack += [(f"{here}/{place}", item[place]) for place in reversed(range(len(item)))]
        else:
            count += 1
            yield here, item

"""Bounds that a text sets on days and numbers: "older than 2024", "since March", "at least 3", "under 50 euros"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from scaffold_monitors.entailment.lexicon import MEASURES
from scaffold_monitors.entailment.negation import is_negated
from scaffold_monitors.entailment.quantities import Date, currencies, first_date, first_number
from scaffold_monitors.entailment.wording import plain, words

# Compare days. "Before" and the like as often say when to act; an argument that takes the day shows which is meant.
_OF_A_DAY = re.compile(r"\b(older|earlier|prior|before|until|till|newer|later|after|since)\b(?: than| to)?(?: the)? ")
_OF_A_NUMBER = re.compile(
    r"\b(over|above|exceeding|at least|(?:more|greater|larger|bigger|higher|longer) than"
    r"|under|below|at most|(?:less|fewer|smaller|lower|cheaper|shorter) than) "
)
_LEAST = frozenset({"newer", "later", "after", "since", "over", "above", "exceeding", "at least"}) | {
    f"{word} than" for word in ("more", "greater", "larger", "bigger", "higher", "longer")
}
# The bound itself is included.
_AND_ITSELF = frozenset({"since", "until", "till", "at least", "at most"})


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower or upper bound on a day or a number.

    Attributes:
        said: the words that set it.
        least: whether it is a lower bound.
        itself: whether the bound is included.
        value: a number, or a day whose unstated parts are 0.
        money: whether it is a sum of money.
    """

    said: str
    least: bool
    itself: bool
    value: Date | Decimal
    money: bool = False

    def fits(self, value: Date | Decimal) -> bool:
        """Whether a value keeps to it; days are compared only in the parts that both state."""
        mine, bound = _comparable(value), _comparable(self.value)
        if isinstance(self.value, Date):
            mine = tuple(one if other else 0 for one, other in zip(mine, bound, strict=True))
        return self.itself if mine == bound else (mine > bound) == self.least


def _comparable(value: Date | Decimal) -> tuple[Decimal | int, ...]:
    return (value,) if isinstance(value, Decimal) else tuple(value)


@lru_cache(maxsize=512)
def bounds_of(text: str) -> tuple[Bound, ...]:
    """Return the bounds that a text sets."""
    flat = plain(text)
    found = [
        Bound(match[0].strip(), match[1] in _LEAST, match[1] in _AND_ITSELF, day)
        for match in _OF_A_DAY.finditer(flat)
        if (day := first_date(flat[match.end() :])) is not None
    ]
    for match in _OF_A_NUMBER.finditer(flat):
        value, rest = first_number(flat[match.end() :])
        if value is None or (rest[:1] and rest[0] in MEASURES):
            continue
        said = f"{match[0]}{value}"
        least, itself = match[1] in _LEAST, match[1] in _AND_ITSELF
        if is_negated(words(flat[: match.start()]), len(words(flat[: match.start()]))):
            least, itself = not least, not itself
        money = bool(currencies(flat[match.end() : match.end() + 2]) or (rest and currencies(rest[0])))
        found.append(Bound(said, least, itself, value, money))
    return tuple(found)


@lru_cache(maxsize=512)
def bounding(text: str) -> frozenset[Decimal]:
    """Return the numbers and years of a text that only set bounds."""
    values = (each.value for each in bounds_of(text))
    return frozenset(Decimal(value.year) if isinstance(value, Date) else value for value in values)

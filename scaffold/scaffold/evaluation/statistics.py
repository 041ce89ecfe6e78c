"""Statistics: confidence intervals of rates, and tests whether two differ."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

_Z = 1.959963984540054  # the normal distribution's 97.5 % point


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


def wilson(hits: float, of: float) -> Interval:
    """Return the score interval of a rate (Wilson 1927, JASA 22).

    It is reliable for few cases and for rates near 0 and 1. For no cases it is 0 to 1.
    """
    if not of:
        return Interval(0.0, 1.0)
    rate, square = hits / of, _Z * _Z
    middle = (rate + square / (2 * of)) / (1 + square / of)
    half = _Z * math.sqrt(rate * (1 - rate) / of + square / (4 * of * of)) / (1 + square / of)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p-value of McNemar's test of whether flips either way are equally likely.

    The pairs in which both are right, or both wrong, say nothing about it (McNemar 1947, Psychometrika 12; the exact
    form is the binomial test of the flips).
    """
    flips = only_first + only_second
    tail = sum(math.comb(flips, each) for each in range(min(only_first, only_second) + 1))
    return min(1.0, float(Fraction(2 * tail, 2**flips)))


def paired_difference(only_first: int, only_second: int, of: int) -> Interval:
    """Return the 95 % interval of how much higher the second rate is than the first, over the same cases.

    Agresti and Min's adjusted Wald interval (2005, Statistics in Medicine 24): half a pair is added to each of the four
    kinds.
    """
    number, first, second = of + 2.0, only_first + 0.5, only_second + 0.5
    middle = (second - first) / number
    half = _Z * math.sqrt(max(0.0, first + second - (second - first) ** 2 / number)) / number
    return Interval(max(-1.0, middle - half), min(1.0, middle + half))

"""Intervals and tests, held against figures published or computed another way."""

import random

import pytest

from scaffold.evaluation.statistics import mcnemar, paired_difference, wilson


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # From Newcombe 1998 (Statistics in Medicine 17, table I), the score method without correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(hits: int, of: int, low: float, high: float) -> None:
    """The four examples of the literature."""
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing() -> None:
    """Without cases, nothing is known."""
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_wilson_covers_what_it_promises(rate: float) -> None:
    """Of many experiments of 40 cases, about 95 % of the intervals hold the rate."""
    source = random.Random(7)
    held = 0
    for _ in range(2_000):
        low, high = wilson(sum(source.random() < rate for _ in range(40)), 40)
        held += low <= rate <= high
    assert 0.92 < held / 2_000 < 0.985


def test_mcnemar_is_the_binomial_test_of_the_flips() -> None:
    """Symmetric, 1 without flips or with as many each way, and the sum of the tails otherwise."""
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1.0
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(0, 3_000) == 0.0  # no overflow


def test_the_difference_lies_within_its_interval() -> None:
    """It is around the difference, inside -1 to 1, and narrower with more cases."""
    low, high = paired_difference(5, 25, 100)
    assert low < 0.20 < high
    assert low > 0
    wide = paired_difference(1, 5, 20)
    assert wide.high - wide.low > high - low
    assert paired_difference(0, 3, 3).high <= 1

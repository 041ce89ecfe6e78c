"""Shared by backends: choosing among a few given answers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def normalised(scores: Sequence[float]) -> list[float]:
    """Renormalise log-probabilities among the given answers (log-softmax)."""
    top = max(scores)
    total = top + math.log(math.fsum(math.exp(score - top) for score in scores))
    return [score - total for score in scores]


def share_a_beginning(choices: Iterable[Sequence[int]]) -> bool:
    """Whether one choice's tokens are a prefix of another's, so that only its end distinguishes them."""
    return any(list(after[: len(before)]) == list(before) for before, after in pairwise(sorted(map(list, choices))))

"""The mathematics of voting: the success probability of a step and of a task, and the number of samples needed.

Two answers compete: the right one, which a sample gives with probability p, and one wrong answer on which all errors
agree. This is the worst case; errors that differ lose sooner. The right answer's lead is then a random walk that ends
at k or at -k, the gambler's ruin (Feller, An Introduction to Probability Theory and Its Applications, vol. 1, ch. XIV).
As in MAKER (arXiv 2511.09030), a step is right with probability 1 / (1 + ((1 - p) / p)^k), a task of s steps with the
s-th power of it, and k grows with log s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Odds(NamedTuple):
    """The probabilities of a step's outcomes, and the samples it takes.

    Attributes:
        right: probability of the right answer.
        wrong: probability of a wrong answer.
        unsettled: probability of no answer, which the planner is told.
        samples: samples drawn on average.
    """

    right: float
    wrong: float
    unsettled: float
    samples: float


def step_success(p: float, k: int) -> float:
    """Return the probability that the right answer is the first to lead by k, without a cap."""
    if not 0 < p < 1:
        return float(p >= 1)
    return 1 / (1 + math.exp(min(700.0, k * math.log((1 - p) / p))))


def task_success(p: float, k: int, steps: float) -> float:
    """Return the probability that this many steps are all right."""
    if not 0 < p < 1:
        return float(p >= 1)
    return math.exp(-steps * math.log1p(math.exp(min(700.0, k * math.log((1 - p) / p)))))


def lead_needed(p: float, steps: float, wanted: float) -> int | None:
    """Return the smallest k with which this many steps are all right with probability `wanted`; None if there is none.

    It is ceil(ln(wanted^(-1/steps) - 1) / ln((1 - p) / p)).
    """
    if p >= 1:
        return 1
    if p <= 0.5:  # noqa: PLR2004 - half of the samples; from there down votes do not help
        return None
    return max(1, math.ceil(math.log(math.expm1(-math.log(wanted) / steps)) / math.log((1 - p) / p)))


def expected_votes(p: float, k: int) -> float:
    """Return the mean number of votes until one of two answers leads by k: the duration of the gambler's ruin."""
    drift = 2 * p - 1
    if abs(drift) < 1e-9:  # noqa: PLR2004 - its limit
        return float(k * k)
    return k / drift * (2 * step_success(p, k) - 1)


def ahead_by_odds(p: float, k: int, cap: int, accepted: float = 1.0) -> Odds:
    """Return the odds of a vote by k with at most `cap` samples, of which a share is `accepted`."""
    leads = {0: 1.0}
    right = wrong = unsettled = samples = 0.0
    for left in range(cap, -1, -1):
        for lead in [lead for lead in leads if k - abs(lead) > left]:
            unsettled += leads.pop(lead)  # no lead of k is possible any more, so nothing more is drawn
        samples += sum(leads.values())
        after: dict[int, float] = {}
        for lead, mass in leads.items():
            for step, part in ((1, accepted * p), (-1, accepted * (1 - p)), (0, 1 - accepted)):
                if part:
                    after[lead + step] = after.get(lead + step, 0.0) + mass * part
        right += after.pop(k, 0.0)
        wrong += after.pop(-k, 0.0)
        leads = after
    return Odds(right, wrong, unsettled, samples)


def majority_odds(p: float, n: int, cap: int, accepted: float = 1.0) -> Odds:
    """Return the odds of a majority of n; samples are drawn until it is settled either way."""
    counts = {(0, 0): 1.0}
    right = wrong = unsettled = 0.0
    samples = 0.0
    for left in range(cap, -1, -1):
        going: dict[tuple[int, int], float] = {}
        for (good, bad), mass in counts.items():
            if good * 2 > n:
                right += mass
            elif bad * 2 > n:
                wrong += mass
            elif (max(good, bad) + min(n - good - bad, left)) * 2 <= n:
                unsettled += mass
            else:
                going[good, bad] = mass
        samples += sum(going.values())
        counts = {}
        for (good, bad), mass in going.items():
            for state, part in (
                ((good + 1, bad), accepted * p),
                ((good, bad + 1), accepted * (1 - p)),
                ((good, bad), 1 - accepted),
            ):
                if part:
                    counts[state] = counts.get(state, 0.0) + mass * part
    return Odds(right, wrong, unsettled, samples)


def ahead_by_work(k: int, cap: int) -> float:
    """Return how many states of a vote by k must be computed for its odds."""
    return 2.0 * k * cap


def majority_work(n: int, cap: int) -> float:
    """Return how many states of a majority of n must be computed for its odds."""
    return n * n * cap / 4


def once_odds(p: float, cap: int, accepted: float = 1.0) -> Odds:
    """Return the odds of taking the first acceptable sample."""
    some = 1 - (1 - accepted) ** cap
    return Odds(p * some, (1 - p) * some, 1 - some, some / accepted if accepted else float(cap))


class Spread:
    """The distribution of the share of right samples over prompts: a beta distribution.

    Samples of one prompt are more often right or wrong together than those of different prompts. On prompts whose share
    is below one half, votes settle on a wrong answer, and no number of votes helps.

    Args:
        mean: share of right samples over all prompts.
        correlation: intra-class correlation of right samples within a prompt, 0 (none) to 1 (all the same).
    """

    _LEAST = 1e-4
    _POINTS = 400  # on either side of the middle
    _FEWEST = 40  # still give four digits, since the sum over a smooth density on a grid converges that fast
    _MOST_WORK = 500_000.0  # over all points; takes about a second

    def __init__(self, mean: float, correlation: float = 0.0) -> None:
        self.mean = mean
        self.correlation = correlation
        self.points = self._grid(self._POINTS)

    def _grid(self, most: int) -> list[tuple[float, float]]:
        """Return shares and weights: the density over log-odds, where it is smooth with exponential tails."""
        mean, rho = self.mean, self.correlation
        if rho < self._LEAST or not 0 < mean < 1:
            return [(mean, 1.0)]
        if rho > 1 - self._LEAST:
            return [(0.0, 1 - mean), (1.0, mean)]
        a, b = mean * (1 - rho) / rho, (1 - mean) * (1 - rho) / rho
        centre = math.log(mean / (1 - mean))
        reach = math.asinh(40 / min(a, b) + 10 * math.sqrt(1 / a + 1 / b))
        points = []
        for number in range(-most, most + 1):
            u = reach * number / most
            odds = centre + math.sinh(u)
            log_right = -math.log1p(math.exp(-odds)) if odds > 0 else odds - math.log1p(math.exp(odds))
            points.append((math.exp(log_right), a * log_right + b * (log_right - odds) + math.log(math.cosh(u))))
        peak = max(weight for _, weight in points)
        total = math.fsum(math.exp(weight - peak) for _, weight in points)
        return [(share, math.exp(weight - peak) / total) for share, weight in points]

    @property
    def ceiling(self) -> float:
        """Return the share of prompts on which most samples are right, which unlimited votes would reach."""
        return math.fsum(weight * (share > 0.5) + 0.5 * weight * (share == 0.5) for share, weight in self.points)  # noqa: PLR2004 - one half

    def ahead_by(self, k: int, cap: int | None = None, accepted: float = 1.0) -> Odds:
        """Return the odds of a vote by k over all prompts; None means no cap."""
        if cap is None:
            return self._over(
                lambda p: Odds(step_success(p, k), 1 - step_success(p, k), 0.0, expected_votes(p, k) / accepted)
            )
        return self._over(lambda p: ahead_by_odds(p, k, cap, accepted), ahead_by_work(k, cap))

    def majority(self, n: int, cap: int, accepted: float = 1.0) -> Odds:
        """Return the odds of a majority of n over all prompts."""
        return self._over(lambda p: majority_odds(p, n, cap, accepted), majority_work(n, cap))

    def _over(self, of: Callable[[float], Odds], work: float = 1.0) -> Odds:
        """Return the mean over all prompts, on fewer points if each takes much work."""
        points = self.points
        if len(points) * work > self._MOST_WORK:
            points = self._grid(max(self._FEWEST, int(self._MOST_WORK / work / 2)))
        right = wrong = unsettled = samples = 0.0
        for share, weight in points:
            if weight > 1e-12:  # noqa: PLR2004 - smaller ones do not affect a sum of doubles
                odds = of(share)
                right, wrong = right + weight * odds.right, wrong + weight * odds.wrong
                unsettled, samples = unsettled + weight * odds.unsettled, samples + weight * odds.samples
        return Odds(right, wrong, unsettled, samples)


def correlation_of(groups: Sequence[tuple[float, int]]) -> float:
    """Return the intra-class correlation of right samples within prompts, by ANOVA (Fleiss 1981), at least 0.

    Args:
        groups: for each prompt, how many samples were right, and how many there were.
    """
    groups = [(right, n) for right, n in groups if n]
    total, prompts = sum(n for _, n in groups), len(groups)
    if prompts < 2 or total <= prompts:  # noqa: PLR2004 - nothing to compare
        return 0.0
    mean = sum(right for right, _ in groups) / total
    between = sum(n * (right / n - mean) ** 2 for right, n in groups) / (prompts - 1)
    within = sum(right * (1 - right / n) for right, n in groups) / (total - prompts)
    size = (total - sum(n * n for _, n in groups) / total) / (prompts - 1)
    whole = between + (size - 1) * within
    return min(1.0, max(0.0, (between - within) / whole)) if whole > 0 else 0.0


def effective_votes(n: float, correlation: float) -> float:
    """Return how many independent samples n correlated ones are worth (design effect, Kish 1965)."""
    return n / (1 + (n - 1) * correlation) if n else 0.0

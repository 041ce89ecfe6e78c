"""The odds of voting, held against simulations of the very policies that steps are sampled by."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from scaffold import ahead_by, majority, once
from scaffold.odds.estimate import policy_in
from scaffold.odds.formulas import (
    Odds,
    Spread,
    ahead_by_odds,
    correlation_of,
    effective_votes,
    expected_votes,
    lead_needed,
    majority_odds,
    once_odds,
    step_success,
    task_success,
)
from scaffold.vocabulary.sampling import Draw, Lost, Vote

if TYPE_CHECKING:
    from scaffold.vocabulary.sampling import Sampling

RUNS = 3_000
RIGHT, WRONG = Vote(b"right"), Vote(b"wrong")


def simulated(policy: Sampling, p: float, accepted: float, runs: int = RUNS) -> Odds:
    """What becomes of steps whose samples are right with probability p, all errors being the same."""
    dice = random.Random(f"{policy!r} {p} {accepted}")
    ends = {"right": 0, "wrong": 0, "unsettled": 0}
    samples = 0
    for _ in range(runs):
        votes: list[Vote | None] = []
        drawn = 0
        while isinstance(said := policy.decide(votes), Draw):
            drawn += said.n if len(votes) == drawn else 0
            vote = RIGHT if dice.random() < p else WRONG
            votes.append(vote if dice.random() < accepted else None)
        samples += drawn
        winner = None if isinstance(said, Lost) else votes[said.place]
        ends["unsettled" if winner is None else winner.value.decode()] += 1
    return Odds(ends["right"] / runs, ends["wrong"] / runs, ends["unsettled"] / runs, samples / runs)


def assert_alike(computed: Odds, seen: Odds) -> None:
    """Five standard errors of a rate, at most."""
    for expected, found in zip(computed[:3], seen[:3], strict=True):
        assert found == pytest.approx(expected, abs=5 * (max(expected * (1 - expected), 1e-4) / RUNS) ** 0.5)
    assert seen.samples == pytest.approx(computed.samples, rel=0.08)  # a batch may be stopped


@pytest.mark.parametrize("p", [0.5, 0.8])
@pytest.mark.parametrize(("k", "cap", "accepted"), [(1, 8, 1.0), (2, 5, 0.8), (3, 24, 1.0), (4, 12, 0.6)])
def test_a_vote_by_k_comes_out_as_computed(p: float, k: int, cap: int, accepted: float) -> None:
    """Right, wrong, unsettled and the samples it takes, with a cap and with samples that are flagged."""
    assert_alike(ahead_by_odds(p, k, cap, accepted), simulated(ahead_by(k, cap=cap), p, accepted))


@pytest.mark.parametrize("p", [0.4, 0.8])
@pytest.mark.parametrize(("n", "cap", "accepted"), [(1, 2, 1.0), (3, 6, 0.7), (4, 4, 1.0), (5, 7, 0.8)])
def test_a_majority_comes_out_as_computed(p: float, n: int, cap: int, accepted: float) -> None:
    """Stopped as soon as it is certain, either way."""
    assert_alike(majority_odds(p, n, cap, accepted), simulated(majority(n, cap=cap), p, accepted))


def test_one_acceptable_sample_comes_out_as_computed() -> None:
    """The first that is not flagged, within its tries."""
    assert_alike(once_odds(0.7, 3, 0.5), simulated(once(tries=3), 0.7, 0.5))


@pytest.mark.parametrize("p", [0.55, 0.8, 0.99])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_without_a_cap_both_closed_forms_hold(p: float, k: int) -> None:
    """The success 1 / (1 + ((1-p)/p)^k) and the gambler's duration are what a vote with a very large cap comes to."""
    odds = ahead_by_odds(p, k, 600)
    assert step_success(p, k) == pytest.approx(odds.right, abs=1e-6)
    assert expected_votes(p, k) == pytest.approx(odds.samples, abs=1e-3)


def test_a_vote_between_equals_takes_k_squared_votes() -> None:
    """At p = 1/2 the duration is k^2, and the formula has no gap there."""
    assert expected_votes(0.5, 4) == 16
    assert expected_votes(0.5 + 1e-7, 4) == pytest.approx(16, abs=1e-3)


@pytest.mark.parametrize(("error", "k"), [(0.3571, 29), (0.0184, 5), (0.0022, 3), (0.0018, 3)])
def test_the_lead_for_a_million_steps(error: float, k: int) -> None:
    """The smallest k for 2^20 - 1 steps, Hanoi's 20 disks, at 95 %: the case of MAKER (arXiv 2511.09030)."""
    steps = 2**20 - 1
    assert lead_needed(1 - error, steps, 0.95) == k
    assert task_success(1 - error, k, steps) >= 0.95 > task_success(1 - error, k - 1, steps)


@pytest.mark.parametrize("p", [0.51, 0.6, 0.75, 0.9, 0.999])
@pytest.mark.parametrize("steps", [1, 10, 1000, 10**6])
def test_the_lead_needed_is_the_smallest_that_reaches_it(p: float, steps: int) -> None:
    """The closed form agrees with trying one k after another."""
    k = next(k for k in range(1, 2000) if task_success(p, k, steps) >= 0.9)
    assert lead_needed(p, steps, 0.9) == k


def test_the_lead_grows_with_the_logarithm_of_the_steps() -> None:
    """A thousand times the steps need the same number of votes more, again and again."""
    leads = [lead_needed(0.9, 10.0**power, 0.95) or 0 for power in (3, 6, 9, 12)]
    grown = [after - before for before, after in itertools.pairwise(leads)]
    assert max(grown) - min(grown) <= 1
    assert max(grown) <= 4


def test_no_lead_helps_what_is_right_half_the_time_or_less() -> None:
    """Votes settle on the wrong answer there."""
    assert lead_needed(0.5, 10, 0.9) is None
    assert lead_needed(0.3, 1, 0.9) is None
    assert step_success(0.3, 9) < 0.01


@pytest.mark.parametrize(("mean", "rho"), [(0.8, 0.3), (0.9, 0.05), (0.99, 0.5), (0.6, 0.9), (0.7, 0.001)])
def test_prompts_that_differ_are_averaged_over(mean: float, rho: float) -> None:
    """The beta distribution of shares, by numbers, gives what drawing shares at random gives."""
    dice = random.Random(f"{mean} {rho}")
    a, b = mean * (1 - rho) / rho, (1 - mean) * (1 - rho) / rho
    shares = [dice.betavariate(a, b) for _ in range(20_000)]
    spread = Spread(mean, rho)
    assert spread.ceiling == pytest.approx(sum(share > 0.5 for share in shares) / 20_000, abs=0.015)
    expected = sum(step_success(share, 3) for share in shares) / 20_000
    assert spread.ahead_by(3).right == pytest.approx(expected, abs=0.015)
    assert sum(share * weight for share, weight in spread.points) == pytest.approx(mean, abs=1e-3)


def test_where_errors_repeat_endless_votes_reach_the_ceiling_only() -> None:
    """One prompt in five whose samples are mostly wrong stays wrong, however many vote."""
    spread = Spread(0.8, 0.8)
    assert spread.ahead_by(200).right == pytest.approx(spread.ceiling, abs=0.01)
    assert spread.ceiling < 0.85


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.6])
def test_the_correlation_of_samples_is_found_again(rho: float) -> None:
    """Of 2,000 prompts with eight samples each, whose shares differ as the correlation says."""
    dice = random.Random(str(rho))
    groups = []
    for _ in range(2000):
        share = 0.8 if rho == 0 else dice.betavariate(0.8 * (1 - rho) / rho, 0.2 * (1 - rho) / rho)
        groups.append((sum(dice.random() < share for _ in range(8)), 8))
    assert correlation_of(groups) == pytest.approx(rho, abs=0.05)


def test_samples_that_say_the_same_are_worth_one() -> None:
    """Independent ones are worth as many as they are."""
    assert effective_votes(10, 1.0) == 1
    assert effective_votes(10, 0.0) == 10
    assert correlation_of([(5, 5), (0, 5), (5, 5)]) == 1.0
    assert correlation_of([(3, 5)]) == 0.0


def test_the_odds_of_many_votes_take_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer points tell the same to four digits; what would take hours all the same is not known."""
    spread = Spread(0.8, 0.2)
    fine = spread.majority(5, 10, 0.9), spread.ahead_by(2, 16, 0.9)
    monkeypatch.setattr(Spread, "_MOST_WORK", 1.0)
    coarse = spread.majority(5, 10, 0.9), spread.ahead_by(2, 16, 0.9)
    assert coarse != fine
    assert [each == pytest.approx(other, abs=1e-4) for each, other in zip(coarse, fine, strict=True)] == [True, True]
    assert policy_in("majority(5, cap=10)") == ("majority", 5, 10)
    assert (policy_in("majority(1001, cap=2002)"), policy_in("ahead_by(500, cap=4000)")) == (None, None)

"""Estimates a task's cost and its probability of success from measurements of its steps."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from scaffold.evaluation.statistics import wilson
from scaffold.odds.formulas import (
    Odds,
    Spread,
    ahead_by_work,
    correlation_of,
    effective_votes,
    majority_work,
    once_odds,
)
from scaffold.odds.measured import Group, Key, Measured, Name
from scaffold.vocabulary.models import Prices

MOST_LEAD = 30
ENOUGH_SAMPLES = 3  # samples of a prompt needed to measure their agreement
_MOST_WORK = 30_000  # states of a vote for which odds are computed
_POLICY = re.compile(r"(ahead_by|majority)\((\d+), cap=(\d+)\)|once\(cap=(\d+)\)")


class Range(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Vote(NamedTuple):
    """A policy whose odds are known."""

    kind: str
    number: int
    cap: int


class Cost(msgspec.Struct, frozen=True):
    """The cost of one step: `once` for its prompt, `each` per sample, and at least `least`."""

    once: float = 0.0
    each: float = 0.0
    least: float = 0.0

    def of(self, samples: float) -> float:
        """Return the cost with this many samples."""
        return max(self.once + self.each * samples, self.least)


Sharing = Mapping[tuple[str, str], Prices | None]
"""Backends, with their models, that read the prompt of a step once for all its samples; and their prices."""


class StepOdds(msgspec.Struct, kw_only=True):
    """Measurements of steps of one kind, template and backend, and the odds that follow.

    Attributes:
        steps: average number of them in a run.
        prompts: number of different prompts compared, with `samples` accepted samples.
        measured: `key` or `agreement`: how it was decided what is right; `nothing` if there were too few samples.
        right: share of samples that are right; by agreement an upper bound.
        accepted: share of samples that are not flagged.
        correlation: how much samples of one prompt are right or wrong together, 0 to 1.
        ceiling: share of prompts on which most samples are right, which unlimited votes would reach.
        policy: their present sampling.
        success: probability that such a step is right with its present sampling.
        samples_each: samples per step at present; NaN if there are only trial runs, and the policy does not tell.
        lead: the k that a vote ahead by k needs for the wanted success; None if no k is enough.
        lead_sure: the same for the low end of the interval of `right`.
        lead_samples: samples per step with that lead.
        tokens: tokens per step; `usd` and `seconds` likewise. Samples that share a prompt are generated together, so
            fewer of them are not assumed to be faster than measured.
        said: remarks for the reader.
    """

    name: Name
    steps: float
    prompts: int
    samples: int
    measured: str
    right: Range
    accepted: float
    correlation: float
    ceiling: float
    policy: str
    success: Range
    samples_each: float
    lead: int | None
    lead_sure: int | None
    lead_samples: float
    tokens: Cost
    usd: Cost | None
    seconds: Cost
    said: tuple[str, ...] = ()


class Total(msgspec.Struct, kw_only=True):
    """A whole task: the probability that all its steps are right, and the cost."""

    success: Range | None
    samples: float
    tokens: float
    usd: float | None
    seconds: float


class Estimate(msgspec.Struct, kw_only=True):
    """The estimate of a task.

    Attributes:
        as_it_is: with its present sampling.
        with_votes: with the lead that each kind of step needs for `wanted`; None if one kind cannot reach it.
        runs: the runs measured.
    """

    wanted: float
    steps: list[StepOdds]
    as_it_is: Total
    with_votes: Total | None
    runs: list[str]
    said: list[str]


def estimate(
    measured: Measured, *, wanted: float, key: Key | None = None, sharing: Sharing = MappingProxyType({})
) -> Estimate:
    """Estimate one more run.

    A task succeeds if all its steps do. Intervals follow from the number of samples, which count less if samples of a
    prompt are correlated. They hold for each kind of step; taken together they are wider than 95 %.
    """
    runs = len(measured.runs)
    asked = [group for group in measured.groups.values() if group.steps]
    each = {group.name: group.steps / runs for group in asked}
    share = wanted ** (1 / max(1.0, sum(each.values())))
    steps = [_step(group, each[group.name], share, key, sharing) for group in asked]
    thinking = sum(run.thinking for run in measured.runs)
    beside = sum(run.seconds for run in measured.runs) / thinking if thinking else 1.0
    voted = None
    if steps and all(step.lead is not None for step in steps):
        voted = _total(steps, beside, voted=True)
    said = ["a task counts as right when every step is right; a planner that checks or revises can do better"]
    if any(step.measured == "agreement" for step in steps):
        said.append(
            "without a key, errors that all samples share cannot be seen: success is at most this (--answers RUN)"
        )
    short = Counter(run.status for run in measured.runs if run.status != "solved")
    if short:
        ends = ", ".join(f"{number} {status}" for status, number in sorted(short.items()))
        said.append(f"not every run was solved ({ends}): the cost of a run lacks the steps that they did not reach")
    if measured.unreadable:
        said.append(f"left out, since they cannot be read completely: {', '.join(measured.unreadable)}")
    return Estimate(
        wanted=wanted,
        steps=steps,
        as_it_is=_total(steps, beside, voted=False),
        with_votes=voted,
        runs=[run.run for run in measured.runs],
        said=said,
    )


def policy_in(name: str) -> Vote | None:
    """Parse a policy's name in the trace; None if its odds are unknown, or would take minutes to compute."""
    if not name:
        return Vote("once", 1, 3)
    found = _POLICY.fullmatch(name)
    if found is None:
        return None
    if found[1] is None:
        return Vote("once", 1, int(found[4]))
    number, cap = int(found[2]), int(found[3])
    work = ahead_by_work(number, cap) if found[1] == "ahead_by" else majority_work(number, cap)
    return Vote(found[1], number, cap) if work <= _MOST_WORK else None


def odds_of(policy: Vote, spread: Spread, accepted: float) -> Odds:
    """Return the odds of a step under this policy."""
    match policy.kind:
        case "ahead_by":
            return spread.ahead_by(policy.number, policy.cap, accepted)
        case "majority":
            return spread.majority(policy.number, policy.cap, accepted)
        case _:
            return once_odds(spread.mean, policy.cap, accepted)


def _step(group: Group, steps: float, share: float, key: Key | None, sharing: Sharing) -> StepOdds:
    counted, against = _counted(group, key)
    right, of = sum(good for good, _ in counted), sum(n for _, n in counted)
    flagged = sum(prompt.flagged for prompt in group.prompts.values())
    drawn = flagged + sum(prompt.answers.total() for prompt in group.prompts.values())
    accepted = (drawn - flagged) / drawn if drawn else 1.0
    correlation = correlation_of(counted)
    worth = effective_votes(of / len(counted), correlation) * len(counted) if counted else 0.0
    rate = right / of if of else math.nan
    low, high = wilson(rate * worth, worth) if of else (0.0, 1.0)
    spread = Spread(rate, correlation) if of else None
    name = group.policies.most_common(1)[0][0]
    policy = policy_in(name)
    success, samples_each = Range(math.nan, 0.0, 1.0), math.nan if group.oversampled else group.samples / group.steps
    if spread is not None and policy is not None:
        odds = [odds_of(policy, Spread(p, correlation), accepted) for p in (rate, low, high)]
        success, samples_each = Range(*(each.right for each in odds)), odds[0].samples
    lead = _lead(spread, share, accepted) if spread is not None else None
    lead_sure = _lead(Spread(low, correlation), share, accepted) if spread is not None else None
    tokens, usd, seconds = _costs(group, sharing)
    return StepOdds(
        name=group.name,
        steps=steps,
        prompts=len(counted),
        samples=of,
        measured=against,
        right=Range(rate, low, high),
        accepted=accepted,
        correlation=correlation,
        ceiling=spread.ceiling if spread is not None else math.nan,
        policy=name or "once(cap=3)",
        success=success,
        samples_each=samples_each,
        lead=lead[0] if lead else None,
        lead_sure=lead_sure[0] if lead_sure else None,
        lead_samples=lead[1] if lead else math.nan,
        tokens=tokens,
        usd=usd,
        seconds=seconds,
        said=tuple(_remarks(counted, rate, accepted, correlation, spread, policy, share, lead)),
    )


def _costs(group: Group, sharing: Sharing) -> tuple[Cost, Cost | None, Cost]:
    """Return the cost of a step in tokens, dollars and seconds, by its number of samples."""
    samples, whose = max(1, group.samples), (group.name.backend, group.name.model)
    if whose not in sharing:
        usd = None if group.usd is None else Cost(each=group.usd / samples)
        return Cost(each=group.tokens / samples), usd, Cost(each=group.seconds / samples)
    prices, answers = sharing[whose], group.tokens - group.prompts_read
    tokens = Cost(once=group.prompts_read / group.steps, each=answers / samples)
    seconds = Cost(each=group.seconds / samples, least=group.seconds / group.steps)
    if group.usd is None:
        return tokens, None, seconds
    reading = 0.0 if prices is None else min(group.usd, prices.cost(group.prompts_read, 0))
    return tokens, Cost(once=reading / group.steps, each=(group.usd - reading) / samples), seconds


def _counted(group: Group, key: Key | None) -> tuple[list[tuple[int, int]], str]:
    """Count right and all samples of each usable prompt; return also how it was decided what is right."""
    if key:
        known = [prompt.right(key[digest]) for digest, prompt in group.prompts.items() if digest in key]
        known = [(right, of) for right, of in known if of]
        if known:
            return known, "key"
    agreeing = [prompt.right(None) for prompt in group.prompts.values()]
    agreeing = [(right, of) for right, of in agreeing if of >= ENOUGH_SAMPLES]
    return agreeing, "agreement" if agreeing else "nothing"


def _lead(spread: Spread, share: float, accepted: float) -> tuple[int, float] | None:
    """Return the smallest lead that reaches this success, and the samples it takes."""
    if spread.ceiling < share:
        return None
    for k in range(1, MOST_LEAD + 1):
        odds = spread.ahead_by(k, None, accepted)
        if odds.right >= share:
            return k, odds.samples
    return None


def _remarks(
    counted: Sequence[tuple[int, int]],
    rate: float,
    accepted: float,
    correlation: float,
    spread: Spread | None,
    policy: Vote | None,
    share: float,
    lead: tuple[int, float] | None,
) -> list[str]:
    if not accepted:
        return ["every sample is flagged: such a step gets no answer, however many are drawn"]
    if spread is None:
        return [f"too few samples of one prompt to compare: {ENOUGH_SAMPLES} are needed (--tries N, or a vote)"]
    said = []
    if rate <= 0.5:  # noqa: PLR2004 - one half
        said.append("samples are right half the time or less: votes would settle on a wrong answer")
    wrong = sum(1 for right, of in counted if right * 2 <= of)
    if wrong and rate > 0.5:  # noqa: PLR2004 - as above
        said.append(
            f"errors repeat: on {wrong} of {len(counted)} prompts most samples are wrong, where votes cannot help"
        )
    if lead is None:
        said.append(f"no vote reaches {share:.2%} a step; endless votes would reach {spread.ceiling:.2%}")
    if correlation > 0.05:  # noqa: PLR2004 - less is noise
        said.append(f"samples of a prompt go together: 10 of them are worth {effective_votes(10, correlation):.1f}")
    if policy is None:
        said.append(
            "the odds of its sampling policy are not known, or it has too many votes: only its votes are estimated"
        )
    return said


def _total(steps: Sequence[StepOdds], beside: float, *, voted: bool) -> Total:
    samples = [step.lead_samples if voted else step.samples_each for step in steps]
    chances = [_with_lead(step) if voted else step.success for step in steps]
    success = None
    if chances and not any(math.isnan(chance.value) for chance in chances):
        whole = [
            math.prod(getattr(chance, bound) ** step.steps for chance, step in zip(chances, steps, strict=True))
            for bound in ("value", "low", "high")
        ]
        success = Range(*whole)

    def sum_of(costs: Sequence[Cost]) -> float:
        return math.fsum(step.steps * cost.of(n) for step, cost, n in zip(steps, costs, samples, strict=True))

    usd = [step.usd for step in steps if step.usd is not None]
    return Total(
        success=success,
        samples=math.fsum(step.steps * n for step, n in zip(steps, samples, strict=True)),
        tokens=sum_of([step.tokens for step in steps]),
        usd=sum_of(usd) if len(usd) == len(steps) else None,
        seconds=beside * sum_of([step.seconds for step in steps]),
    )


def _with_lead(step: StepOdds) -> Range:
    lead = step.lead or 1
    return Range(
        *(Spread(p, step.correlation).ahead_by(lead).right for p in (step.right.value, step.right.low, step.right.high))
    )

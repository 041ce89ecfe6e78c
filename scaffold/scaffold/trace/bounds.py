"""Checks in a trace that the budget was kept: nothing was begun without room for it.

The limits are in the run's first event, and in each later one with which a person raised them. A step, and each further
draw of samples, is recorded with its worst-case cost. That cost, plus what was used and what else is under way, must
stay within the limits; what was under way when a process died is charged at its worst case. This check uses the events
alone and is written independently of the engine's own ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaffold.vocabulary.events import Event

# Rounding errors in sums of dollars.
_ROUNDING = 1e-9
# A busy machine may delay a step that was about to be asked when the deadline passed.
_SLACK_S = 60.0


class _Account:
    """One ledger: what is settled, and the worst-case cost of each step under way."""

    __slots__ = ("bounds", "held", "steps", "tokens", "usd")

    def __init__(self, bounds: Mapping[str, float]) -> None:
        self.bounds = bounds
        self.held: dict[str, tuple[int, float]] = {}
        self.steps = 0
        self.tokens = 0
        self.usd = 0.0

    def hold(self, key: str, tokens: int, usd: float) -> None:
        self.settle(key, 0, 0.0)
        self.held[key] = (tokens, usd)
        self.tokens += tokens
        self.usd += usd

    def settle(self, key: str, tokens: int, usd: float) -> None:
        held = self.held.pop(key, (0, 0.0))
        self.tokens += tokens - held[0]
        self.usd += usd - held[1]

    def over(self, **taken: float) -> str:
        """Say which limit is exceeded; empty if none is."""
        for name, value in taken.items():
            bound = self.bounds.get(name)
            if bound is not None and value > bound + _ROUNDING:
                return f"{value:g} {name} would be used, but the budget is {bound:g}"
        return ""


class Bounds:
    """Checks the events of one run, in order.

    Attributes:
        checks: for each relevant kind of event, a function that takes it in and says which limit it exceeds, or "".
    """

    def __init__(self) -> None:
        self._work = _Account({})
        self._oversight = _Account({})
        self._seconds: float | None = None
        self._actions = 0
        self._actions_usd = 0.0
        self._costs: dict[str, float] = {}
        self.checks: dict[type[Event], Callable[..., str]] = {
            ev.RunStarted: self._started,
            ev.RunResumed: self._resumed,
            ev.BudgetRaised: self._raised,
            ev.StepAsked: self._asked,
            ev.StepReserved: self._reserved,
            ev.StepAnswered: self._settled,
            ev.StepCut: self._settled,
            ev.ActionProposed: self._proposed,
            ev.ActionIntent: self._intent,
            ev.ActionOutcome: self._over,
            ev.ActionRefused: self._over,
        }

    def _started(self, event: ev.RunStarted) -> str:
        self._bind(event.bounds)
        return ""

    def _raised(self, event: ev.BudgetRaised) -> str:
        self._bind({**self._work.bounds, **event.bounds})
        return ""

    def _bind(self, bounds: Mapping[str, float]) -> None:
        self._work.bounds = bounds
        self._oversight.bounds = ev.of_oversight(bounds)
        self._seconds = bounds.get("seconds")

    def _resumed(self, _event: ev.RunResumed) -> str:
        self._work.held.clear()  # it stays charged
        self._oversight.held.clear()
        return ""

    def _account(self, ledger: str) -> _Account:
        return self._work if ledger == "model" else self._oversight

    def _asked(self, event: ev.StepAsked) -> str:
        account = self._account(event.ledger)
        account.hold(event.key, event.tokens, event.usd)
        account.steps += 1
        return self._late(event, "a step was asked") or self._room(account, "a step was asked", steps=account.steps)

    def _reserved(self, event: ev.StepReserved) -> str:
        account = self._account(event.ledger)
        account.hold(event.key, event.spent.tokens + event.tokens, (event.spent.usd or 0.0) + event.usd)
        return self._room(account, "more samples were asked")

    def _room(self, account: _Account, what: str, **more: float) -> str:
        usd = account.usd + (self._actions_usd if account is self._work else 0.0)
        over = account.over(tokens=account.tokens, usd=usd, **more)
        return f"{what} beyond the budget: {over}" if over else ""

    def _settled(self, event: ev.StepAnswered | ev.StepCut) -> str:
        self._account(event.ledger).settle(event.key, event.usage.tokens, event.usage.usd or 0.0)
        return ""

    def _proposed(self, event: ev.ActionProposed) -> str:
        self._costs[event.key] = event.cost
        return ""

    def _intent(self, event: ev.ActionIntent) -> str:
        if event.attempt > 1:
            return ""
        cost = self._costs.get(event.key, 0.0)
        self._actions += 1
        self._actions_usd += cost
        late = self._late(event, f"{event.action} was started")
        return late or self._room(self._work, f"{event.action} was started", actions=self._actions)

    def _over(self, event: ev.ActionOutcome | ev.ActionRefused) -> str:
        self._costs.pop(event.key, None)
        return ""

    def _late(self, event: Event, what: str) -> str:
        if self._seconds is None or event.t <= self._seconds + _SLACK_S:
            return ""
        return f"{what} after the time limit: at {event.t:.0f} s of {self._seconds:g} s"

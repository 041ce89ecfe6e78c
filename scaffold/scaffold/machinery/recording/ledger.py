"""The budget of a run: reserved at the worst case before a call, settled after it.

Each run has two ledgers of the same kind, the work's and oversight's. Their contents are a fold over the trace: a
reservation never settled, because the process died, stays charged at its worst case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from scaffold.errors import BudgetSpent
from scaffold.vocabulary.models import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.vocabulary.task import Budget


class Reservation(msgspec.Struct, gc=False):
    """The worst-case cost that one step still holds."""

    tokens: int = 0
    usd: float = 0.0


_NOTHING = Reservation()


class Ledger:
    """What was used, what is reserved, and whether there is room for more.

    Attributes:
        used: settled usage.
        steps: steps asked.
        actions: actions whose intent was recorded.
        actions_usd: their declared cost.
    """

    __slots__ = ("_held", "_most", "_open", "actions", "actions_usd", "steps", "used")

    def __init__(self, budget: Budget) -> None:
        self._most = (budget.tokens, budget.usd, budget.steps, budget.actions)  # attribute access in pydantic is slow
        self.used: Usage = NO_USAGE
        self.steps = 0
        self.actions = 0
        self.actions_usd = 0.0
        self._held = Reservation()
        self._open: dict[str, Reservation] = {}

    def widen(self, bounds: Mapping[str, float]) -> None:
        """Replace the limits that are named."""
        names = ("tokens", "usd", "steps", "actions")
        self._most = cast("Any", tuple(bounds.get(name, most) for name, most in zip(names, self._most, strict=True)))

    def room(
        self,
        *,
        tokens: int = 0,
        usd: float = 0.0,
        steps: int = 0,
        actions: int = 0,
        instead_of: str = "",
        spent: Usage = NO_USAGE,
    ) -> BudgetSpent | None:
        """Say why there is no room for this, on top of what a step has spent and replacing what it holds; else None."""
        most_tokens, most_usd, most_steps, most_actions = self._most
        own = self._open.get(instead_of, _NOTHING)
        if most_tokens is not None:
            taken = self.used.tokens + self._held.tokens - own.tokens + spent.tokens
            if taken + tokens > most_tokens:
                return BudgetSpent("tokens", limit=most_tokens, spent=taken, wanted=tokens, key=instead_of)
        if most_usd is not None:
            paid = (self.used.usd or 0.0) + self._held.usd - own.usd + self.actions_usd + (spent.usd or 0.0)
            if paid + usd > most_usd:
                return BudgetSpent("usd", limit=most_usd, spent=paid, wanted=usd, key=instead_of)
        if most_steps is not None and self.steps + steps > most_steps:
            return BudgetSpent("steps", limit=most_steps, spent=self.steps, wanted=steps, key=instead_of)
        if most_actions is not None and self.actions + actions > most_actions:
            return BudgetSpent("actions", limit=most_actions, spent=self.actions, wanted=actions)
        return None

    def reserve(self, key: str, tokens: int, usd: float, *, spent: Usage = NO_USAGE, steps: int = 0) -> None:
        """Hold what a step has used so far plus the worst case of its next call."""
        if key in self._open:
            self._release(key)
        if spent is not NO_USAGE:
            tokens, usd = tokens + spent.tokens, usd + (spent.usd or 0.0)
        self._open[key] = Reservation(tokens, usd)
        self._held.tokens += tokens
        self._held.usd += usd
        self.steps += steps

    def _release(self, key: str) -> None:
        held = self._open.pop(key, None)
        if held is not None:
            self._held.tokens -= held.tokens
            self._held.usd -= held.usd

    def settle(self, key: str, usage: Usage) -> None:
        """Replace what a step holds by what it used."""
        self._release(key)
        self.used = self.used + usage

    def forfeit(self) -> None:
        """Charge at the worst case whatever was under way when a process died."""
        for key, reservation in list(self._open.items()):
            self.settle(key, Usage(input=reservation.tokens, usd=reservation.usd))

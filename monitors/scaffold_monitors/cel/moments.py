"""What rules see of a review: the values of their variables (`args`, `action`, `plan`), and their functions."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.vocabulary.characters import as_read
from scaffold.vocabulary.plan import is_pending
from scaffold_monitors.cel.tally import History, Tally, mark, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.plan import ActionCall
    from scaffold_monitors.cel.around import Around
    from scaffold_monitors.cel.tally import Amount, Pending

# The library turns a function's exception into an error of the expression, but prints it as well; a value
# that it cannot convert is the quiet way to the same end.
_NO_VALUE = object()
_MOST = 2**63


class Size:
    """The size of some values, which bounds the cost of evaluating a rule on them."""

    __slots__ = ("longest", "nodes")

    def __init__(self, *values: Any) -> None:
        self.longest = 1
        self.nodes = 0
        for value in values:
            self.add(value)

    def add(self, value: Any) -> None:
        """Add a value.

        Raises:
            ValueError: a number has more than 64 bits; CEL would round it, and could take two different ids as equal.
        """
        self.nodes += 1
        if isinstance(value, str):
            self.longest = max(self.longest, len(value) // 1000)
        elif isinstance(value, dict):
            self.longest = max(self.longest, len(value))
            for item in value.values():
                self.add(item)
        elif isinstance(value, (list, tuple)):
            self.longest = max(self.longest, len(value))
            for item in value:
                self.add(item)
        elif type(value) is int and not -_MOST <= value < _MOST:
            raise ValueError(f"the number {value} has more than 64 bits and cannot be compared exactly")


class Facts:
    """What is known of one call.

    Attributes:
        call: the call.
        known: its arguments, except those that wait for another action's result.
        later: names of these exceptions.
    """

    __slots__ = ("call", "known", "later", "size", "spec")

    def __init__(self, call: ActionCall, spec: ActionSpec, *, planned: bool) -> None:
        self.call = call
        self.spec = spec
        # When the action is about to run nothing is later: a "$later" in it is an argument like any other.
        later = [name for name, value in call.arguments.items() if is_pending(value)] if planned else []
        self.later = frozenset(later)
        known = call.arguments
        self.known = {name: known[name] for name in known if name not in self.later} if later else known
        self.size = Size(self.known)

    def at(self, path: tuple[str, ...]) -> Any:
        """Return the value of a field such as `("args", "account")`.

        Raises:
            KeyError: the call has no such argument, or it is not known yet.
        """
        root, name = path[0], path[1]
        if root == "args":
            return self.known[name]
        if root == "action":
            return self._action_field(name)
        record = self.provenance[name]
        return record if len(path) == 2 else record[path[2]]  # noqa: PLR2004 - a record, or one field of it

    def _action_field(self, name: str) -> Any:
        match name:
            case "name":
                return self.call.action
            case "effect" | "cost":
                return getattr(self.spec, name)
            case _:
                return self.action[name]

    def whole(self, root: str) -> Mapping[str, Any]:
        """Return a whole record: `args` or `provenance`."""
        return self.known if root == "args" else self.provenance

    @property
    def action(self) -> dict[str, Any]:
        """The record `action`."""
        call, spec = self.call, self.spec
        after = list(call.after)
        return {"id": call.id, "name": call.action, "effect": spec.effect, "cost": spec.cost, "after": after}

    @property
    def provenance(self) -> dict[str, Any]:
        """The record `provenance`."""
        return {
            name: {"sources": list(where.sources), "tainted": where.tainted}
            for name, where in self.call.provenance.items()
        }

    def planned(self) -> dict[str, Any]:
        """Return the call as an item of `plan`."""
        record = self.action
        record["action"] = record.pop("name")
        record["args"] = self.known
        return record


class Moment(msgspec.Struct, dict=True):
    """The data behind the rule functions `count`, `total`, `before` and the rest.

    Attributes:
        calls: the plan under review, or the one call.
        planned: whether a plan is under review.
        others: what may happen besides it.
        history: what has happened.
        around: the clock, and what other runs did; None if no rule needs it.
        node: id of the call being checked; empty for the plan as a whole.
        unknown: set when a rule asked for a sum that depends on a result still to come.
        least: for a sum that is still open, return its lower bound rather than its upper.
        between: set when such a sum was asked for: amounts above and below zero are pending, and not all need happen.
    """

    calls: Sequence[Facts]
    planned: bool
    others: Sequence[Pending]
    history: History
    around: Around | None = None
    node: str = ""
    unknown: bool = False
    least: bool = False
    between: bool = False

    @cached_property
    def _ahead(self) -> Tally:
        """What the pending effects and the calls under review would add to what was performed."""
        ahead = Tally()
        there = Counter(other.mark for other in self.others)
        for other in self.others:
            ahead.add(other.action, other.amounts)
        for facts in self.calls:
            # An effect with an identity that was performed with just these arguments is not performed again.
            if self.planned and facts.spec.identity and not facts.later:
                known = mark(facts.call.action, facts.call.arguments)
                if known in self.history.performed or there[known]:
                    continue
            ahead.add(facts.call.action, numbers(facts.known))
        return ahead

    def count(self, action: str) -> int:
        """Count how often an action will have been performed."""
        return self.history.settled.calls.get(action, 0) + self._ahead.calls.get(action, 0)

    def total(self, action: str, argument: str) -> Any:
        """Return the sum that a numeric argument of an action will have reached."""
        settled, ahead = self.history.settled.total(action, argument), self._ahead.total(action, argument)
        if settled is None or ahead is None:
            return self._untold(action, argument)
        return self._sum(settled, ahead, self._ahead.below.get((action, argument), 0))

    def _untold(self, action: str, argument: str) -> Any:
        """Return no sum, and note whether one is still to come."""
        self.unknown = any(facts.call.action == action and argument in facts.later for facts in self.calls)
        return _NO_VALUE

    def _sum(self, settled: Amount, ahead: Amount, below: Amount) -> Any:
        """Add what is settled and what is ahead; `below` is the negative part of the latter.

        Not all that is ahead need happen, so a negative amount makes no room for others before it is settled.
        """
        if below and below != ahead:
            self.between = True
            ahead = below if self.least else ahead - below
        amount = settled + ahead
        return amount if isinstance(amount, int) and -_MOST <= amount < _MOST else float(amount)

    def count_in(self, action: str, days: int) -> Any:
        """Count how often an action will have been performed in the last `days` days, in all runs."""
        if self.around is None:
            return _NO_VALUE
        here = sum(facts.call.action == action for facts in self.calls)
        return here + self.around.count(action, days)

    def total_in(self, action: str, argument: str, days: int) -> Any:
        """Return the sum that a numeric argument will have reached in the last `days` days, in all runs."""
        past = None if self.around is None else self.around.sum(action, argument, days)
        if past is None:
            return _NO_VALUE
        ahead = Tally()
        for facts in self.calls:
            ahead.add(facts.call.action, numbers(facts.known))
        coming = ahead.total(action, argument)
        if coming is None:
            return self._untold(action, argument)
        # For other runs it is not known here which amounts are settled and which are still pending.
        return self._sum(0, past.amount + coming, past.below + ahead.below.get((action, argument), 0))

    def count_to(self, action: str, argument: str, days: int, value: Any) -> Any:
        """Count how often an action will have been performed with an argument's value in the last days, in all runs."""
        past = None if self.around is None else self.around.count_to(action, argument, days, value)
        if past is None:
            return _NO_VALUE
        if any(facts.call.action == action and argument in facts.later for facts in self.calls):
            self.unknown = True
            return _NO_VALUE
        same = as_read(value)
        return past + sum(
            facts.call.action == action and as_read(facts.known.get(argument)) == same for facts in self.calls
        )

    def clock(self, zone: str = "UTC") -> Any:
        """Return the minutes since midnight in a time zone."""
        return _NO_VALUE if self.around is None else self.around.clock(zone)

    def weekday(self, zone: str = "UTC") -> Any:
        """Return the day of the week in a time zone, 0 for Monday."""
        return _NO_VALUE if self.around is None else self.around.weekday(zone)

    def before(self, action: str) -> int:
        """Count how often an action was performed, or will have been, before the call being checked."""
        done = self.history.settled.calls.get(action, 0)
        ahead, by_action = self._ancestors
        return done + (ahead.get(self.node, 0) & by_action.get(action, 0)).bit_count()

    @cached_property
    def _ancestors(self) -> tuple[dict[str, int], dict[str, int]]:
        """For each call its ancestors, and for each action its calls: sets as bits of an integer."""
        needs = {facts.call.id: facts.call.after for facts in self.calls}
        bit = {node: 1 << place for place, node in enumerate(needs)}
        before: dict[str, int] = {}
        for node in TopologicalSorter(needs).static_order():
            before[node] = 0
            for earlier in needs.get(node, ()):
                before[node] |= before[earlier] | bit.get(earlier, 0)
        by_action: dict[str, int] = {}
        for facts in self.calls:
            by_action[facts.call.action] = by_action.get(facts.call.action, 0) | bit[facts.call.id]
        return before, by_action

"""What rules can ask beyond their own run: the time, and what all runs did in the last days.

The answers are recorded with the verdict that rests on them, and a recorded verdict is final. So a resumed run decides
the same, whatever the time is then and whatever other runs have done since.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from scaffold.vocabulary.characters import as_read
from scaffold.vocabulary.review import Evidence
from scaffold_monitors.cel.tally import Amount, Tally, numbers

if TYPE_CHECKING:
    from scaffold.interfaces import Elsewhere

DAY_S = 86_400.0


class Sum(NamedTuple):
    """The sum of some amounts, and the sum of the negative ones among them."""

    amount: Amount
    below: Amount


class Around(msgspec.Struct):
    """The time, and what all runs did. Remembers each question and its answer.

    Attributes:
        now: seconds since the epoch.
        acts: actions that runs performed or may perform, without those under review.
        asked: answers by question, as written in a rule.
    """

    now: float
    acts: Sequence[Elsewhere]
    asked: dict[str, Any] = msgspec.field(default_factory=dict)
    _below: dict[str, Amount] = msgspec.field(default_factory=dict)

    def count(self, action: str, days: int) -> int:
        """Count how often an action was performed in the last days."""
        question = f"count_in({action!r}, {days})"
        if question not in self.asked:
            self.asked[question] = len(self._of(action, days))
        count: int = self.asked[question]
        return count

    def sum(self, action: str, argument: str, days: int) -> Sum | None:
        """Sum up an argument; None if some call has no such number, or its arguments are withheld."""
        question = f"total_in({action!r}, {argument!r}, {days})"
        if question not in self.asked:
            tally = Tally()
            for act in self._of(action, days):
                tally.add(action, numbers(act.arguments or {}))
            self.asked[question] = tally.total(action, argument)
            self._below[question] = tally.below.get((action, argument), 0)
        total: Amount | None = self.asked[question]
        return None if total is None else Sum(total, self._below[question])

    def count_to(self, action: str, argument: str, days: int, value: Any) -> int | None:
        """Count the calls with one value of an argument; None if the arguments of some call are withheld."""
        question = f"count_to({action!r}, {argument!r}, {days}, {value!r})"
        if question not in self.asked:
            acts = self._of(action, days)
            withheld = any(act.arguments is None for act in acts)
            wanted = as_read(value)
            same = sum(act.arguments is not None and as_read(act.arguments.get(argument)) == wanted for act in acts)
            self.asked[question] = None if withheld else same
        count: int | None = self.asked[question]
        return count

    def _of(self, action: str, days: int) -> list[Elsewhere]:
        since = self.now - days * DAY_S
        return [act for act in self.acts if act.action == action and act.at >= since]

    def clock(self, zone: str) -> int:
        """Return the minutes since midnight."""
        here = self._here(zone)
        return here.hour * 60 + here.minute

    def weekday(self, zone: str) -> int:
        """Return the day of the week, 0 for Monday."""
        return self._here(zone).weekday()

    def _here(self, zone: str) -> datetime:
        here = datetime.fromtimestamp(self.now, ZoneInfo(zone))
        self.asked[f"now in {zone}"] = here.isoformat(timespec="seconds")
        return here

    def evidence(self) -> tuple[Evidence, ...]:
        """Return what was looked up, for the trace."""
        return tuple(Evidence(quote=f"{question} = {answer}") for question, answer in self.asked.items())

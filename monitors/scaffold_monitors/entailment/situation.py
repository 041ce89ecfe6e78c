"""The whole input of a judgement, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scaffold_monitors.entailment.quantities import Date, accounts, dates, number, numbers, undated
from scaffold_monitors.entailment.stated import asked_for, in_major_units
from scaffold_monitors.entailment.wording import plain, stem, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from scaffold_monitors.entailment.calls import Call, Leaf
    from scaffold_monitors.entailment.tools import Tool

# Smaller numbers (0 and 1) are not taken for sums.
LEAST_SUM = 2


@dataclass(frozen=True)
class Situation:
    """The whole input of a judgement.

    Attributes:
        request: the user's own words: the prompt and the statements of objectives.
        calls: the plan in topological order, after the performed calls that it uses.
        tools: all actions that exist, by name.
        facts: trusted inputs of the task by name.
        done: ids of the performed calls, which are not under review.
    """

    request: str
    calls: Sequence[Call]
    tools: Mapping[str, Tool]
    facts: Mapping[str, Any] = field(default_factory=dict)
    done: frozenset[str] = frozenset()

    @property
    def under_review(self) -> Iterator[Call]:
        """Yield the calls to judge."""
        return (call for call in self.calls if call.id not in self.done)

    @cached_property
    def by_id(self) -> dict[str, Call]:
        """The calls by their ids."""
        return {call.id: call for call in self.calls}

    @cached_property
    def values(self) -> str:
        """The values of all calls as one normalised text."""
        return "\n".join(dict.fromkeys(plain(leaf.text) for call in self.calls for leaf in call.leaves))

    @cached_property
    def said(self) -> frozenset[str]:
        """The words of all values."""
        return frozenset(words(self.values))

    @cached_property
    def accounts(self) -> frozenset[str]:
        """The account numbers among the values of all calls."""
        return frozenset(found for call in self.calls for leaf in call.leaves for found in accounts(leaf.text.upper()))

    @cached_property
    def caller(self) -> dict[int, Call]:
        """The call that each leaf belongs to, by the leaf's `id()`."""
        return {id(leaf): call for call in self.calls for leaf in call.leaves}

    @cached_property
    def lists(self) -> frozenset[tuple[str, str]]:
        """The list arguments of which some item occurs in the request, each with its call's id."""
        return self._lists_with(lambda leaf: asked_for(leaf, self.request))

    @cached_property
    def effects(self) -> int:
        """The number of calls that are effects."""
        return sum(call.tool.effect for call in self.calls)

    @cached_property
    def read_lists(self) -> frozenset[tuple[str, str]]:
        """The list arguments of which some item was read, each with its call's id."""
        return self._lists_with(lambda leaf: bool(leaf.origin.reads))

    def _lists_with(self, fits: Callable[[Leaf], bool]) -> frozenset[tuple[str, str]]:
        return frozenset(
            (call.id, leaf.argument) for call in self.calls for leaf in call.leaves if "[" in leaf.path and fits(leaf)
        )

    @cached_property
    def sums(self) -> frozenset[Decimal]:
        """The numbers among the values of all calls."""
        amounts = [leaf for call in self.calls for leaf in call.leaves]
        values = (*map(in_major_units, amounts), *(number(leaf.value) for leaf in amounts))
        return frozenset(each for each in values if each is not None) | numbers(undated(self.values))

    def unused_sums(self, text: str) -> frozenset[Decimal]:
        """Return the numbers of a text, from `LEAST_SUM` on, that no call uses."""
        return frozenset(each for each in numbers(undated(text)) if each >= LEAST_SUM and each not in self.sums)

    def was_read(self, text: str) -> bool:
        """Whether a text occurs in some call's result or in a trusted fact."""
        return any(plain(text) in told for told in self.told)

    @cached_property
    def days(self) -> frozenset[Date]:
        """The days among the values of all calls."""
        return frozenset(day for call in self.calls for leaf in call.with_role("time") for day in dates(leaf.text))

    @cached_property
    def told(self) -> tuple[str, ...]:
        """The results of the calls and the trusted facts, each as one text."""
        given = [call.seen for call in self.calls if call.seen is not None]
        return tuple(plain(each if isinstance(each, str) else repr(each)) for each in (*given, *self.facts.values()))

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of the words of all values."""
        return frozenset(map(stem, self.said))

    @cached_property
    def dictated(self) -> dict[str, frozenset[str]]:
        """For each argument path, its values that occur in the request."""
        found: dict[str, set[str]] = {}
        for call in self.calls:
            for leaf in call.leaves:
                if not (leaf.pending or isinstance(leaf.value, bool)) and asked_for(leaf, self.request):
                    found.setdefault(leaf.path, set()).add(leaf.text)
        return {path: frozenset(values) for path, values in found.items()}

"""Planned calls as the core reads them: each value with its role, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from scaffold.vocabulary.plan import is_pending
from scaffold_monitors.entailment.evidence import asked_for
from scaffold_monitors.entailment.quantities import Date, accounts, dates, number, numbers, undated
from scaffold_monitors.entailment.tools import Role, Tool, role_of, shape
from scaffold_monitors.entailment.wording import plain, stem, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

# How a finding is to be taken: certain, for a person to say, or for the planner to do better.
Weight = Literal["block", "escalate", "revise"]
_DEEPEST = 40
# What is counted, or left as it is, is put in nothing's place.
LEAST_SUM = 2
_PLAIN = frozenset({int, float, bool})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value is declared to come from.

    Attributes:
        reads: ids of the earlier calls whose results it was made from.
        trusted: nothing outside our trust went into it.
        known: it is known where it came from; else it was composed, or nobody says.
    """

    reads: tuple[str, ...] = ()
    trusted: bool = False
    known: bool = True


COMPOSED = Origin(known=False)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of an argument.

    Attributes:
        path: such as `recipients[0]`.
        value: a text, a number, a truth value.
        role: what it is to the call.
        origin: where it is declared to come from.
        pending: it is the result of a call that was not performed yet, and nobody knows it.
    """

    path: str
    value: Any
    role: Role
    origin: Origin
    pending: bool = False

    @property
    def argument(self) -> str:
        """The argument that it is part of."""
        return self.path.partition("[")[0].partition(".")[0]

    @property
    def text(self) -> str:
        """The value as a text; empty as long as it is not known."""
        if self.pending:
            return ""
        if isinstance(self.value, str):
            return self.value
        try:
            return str(self.value)
        except ValueError:  # an integer with more digits than Python writes out
            return hex(self.value)


@dataclass(frozen=True)
class Call:
    """One call of a plan.

    Attributes:
        id: its name in the plan.
        tool: what it calls.
        leaves: its values.
        seen: what it gave back, when it was performed already; None when that is not known.
        trusted: whether what it gives back is inside our trust.
        steered: whether the decision to make it rests on something outside our trust.
    """

    id: str
    tool: Tool
    leaves: tuple[Leaf, ...] = ()
    seen: Any = None
    trusted: bool = False
    steered: bool = True

    def with_role(self, *roles: Role) -> Iterator[Leaf]:
        """Its values of some roles."""
        return (leaf for leaf in self.leaves if leaf.role in roles)


@dataclass(frozen=True)
class Situation:
    """All that a judgement rests on.

    Attributes:
        request: the user's own words: prompt, and statements of goals.
        calls: the plan, in an order that keeps to its references; calls performed before come first.
        tools: all actions that exist, by name.
        facts: trusted inputs by name.
        done: ids of calls that were performed before, and are not under review.
    """

    request: str
    calls: Sequence[Call]
    tools: Mapping[str, Tool]
    facts: Mapping[str, Any] = field(default_factory=dict)
    done: frozenset[str] = frozenset()

    @property
    def under_review(self) -> Iterator[Call]:
        """The calls to judge."""
        return (call for call in self.calls if call.id not in self.done)

    @cached_property
    def by_id(self) -> dict[str, Call]:
        """The calls by their ids."""
        return {call.id: call for call in self.calls}

    @cached_property
    def values(self) -> str:
        """The values of all calls as one text."""
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
        """The call that each value is part of, by the value's identity."""
        return {id(leaf): call for call in self.calls for leaf in call.leaves}

    @cached_property
    def lists(self) -> frozenset[tuple[str, str]]:
        """The arguments that are lists of which some item stands in the request, each with its call."""
        return self._lists_with(lambda leaf: asked_for(leaf, self.request))

    @cached_property
    def effects(self) -> int:
        """How many of the calls are effects."""
        return sum(call.tool.effect for call in self.calls)

    @cached_property
    def read_lists(self) -> frozenset[tuple[str, str]]:
        """The arguments that are lists of which some item was read, each with its call."""
        return self._lists_with(lambda leaf: bool(leaf.origin.reads))

    def _lists_with(self, fits: Callable[[Leaf], bool]) -> frozenset[tuple[str, str]]:
        return frozenset(
            (call.id, leaf.argument) for call in self.calls for leaf in call.leaves if "[" in leaf.path and fits(leaf)
        )

    @cached_property
    def sums(self) -> frozenset[Decimal]:
        """The numbers that the calls are made with."""
        values = (number(leaf.value) for call in self.calls for leaf in call.leaves)
        return frozenset(each for each in values if each is not None) | numbers(undated(self.values))

    def unused_sums(self, text: str) -> frozenset[Decimal]:
        """The sums of a text that no call uses; none that is counted, or left as it is."""
        return frozenset(each for each in numbers(undated(text)) if each >= LEAST_SUM and each not in self.sums)

    def was_read(self, text: str) -> bool:
        """Whether some call gave a text back, or a trusted fact holds it."""
        return any(plain(text) in told for told in self.told)

    @cached_property
    def days(self) -> frozenset[Date]:
        """The days that the calls are made for."""
        return frozenset(day for call in self.calls for leaf in call.with_role("time") for day in dates(leaf.text))

    @cached_property
    def told(self) -> tuple[str, ...]:
        """What the calls gave back, and the trusted facts, each as one text."""
        given = [call.seen for call in self.calls if call.seen is not None]
        return tuple(plain(each if isinstance(each, str) else repr(each)) for each in (*given, *self.facts.values()))

    @cached_property
    def stems(self) -> frozenset[str]:
        """The words of all values, without inflection."""
        return frozenset(map(stem, self.said))

    @cached_property
    def dictated(self) -> dict[str, frozenset[str]]:
        """The values of each argument, by its path, that stand in the request."""
        found: dict[str, set[str]] = {}
        for call in self.calls:
            for leaf in call.leaves:
                if not (leaf.pending or isinstance(leaf.value, bool)) and asked_for(leaf, self.request):
                    found.setdefault(leaf.path, set()).add(leaf.text)
        return {path: frozenset(values) for path, values in found.items()}


@dataclass(frozen=True, slots=True)
class Finding:
    """What stands against one call.

    Attributes:
        call: its id.
        weight: how to take it.
        rationale: for people: what was looked for, and what was found.
        feedback: for the planner: what to do, no more than the request says anyway.
        path: which argument.
        quote: the words it rests on.
    """

    call: str
    weight: Weight
    rationale: str
    feedback: str
    path: str = ""
    quote: str = ""


def leaves(tool: Tool, arguments: Mapping[str, Any], origin_of: Mapping[str, Origin]) -> tuple[Leaf, ...]:
    """The values of some arguments; an origin given for an argument holds for all within it."""
    found: list[Leaf] = []
    for name, value in arguments.items():
        role = tool.roles.get(name) or role_of(name, {})
        _collect(found, name, value, role, origin_of, origin_of.get(name, COMPOSED), 0)
    return tuple(found)


def _collect(
    found: list[Leaf], path: str, value: Any, role: Role, origin_of: Mapping[str, Origin], origin: Origin, depth: int
) -> None:
    origin = origin_of.get(path, origin)
    if type(value) in _PLAIN:
        found.append(Leaf(path, value, role, origin))
    elif depth > _DEEPEST:
        found.append(Leaf(path, str(value)[:1000], role, COMPOSED))
    elif is_pending(value) and isinstance(value, Mapping) and len(value) == 1:
        found.append(Leaf(path, value, role, origin, pending=True))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if shown := shape(str(name)):  # {"bob@corp.example": "editor"}
                found.append(Leaf(f"{path}.{name}", str(name), shown, origin))
            inner = role_of(str(name), {})
            _collect(found, f"{path}.{name}", item, role if inner == "thing" else inner, origin_of, origin, depth + 1)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            _collect(found, f"{path}[{place}]", item, role, origin_of, origin, depth + 1)
    elif value is not None and value != "":
        shown = shape(value) if isinstance(value, str) and role not in ("text", "credential") else None
        found.append(Leaf(path, value, shown or role, origin))


def against(
    call: Call, weight: Weight, rationale: str, feedback: str, leaf: Leaf | None = None, quote: str = ""
) -> Finding:
    """What stands against a call, or against one of its values."""
    shown = quote or (leaf.text if leaf else "")
    return Finding(call.id, weight, rationale, feedback, leaf.path if leaf else "", shown[:200])

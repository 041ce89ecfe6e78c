"""The core's data types: planned calls with the role and origin of each value, the situation around them, findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from scaffold.vocabulary.plan import is_pending
from scaffold_monitors.entailment.evidence import asked_for, in_major_units
from scaffold_monitors.entailment.quantities import Date, accounts, dates, number, numbers, undated
from scaffold_monitors.entailment.tools import Role, Tool, role_of, shape
from scaffold_monitors.entailment.wording import plain, stem, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

# How severe a finding is: certain, for a person to decide, or for the planner to correct.
Weight = Literal["block", "escalate", "revise"]
_DEEPEST = 40
# Smaller numbers (0 and 1) are not taken for sums.
LEAST_SUM = 2
_PLAIN = frozenset({int, float, bool})


@dataclass(frozen=True, slots=True)
class Origin:
    """The declared origin of a value.

    Attributes:
        reads: ids of the earlier calls from whose results it was made.
        trusted: whether nothing untrusted went into it.
        known: whether its origin is known; if not, it was composed or its origin was not declared.
    """

    reads: tuple[str, ...] = ()
    trusted: bool = False
    known: bool = True


COMPOSED = Origin(known=False)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of an argument.

    Attributes:
        path: its path in the arguments, such as `recipients[0]`.
        value: a text, number or truth value.
        role: its role in the call.
        origin: its declared origin.
        pending: whether it is the result of a call that has not been performed yet, so that it is unknown.
    """

    path: str
    value: Any
    role: Role
    origin: Origin
    pending: bool = False

    @property
    def argument(self) -> str:
        """Name of the argument that it is part of."""
        return self.path.partition("[")[0].partition(".")[0]

    @property
    def text(self) -> str:
        """The value as text; empty while it is unknown."""
        if self.pending:
            return ""
        if isinstance(self.value, str):
            return self.value
        try:
            return str(self.value)
        except ValueError:  # an integer with more digits than Python converts
            return hex(self.value)


@dataclass(frozen=True)
class Call:
    """One call of a plan.

    Attributes:
        id: its id in the plan.
        tool: the action that it calls.
        leaves: the values of its arguments.
        seen: its result, if it was performed already; None if that is unknown.
        trusted: whether its result is trusted.
        steered: whether the decision to make it rests on untrusted data.
    """

    id: str
    tool: Tool
    leaves: tuple[Leaf, ...] = ()
    seen: Any = None
    trusted: bool = False
    steered: bool = True

    def with_role(self, *roles: Role) -> Iterator[Leaf]:
        """Yield its values that have one of some roles."""
        return (leaf for leaf in self.leaves if leaf.role in roles)


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


@dataclass(frozen=True, slots=True)
class Finding:
    """An objection to one call.

    Attributes:
        call: the call's id.
        weight: how severe it is.
        rationale: for people: what was expected, and what was found.
        feedback: for the planner: what to correct; reveals no more than the request says.
        path: path of the argument.
        quote: the words that it rests on.
    """

    call: str
    weight: Weight
    rationale: str
    feedback: str
    path: str = ""
    quote: str = ""


def leaves(tool: Tool, arguments: Mapping[str, Any], origin_of: Mapping[str, Origin]) -> tuple[Leaf, ...]:
    """Flatten some arguments into leaves; an argument's origin holds for all values inside it."""
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
    """Make a finding against a call, or against one of its values."""
    shown = quote or (leaf.text if leaf else "")
    return Finding(call.id, weight, rationale, feedback, leaf.path if leaf else "", shown[:200])

"""The core's data types: planned calls with the role and origin of each value, and findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scaffold.vocabulary.plan import is_pending
from scaffold_monitors.entailment.tools import Role, Tool, role_of, shape
from scaffold_monitors.entailment.wording import plain, stem, words

# How severe a finding is: certain, for a person to decide, or for the planner to correct.
Weight = Literal["block", "escalate", "revise"]
_DEEPEST = 40
_PLAIN = frozenset({int, float, bool})
_CHOOSABLE: frozenset[Role] = frozenset({"thing", "place", "record"})


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
        if role in _CHOOSABLE and name in tool.choices and _is_setting(tool, name, value):
            role = "flag"
        _collect(found, name, value, role, origin_of, origin_of.get(name, COMPOSED), 0)
    return tuple(found)


def _is_setting(tool: Tool, name: str, value: Any) -> bool:
    """Whether a value is one of the tool's own words, nobody else's, and not what the tool acts on: "drop_table"."""
    if tool.stems & set(map(stem, words(name))):
        return False
    chosen = value if type(value) is list else [value]
    return all(isinstance(each, str) and plain(each) in tool.choices[name] for each in chosen)


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

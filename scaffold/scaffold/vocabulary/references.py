"""Provenance: where a value came from. It travels in references, never in Python values.

A reference is a Thought, an Observation, a task input, a part of one (`thought["account"]`), or what `apply` made from
several. Code may safely unwrap a reference and pass on the bare value: an argument without a reference is taken to
depend on everything its generator has been told.
"""

from __future__ import annotations

from functools import partial
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
T_co = TypeVar("T_co", covariant=True)


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events a value came from, and whether any of them is untrusted.

    A source reads `task:prompt`, `input:NAME`, `step:KEY`, `action:KEY`, `answer:KEY` (of a person) or
    `history:PATH@ORDINAL`: all that the generator at PATH was told before its move ORDINAL.
    """

    sources: tuple[str, ...] = ()
    tainted: bool = False

    def __or__(self, other: Provenance) -> Provenance:
        """Combine two provenances: the value depends on both."""
        if other.sources == self.sources and other.tainted == self.tainted:
            return self
        if not self.sources and not self.tainted:
            return other
        merged = dict.fromkeys(self.sources)
        merged.update(dict.fromkeys(other.sources))
        return Provenance(tuple(merged), self.tainted or other.tainted)


NOWHERE = Provenance()


class Reference(Generic[T_co]):
    """A value together with its provenance."""

    __slots__ = ("_value", "provenance")

    def __init__(self, value: T_co, provenance: Provenance) -> None:
        self._value = value
        self.provenance = provenance

    @property
    def value(self) -> T_co:
        """The bare value; where it is passed on, it depends on all that this generator was told."""
        return self._value

    def __getitem__(self, part: str | int) -> Reference[Any]:
        """Refer to one field, key or item, which keeps this reference's provenance."""
        return Reference(_part(self.value, part), self.provenance)

    # What a planner's code asks of a reference as if it were the value is asked of the value: without these a Thought
    # would be true though it holds False, equal to nothing, and in a text the words of `__repr__`.

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, form: str) -> str:
        return format(self.value, form)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == unwrap(other))

    def __hash__(self) -> int:
        return hash(self.value)

    def __contains__(self, item: object) -> bool:
        return unwrap(item) in cast("Container[object]", self.value)

    def __repr__(self) -> str:
        taint = ", tainted" if self.provenance.tainted else ""
        return f"{type(self).__name__}({self._value!r} from {', '.join(self.provenance.sources)}{taint})"


def _part(value: Any, part: str | int) -> Any:
    if isinstance(part, str) and not isinstance(value, dict):
        return getattr(value, part)
    return value[part]


@overload
def apply(function: Callable[[A], T], first: Reference[A], /) -> Reference[T]: ...
@overload
def apply(function: Callable[[A, B], T], first: Reference[A], second: Reference[B], /) -> Reference[T]: ...
@overload
def apply(function: Callable[..., T], *references: Any) -> Reference[T]: ...
def apply(function: Callable[..., T], *references: Any) -> Reference[T]:
    """Run ordinary code on references; the result has the union of their provenance.

    References that the function itself holds (in a closure, a default, a bound object) count as inputs too; other
    values in it are the planner's own code. If some inputs are bare values, which a reference may have shaped, the
    result also depends on the generator's history.
    """
    provenance = union(provenance_of(value, NOWHERE) for value in _held_by(function))
    whole = bool(references)
    for reference in references:
        provenance = provenance | provenance_of(reference, NOWHERE)
        whole = whole and isinstance(reference, Reference) and not isinstance(reference, Mixed)
    result = function(*[unwrap(reference) for reference in references])
    return Reference(result, provenance) if whole else Mixed(result, provenance)


def _held_by(function: Callable[..., Any]) -> Iterator[Any]:
    match function:
        case partial():
            yield from (*function.args, *function.keywords.values())
            yield from _held_by(function.func)
        case MethodType():
            yield function.__self__
            yield from _held_by(function.__func__)
        case FunctionType():
            yield from function.__defaults__ or ()
            yield from (function.__kwdefaults__ or {}).values()
            yield from (cell.cell_contents for cell in function.__closure__ or () if cell != CellType())
        case _:
            pass


class Mixed(Reference[T_co]):
    """A reference made partly from bare values: it also depends on its generator's history."""

    __slots__ = ()

    def __getitem__(self, part: str | int) -> Reference[Any]:
        return Mixed(_part(self.value, part), self.provenance)


BARE = frozenset({str, int, float, bool, type(None)})
"""Types whose values contain no references: checked first, since most values are of these."""


def unwrap(value: Any) -> Any:
    """Return the bare value of a reference, or of a container that holds references."""
    if type(value) in BARE:
        return value
    match value:
        case Reference():
            return value.value
        case dict():
            return {name: unwrap(item) for name, item in value.items()}
        case list() | tuple():
            return [unwrap(item) for item in value]
        case _:
            return value


def provenance_of(value: Any, history: Provenance) -> Provenance:
    """Return what a value depends on; a value without references depends on the history."""
    if type(value) in BARE:
        return history
    match value:
        case Mixed():
            return value.provenance | history
        case Reference():
            return value.provenance
        case dict() if value:
            return union((provenance_of(item, history) for item in value.values()), history)
        case list() | tuple() if value:
            return union((provenance_of(item, history) for item in value), history)
        case _:
            return history


def union(parts: Iterable[Provenance], begin: Provenance = NOWHERE) -> Provenance:
    """Combine provenances: the value depends on all of them.

    For a container, `begin` is the history: its shape (length, keys) is the planner's choice, and so depends on it.
    """
    whole = begin
    for part in parts:
        whole = part if whole is NOWHERE else whole | part
    return whole

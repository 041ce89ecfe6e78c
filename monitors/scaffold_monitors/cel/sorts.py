"""Static type checking of rules: the types each value can have, and where an expression can never be valid.

A *sort* is the set of CEL types that a value may have. The sorts of `inputs` follow from the task, those of `args` from
the actions' schemas, all others from the expression. An operator is an error only if it is defined for none of the
possible combinations of types, so a rule that could be checked for some call is never refused.

Which operators and functions are defined for which types is found by evaluating them in the CEL library itself, with
one value of each type, so that this module cannot disagree with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import Any

from scaffold.cel_library import compile_cel, new_context

# One value of each type.
_SAMPLES = {
    "int": "1", "uint": "1u", "double": "1.5", "string": "'1'", "bytes": "b'1'", "bool": "true", "null_type": "null",
    "list": "[1]", "map": "{'1': 1}", "type": "int",
    "timestamp": "timestamp('2024-01-01T00:00:00Z')", "duration": "duration('1s')",
}  # fmt: skip
TYPES = frozenset(_SAMPLES)
_NUMBERS = frozenset({"int", "uint", "double"})
# More combinations are not tried: some of them will almost surely be defined.
_MOST_TRIED = 48
_MOST_ITEMS = 1_000
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Sort:
    """The types a value can have.

    Attributes:
        types: CEL's names of them.
        items: sort of a list's items, or of a map's fields that are not in `fields`; None for anything.
        fields: sorts of a map's known fields.
    """

    types: frozenset[str]
    items: Sort | None = None
    fields: Mapping[str, Sort] | None = None

    @property
    def held(self) -> Sort:
        """The sort of its items."""
        return self.items or ANYTHING

    def field(self, name: str) -> Sort:
        """Return the sort of a field."""
        return (self.fields or {}).get(name) or self.held

    def __str__(self) -> str:
        """Describe its types in words."""
        names = sorted(self.types)
        return " or ".join(names) if len(names) < len(_SAMPLES) else "anything"


def of(*types: str) -> Sort:
    """Make a sort of some types."""
    return Sort(frozenset(types))


ANYTHING = Sort(TYPES)
BOOL, INT, STRING = of("bool"), of("int"), of("string")
NUMBER = of("int", "double")


def either(sorts: Iterable[Sort]) -> Sort:
    """Return the union of some sorts."""
    found: Sort | None = None
    for sort in sorts:
        if found is None or found == sort:
            found = sort
            continue
        held = [each for each in (found, sort) if each.types & {"list", "map"}]
        items = either(each.held for each in held) if all(each.items for each in held) and held else None
        fields = _merged(held) if all(each.fields is not None for each in held) and held else None
        found = Sort(found.types | sort.types, items, fields)
    return found or ANYTHING


def _merged(held: Iterable[Sort]) -> Mapping[str, Sort]:
    fields: dict[str, list[Sort]] = {}
    for sort in held:
        for name, each in (sort.fields or {}).items():
            fields.setdefault(name, []).append(each)
    return {name: either(each) for name, each in fields.items()}


def of_value(value: Any, depth: int = 0) -> Sort:  # noqa: PLR0911 - a table
    """Return the sort of a known value."""
    match value:
        case None:
            return of("null_type")
        case bool():
            return BOOL
        case int():
            return INT
        case float():
            return of("double")
        case str():
            return STRING
        case list() | tuple() if depth < _DEEPEST:
            simple = {type(item) for item in value} <= {str, int, float, bool}
            items = {type(item): item for item in value}.values() if simple else value[: _MOST_ITEMS + 1]
            known = value and len(items) <= _MOST_ITEMS
            return Sort(frozenset({"list"}), either(of_value(item, depth + 1) for item in items) if known else None)
        case dict() if depth < _DEEPEST and len(value) <= _MOST_ITEMS:
            fields = {str(name): of_value(item, depth + 1) for name, item in value.items()}
            return Sort(frozenset({"map"}), None, fields)
        case list() | tuple():
            return of("list")
        case dict():
            return of("map")
        case _:
            return ANYTHING


_JSON = {
    "string": "string", "integer": "int", "boolean": "bool", "null": "null_type", "array": "list", "object": "map",
}  # fmt: skip


def of_schema(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Sort:  # noqa: PLR0911 - a table
    """Return the sort of values that fit a JSON Schema; `root` holds the definitions that it refers to."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return ANYTHING
    if isinstance(where := schema.get("$ref"), str):
        return of_schema((root.get("$defs") or {}).get(where.rpartition("/")[2]), root, depth + 1)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return either(of_schema(each, root, depth + 1) for each in options)
    if "const" in schema:
        return of_value(schema["const"])
    if isinstance(listed := schema.get("enum"), list) and listed:
        return either(map(of_value, listed))
    said = schema.get("type")
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    types = frozenset(
        each for name in names for each in (("int", "double") if name == "number" else (_JSON.get(name),))
    )
    if not types or None in types or "allOf" in schema:
        return ANYTHING
    items = of_schema(schema["items"], root, depth + 1) if "items" in schema and "map" not in types else None
    properties = schema.get("properties")
    fields = None
    if isinstance(properties, Mapping):
        fields = {str(name): of_schema(each, root, depth + 1) for name, each in properties.items()}
    return Sort(frozenset(each for each in types if each), items, fields)


def comparable(one: Sort, other: Sort) -> bool:
    """Whether two values can be equal at all. Null and anything are, and any two numbers."""
    left, right = ({"number" if each in _NUMBERS else each for each in sort.types} for sort in (one, other))
    return bool(left & right) or "null_type" in left | right


def operated(operator: str, left: Sort, right: Sort) -> Sort | None:
    """Return the sort of an operator's result; None if it is defined for none of these types."""
    return _tried(f"{{}} {operator} {{}}" if operator != "[" else "{}[{}]", (left, right))


def called(name: str, given: tuple[Sort, ...], *, method: bool) -> Sort | None:
    """Return the sort of a library function's result; None if it takes none of these types."""
    if method:
        return _tried("({})." + name + "(" + ", ".join("{}" for _ in given[1:]) + ")", given)
    return _tried(name + "(" + ", ".join("{}" for _ in given) + ")", given)


def _tried(form: str, given: tuple[Sort, ...]) -> Sort | None:
    combinations = 1
    for sort in given:
        combinations *= len(sort.types)
    if combinations > _MOST_TRIED:
        return ANYTHING
    found = [result for types in product(*(sort.types for sort in given)) if (result := _outcome(form, types))]
    return either(found) if found else None


@lru_cache(maxsize=4096)
def _outcome(form: str, types: tuple[str, ...]) -> Sort | None:
    """Evaluate an operation on samples of some types; None if the library does not define it."""
    try:
        value = compile_cel(form.format(*(_SAMPLES[each] for each in types))).execute(new_context())
    except TypeError:
        return None
    except RuntimeError as error:
        return None if "Undefined" in str(error) else ANYTHING  # the function does not take these types
    except (ValueError, KeyError, IndexError, OverflowError, ArithmeticError):
        return ANYTHING  # the types are fine, only these sample values are not
    return _of_result(value, types)


def _of_result(value: Any, types: tuple[str, ...]) -> Sort:
    if isinstance(value, datetime):
        return of("timestamp")
    if isinstance(value, timedelta):
        return of("duration")
    if isinstance(value, bytes):
        return of("bytes")
    if isinstance(value, (list, dict)):
        return of("list" if isinstance(value, list) else "map")
    if type(value) is int and types[0] == "uint":
        return of("int", "uint")
    return of_value(value)

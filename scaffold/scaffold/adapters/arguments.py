"""Turns a model's arguments into the one form that is reviewed and performed.

Libraries read arguments with all kinds of validators; the gate reviews JSON values. A call's arguments are settled so
that the tool reads from the reviewed values what it would have read from the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic_core import to_jsonable_python

from scaffold.schemas import completed_by
from scaffold.vocabulary.canonical import canonical


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON has no form for, as text."""
    if value is None or type(value) in {str, bool, int}:
        return value
    try:
        return to_jsonable_python(value, fallback=str, inf_nan_mode="strings", bytes_mode="base64")
    except ValueError:  # what holds itself
        return str(value)


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same; of a type that knows no equality, whether they are as JSON values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(value, other[name]) for name, value in one.items())
    if isinstance(one, Iterator) or getattr(type(one), "__eq__", None) is object.__eq__:
        return bool(plain(one) == plain(other))
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124 - what is not a number


def settled(
    given: dict[str, Any], valid: Any, as_json: dict[str, Any], read: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """Return arguments in the form to review and perform: each as validated, or as given if that would read otherwise.

    Validators may convert ("$5" to 5, or 1 to 100 cents); a converted value must not be converted again.

    Args:
        given: what the model gave.
        valid: what the tool makes of it.
        as_json: the same as JSON values.
        read: what the tool makes of arguments, by their canonical bytes.
    """

    def reads_the_same(values: dict[str, Any]) -> bool:
        try:
            return alike(read(values), valid)
        except Exception:  # noqa: BLE001 - validators and `==` are anybody's
            return False

    if canonical(as_json) == canonical(given) or reads_the_same(as_json):
        return as_json
    arguments = dict(given)
    for name, value in as_json.items():
        changed = {**arguments, name: value}
        if reads_the_same(changed):
            arguments = changed
    return arguments


def fitting(schema: dict[str, Any], name: str, extra: str) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """Check arguments against a JSON Schema; defaults are filled in.

    Raises:
        BadInput: the schema is none, or refers to what would have to be fetched.
        MissingExtra: there is nothing that reads JSON Schema.
    """
    complete = completed_by(schema, name, extra)
    return lambda arguments, _: complete(arguments)

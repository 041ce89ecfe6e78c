"""Validation against JSON Schemas from outside, such as those of tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scaffold.errors import BadInput, MissingExtra

_MOST_SAID = 5
_LONGEST_SAID = 200  # characters of one fault, which may quote the value


def completed_by(schema: dict[str, Any], name: str, extra: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that checks arguments against a schema, and fills in those defaults that fit it themselves.

    The function raises ValueError; see `faults_by` for the rest.
    """
    faults = faults_by(schema, name, extra)
    alone = faults_by({key: part for key, part in schema.items() if key != "required"}, name, extra)
    parts = schema.get("properties", {}).items()
    said = {key: each["default"] for key, each in parts if isinstance(each, dict) and "default" in each}
    defaults = {key: value for key, value in said.items() if not alone({key: value})}

    def complete(arguments: dict[str, Any]) -> dict[str, Any]:
        values = {**defaults, **arguments}
        if not faults(values):
            return values
        if wrong := faults(arguments):
            raise ValueError(wrong)
        return arguments  # which exclude a default

    return complete


def faults_by(schema: dict[str, Any], name: str, extra: str) -> Callable[[dict[str, Any]], str]:
    """Return a function that says where arguments do not fit a schema; it returns "" if they do.

    References are never fetched, and patterns take time linear in the text's length.

    Args:
        schema: a JSON Schema of an object.
        name: the tool it belongs to, for messages.
        extra: the extra that installs the JSON Schema library.

    Raises:
        BadInput: the schema is invalid, or refers to something outside it.
        MissingExtra: the JSON Schema library is not installed.
    """
    try:
        import jsonschema_rs as library
    except ImportError:
        raise MissingExtra(f"the schema of the tool {name!r}", extra) from None
    try:
        validator = library.validator_for(schema, offline=True)
    except (library.ValidationError, library.ReferencingError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"the schema of the tool {name!r} cannot be used: {said}") from None

    def faults(values: dict[str, Any]) -> str:
        if validator.is_valid(values):
            return ""
        found = [
            f"{'.'.join(str(part) for part in fault.instance_path) or 'arguments'}: {fault.message[:_LONGEST_SAID]}"
            for fault in validator.iter_errors(values)
        ]
        return "; ".join(found[:_MOST_SAID])

    return faults

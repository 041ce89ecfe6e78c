"""Validation against JSON Schemas from outside, such as those of tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scaffold.errors import BadInput, MissingExtra

_MOST_SAID = 5
_LONGEST_SAID = 200  # characters of one fault, which may quote the value


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

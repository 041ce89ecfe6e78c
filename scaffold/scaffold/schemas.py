"""JSON Schemas that came from outside: what of a value does not fit one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scaffold.errors import BadInput, MissingExtra

_MOST_SAID = 5
_LONGEST_SAID = 200  # letters of one fault, which may quote the value


def faults_by(schema: dict[str, Any], name: str, extra: str) -> Callable[[dict[str, Any]], str]:
    """Make what says where arguments do not fit a schema; nothing where they do.

    Nothing is fetched that it refers to, and its patterns take time by the length of the text alone.

    Args:
        schema: a JSON Schema of an object.
        name: the tool it belongs to, for messages.
        extra: what brings the library that reads it.

    Raises:
        BadInput: the schema is none, or refers to what is not in it.
        MissingExtra: there is nothing that reads JSON Schema.
    """
    try:
        import jsonschema_rs as library
    except ImportError:
        raise MissingExtra(f"the schema of the tool {name!r}", extra) from None
    try:
        validator = library.validator_for(schema, offline=True)
    except (library.ValidationError, library.ReferencingError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise BadInput(f"the schema of the tool {name!r} is none that can be used: {said}") from None

    def faults(values: dict[str, Any]) -> str:
        if validator.is_valid(values):
            return ""
        found = [
            f"{'.'.join(str(part) for part in fault.instance_path) or 'arguments'}: {fault.message[:_LONGEST_SAID]}"
            for fault in validator.iter_errors(values)
        ]
        return "; ".join(found[:_MOST_SAID])

    return faults

"""Checks a value, or the JSON in a text, against a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from scaffold.critics.calling import Said
from scaffold.errors import BadInput, MissingExtra

_MOST_SAID = 5
_LONGEST_SAID = 300  # characters of one fault, which may quote the value


def fits_schema(schema: Mapping[str, Any]) -> Callable[[Any], Said]:
    """Make a critic that accepts values, or JSON in a text, that fit a JSON Schema.

    Nothing is fetched: a reference to another document is an error. Patterns take linear time in the text.

    Raises:
        BadInput: it is not a schema.
        MissingExtra: the library is not installed.
    """
    if not isinstance(schema, Mapping):
        raise BadInput(f"a JSON Schema should be a mapping, such as {{'type': 'object'}}, not {schema!r:.80}")
    try:
        import jsonschema_rs as library
    except ImportError as error:
        raise MissingExtra("a critic of JSON Schema", "critics") from error
    try:
        validator = library.validator_for(
            dict(schema),
            pattern_options=library.RegexOptions(),
            validate_formats=True,
            offline=True,
        )
    except (library.ValidationError, library.ReferencingError, ValueError) as error:
        raise BadInput(f"this is not a valid JSON Schema: {str(error).splitlines()[0]}") from None

    def check(value: Any) -> Said:
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        elif isinstance(value, str):
            try:
                value = json.loads(value, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                return f"is not JSON: {error}"
        try:
            return "; ".join(_faults(validator.iter_errors(value))) or True
        except (ValueError, TypeError) as error:
            return f"is not a JSON value: {error}"

    return check


def _faults(errors: Iterable[Any]) -> Iterator[str]:
    for number, fault in enumerate(errors):
        if number == _MOST_SAID:
            yield "and more"
            return
        place = "/".join(str(part) for part in fault.instance_path)
        said = f"{place}: {fault.message}" if place else fault.message
        yield said if len(said) <= _LONGEST_SAID else f"{said[:_LONGEST_SAID]}..."


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")

"""Parses a sample's text as a value of the wanted type; text that does not fit is refused, never repaired."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from scaffold.fitting import places_in
from scaffold.vocabulary.canonical import adapter, canonical, recordable, schema_of

_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,3})?", re.ASCII)


def read_answer(returns: Any, text: str, choices: tuple[str, ...] = ()) -> Any:
    """Parse the value that a text states; the planner is sent what is decoded from `recorded` of it.

    Raises:
        ValueError: there is none; the message says briefly what is wrong.
    """
    stripped = text.strip()
    if choices and stripped not in choices:
        raise ValueError(f"not one of {', '.join(choices)}")
    if returns is str:
        return stripped
    if not stripped:
        raise ValueError("empty")
    reader = _reader(returns)
    if reader is not None:
        return reader(stripped)
    try:
        value = adapter(returns).validate_json(stripped)
        adapter(returns).validate_json(recorded(returns, value))
    except ValidationError as error:
        place, said = places_in(error)[0]
        raise ValueError(f"{place}: {said}" if place else said) from None
    json.loads(stripped, object_pairs_hook=_each_once)
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse a repeated key: whoever reads the text may believe the one value, and the planner the other."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {max(keys, key=keys.count)!r} appears twice")


def recorded(returns: Any, value: Any) -> bytes:
    """Return the canonical bytes of a parsed value, from which its type can read it again."""
    if returns is str or _reader(returns) is not None:
        return canonical(value)
    return recordable(
        value, canonical(adapter(returns).dump_python(value, mode="json", by_alias=True, round_trip=True))
    )


@lru_cache(maxsize=256)
def _reader(returns: Any) -> Any:
    if returns is int:
        return _read_integer
    if returns is float:
        return _read_number
    if returns is bool:
        return _read_boolean
    if get_origin(returns) is Literal:
        return _Choice({str(value): value for value in get_args(returns)})
    return None


def _read_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _read_number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is too large")
    return number


def _read_boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("neither true nor false")
    return text == "true"


class _Choice:
    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __call__(self, text: str) -> Any:
        if text not in self._values:
            raise ValueError(f"not one of {', '.join(self._values)}")
        return self._values[text]


@lru_cache(maxsize=256)
def json_schema_of(returns: Any) -> dict[str, Any] | None:
    """Return the JSON Schema for constrained decoding; None for answers in plain text, and if any JSON will do.

    A bare number is plain text, of any size: decoders hold the numbers in JSON to what every parser reads exactly.
    """
    if returns is str or _reader(returns) is not None:
        return None
    return schema_of(returns) or None


@lru_cache(maxsize=256)
def choices_of(returns: Any) -> tuple[str, ...]:
    """Return the only texts in which a value of this type may be written; empty if there are too many."""
    if returns is bool:
        return ("true", "false")
    if get_origin(returns) is Literal:
        return tuple(str(value) for value in get_args(returns))
    return ()

"""Canonical JSON: one byte string per value, so that equal values have equal digests.

Canonical JSON here is UTF-8 without spaces, with object keys sorted by code point as in RFC 8785. Numbers are written
as msgspec writes them (shortest round-trip form).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from inspect import iscoroutine, isgenerator
from math import isfinite
from typing import Any

import msgspec
from pydantic import BaseModel, TypeAdapter

from scaffold.vocabulary.references import Reference

# What msgspec writes of these types themselves only: a library's own kind of text (`message.text` of LangChain), or a
# number of numpy's. Not by `str(value)`, which a subclass may answer otherwise.
_PLAIN: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)
_TEXT_KEYS = "the keys of a dict should be text"


def _plain(value: Any) -> Any:
    if isinstance(value, Reference):
        return value.value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    for plain, made in _PLAIN:
        if isinstance(value, plain):
            return made(value)
    if value is None or isinstance(value, tuple | frozenset):  # msgspec writes these itself, except as keys
        raise TypeError(_TEXT_KEYS)
    if isinstance(value, type):
        return schema_of(value)
    if isgenerator(value):
        raise TypeError(f"{value.__name__}(...) was called but not run: write `yield from` before it")
    if iscoroutine(value):
        raise TypeError(f"{value.__name__}(...) was called but not awaited: write `await` before it")
    raise TypeError(f"a {type(value).__name__} cannot be recorded: use JSON values, pydantic models or dataclasses")


_encoder = msgspec.json.Encoder(enc_hook=_plain, order="deterministic")
canonical = _encoder.encode
decode = msgspec.json.decode


TOO_DEEP = "it is nested too deeply, or contains itself"


def recordable(value: Any, written: bytes | None = None) -> bytes:
    """Return canonical bytes, refusing values that JSON would lose: `canonical` alone writes NaN as null.

    Args:
        value: the value to record.
        written: canonical bytes that contain the value, if they are already known and are not just its own.

    Raises:
        ValueError: the value holds an infinity or NaN, which JSON cannot express.
        TypeError: the value holds something that has no JSON form.
    """
    written = canonical(value) if written is None else written
    if b"null" in written and (number := not_finite(value)) is not None:
        raise ValueError(f"{number} is not a number that can be recorded")
    return written


def not_finite(value: Any) -> float | None:
    """Return the first infinity or NaN in a value that would be written as null, or None."""
    inner: Iterable[Any]
    match value:
        case str() | int() | None:
            return None
        case float():
            return None if isfinite(value) else value
        case dict():
            inner = value.values()
        case list() | tuple() | set() | frozenset():
            inner = value
        case Reference():
            inner = (value.value,)
        case BaseModel() if value.model_config.get("ser_json_inf_nan") != "strings":
            inner = (each for _, each in value)
        case msgspec.Struct():
            inner = msgspec.structs.astuple(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            inner = (getattr(value, each.name) for each in fields(value))
        case _:
            return None
    return next((found for found in map(not_finite, inner) if found is not None), None)


def unwritable(error: Exception) -> str:
    """Explain in words why a value has no canonical form."""
    said = str(error)
    if isinstance(error, RecursionError) or "serialization depth" in said:
        return TOO_DEEP
    return _TEXT_KEYS if "str keys" in said or "keys are supported" in said else said  # it speaks of its own options


def with_text_keys(value: Any) -> Any:
    """Return a value as JSON holds it, the numbers and dates that are keys of its dicts as text.

    Raises:
        TypeError: the value, or a key, has no JSON form.
        ValueError: two keys of a dict have the same text.
    """
    written = msgspec.json.encode(value, enc_hook=_plain)
    plain = decode(written)
    if msgspec.json.encode(plain) != written:
        raise ValueError("two keys of a dict have the same text")
    return plain


def digest(data: bytes, salt: bytes = b"") -> str:
    """Return SHA-256 of salt and data, in hex; the salt keeps a value of few possibilities from being guessed."""
    return hashlib.sha256(salt + data).hexdigest()


@lru_cache(maxsize=1024)
def adapter(returns: Any) -> TypeAdapter[Any]:
    """Return the validator of a type. Cached, since building one is slow."""
    return TypeAdapter(returns)


@lru_cache(maxsize=1024)
def schema_of(returns: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type."""
    return adapter(returns).json_schema()

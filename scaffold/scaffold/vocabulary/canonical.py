"""One byte string for one value, so that digests mean something.

Canonical JSON here is UTF-8, no spaces, object keys sorted by code point, as RFC 8785 asks for;
numbers are written as msgspec writes them (shortest round-trip form).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import BaseModel, TypeAdapter

from scaffold.vocabulary.references import Reference


def _plain(value: Any) -> Any:
    if isinstance(value, Reference):
        return value.value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, type):
        return schema_of(value)
    raise TypeError(f"a {type(value).__name__} cannot be recorded: use JSON values, pydantic models or dataclasses")


_encoder = msgspec.json.Encoder(enc_hook=_plain, order="deterministic")
canonical = _encoder.encode
decode = msgspec.json.decode


def unwritable(error: Exception) -> str:
    """Why a value has no canonical form."""
    said = str(error)
    return "the keys of a dict have to be text" if "str keys" in said else said  # msgspec speaks of its own options


def digest(data: bytes, salt: bytes = b"") -> str:
    """SHA-256 of salt and data, in hex; salted so that few possible values cannot be guessed from it."""
    return hashlib.sha256(salt + data).hexdigest()


@lru_cache(maxsize=1024)
def adapter(returns: Any) -> TypeAdapter[Any]:
    """Give the validator of a type; building one is slow, so they are kept."""
    return TypeAdapter(returns)


@lru_cache(maxsize=1024)
def schema_of(returns: Any) -> dict[str, Any]:
    """JSON Schema of a type."""
    return adapter(returns).json_schema()

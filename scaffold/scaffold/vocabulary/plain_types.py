"""Plain types: types whose values survive JSON encoding and decoding unchanged, with no user code involved."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from scaffold.vocabulary.references import BARE


def is_plain(hint: Any) -> bool:
    """Whether a type is built only from JSON's own types, bounds on them and descriptions."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is None:
        return hint is None or hint is Any or hint in BARE
    if origin is Literal:
        return all(type(value) in BARE for value in parts)
    if origin is Annotated:
        return is_plain(parts[0]) and all(map(_only_bounds, parts[1:]))
    if origin is dict:
        return parts[0] is str and is_plain(parts[1])
    return origin in {list, Union, UnionType} and all(map(is_plain, parts))


def _only_bounds(mark: Any) -> bool:
    """Whether an annotation's metadata can only refuse a value, never change it or rename it."""
    if isinstance(mark, FieldInfo):
        named = mark.alias or mark.validation_alias or mark.serialization_alias
        return not named and mark.is_required() and all(map(_only_bounds, mark.metadata))
    return isinstance(mark, str) or type(mark).__module__ == "annotated_types"

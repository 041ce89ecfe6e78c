"""Which types read what they gave as just that."""

from __future__ import annotations

import contextlib
import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, PlainSerializer, TypeAdapter, ValidationError

from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.plain_types import is_plain

BOUNDS = [Field(gt=0, le=10, description="some"), Field(max_length=3), Field(pattern="a"), "words"]


def made_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Types made of other types."""
    return st.one_of(
        inner.map(lambda one: list[one]),  # type: ignore[valid-type]  # at run time
        inner.map(lambda one: dict[str, one]),  # type: ignore[valid-type]  # as above
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
        st.tuples(inner, st.sampled_from(BOUNDS)).map(lambda two: Annotated[two[0], two[1]]),
    )


TYPES = st.recursive(
    st.sampled_from([str, int, float, bool, Any, Literal["a", 1], str | None, int | float]),
    made_of,
    max_leaves=4,
)
JSON = st.recursive(
    st.sampled_from([None, True, "", "a", "1", "1.0", "on", "inf"]) | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)


@given(TYPES, JSON)
def test_what_a_plain_type_gives_it_reads_as_just_that(takes: Any, value: Any) -> None:
    """So nobody need look whether what is reviewed is what a function will be given."""
    assume(is_plain(takes))
    with contextlib.suppress(ValidationError, TypeError):  # a bound on what has none
        reader: TypeAdapter[Any] = TypeAdapter(takes)
        written = reader.dump_python(reader.validate_python(value), mode="json")
        assert canonical(reader.dump_python(reader.validate_python(written), mode="json")) == canonical(written)


class Colour(Enum):
    """What is written as something else."""

    RED = "red"


class Renamed(BaseModel):
    """What is read by another name."""

    account: str = Field("ours", validation_alias="iban")


@pytest.mark.parametrize(
    "takes",
    [
        Annotated[int, AfterValidator(lambda one: one + 1)],
        list[Annotated[int, AfterValidator(lambda one: one + 1)]],
        Annotated[int, PlainSerializer(str)],
        Annotated[str, Field(alias="other")],
        Annotated[str, Field(default="other")],
        Renamed,
        Colour,
        Literal[Colour.RED],
        dt.date,
        Decimal,
        bytes,
        set[str],
        dict[int, str],
        tuple[int, ...],
    ],
)
def test_what_may_change_what_it_reads_is_not_plain(takes: Any) -> None:
    """Code, other names, and forms that JSON does not have."""
    assert not is_plain(takes)

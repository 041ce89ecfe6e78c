"""How a step states its confidence, and how stated confidence is calibrated against observed accuracy.

    class Verdict(BaseModel):
        guilty: bool
        sure: Confidence

A model's own figure is not a probability: most are far overconfident (Xiong et al. 2024, arXiv 2306.13063). A `Curve`
says how often answers with a given stated confidence were right.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, get_type_hints

import msgspec
from pydantic import BaseModel, Field

_STATED = "scaffold: the step's own confidence"
_MARK = "x-confidence"

Confidence = Annotated[
    float,
    Field(ge=0, le=1, description="how likely this answer is right, from 0 to 1", json_schema_extra={_MARK: True}),
    _STATED,
]
"""The type of a field in which an answer states how likely it is right; votes ignore this field."""


@lru_cache(maxsize=256)
def confidence_field(returns: Any) -> str:
    """Return the name of the field in which values of a type state their confidence; empty if there is none."""
    if not isinstance(returns, type):
        return ""
    said: dict[str, Any] = {}
    if issubclass(returns, BaseModel):
        said = {name: field.metadata for name, field in returns.model_fields.items()}
    elif is_dataclass(returns):
        hints = get_type_hints(returns, include_extras=True)
        said = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return next((name for name, metadata in said.items() if _STATED in metadata), "")


def stated_by(schema: Any) -> str:
    """Do the same from the type's JSON Schema, which is what a trace holds."""
    fields = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    return next((name for name, said in fields.items() if isinstance(said, Mapping) and said.get(_MARK)), "")


class Curve(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How to correct the confidence that one backend states in steps of one kind.

    Attributes:
        backend: name of the plug-in.
        model: name of its model.
        step: kind of step.
        seen: number of statements it was fitted to.
        stated: confidences as stated, ascending.
        right: share of right answers for each of them, ascending.
    """

    backend: str
    model: str
    step: str
    seen: int
    stated: tuple[float, ...]
    right: tuple[float, ...]

    def __post_init__(self) -> None:
        """Validate the curve, since its file may have been written by hand.

        Raises:
            ValueError: it is not an ascending curve of figures from 0 to 1.
        """
        figures = (*self.stated, *self.right)
        rising = all(low < high for low, high in pairwise(self.stated))
        falling = any(low > high for low, high in pairwise(self.right))
        whole = len(self.stated) == len(self.right) > 0 and all(0 <= figure <= 1 for figure in figures)
        if not whole or not rising or falling:
            raise ValueError(
                "`stated` and `right` of a curve should have the same length, with ascending figures from 0 to 1"
            )

    def correct(self, stated: float) -> float:
        """Return the expected share of right answers: linear between observed points, constant beyond them."""
        above = bisect_right(self.stated, stated)
        if above == 0:
            return self.right[0]
        if above == len(self.stated):
            return self.right[-1]
        low, high = self.stated[above - 1], self.stated[above]
        part = (stated - low) / (high - low)
        return self.right[above - 1] + (self.right[above] - self.right[above - 1]) * part


class Calibration(msgspec.Struct, frozen=True):
    """The calibration curves a run uses; recorded in full in the run's first event."""

    curves: tuple[Curve, ...] = ()

    def by_kind(self) -> Mapping[tuple[str, str, str], Curve]:
        """Return the curves by backend, model and kind of step."""
        return {(curve.backend, curve.model, curve.step): curve for curve in self.curves}

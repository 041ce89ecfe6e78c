"""Checks that a text states a quantity: a number in a unit of the right kind, and the right amount."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from scaffold.critics.calling import Said
from scaffold.errors import BadInput, MissingExtra

# A number, then a unit made of names and small powers; nothing that a reader of expressions could be kept busy with.
_QUANTITY = re.compile(
    r"\s*(?P<number>[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?)\s*(?P<unit>[^\d\s(].*)?",
    re.DOTALL,
)
_LONGEST = 80  # characters of a unit: the library's time grows with the square of a name that it does not know
_UNIT = re.compile(
    r"[^\W\d_]\w*(?:\s*(?:\*\*|\^)\s*-?\d)?(?:\s*[*/·]\s*[^\W\d]\w*(?:\s*(?:\*\*|\^)\s*-?\d)?){0,7}|[%°]\w?"
)


def quantity(of: str, *, equal: str = "", tolerance: float = 1e-9) -> Callable[[Any], Said]:
    """Make a critic that accepts a text that states one quantity, such as `3.5 km/h`.

    Args:
        of: a unit of the kind wanted: `m` accepts `3 km`, and refuses `3 kg`.
        equal: the amount it must be, in any unit of that kind.
        tolerance: how much it may differ from that, relatively.

    Raises:
        BadInput: `of` is not a unit, `equal` not a quantity of that kind, or `tolerance` not a number from 0 up.
        MissingExtra: the library is not installed.
    """
    if not 0 <= tolerance < math.inf:
        raise BadInput(f"`tolerance` should be a number of at least 0, not {tolerance!r}")
    wanted = _parsed(f"1 {of}")
    if isinstance(wanted, str):
        raise BadInput(f"{of!r} is not a unit: {wanted}")
    amount = _parsed(equal) if equal else None
    if isinstance(amount, str) or (amount is not None and not amount.is_compatible_with(wanted)):
        raise BadInput(f"{equal!r} is not a quantity that can be converted to {of!r}")

    def check(value: Any) -> Said:
        found = _parsed(value)
        if isinstance(found, str):
            return found
        if not found.is_compatible_with(wanted):
            return f"{value!r} is not a quantity that can be converted to {of!r}"
        if amount is not None:
            due = amount.to(wanted.units).magnitude
            try:
                difference = abs(found.to(wanted.units).magnitude - due)
            except OverflowError:
                difference = math.inf
            if not difference <= tolerance * abs(due):  # so that what is no number is no amount either
                return f"{value!r} is not the expected amount"
        return True

    return check


def _parsed(value: Any) -> Any:
    """The quantity that a text states; a text says why there is none."""
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    unit = (found["unit"] or "").strip() if found is not None else ""
    if found is None or len(unit) > _LONGEST or (unit and not _UNIT.fullmatch(unit)):
        return f"{value!r:.80} is not a quantity: expected a number and a unit"
    registry = _registry()
    try:
        return registry.Quantity(float(found["number"]), unit.replace("·", "*") or "dimensionless")
    except Exception as error:  # noqa: BLE001 - the library raises several kinds for a unit that it does not know
        return f"{value!r:.80} is not a quantity: {error}"


@cache
def _registry() -> Any:
    try:
        import pint
    except ImportError as error:
        raise MissingExtra("a critic of quantities", "critics") from error
    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)

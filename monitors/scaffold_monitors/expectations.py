"""Compares an action's result with the planner's structured prediction, without a model.

A prediction is JSON of the result's shape that the planner attached to an action. Only the parts it names are compared.
In place of a value it may have one of these forms:

    {"about": 120}                    within five per cent of it, or within the fraction `within`, if given
    {"at_least": 1, "at_most": 5}     either or both
    {"one_of": ["paid", "queued"]}    any of these

Texts are compared by their words, ignoring case. A prediction in prose ("the invoice will be paid") is left to a judge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FORMS = (
    frozenset({"about"}),
    frozenset({"about", "within"}),
    frozenset({"at_least"}),
    frozenset({"at_most"}),
    frozenset({"at_least", "at_most"}),
    frozenset({"one_of"}),
)
_ABOUT = 0.05
_PROSE = 4  # words: shorter texts are names and states
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Compared:
    """One claim of a prediction, compared with the result.

    Attributes:
        path: its place in the result (`/lines/0/cents`).
        predicted: the claim.
        happened: the result's value there; None if there is none.
        holds: whether they agree; None if code cannot tell.
    """

    path: str
    predicted: Any
    happened: Any
    holds: bool | None

    def text(self) -> str:
        """Describe it in one line."""
        where = f"{self.path}: " if self.path else ""
        return f"{where}{_short(self.happened)}, but {_short(self.predicted)} was predicted"


def compare(predicted: Any, happened: Any, path: str = "") -> Iterator[Compared]:
    """Yield each claim of a prediction, compared with the result."""
    if isinstance(predicted, dict):
        if frozenset(predicted) in _FORMS:
            yield Compared(path, predicted, happened, _fits(predicted, happened))
        elif not isinstance(happened, dict):
            yield Compared(path, predicted, happened, holds=False)
        else:
            for name, claim in predicted.items():
                yield from compare(claim, happened.get(name), f"{path}/{name}")
    elif isinstance(predicted, list):
        if not isinstance(happened, list) or len(happened) != len(predicted):
            yield Compared(path, predicted, happened, holds=False)
        else:
            for place, claim in enumerate(predicted):
                yield from compare(claim, happened[place], f"{path}/{place}")
    else:
        yield Compared(path, predicted, happened, _equal(predicted, happened))


def _equal(predicted: Any, happened: Any) -> bool | None:
    if isinstance(predicted, bool) or isinstance(happened, bool) or predicted is None:
        return predicted is happened
    if isinstance(predicted, int | float):
        return isinstance(happened, int | float) and _close(predicted, happened, 1e-9)
    if isinstance(happened, str) and _words(predicted) == _words(happened):
        return True
    return None if len(_words(predicted)) > _PROSE else False


def _close(one: float, other: float, share: float) -> bool:
    """Whether two numbers are nearly equal; integers too large for a float must be equal."""
    try:
        return math.isclose(one, other, rel_tol=share)
    except OverflowError:
        return one == other


def _words(text: str) -> list[str]:
    return text.casefold().split()


def _fits(form: dict[str, Any], happened: Any) -> bool:
    if "one_of" in form:
        return isinstance(form["one_of"], list) and any(_equal(each, happened) for each in form["one_of"])
    if isinstance(happened, bool) or not isinstance(happened, int | float):
        return False
    try:
        if "about" in form:
            return _close(happened, form["about"], form.get("within", _ABOUT))
        return bool(form.get("at_least", -math.inf) <= happened <= form.get("at_most", math.inf))
    except (TypeError, ValueError):  # a bound that is no number matches nothing
        return False


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

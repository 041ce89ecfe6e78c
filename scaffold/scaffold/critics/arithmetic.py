"""Checks equations stated in a text, exactly: with a small parser of our own, never by running the text."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from scaffold.critics.calling import Said
from scaffold.errors import BadInput

Number = int | Fraction

_LONGEST = 1000  # characters of one equation
_LONGEST_TEXT = 1_000_000
_NEAR = 8  # characters beside an equation that are looked at
_MOST_BITS = 20_000  # of a power
_LARGEST = 80_000  # bits of a number
_MOST_WORK = 2_000_000  # of one text: about as many operations on small numbers, some seconds
_LARGE = 300  # bits from which on the work of an operation goes with the square of its numbers' length
_RUN = re.compile(r"[\d.,()+\-*/×·÷−^%\s=]+")  # noqa: RUF001 - signs that models write
_BETWEEN = re.compile(r"[\n;]|[.,](?=\s|$)")  # what stands between two equations
_EQUALS = re.compile("=+")
_MARKS = re.compile(r"^\s*\*\*(?=[\d(.−-])|(?<=[\d)%])\*\*\s*$")  # noqa: RUF001 - **bold**, as models write
_LISTED = re.compile(r"(?:[-*+]\s+|\d{1,3}\)\s*)(?=[\d(.])")
_WORD_AS_SIGN = re.compile(r"\b(?:of|times|plus|minus|by|over)$", re.IGNORECASE)
_ENDS = re.compile(r"[?…|;—<\]}\"'”’`]|:(?!\d)")  # noqa: RUF001 - marks that models write
_PAIRS = {("$", "$"), ("\\", "\\"), ('"', '"'), ("'", "'"), ("`", "`"), ("“", "”"), ("_", "_"), (">", "<")}
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TOKEN = re.compile(r"(?P<number>\d+\.?\d*|\.\d+)(?P<hundredths>\s*%)?|(?P<sign>\*\*|[-+*/()])")
_PLAIN = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "^": "**"})  # noqa: RUF001 - as above
_SIGNS = tuple("+-*/×·÷−^")  # noqa: RUF001 - as above
_OPERATIONS: dict[str, Callable[[Any, Any], Number]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "minus": 3, "plus": 3, "**": 4}
_NONE = "it is not an expression of numbers"


def equations(*, tolerance: float = 0.0, least: int = 1) -> Callable[[Any], Said]:
    """Make a critic that checks every equation of numbers in a text, such as `12 * (3 + 4) = 84`.

    Both sides are computed exactly, as fractions. `^` and `**` are powers, `%` after a number is a hundredth, a comma
    before three digits is ignored. An expression with a name in it (`2 * x = 4`, `4 euros + 1 = 5`) has no known value,
    and so is not an equation. The time is linear in the length of the text; equations that together take more than a
    few seconds' work are refused.

    Args:
        tolerance: how much the sides may differ, relative to the larger one; for rounded answers.
        least: how many equations there must be.

    Raises:
        BadInput: the tolerance is not a number from 0 up.
    """
    if not 0 <= tolerance < math.inf:
        raise BadInput(f"`tolerance` should be a number of at least 0, not {tolerance!r}")

    def check(value: Any) -> Said:
        if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
            return "states no equation: it should be text, and not too long"
        found, within, effort = 0, Fraction(tolerance), _Effort()
        for sides in _stated(value):
            found += 1
            said = _fault_in(sides, within, effort)
            listed = _LISTED.match(sides[0])  # `- 2 + 2 = 4` in a list; where it holds as a minus it is one
            if said and listed and not _fault_in([sides[0][listed.end() :], *sides[1:]], within, effort):
                continue
            if said:
                return said
        return True if found >= least else f"it states {found} equations, but needs at least {least}"

    return check


def _stated(text: str) -> Iterator[list[str]]:
    """The sides of each equation that a text states."""
    for run in _RUN.finditer(text):
        if "=" not in run[0]:
            continue
        before, after = text[max(0, run.start() - _NEAR) : run.start()], text[run.end() : run.end() + _NEAR]
        enclosed = (before[-1:], after[:1]) in _PAIRS
        pieces = _BETWEEN.split(run[0])
        for number, piece in enumerate(pieces):
            sides = [side.strip() for side in _EQUALS.split(_MARKS.sub("", piece))]
            if number == 0 and before and not enclosed and _continues(before, run[0], sides[0]):
                sides = sides[1:]  # a name stands before it
            if number == len(pieces) - 1 and after and not enclosed and _is_continued(run[0], after):
                sides = sides[:-1]  # or behind it
            if sides and not sides[0]:
                sides = sides[1:]
            if sides and (not sides[-1] or sides[-1][-1] in _SIGNS):
                sides = sides[:-1]
            if len(sides) > 1:
                yield _without_brackets(sides)


def _continues(before: str, run: str, side: str) -> bool:
    """Whether a side goes on from what stands before it: a name right there, a sign between, or a word such as `of`."""
    return not run[0].isspace() or side[:1] in _SIGNS or _WORD_AS_SIGN.search(before) is not None


def _is_continued(run: str, after: str) -> bool:
    """Whether a name stands right behind a run; what only ends a sentence is none."""
    return not run[-1].isspace() and _ENDS.match(after) is None


def _without_brackets(sides: list[str]) -> list[str]:
    """Take off a bracket in which the whole equation stands."""
    first, last = sides[0], sides[-1]
    if max(len(first), len(last)) > _LONGEST:
        return sides  # which is refused
    for _ in range(first.count("(") - first.count(")")):
        if first.startswith("("):
            first = first[1:].lstrip()
    for _ in range(last.count(")") - last.count("(")):
        if last.endswith(")"):
            last = last[:-1].rstrip()
    return [first, *sides[1:-1], last]


def _fault_in(stated: list[str], tolerance: Fraction, effort: _Effort) -> str:
    equation = " = ".join(stated)
    if len(equation) > _LONGEST:
        return f"an equation of {len(equation)} characters is too long to be checked"
    try:
        sides = [evaluate(side, effort) for side in stated]
    except (ValueError, ArithmeticError) as error:
        return f"{equation!r} cannot be computed: {error}"
    first = sides[0]
    for side in sides[1:]:
        if side != first and not (tolerance and _size(side - first) <= tolerance * max(_size(side), _size(first))):
            return f"{equation!r} is wrong: {_shown(first)} is not {_shown(side)}"
    return ""


class _Effort:
    """How much work the equations of one text may still take, so that its time is bounded whatever it says."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MOST_WORK

    def spend(self, bits: int) -> None:
        """Take in one operation, by the length of what it gave: each number is worked on once more at most.

        Raises:
            ValueError: there is no more room for it.
        """
        self.left -= 1 + (bits // _LARGE) ** 2
        if self.left < 0:
            raise ValueError("the equations of the text take too long to compute")


def evaluate(expression: str, effort: _Effort | None = None) -> Number:
    """Evaluate an expression of numbers, `+ - * / ^ %` and parentheses, exactly.

    Uses two stacks, of numbers and of pending operators (Dijkstra's shunting yard): the time is linear in the length,
    and parentheses may be nested to any depth.

    Raises:
        ValueError: it is not an expression, or its result is too large to compute.
        ZeroDivisionError: it divides by zero.
    """
    text = _GROUPS.sub("", expression.translate(_PLAIN)).strip()
    if not text or len(text) > _LONGEST:
        raise ValueError("it is empty" if not text else "it is too long")
    if text.isdecimal():
        return int(text)
    effort = effort or _Effort()
    numbers: list[Number] = []
    waiting: list[str] = []
    wants_number = True
    for token in _tokens(text):
        sign = token["sign"]
        begins = sign is None or sign == "(" or (wants_number and sign in "+-")
        if begins is not wants_number:
            raise ValueError(_NONE)
        if sign is None:
            numbers.append(_number(token))
            wants_number = False
        elif wants_number:
            waiting.append({"+": "plus", "-": "minus"}.get(sign, sign))
        elif sign == ")":
            _apply_down_to(0, numbers, waiting, effort)
            _end(waiting, "(")
        else:
            # A power waits for what is behind it first: 2^3^2 is 2^9.
            _apply_down_to(_BINDS[sign] + (sign == "**"), numbers, waiting, effort)
            waiting.append(sign)
            wants_number = True
    if wants_number:
        raise ValueError(_NONE)
    _apply_down_to(0, numbers, waiting, effort)
    _end(waiting, "")
    return numbers[0]


def _end(waiting: list[str], opened: str) -> None:
    """End what was opened: a bracket by its other half, the whole by the end."""
    if (waiting.pop() if waiting else "") != opened:
        raise ValueError(_NONE)


def _tokens(text: str) -> Iterator[re.Match[str]]:
    """The numbers, signs and brackets of an expression; anything else but space makes it none."""
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is not None:
            yield token
            place = token.end()
        elif text[place].isspace():
            place += 1
        else:
            raise ValueError(_NONE)


def _number(token: re.Match[str]) -> Number:
    digits = token["number"]
    number = Fraction(digits) if "." in digits else int(digits)
    return number if token["hundredths"] is None else Fraction(number, 100)


def _apply_down_to(least: int, numbers: list[Number], waiting: list[str], effort: _Effort) -> None:
    """Carry out the signs that wait, last first, back to a bracket or one that binds less than `least`."""
    while waiting and waiting[-1] != "(" and _BINDS[waiting[-1]] >= least:
        sign, right = waiting.pop(), numbers.pop()
        if sign in {"plus", "minus"}:
            numbers.append(right if sign == "plus" else -right)
            continue
        result = _worked_out(numbers.pop(), sign, right)
        bits = _bits(result)
        if bits > _LARGEST:
            raise ValueError("a number is too large")
        effort.spend(bits)
        numbers.append(result)


def _worked_out(left: Number, sign: str, right: Number) -> Number:
    if sign == "**":
        return _power(left, right)
    if sign != "/":
        return _OPERATIONS[sign](left, right)
    if right == 0:
        raise ZeroDivisionError("it divides by zero")
    return Fraction(left) / right


def _power(base: Number, exponent: Number) -> Number:
    if exponent.denominator != 1 or _size(exponent) * _bits(base) > _MOST_BITS:
        raise ValueError("a power is too large, or not a whole number")
    if base == 0 and exponent < 0:
        raise ZeroDivisionError("it divides by zero")
    return base ** int(exponent) if exponent >= 0 else Fraction(base) ** int(exponent)


def _size(value: Number) -> Number:
    return -value if value < 0 else value


def _bits(value: Number) -> int:
    if type(value) is int:
        return value.bit_length()
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _shown(value: Number) -> str:
    if value.denominator == 1 and value.numerator.bit_length() < 200:  # noqa: PLR2004 - what still reads well
        return str(value.numerator)
    return f"{float(value):.6g}" if _size(value) < 10**300 else "a number of more than 300 digits"

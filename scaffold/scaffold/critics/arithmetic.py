"""Equations that a text states, worked out exactly: by a small reader of our own, never by running the text."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from scaffold.critics.calling import Said
from scaffold.errors import BadInput

_LONGEST = 1000  # characters of one equation
_LONGEST_TEXT = 1_000_000
_NEAR = 8  # characters beside an equation that are looked at
_MOST_BITS = 20_000
_RUN = re.compile(r"[\d.,()+\-*/×·÷−^%\s=]+")  # noqa: RUF001 - signs that models write
_BETWEEN = re.compile(r"[\n;]|[.,](?=\s|$)")  # what stands between two equations
_EQUALS = re.compile("=+")
_MARKS = re.compile(r"^\s*\*\*(?=[\d(.−-])|(?<=[\d)%])\*\*\s*$")  # noqa: RUF001 - **bold**, as models write
_LISTED = re.compile(r"(?:[-*+]\s+|\d{1,3}\)\s*)(?=[\d(.])")
_WORD_AS_SIGN = re.compile(r"\b(?:of|times|plus|minus|by|over)$", re.IGNORECASE)
_ENDS = re.compile(r"[?…|\]}\"'”’`]|:(?!\d)")  # noqa: RUF001 - marks that models write
_PAIRS = {("$", "$"), ("\\", "\\"), ('"', '"'), ("'", "'"), ("`", "`"), ("“", "”"), ("_", "_")}
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PERCENT = re.compile(r"(\d)\s*%")
_PLAIN = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "^": "**"})  # noqa: RUF001 - as above
_SIGNS = tuple("+-*/×·÷−^")  # noqa: RUF001 - as above
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def equations(*, tolerance: float = 0.0, least: int = 1) -> Callable[[Any], Said]:
    """Make a critic that works out every equation of numbers in a text, such as `12 * (3 + 4) = 84`.

    Both sides are worked out exactly, as fractions. `^` and `**` are powers, `%` after a number is a hundredth, a comma
    before three digits is ignored. What stands next to a name (`2 * x = 4`, `4 euros + 1 = 5`) is not known, and so is
    no equation.

    Args:
        tolerance: by how much the sides may differ, relative to the larger one; for answers that are rounded.
        least: how many equations there have to be.

    Raises:
        BadInput: the tolerance is no number from 0 up.
    """
    if not 0 <= tolerance < math.inf:
        raise BadInput(f"`tolerance` is a number from 0 up, not {tolerance!r}")

    def check(value: Any) -> Said:
        if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
            return "states no equation: text is wanted, and not too long a one"
        found = 0
        for sides in _stated(value):
            found += 1
            said = _fault_in(sides, Fraction(tolerance))
            listed = _LISTED.match(sides[0])  # `- 2 + 2 = 4` in a list; where it holds as a minus it is one
            if said and listed and not _fault_in([sides[0][listed.end() :], *sides[1:]], Fraction(tolerance)):
                continue
            if said:
                return said
        return True if found >= least else f"{found} equations are stated; {least} are wanted"

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
    while first.startswith("(") and first.count("(") > first.count(")"):
        first = first[1:].lstrip()
    while last.endswith(")") and last.count(")") > last.count("("):
        last = last[:-1].rstrip()
    return [first, *sides[1:-1], last]


def _fault_in(stated: list[str], tolerance: Fraction) -> str:
    equation = " = ".join(stated)
    if len(equation) > _LONGEST:
        return f"an equation of {len(equation)} characters is too long to be checked"
    try:
        sides = [evaluate(side) for side in stated]
    except (ValueError, ArithmeticError) as error:
        return f"{equation!r} cannot be worked out: {error}"
    first = sides[0]
    for side in sides[1:]:
        if abs(side - first) > tolerance * max(abs(side), abs(first)):
            return f"{equation!r} is wrong: {_shown(first)} is not {_shown(side)}"
    return ""


def evaluate(expression: str) -> Fraction:
    """Work out an expression of numbers, `+ - * / ^ %` and brackets, exactly.

    Raises:
        ValueError: it is none, or its result is too large to be worked out.
        ZeroDivisionError: it divides by zero.
    """
    text = _GROUPS.sub("", expression.translate(_PLAIN))
    text = _LEADING_ZEROS.sub("", _PERCENT.sub(r"\1/100", text)).strip()
    if not text or len(text) > _LONGEST:
        raise ValueError("it is empty" if not text else "it is too long")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError("it is no expression of numbers") from None
    return _worked_out(tree.body, text)


def _worked_out(node: ast.expr, text: str) -> Fraction:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            # The digits as written: a float would have lost some.
            return Fraction((ast.get_source_segment(text, node) or "").replace("_", ""))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_worked_out(operand, text)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _worked_out(operand, text)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_worked_out(left, text), _worked_out(right, text))
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
            if isinstance(operation, ast.Div) and _worked_out(right, text) == 0:
                raise ZeroDivisionError("it divides by zero")
            return _bounded(_OPERATIONS[type(operation)](_worked_out(left, text), _worked_out(right, text)))
        case _:
            raise ValueError("it is no expression of numbers")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1 or abs(exponent) * bits > _MOST_BITS:
        raise ValueError("a power is too large, or no whole one")
    if base == 0 and exponent < 0:
        raise ZeroDivisionError("it divides by zero")
    return base ** int(exponent)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * _MOST_BITS:
        raise ValueError("a number is too large")
    return value


def _shown(value: Fraction) -> str:
    if value.denominator == 1 and value.numerator.bit_length() < 200:  # noqa: PLR2004 - what still reads well
        return str(value.numerator)
    return f"{float(value):.6g}" if abs(value) < 10**300 else "a number of more than 300 digits"

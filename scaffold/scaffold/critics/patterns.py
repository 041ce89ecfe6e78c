"""Regular expressions that take linear time in the text, whatever the expression (RE2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scaffold.critics.calling import Said
from scaffold.errors import BadInput, MissingExtra


def pattern(expression: str, *, whole: bool = True) -> Callable[[Any], Said]:
    """Make a critic that accepts texts that match a regular expression.

    The syntax is RE2's (https://github.com/google/re2/wiki/Syntax): no look-around and no back-references, and in
    exchange no expression takes exponential time.

    Args:
        expression: what to match.
        whole: the whole text must match, not just a part of it.

    Raises:
        BadInput: it is not such an expression.
        MissingExtra: RE2 is not installed.
    """
    try:
        import re2
    except ImportError as error:
        raise MissingExtra("a critic of regular expressions", "critics") from error
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        said = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise BadInput(f"{expression!r} is not a regular expression of RE2: {said}") from None

    def check(value: Any) -> Said:
        if not isinstance(value, str):
            return f"a {type(value).__name__} is not text and cannot match {expression!r}"
        try:
            found = compiled.fullmatch(value) if whole else compiled.search(value)
        except UnicodeEncodeError:
            return "contains half a character (a lone surrogate), which matches nothing"
        return True if found is not None else f"does not match {expression!r}"

    return check

"""Regular expressions that take time by the length of the text alone, whatever the expression: RE2's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scaffold.critics.calling import Said
from scaffold.errors import BadInput, MissingExtra


def pattern(expression: str, *, whole: bool = True) -> Callable[[Any], Said]:
    """Make a critic that wants a text to match a regular expression.

    It is RE2's language (https://github.com/google/re2/wiki/Syntax): no look-around and no back-references, and in
    exchange no expression that blows up.

    Args:
        expression: what to match.
        whole: the whole text has to match, not just a part of it.

    Raises:
        BadInput: it is no such expression.
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
        raise BadInput(f"{expression!r} is no regular expression of RE2: {said}") from None

    def check(value: Any) -> Said:
        if not isinstance(value, str):
            return f"a {type(value).__name__} is no text to match {expression!r}"
        try:
            found = compiled.fullmatch(value) if whole else compiled.search(value)
        except UnicodeEncodeError:
            return "holds half a character (a lone surrogate), which matches nothing"
        return True if found is not None else f"does not match {expression!r}"

    return check

"""Which regular expressions may take for ever: those that can divide one text in ever more ways between their parts.

Python's `re` tries all of them before it says that there is no match, and nothing can stop it meanwhile. What is
searched was written by a model, which may have looked for such a text. Refused are a repetition within a repetition,
as in `(a+)+b` or `(aa?)+b`; alternatives that begin alike within one, as in `(a|ab)+c`; and many repetitions of the
same in a row, or of nearly anything, as in `.*a.*b.*c`. What is left takes at most a low power of the length of what
is looked at, which is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

_parser: Any = getattr(re, "_parser")  # noqa: B009 - what `re` itself compiles from; nothing public gives the parts
_FEW = 2  # what is repeated at most so often multiplies the ways by no more
_MOST_OF_ANYTHING = 2
_ANYTHING = frozenset({"ANY", "NOT_LITERAL", "NEGATE"})
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT"})
_ONCE = frozenset({"ATOMIC_GROUP", "POSSESSIVE_REPEAT", "ASSERT", "ASSERT_NOT"})  # what these match is not divided anew

_CURE = "make what is repeated inside possessive, as in `(a++b)+`, or part it into several patterns"


def endless(pattern: str) -> str:
    """Why a search for a pattern may take for ever, and what to do; nothing when it cannot.

    Raises:
        re.error: it is no regular expression.
        OverflowError: it repeats something more often than can be counted.
        RecursionError: it is nested too deeply.
    """
    tree = _parser.parse(pattern)
    why = next(_faults(tree, within=False), "")
    if not why and _of_anything(tree) > _MOST_OF_ANYTHING:
        why = f"it has more than {_MOST_OF_ANYTHING} repetitions of nearly anything, such as `.*`"
    return f"{why}: {_CURE}" if why else ""


def _faults(parts: Any, *, within: bool) -> Iterator[str]:
    """What is wrong with a sequence of parts, which stands within a repetition or does not."""
    repeated: list[str] = []  # in a row
    for name, inside in _named(parts):
        repeats = name in _REPEATS and inside[1] > _FEW
        repeated = [*repeated, str(inside[-1])] if repeats else []
        if repeats and repeated.count(repeated[-1]) > _FEW:
            yield "it repeats the same several times in a row"
        if within and (why := _divisible(name, inside)):
            yield why
        for each in _bodies(name, inside):
            yield from _faults(each, within=repeats or (within and name not in _ONCE))


def _divisible(name: str, inside: Any) -> str:
    """Why a part that is repeated can be divided in several ways."""
    if name in _REPEATS and inside[1] > inside[0]:
        return "it has a repetition within a repetition"
    if name == "BRANCH" and _alike(inside[1]):
        return "it has alternatives that begin alike within a repetition"
    return ""


def _bodies(name: str, inside: Any) -> Sequence[Any]:
    """The sequences of parts that a part holds."""
    if name == "BRANCH":
        return list(inside[1])
    if name == "GROUPREF_EXISTS":
        return [each for each in inside[1:] if each]
    if name == "ATOMIC_GROUP":
        return [inside]
    return [inside[-1]] if name in _REPEATS | _ONCE | {"SUBPATTERN"} else []


def _named(parts: Any) -> Iterator[tuple[str, Any]]:
    return ((str(operation), inside) for operation, inside in parts)


def _alike(alternatives: Any) -> bool:
    """Whether two alternatives may begin with the same letter; of what is no letter, that is not known."""
    begin = [next(_named(each), ("", None)) for each in alternatives]
    letters = [letter for name, letter in begin if name == "LITERAL"]
    return len(letters) < len(begin) or len(set(letters)) < len(letters)


def _of_anything(parts: Any) -> int:
    """How many repetitions of nearly anything there are."""
    count = 0
    for name, inside in _named(parts):
        if name in _REPEATS:
            count += inside[1] > _FEW and _is_anything(inside[2])
        count += max(map(_of_anything, _bodies(name, inside)), default=0)
    return count


def _is_anything(body: Any) -> bool:
    names = list(_named(body))
    if len(names) != 1:
        return False
    name, inside = names[0]
    if name == "SUBPATTERN":
        return _is_anything(inside[-1])
    if name == "IN":
        return any(str(operation) in _ANYTHING or "NOT" in str(what) for operation, what in inside)
    return name in _ANYTHING

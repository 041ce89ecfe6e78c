"""Rejects regular expressions that can backtrack catastrophically (ReDoS).

Python's `re` tries every way of dividing a text among a pattern's parts before it reports no match, and cannot be
interrupted. The text was written by a model, which may have chosen it for that. Refused are a repetition within a
repetition, as in `(a+)+b` or `(aa?)+b`; alternatives that begin alike within a repetition, as in `(a|ab)+c`; and many
repetitions of the same, or of nearly anything, in a row, as in `.*a.*b.*c`. The others take at most a low power of the
length of the text searched, which is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

_parser: Any = getattr(re, "_parser")  # noqa: B009 - what `re` itself compiles from; there is no public parser
_FEW = 2  # a repetition of at most this many multiplies the ways by a small constant only
_MOST_OF_ANYTHING = 2
_ANYTHING = frozenset({"ANY", "NOT_LITERAL", "NEGATE"})
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT"})
_ONCE = frozenset({"ATOMIC_GROUP", "POSSESSIVE_REPEAT", "ASSERT", "ASSERT_NOT"})  # never backtracked into

_CURE = "make what is repeated inside possessive, as in `(a++b)+`, or split it into several patterns"


def endless(pattern: str) -> str:
    """Say why a search for a pattern may never end, and what to do; empty if it always ends.

    Raises:
        re.error: the pattern is no regular expression.
        OverflowError: a repetition count is too large.
        RecursionError: it is nested too deeply.
    """
    tree = _parser.parse(pattern)
    why = next(_faults(tree, within=False), "")
    if not why and _of_anything(tree) > _MOST_OF_ANYTHING:
        why = f"it has more than {_MOST_OF_ANYTHING} repetitions of almost anything, such as `.*`"
    return f"{why}: {_CURE}" if why else ""


def least(pattern: str) -> int:
    """Return the length of the shortest text that a pattern finds; those that only look around find none."""
    shortest: int = _parser.parse(pattern).getwidth()[0]
    return shortest


def _faults(parts: Any, *, within: bool) -> Iterator[str]:
    """Find faults in a sequence of parts; `within` says whether it is inside a repetition."""
    repeated: list[str] = []  # in a row
    for name, inside in _named(parts):
        repeats = name in _REPEATS and inside[1] > _FEW
        repeated = [*repeated, str(inside[-1])] if repeats else []
        if repeats and repeated.count(repeated[-1]) > _FEW:
            yield "it repeats the same part several times in a row"
        if within and (why := _divisible(name, inside)):
            yield why
        for each in _bodies(name, inside):
            yield from _faults(each, within=repeats or (within and name not in _ONCE))


def _divisible(name: str, inside: Any) -> str:
    """Say why a repeated part can match one text in several ways; empty if it cannot."""
    if name in _REPEATS and inside[1] > inside[0]:
        return "it has a repetition within a repetition"
    if name == "BRANCH" and _alike(inside[1]):
        return "it has alternatives with the same beginning within a repetition"
    return ""


def _bodies(name: str, inside: Any) -> Sequence[Any]:
    """Return the sequences of parts inside a part."""
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
    """Whether two alternatives may begin with the same letter; assumed if one does not begin with a literal."""
    begin = [next(_named(each), ("", None)) for each in alternatives]
    letters = [letter for name, letter in begin if name == "LITERAL"]
    return len(letters) < len(begin) or len(set(letters)) < len(letters)


def _of_anything(parts: Any) -> int:
    """Count the repetitions of nearly anything, such as `.*`."""
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

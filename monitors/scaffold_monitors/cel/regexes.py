r"""Bounds the cost of a regular expression from its text.

The library's engine (Rust `regex`) matches in linear time, so no input can make it explode. But it builds the
automaton anew for each evaluation, and counted repetition multiplies its size: `\w{100}` takes a tenth of a
second, since `\w` has 700 Unicode ranges.
"""

from __future__ import annotations

import re

from scaffold.cel_library import compile_cel

MOST_CHARACTERS = 200
MOST_COST = 5_000
# Building one Unicode class takes about as long as 200 literal characters.
_CLASS = 200
_CLASSES = re.compile(r"\\[wWdDsSbBpP]|\[:|\(\?[a-z-]*i")
_COUNTED = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def pattern_cost(pattern: str) -> int:
    """Return an upper bound on the cost of building a pattern, in units of about a microsecond.

    Raises:
        ValueError: it is not a regular expression, or too costly; the message says what to do.
    """
    if len(pattern) > MOST_CHARACTERS:
        raise ValueError(f"a pattern may have at most {MOST_CHARACTERS} characters; this one has {len(pattern)}")
    cost = len(pattern) + _CLASS * len(_CLASSES.findall(pattern))
    for low, high in _COUNTED.findall(pattern):
        # Only nested repetitions multiply. The bound multiplies all of them, to stay simple.
        cost *= max(1, int(high or low))
    if cost > MOST_COST:
        advice = "repeat less often, or write [0-9] for \\d and [A-Za-z0-9_] for \\w"
        raise ValueError(f"this pattern is too costly to build for each call: {advice}")
    try:
        compile_cel("text.matches(pattern)").execute({"text": "", "pattern": pattern})
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("error:")]
        raise ValueError(f"not a regular expression: {(lines or [str(error)])[0].partition('. Check')[0]}") from None
    return cost

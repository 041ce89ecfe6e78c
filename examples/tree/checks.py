"""The rules of the game of 24: steps use what is left, and an answer uses each number once."""

from __future__ import annotations

import re
from collections import Counter

from scaffold.critics import equations
from scaffold.critics.arithmetic import evaluate

NUMBERS = Counter(["4", "9", "10", "13"])
_STEP = re.compile(r"(\d+) ?[-+*/] ?(\d+) ?= ?(\d+) ?\(left: ([\d ]+)\)")

holds = equations()


def is_a_step(thoughts: list[str]) -> bool | str:
    """Whether the last thought calculates correctly with the numbers left, and lists what is left after it."""
    left = NUMBERS if len(thoughts) == 1 else Counter(thoughts[-2].partition("left: ")[2].strip(")").split())
    step = _STEP.fullmatch(thoughts[-1])
    if step is None:
        return "a step looks like this: 4 + 9 = 13 (left: 10 13 13)"
    used = Counter([step[1], step[2]])
    if used - left:
        return f"{' and '.join((used - left).elements())} is not left"
    if Counter(step[4].split()) != left - used + Counter([step[3]]):
        return "the numbers after `left:` are wrong"
    return holds(thoughts[-1].partition("(")[0])


def makes_24(answer: str) -> bool | str:
    """Whether an answer makes 24 out of just these numbers."""
    expression, _, result = answer.partition("=")
    if Counter(re.findall(r"\d+", expression)) != NUMBERS:
        return "uses other numbers than 4, 9, 10 and 13, each once"
    return holds(answer) if evaluate(result) == 24 else "the result is not 24"  # noqa: PLR2004 - the game's name

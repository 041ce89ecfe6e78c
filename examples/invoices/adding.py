"""Adding by counting on, with a model too small to add.

A model of 135 million parameters cannot add: it gets no whole five-digit sum right. But it counts on reliably.
So the code walks through the columns, tallies how many numbers were said, and places digits; which number comes next is
always up to the model. No sum is computed in code, neither to answer nor to check.

To add 7 and 5 the model goes on from "5, 6, 7," for five numbers; the last one is the column's result. It does the same
from "3, 4, 5," for seven. A result is accepted when it leads every other by `AHEAD` votes, with votes from both
directions, and when counting back down from it lands where the count began. Else the sum is unsolved.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from scaffold import GaveUp, MoveError, Options, Planning, Reference, apply, once, think, together

AHEAD = 2
MOST_ROUNDS = 4  # of two votes, one in each direction
UPWARD = ("count_to_fifty", "count_by_one")
DIGITS = tuple(range(10))

Counted = tuple[list[int], list[Reference[str]]]
"""Numbers, none if the model strayed, and the words of the model's that they rest on."""


def add(amounts: Sequence[Reference[str]], *, ahead: int = AHEAD) -> Planning[Reference[str]]:
    """Add amounts that are written with the same number of decimals; the sum is written like them.

    It rests on the amounts and on every word of the model; code that reads their values must say so itself.

    Args:
        amounts: what to add.
        ahead: by how many votes a column's result must lead.
    """
    decimals = {len(amount.value.partition(".")[2]) for amount in amounts}
    if len(decimals) != 1:
        raise GaveUp(f"amounts with different decimals: {', '.join(amount.value for amount in amounts)}")
    columns = columns_of([amount.value for amount in amounts])
    carry, digits = 0, ""
    behind: list[Reference[str]] = [*amounts]
    for column in columns:
        result, words = yield from add_column([*column, carry], ahead=ahead)
        behind.extend(words)
        digits = str(result)[-1] + digits
        carry = int(str(result)[:-1] or "0")
    if carry:
        digits = f"{carry}{digits}"
    return apply(lambda *_: with_point(digits, decimals.pop()), *behind)


def columns_of(amounts: Sequence[str]) -> list[list[int]]:
    """The digits that stand below one another, from the right."""
    plain = [amount.replace(".", "") for amount in amounts]
    width = max(len(each) for each in plain)
    return [[int(each.rjust(width, "0")[place]) for each in plain] for place in reversed(range(width))]


def with_point(digits: str, decimals: int) -> str:
    """Put the decimal point where it was."""
    if not decimals:
        return digits.lstrip("0") or "0"
    return f"{digits[:-decimals].lstrip('0') or '0'}.{digits[-decimals:]}"


def add_column(digits: Sequence[int], *, ahead: int = AHEAD) -> Planning[tuple[int, list[Reference[str]]]]:
    """Have the model count through one column until its votes agree; gives the result, and the words it rests on."""
    counted = sorted((digit for digit in digits if digit), reverse=True)
    if len(counted) <= 1:
        return (counted[0] if counted else 0), []
    there, back = counted, [counted[1], counted[0], *counted[2:]]
    votes: Counter[int] = Counter()
    directions: dict[int, set[int]] = {}
    beyond: dict[int, list[int]] = {}
    behind: list[Reference[str]] = []
    for turn in range(MOST_ROUNDS):
        witnesses = [count_up(way, UPWARD[turn % len(UPWARD)]) for way in (there, back)]
        for direction, (said, words) in enumerate((yield from together(*witnesses))):
            behind.extend(words)
            if said:
                votes[said[0]] += 1
                directions.setdefault(said[0], set()).add(direction)
                beyond[said[0]] = said
        leader, runner_up = (*votes.most_common(2), (None, 0), (None, 0))[:2]
        if leader[0] is not None and leader[1] - runner_up[1] >= ahead and directions[leader[0]] == {0, 1}:
            said, words = yield from count_down(beyond[leader[0]], counted[1:])
            if said[-1:] != counted[:1]:
                raise GaveUp(f"counting back from {leader[0]} does not lead to {counted[0]}")
            return leader[0], [*behind, *words]
    raise GaveUp(f"no agreement on {' and '.join(map(str, digits))}: {dict(votes)}")


def count_up(way: Sequence[int], prompt: str) -> Planning[Counted]:
    """Begin at the first digit and count on by each of the others, and two numbers more.

    Gives where the model lands and the two numbers beyond, which counting back begins with; nothing if it strays.
    """
    said, behind = list(DIGITS[max(0, way[0] - 2) : way[0] + 1]), []
    for steps in way[1:-1]:
        said, words = yield from recite(said, steps, prompt)
        behind.extend(words)
        if not said:
            return [], behind
    said, words = yield from recite(said, way[-1], prompt, further=2)
    return said, [*behind, *words]


def count_down(landed: Sequence[int], ways: Sequence[int]) -> Planning[Counted]:
    """Count back from a result, given with the two numbers that the model said beyond it."""
    said, behind = list(reversed(landed)), []
    for steps in reversed(ways):
        said, words = yield from recite(said, steps, "count_down")
        behind.extend(words)
        if not said:
            break
    return said, behind


def recite(said: Sequence[int], steps: int, prompt: str, *, further: int = 0) -> Planning[Counted]:
    """Have the model say the next numbers, and `further` ones; gives the last three said, or nothing if it strays."""
    count = steps + further

    def keeps_form(text: str) -> bool:
        return len(numbers_in(text, count)) == count

    options = Options(max_tokens=4 * count + 2, temperature=0.2, unfinished=True)  # a model counts on
    try:
        thought = yield from think(
            "solve",
            {"numbers": list(said[-3:])},
            prompt=prompt,
            sampling=once(flags=(keeps_form,)),
            options=options,
        )
    except MoveError:
        return [], []
    return [*said, *numbers_in(thought.value, count)][-3:], [thought]


def numbers_in(text: str, count: int) -> list[int]:
    """The first `count` numbers of a recital that keeps its form: numbers with commas between, nothing else."""
    match: Any = re.match(rf"\s*\d{{1,3}}(?:, \d{{1,3}}){{{count - 1}}}(?=\D|$)", text)
    return [int(number) for number in re.findall(r"\d+", match[0])] if match else []

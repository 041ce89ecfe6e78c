"""The adding of examples/invoices with made-up models: who counts right adds right, who counts wrong never does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import GaveUp, Reference
from scaffold.errors import StepFailed
from scaffold.registry import from_file
from scaffold.testing import Driver
from scaffold.vocabulary.moves import Think
from scaffold.vocabulary.references import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[2] / "examples" / "invoices"
add: Any = from_file("adding:add", FOLDER)
add_column: Any = from_file("adding:add_column", FOLDER)
TAINTED = Provenance(("action:0",), tainted=True)


def counter(after: Callable[[int], int], before: Callable[[int], int]) -> Callable[[str, Any], Any]:
    """A model that recites by these two functions."""

    def answer(_key: str, move: Any) -> Any:
        assert isinstance(move, Think)
        number = move.inputs[0]["numbers"][-1]
        said = []
        for _ in range(move.options.max_tokens // 4):
            number = before(number) if move.prompt == "count_down" else after(number)
            said.append(max(number, 0))
        return ", ".join(map(str, said))

    return answer


def added(amounts: list[str], answer: Callable[[str, Any], Any]) -> str:
    """What the planner makes of some amounts, which rests on them and on all that it asked."""
    driver = Driver(add([Reference(amount, TAINTED) for amount in amounts]), tainted=True)
    total: Reference[str] = driver.run(answer)
    assert set(total.provenance.sources) == {"action:0", *(f"step:{key}" for key, _ in driver.moves)}
    assert total.provenance.tainted
    return total.value


honest = counter(lambda number: number + 1, lambda number: number - 1)
skips_seven = counter(lambda number: 8 if number == 6 else number + 1, lambda number: number - 1)
skips_seven_both_ways = counter(
    lambda number: 8 if number == 6 else number + 1, lambda number: 6 if number == 8 else number - 1
)


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        (["12.40", "7.35"], "19.75"),
        (["99.99", "0.01"], "100.00"),
        (["31.25", "8.60", "14.00"], "53.85"),
        (["0.05", "0.05"], "0.10"),
        (["7", "5"], "12"),
        (["45.50"], "45.50"),
    ],
)
def test_a_model_that_counts_right_adds_right(amounts: list[str], total: str) -> None:
    """Amounts of any length and number, with carries and zeros, come out right."""
    assert added(amounts, honest) == total


@pytest.mark.parametrize("model", [skips_seven, skips_seven_both_ways])
def test_a_model_that_skips_seven_is_never_right_where_it_counts_past_seven(model: Callable[[str, Any], Any]) -> None:
    """Nothing in the code repairs a wrong count: the column is wrong or unsolved, never right."""
    for first in range(1, 10):
        for second in range(1, 10):
            right = first + second
            if not min(first, second) < 7 <= right or max(first, second) >= 7:
                continue  # a way that does not come past seven on the last stretch
            try:
                result, _ = Driver(add_column([first, second])).run(model)
            except GaveUp:
                continue
            assert result != right, f"{first} + {second}"


def test_what_only_counts_up_wrong_is_unsolved() -> None:
    """Counting back down from a wrong result does not lead to where the count began, so it is not accepted."""
    with pytest.raises(GaveUp, match="counting back"):
        Driver(add_column([5, 4])).run(skips_seven)


def test_a_model_that_strays_is_unsolved() -> None:
    """Prose instead of numbers is a failed step, and enough of them leave the column unsolved."""
    with pytest.raises(GaveUp, match="no agreement"):
        Driver(add_column([5, 4])).run(lambda _key, _move: StepFailed("prose"))


def test_amounts_with_different_decimals_are_not_added() -> None:
    """Digits are only set below one another where the decimal points are."""
    with pytest.raises(GaveUp, match="different decimals"):
        added(["1.5", "2.25"], honest)


def test_no_line_of_the_adding_adds() -> None:
    """The code holds no sum of digits: the only `+` joins texts and lists or counts votes and places."""
    source = (FOLDER / "adding.py").read_text()
    pluses = [line.strip() for line in source.splitlines() if re.search(r"[^+]\+[^+]", line) and '"""' not in line]
    allowed = (
        "way[0] + 1",
        "count + 2",
        "steps + further",
        "str(result)[-1] + digits",
        "votes[said[0]] += 1",
        r"\d+",
        "[*said",
    )
    assert [line for line in pluses if not any(part in line for part in allowed)] == []


def test_ahead_by_three_asks_for_more_votes_and_comes_out_the_same() -> None:
    """A larger lead costs a round more in each column; the sum is the same."""
    calls: list[str] = []

    def answer(key: str, move: Any) -> Any:
        calls.append(key)
        return honest(key, move)

    amounts = [Reference("12345", TAINTED), Reference("67890", TAINTED)]
    assert Driver(add(amounts, ahead=2)).run(answer).value == "80235"
    cheaper = len(calls)
    assert Driver(add(amounts, ahead=3)).run(answer).value == "80235"
    assert len(calls) - cheaper > cheaper


def test_the_benchmark_is_not_fooled_by_a_model_that_skips_seven(tmp_path: Path) -> None:
    """Through the whole framework: of twenty sums that come past seven everywhere, none is marked right."""
    benchmark = str(FOLDER.parents[1] / "benchmarks" / "addition.py")
    command = [sys.executable, benchmark, "--report", "--results", str(tmp_path / "no")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    row = json.loads(printed)
    assert row["right"] == 0
    assert row["wrong"] + row["unsolved"] == row["cases"] == 20

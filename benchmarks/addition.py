"""Addition by a model that cannot add: naive ways beside counting on, predicted odds beside what was seen.

    python benchmarks/addition.py                                 # 100 sums, 30 invoices: half an hour
    python benchmarks/addition.py --sums 10 --invoices 3 --naive 10
    python benchmarks/addition.py --report --plot addition.png    # only the rows and a picture, from what was recorded

Code walks through the columns and iterates; the model supplies what comes next when one counts. Nothing checks by
adding: the sums are worked out here alone, to mark what came back. Each case is appended to a file when it is done, and
a further run goes on from there. One JSON line a way: how many came back right, wrong and unsolved, calls and seconds a
case, and for counting the share of cases that the error rate of single recitals lets one expect.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from pictures import picture

from scaffold import Budget, Options, Planning, Reference, Scaffold, Task, majority, once, think
from scaffold.evaluation.statistics import wilson
from scaffold.odds.formulas import ahead_by_odds
from scaffold.registry import backend_of, from_file
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage
from scaffold.vocabulary.references import Provenance

EXAMPLE = Path(__file__).parents[1] / "examples" / "invoices"
AHEAD = 3
VOTES = 8  # most votes on a column: four rounds of one in each direction
SEED = "addition, 22 November 2026"
NAIVE = {
    "whole": "[user]\nAdd.\n[assistant]\n12345 + 54321 = 66666\n20408 + 31794 = 52202\n$sum =",
    "column": "[user]\nAdd.\n[assistant]\n2 + 3 + 0 = 5\n9 + 4 + 1 = 14\n6 + 6 + 0 = 12\n$sum =",
}
counted: Any = from_file("adding:add", EXAMPLE)
columns_of: Any = from_file("adding:columns_of", EXAMPLE)
GIVEN = Provenance(("task:prompt",))
Recital = tuple[str, bool]  # its prompt, and whether each number was the one that comes next

Way = Callable[[list[str]], Planning[str]]


# --- the cases


def sums(number: int) -> list[list[str]]:
    """Pairs of numbers of five digits."""
    dice = random.Random(f"{SEED}: sums")
    return [[str(dice.randint(10_000, 99_999)) for _ in range(2)] for _ in range(number)]


def invoices(number: int) -> list[list[str]]:
    """Three or four amounts with cents."""
    dice = random.Random(f"{SEED}: invoices")
    return [[f"{dice.randint(100, 9_999) / 100:.2f}" for _ in range(dice.choice((3, 4)))] for _ in range(number)]


def mark(amounts: list[str], said: str | None) -> str:
    """`right`, `wrong` or `unsolved`: the only place where anything is added."""
    if said is None:
        return "unsolved"
    return "right" if said == str(sum(Decimal(amount) for amount in amounts)) else "wrong"


# --- the ways


def whole(amounts: list[str]) -> Planning[str]:
    """Ask for the sum at once."""
    thought = yield from think(
        "solve",
        {"sum": " + ".join(amounts)},
        prompt="whole",
        sampling=once(flags=(_begins_with_number,)),
        options=_SHORT,
    )
    return _number(thought.value)


def by_columns(amounts: list[str]) -> Planning[str]:
    """Ask for each column's sum, three plain votes each; code carries."""
    digits, carry = "", 0
    for column in columns_of(amounts):
        asked = " + ".join(map(str, [*column, carry]))
        thought = yield from think(
            "solve", {"sum": asked}, prompt="column", sampling=majority(3, flags=(_begins_with_number,)), options=_SHORT
        )
        said = _number(thought.value)
        digits, carry = said[-1] + digits, int(said[:-1] or 0)
    return f"{carry or ''}{digits}".lstrip("0")


def by_counting(amounts: list[str]) -> Planning[str]:
    """Count on through each column, in both directions, ahead by `AHEAD`, and back."""
    total = yield from counted([Reference(amount, GIVEN) for amount in amounts], ahead=AHEAD)
    return str(total.value)


_SHORT = Options(max_tokens=8, temperature=0.2, stop=("\n",), unfinished=True)  # the number it begins with is read


def _begins_with_number(text: str) -> bool:
    return bool(re.match(r"\d", text))


def _number(text: str) -> str:
    return re.match(r"\d+", text)[0]  # type: ignore[index]  # what does not begin with a number was flagged


def watch(recitals: list[Recital]) -> None:
    """Have every recital of the counting noted, and whether it was right; nothing of it gets back to the planner."""
    original = counted.__globals__["recite"]
    original = getattr(original, "watched", original)

    def recite(said: Any, steps: int, prompt: str, *, further: int = 0) -> Any:
        heard = yield from original(said, steps, prompt, further=further)
        step = -1 if prompt == "count_down" else 1
        last = said[-1] + step * (steps + further)
        recitals.append((prompt, heard == [last - 2 * step, last - step, last][-len(heard) :] and bool(heard)))
        return heard

    recite.watched = original  # type: ignore[attr-defined]  # so that it is put around the same function again
    counted.__globals__["recite"] = recite


# --- running


async def solve(way: Way, amounts: list[str], backend: Any, prompts: Path) -> dict[str, Any]:
    """Solve one case; gives its line."""
    recitals: list[Recital] = []
    watch(recitals)

    def planner(_: Task) -> Planning[str]:
        return (yield from way(amounts))

    with tempfile.TemporaryDirectory() as folder:
        agent = Scaffold(
            planner,
            backends={"default": backend},
            monitors=(),
            prompts=prompts,
            journal=FileJournal(Path(folder)),
            seed=int(re.sub(r"\D", "", "".join(amounts))) % 2**31,
        )
        began = time.monotonic()
        outcome = await agent.solve(Task(prompt="add", budget=Budget(tokens=None, seconds=None)))
    used = outcome.usage["model"]
    said = outcome.answer if outcome.status == "solved" else None
    return {
        "marked": mark(amounts, said),
        "said": said,
        "calls": outcome.steps,
        "seconds": round(time.monotonic() - began, 2),
        "tokens": used.tokens,
        "recitals": recitals,
        "reason": outcome.reason,
    }


async def record(results: Path, cases: dict[str, tuple[Way, list[list[str]]]], prompts: Path) -> None:
    """Solve what the file does not hold yet, one after another, and append each."""
    results.parent.mkdir(parents=True, exist_ok=True)
    done = {(line["way"], tuple(line["amounts"])) for line in lines(results)}
    backend = backend_of("smollm2")
    try:
        for name, (way, each) in cases.items():
            for number, amounts in enumerate(each, 1):
                if (name, tuple(amounts)) in done:
                    continue
                line = {"way": name, "amounts": amounts, **await solve(way, amounts, backend, prompts)}
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                sys.stderr.write(f"{name} {number} of {len(each)}: {line['marked']}, {line['seconds']} s\n")
    finally:
        await backend.close()


def lines(results: Path) -> Iterator[dict[str, Any]]:
    """What was recorded; a line that was torn is passed over."""
    if results.is_file():
        for line in results.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


# --- a model that counts wrong


class SkipsSeven:
    """A fake model that counts without any seven, up and down."""

    profile = Profile(backend="fake", model="skips-seven", prices=FREE, reasoning="full", can=frozenset({"n"}))

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Go on counting from the last number."""
        text = request.messages[-1].content
        number, step = int(re.findall(r"\d+", text)[-1]), -1 if "down" in request.messages[1].content else 1
        said = []
        for _ in range(request.max_tokens // 4):
            number += step
            number += step * ("7" in str(number))
            said.append(str(max(number, 0)))
        for index in range(request.n):
            usage = Usage(1, 1) if index == request.n - 1 else None
            yield Delta(index=index, text=", ".join(said), finish="stop", usage=usage)

    async def close(self) -> None:
        """Nothing to free."""


async def guard(prompts: Path, number: int = 20) -> dict[str, Any]:
    """Sums in which each way through each column comes past seven: a model without seven must get none right."""
    dice = random.Random(f"{SEED}: guard")
    pairs = [[str(dice.choice((44444, 55555, 45454, 54545, 35353))), "55555"] for _ in range(number)]
    found = [(await solve(by_counting, pair, SkipsSeven(), prompts))["marked"] for pair in pairs]
    assert "right" not in found, "a model that skips seven was marked right: something repairs its counting"
    return {"way": "guard: a model that skips 7", "cases": number, **{each: found.count(each) for each in MARKS}}


# --- the rows

MARKS = ("right", "wrong", "unsolved")


def row(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """One way in figures."""
    n = len(found)
    marks = [line["marked"] for line in found]
    told: dict[str, Any] = {"way": name, "cases": n, **{each: marks.count(each) for each in MARKS}}
    told["right_95"] = [round(bound, 3) for bound in wilson(marks.count("right"), n)]
    told["calls"] = round(statistics.mean(line["calls"] for line in found), 1)
    told["seconds"] = round(statistics.median(line["seconds"] for line in found), 1)
    told["tokens"] = round(statistics.mean(line["tokens"] for line in found))
    if name.startswith("counting"):
        told |= predicted(found)
    return told


def predicted(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The share of cases to expect right from how often one recital is, as if recitals erred independently."""
    heard = [recital for line in found for recital in line["recitals"]]
    up = [right for prompt, right in heard if prompt != "count_down"]
    down = [right for prompt, right in heard if prompt == "count_down"]
    if not up or not down:
        return {}
    ups, downs = wilson(sum(up), len(up)), wilson(sum(down), len(down))
    low, middle, high = (
        statistics.mean(_expected(line["amounts"], *rates) for line in found)
        for rates in ((ups.low, downs.low), (statistics.mean(up), statistics.mean(down)), (ups.high, downs.high))
    )
    return {
        "recitals": len(up),
        "recital_right": round(statistics.mean(up), 4),
        "back_right": round(statistics.mean(down), 4),
        "predicted_right": round(middle, 3),
        "predicted_95": [round(low, 3), round(high, 3)],
    }


def _expected(amounts: list[str], up: float, down: float) -> float:
    """Each column needs a vote of witnesses, all of whose recitals are right, and one way back."""
    share, carry = 1.0, 0
    for column in columns_of(amounts):
        ways = sum(1 for digit in [*column, carry] if digit) - 1
        if ways > 0:
            share *= ahead_by_odds(up**ways, AHEAD, VOTES).right * down**ways
        carry = sum([*column, carry]) // 10
    return share if not math.isnan(share) else 0.0


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw each way's cases by what became of them, with what the odds let one expect."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.4 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = [f"{each['way']} ({each['cases']})" for each in rows]
    before = [0.0] * len(rows)
    for marked, colour in zip(MARKS, ("tab:green", "tab:red", "lightgray"), strict=True):
        shares = [100 * each[marked] / each["cases"] for each in rows]
        axes.barh(names, shares, left=before, color=colour, label=marked)
        before = [start + share for start, share in zip(before, shares, strict=True)]
    expected = {name: each["predicted_right"] for name, each in zip(names, rows, strict=True) if "recitals" in each}
    axes.plot([100 * share for share in expected.values()], list(expected), "kD", label="right, as predicted")
    axes.set(xlabel="% of cases", xlim=(0, 101))
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=4)
    axes.set_title("Addition by SmolLM2-135M: what code asks of it decides")
    figure.savefig(picture, dpi=150)


def main() -> None:
    """Run what is missing, then print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sums", type=int, default=100)
    parser.add_argument("--invoices", type=int, default=30)
    parser.add_argument("--naive", type=int, default=30, help="sums for each of the naive ways")
    parser.add_argument("--results", type=Path, default=Path(".scaffold/addition.jsonl"))
    parser.add_argument("--report", action="store_true", help="solve nothing, only print what was recorded")
    parser.add_argument("--plot", type=picture, help="a picture of the rows")
    said = parser.parse_args()
    cases: dict[str, tuple[Way, list[list[str]]]] = {
        "whole": (whole, sums(said.naive)),
        "columns, plain votes": (by_columns, sums(said.naive)),
        "counting, sums": (by_counting, sums(said.sums)),
        "counting, invoices": (by_counting, invoices(said.invoices)),
    }
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(shutil.copytree(EXAMPLE / "prompts", Path(folder) / "prompts"))
        for name, text in NAIVE.items():
            (prompts / f"{name}.md").write_text(text)
        if not said.report:
            asyncio.run(record(said.results, cases, prompts))
        print(json.dumps(asyncio.run(guard(prompts))), flush=True)
    recorded = list(lines(said.results))
    by_way = {name: [line for line in recorded if line["way"] == name] for name in cases}
    rows = [row(name, found) for name, found in by_way.items() if found]
    for each in rows:
        print(json.dumps(each), flush=True)
    if said.plot and rows:
        draw(rows, said.plot)


if __name__ == "__main__":
    main()

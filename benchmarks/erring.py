"""Odds before the run beside what the run then came to, on towers whose model errs at a known rate.

    python benchmarks/erring.py                          # 6 disks, 63 moves; 1, 5 and 10 % of the samples wrong
    python benchmarks/erring.py --runs 200 --plot erring.png

The tiny model `xlstm:hanoi`, which hardly errs, is put behind the wrapper `noise`. A spoiled sample is always the same
other move that the rules allow: no check can see it, and all errors agree, which is what the formulas take for the
worst. Only the fewest moves are allowed, so one wrong decision loses the run. One JSON line for each rate and lead: the
share of runs solved, with its 95 % Wilson interval, and samples a step, each beside what was predicted from the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from pictures import picture

from scaffold import Budget, Scaffold, Task
from scaffold.evaluation.statistics import wilson
from scaffold.odds.formulas import ahead_by_odds
from scaffold.registry import backend_of, from_file
from scaffold.trace.files import FileJournal
from scaffold.wrapping.noise import Noisy

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "hanoi"
RATES, LEADS = (0.01, 0.05, 0.1), (1, 2, 3, 4)
CAP = 48


def other_move(right: str, _: random.Random) -> str:
    """Another legal move: the smallest disk goes to the third peg, or on top of the disk that should have moved."""
    disk, source, target = right.split()
    (third,) = {*"ABC"} - {source, target}
    return f"1 {source} {third}" if disk == "1" else f"1 {third} {source}"


async def _without_fsync(_: int) -> None:
    return None


async def solved_and_samples(disks: int, rate: float, lead: int, runs: int, inner: Any) -> tuple[int, float]:
    """How many runs were solved, and how many samples a step of theirs was counted from."""
    domain = from_file("towers:Towers", EXAMPLE)()
    task = Task(
        prompt="Move the tower from peg A to peg C.",
        inputs={"disks": disks},
        answer="integer",
        budget=Budget(steps=2**disks - 1, tokens=None, seconds=None),
    )
    solved = steps = counted = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs):
            agent = Scaffold(
                "march",
                options={"domain": domain, "ahead": lead, "cap": CAP, "max_tokens": 4},
                prompts=EXAMPLE / "prompts",
                backends={"default": Noisy(inner, rate, seed=number, spoil=other_move)},
                monitors=[],
                journal=FileJournal(folder, fsync=_without_fsync),
                seed=number,
            )
            outcome = await agent.solve(task)
            solved += outcome.status == "solved"
            for line in (Path(folder) / outcome.run / "trace.jsonl").read_text(encoding="utf-8").splitlines():
                event = json.loads(line)
                if event["kind"] == "step.answered" and event.get("ok", True):
                    steps, counted = steps + 1, counted + event.get("votes", 1)
    return solved, counted / steps


async def main(given: argparse.Namespace) -> None:
    """Measure, and say each row as it is done."""
    moves, rows = 2**given.disks - 1, []
    inner = backend_of("xlstm:hanoi")
    for rate in RATES:
        for lead in LEADS:
            odds = ahead_by_odds(1 - rate, lead, CAP)
            solved, samples = await solved_and_samples(given.disks, rate, lead, given.runs, inner)
            low, high = wilson(solved, given.runs)
            rows.append(
                {
                    "wrong": rate,
                    "ahead": lead,
                    "moves": moves,
                    "runs": given.runs,
                    "predicted": round(odds.right**moves, 4),
                    "solved": round(solved / given.runs, 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "predicted_samples": round(odds.samples, 3),
                    "samples": round(samples, 3),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    await inner.close()
    if given.plot:
        draw(rows, given.plot)


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw predicted success as lines and what was seen as points with their intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    success, cost = figure.subplots(1, 2)
    for rate, colour in zip(RATES, ("tab:green", "tab:blue", "tab:red"), strict=True):
        mine = [row for row in rows if row["wrong"] == rate]
        leads = [row["ahead"] for row in mine]
        success.plot(leads, [row["predicted"] for row in mine], color=colour, label=f"{rate:.0%} of samples wrong")
        below = [max(0.0, row["solved"] - row["low"]) for row in mine]
        above = [max(0.0, row["high"] - row["solved"]) for row in mine]
        success.errorbar(leads, [row["solved"] for row in mine], yerr=(below, above), fmt="o", color=colour, capsize=3)
        cost.plot(leads, [row["predicted_samples"] for row in mine], color=colour)
        cost.plot(leads, [row["samples"] for row in mine], "o", color=colour)
    success.set(xlabel="votes by which a move has to lead", ylabel="towers solved", ylim=(-0.03, 1.05), xticks=LEADS)
    cost.set(xlabel="votes by which a move has to lead", ylabel="samples a move", ylim=(0, None), xticks=LEADS)
    success.legend()
    figure.suptitle(f"Predicted (lines) and seen (points): {rows[0]['moves']} moves, {rows[0]['runs']} runs each")
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disks", type=int, default=6)
    parser.add_argument("--runs", type=int, default=60, help="for each rate and lead")
    parser.add_argument("--plot", type=picture, help="a picture of both, predicted and seen")
    asyncio.run(main(parser.parse_args()))

"""Ten tasks of reasoning-gym that decompose: a general planner beside the same backend asked directly.

    pip install reasoning-gym==0.1.25
    python benchmarks/reasoning_gym                       # 20 instances of each task, one decision in ten wrong
    python benchmarks/reasoning_gym --rate 0.2 --size 50
    python benchmarks/reasoning_gym --plot reasoning_gym.png
    python benchmarks/reasoning_gym --backend smollm2 --size 3 --tasks jugs maze
    python benchmarks/reasoning_gym --backend xlstm:hanoi --tasks tower_of_hanoi

The planner is `march`, with the rules of each puzzle in code and never an instance. Without `--backend` both are asked
of a stand-in: it works out the right decision and then errs, at every decision, with probability `--rate`. Asked
directly it writes all decisions of an answer at once, and each is wrong with that same probability. One JSON line a
task: the share of instances passed (a score of at least 0.99) by each, with 95 % Wilson intervals, and what it took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

from gym_model import SEPARATOR, erring
from gym_puzzles import PUZZLES
from gym_rules import Puzzle
from gym_words import Told, Towers

from scaffold import Budget, Scaffold, Task
from scaffold.errors import MissingExtra
from scaffold.evaluation.plots import need_matplotlib
from scaffold.interfaces import Backend
from scaffold.registry import backend_of
from scaffold.trace.files import FileJournal

PASS = 0.99
LIMITS = Budget(tokens=None, seconds=300, steps=2000)


async def _without_fsync(_: int) -> None:
    return None


def agent(planner: str, options: dict[str, Any], backend: Backend, folder: Path) -> Scaffold:
    """An agent with its trace in a folder."""
    journal = FileJournal(folder, fsync=_without_fsync)
    return Scaffold(planner, options=options, backends={"default": backend}, monitors=[], journal=journal)


async def measure(puzzle: Puzzle, given: argparse.Namespace, real: Backend | None) -> dict[str, Any]:
    """Solve so many instances of one task, in both ways."""
    import reasoning_gym

    entries = reasoning_gym.create_dataset(puzzle.name, size=given.size, seed=given.seed)
    passed = {"march": 0, "direct": 0}
    steps = 0
    with tempfile.TemporaryDirectory() as name:
        for number, entry in enumerate(entries):
            task = Task(prompt=entry["question"], budget=LIMITS)
            backend = real or erring(puzzle, given.rate, given.seed + number)
            options = {"ahead": given.ahead, **_in_words_for(puzzle, entry["question"], real)}
            outcome = await agent("march", options, backend, Path(name)).solve(task)
            marched = outcome.answer or {}
            passed["march"] += entries.score_answer(marched.get("answer"), entry) >= PASS
            steps += outcome.steps
            direct = await agent("direct", {"max_tokens": 4096 if real is None else 512}, backend, Path(name)).solve(
                task
            )
            said = str(direct.answer) if direct.status == "solved" else ""
            passed["direct"] += entries.score_answer(_answer(puzzle, task, said, real), entry) >= PASS
    return {
        "task": puzzle.name,
        "n": given.size,
        **{way: _share(count, given.size) for way, count in passed.items()},
        "steps": round(steps / given.size, 1),
    }


def _in_words_for(puzzle: Puzzle, question: str, real: Backend | None) -> dict[str, Any]:
    """The rules as who is asked takes them, and how it is asked."""
    if real is None:
        return {"domain": puzzle, "max_tokens": 64}
    if real.profile.backend == "xlstm":
        return {"domain": Towers(puzzle), "max_tokens": 4}
    return {"domain": Told(puzzle, question), "max_tokens": 16, "stop": ["\n"], "temperature": 0.3}


def _answer(puzzle: Puzzle, task: Task, said: str, real: Backend | None) -> str:
    """What was said as the puzzle wants it: the stand-in gives decisions, a model is to write the answer itself."""
    if real is not None:
        return said
    first, moves = puzzle.read(task.prompt), said.split(SEPARATOR)
    try:
        return str(puzzle.written(first, moves))
    except (ValueError, IndexError, KeyError):
        return ""  # some of the moves can be written down and not be made


def _share(passed: int, n: int) -> dict[str, float]:
    """A share with its 95 % Wilson interval (Wilson 1927, JASA 22)."""
    z = 1.959964
    middle = (passed + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * (passed * (n - passed) / n + z * z / 4) ** 0.5
    return {
        "passed": round(passed / n, 3),
        "low": round(max(0.0, middle - half), 3),
        "high": round(min(1.0, middle + half), 3),
    }


async def main(given: argparse.Namespace) -> None:
    """Measure every task that was asked for."""
    if given.plot:
        need_matplotlib()
    real = backend_of(given.backend) if given.backend else None
    rows = []
    for puzzle in PUZZLES:
        if not given.tasks or puzzle.name in given.tasks:
            rows.append(await measure(puzzle, given, real))
            print(json.dumps(rows[-1]), flush=True)
    if real is not None:
        await real.close()
    if given.plot:
        draw(rows, given.plot)


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw the share of instances passed, task by task, each way with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for way, colour, shift in (("march", "tab:green", -0.2), ("direct", "tab:gray", 0.2)):
        shares = [row[way]["passed"] for row in rows]
        below = [max(0.0, row[way]["passed"] - row[way]["low"]) for row in rows]
        above = [max(0.0, row[way]["high"] - row[way]["passed"]) for row in rows]
        places = [place + shift for place in range(len(rows))]
        axes.bar(places, shares, 0.4, yerr=(below, above), capsize=3, color=colour, label=way)
    axes.set(ylabel="instances passed", ylim=(0, 1.25), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_xticks(range(len(rows)), [row["task"] for row in rows], rotation=30, ha="right")
    axes.set_title(f"The same backend step by step and asked at once, {rows[0]['n']} instances a task")
    axes.legend(loc="upper right", ncols=2)
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=SyntaxWarning)  # of what reasoning-gym brings along
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=20, help="instances of each task")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=0.1, help="how many of the stand-in's decisions are wrong")
    parser.add_argument("--ahead", type=int, default=4, help="votes by which a decision has to lead")
    parser.add_argument("--backend", default="", help="a backend's spec, such as smollm2, in place of the stand-in")
    parser.add_argument("--tasks", nargs="*", default=[], choices=[puzzle.name for puzzle in PUZZLES])
    parser.add_argument("--plot", type=Path, help="a picture of the shares")
    try:
        asyncio.run(main(parser.parse_args()))
    except MissingExtra as error:
        parser.error(str(error))

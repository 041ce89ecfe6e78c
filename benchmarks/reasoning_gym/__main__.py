"""Ten tasks of reasoning-gym that decompose: a general planner beside the same backend asked directly.

    pip install reasoning-gym==0.1.25
    python benchmarks/reasoning_gym                       # 20 instances of each task, one decision in ten wrong
    python benchmarks/reasoning_gym --rate 0.2 --size 50
    python benchmarks/reasoning_gym --backend smollm2 --size 3 --tasks jugs maze

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
from gym_rules import Puzzle, State

from scaffold import Budget, Scaffold, Task
from scaffold.interfaces import Backend
from scaffold.registry import backend_of
from scaffold.trace.files import FileJournal

PASS = 0.99
LIMITS = Budget(tokens=None, seconds=300, steps=2000)


class Told:
    """A puzzle's rules for a model that has to be told what the question is, and which moves there are."""

    returns = str

    def __init__(self, puzzle: Puzzle, question: str) -> None:
        self._question = question
        self.start, self.done, self.fault = puzzle.start, puzzle.done, puzzle.fault
        self.next, self.answer = puzzle.next, puzzle.answer
        self._puzzle = puzzle

    def show(self, state: State) -> str:
        """The question, the position, and the moves that the rules allow."""
        moves = "; ".join(self._puzzle.legal(state.now))
        made = "; ".join(state.moves) or "none"
        return (
            f"{self._question}\n\nMoves made so far: {made}\nMoves that are allowed now: {moves}\nThe best next move:"
        )


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
            domain = puzzle if real is None else Told(puzzle, entry["question"])
            options = {"domain": domain, "ahead": given.ahead, "max_tokens": 64}
            if real is not None:
                options |= {"max_tokens": 16, "stop": ["\n"], "temperature": 0.3}
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
    real = backend_of(given.backend) if given.backend else None
    for puzzle in PUZZLES:
        if not given.tasks or puzzle.name in given.tasks:
            print(json.dumps(await measure(puzzle, given, real)), flush=True)
    if real is not None:
        await real.close()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=SyntaxWarning)  # of what reasoning-gym brings along
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=20, help="instances of each task")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=0.1, help="how many of the stand-in's decisions are wrong")
    parser.add_argument("--ahead", type=int, default=4, help="votes by which a decision has to lead")
    parser.add_argument("--backend", default="", help="a backend's spec, such as smollm2, in place of the stand-in")
    parser.add_argument("--tasks", nargs="*", default=[], choices=[puzzle.name for puzzle in PUZZLES])
    asyncio.run(main(parser.parse_args()))

"""How well the signals of the inner state tell wrong answers from right ones: the area under the ROC curve of each.

    python benchmarks/xlstm_signals.py     # about half a minute

On the best path the shipped model hardly errs, so there is nothing to tell apart. It is asked of legal states off the
path, of which it has seen none: 20 disks on pegs drawn at random, after a move of disk 1 or of another. A move is right
if it is the one that the rule of the best path asks for. One JSON line a signal: 0.5 tells nothing, 1 everything;
of the two directions the better is given, `high` or `low` meaning wrong. The floor is the sampled answer's own
probability, for which no inner state is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from typing import TYPE_CHECKING

import numpy as np

from scaffold.vocabulary.models import Message, Request
from scaffold_backends.xlstm import towers
from scaffold_backends.xlstm.backend import load

if TYPE_CHECKING:
    from scaffold_backends.xlstm.backend import XLSTMBackend

DISKS = 20


def asked(rng: random.Random) -> tuple[str, str]:
    """Draw a legal state, and give its prompt and the move that the rule asks for."""
    while True:
        pegs = [rng.randrange(3) for _ in range(DISKS)]
        if len(set(pegs)) > 1:
            break
    if rng.random() < 0.5:  # disk 1 goes on, the way that an even number of disks asks for
        return towers.prompt(pegs, rng.randrange(2, DISKS + 1)), towers.answer(1, pegs[0], (pegs[0] + 1) % 3)
    disk = next(place for place, peg in enumerate(pegs) if peg != pegs[0])  # the smallest that lies bare besides disk 1
    return towers.prompt(pegs, 1), towers.answer(disk + 1, pegs[disk], 3 - pegs[0] - pegs[disk])


async def answers(backend: XLSTMBackend, count: int) -> tuple[list[bool], dict[str, list[float]]]:
    """Ask, and give whether each answer was wrong, and its signals."""
    rng = random.Random(5)
    wrong, figures = [], {"-logprob": list[float]()}
    for number in range(count):
        prompt, right = asked(rng)
        request = Request(messages=(Message("user", prompt),), temperature=1.0, seed=number)
        deltas = [delta async for delta in backend.generate(request)]
        wrong.append("".join(delta.text for delta in deltas) != right)
        figures["-logprob"].append(-sum(delta.logprob or 0 for delta in deltas))
        for name, value in (deltas[-1].signals or {}).items():
            figures.setdefault(name, []).append(value)
    return wrong, figures


def area(wrong: list[bool], figure: list[float]) -> float:
    """Give the chance that a wrong answer's figure is above a right one's, ties counting half."""
    values, is_wrong = np.array(figure), np.array(wrong)
    bad, good = values[is_wrong][:, None], np.sort(values[~is_wrong])
    below = (np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")) / 2
    return float(below.mean() / len(good))


def main() -> None:
    """Ask, and print the areas."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--states", type=int, default=3000)
    states = options.parse_args().states
    wrong, figures = asyncio.run(answers(load("hanoi", signals=True, cache=0), states))
    for name, figure in figures.items():
        found = area(wrong, figure) if 0 < sum(wrong) < states else None
        row = {"signal": name, "states": states, "wrong": sum(wrong)}
        if found is not None:
            row |= {"auroc": round(max(found, 1 - found), 3), "wrong_when": "high" if found >= 0.5 else "low"}
        print(json.dumps(row))


if __name__ == "__main__":
    main()

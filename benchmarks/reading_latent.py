"""Does `latent` tell an xLSTM's wrong answers from its right ones, out of sample, by its inner signals?

    python benchmarks/reading_latent.py                  # a minute; one JSON line a row

As in `xlstm_signals.py` the shipped model is asked of legal states off its path, of which it has seen none. On one
half of them, drawn from one seed, a baseline is learned: a logistic regression on all signals and their products. On
the others, drawn from another seed, it is held against: the area under the ROC curve with a bootstrap interval, beside
that of the answer's own probability, for which no inner state is needed, and of the best single signal as chosen on the
first half. Then, at the threshold that 5 % of the right answers of the first half reach: which share of wrong ones is
flagged, and which of right ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from typing import Any

from xlstm_signals import area, asked

from scaffold.testing.staging import Stage
from scaffold.vocabulary.models import Message as Said
from scaffold.vocabulary.models import Request, Usage
from scaffold.vocabulary.review import StepRecord, Subject
from scaffold.vocabulary.task import Task
from scaffold_backends.xlstm.backend import load
from scaffold_monitors.baselines import Baselines, Row, fit
from scaffold_monitors.latent import Latent


async def answers(backend: Any, count: int, seed: int) -> list[tuple[Row, float, str]]:
    """Ask, and give each answer's signals and whether it was wrong, its own improbability, and its text."""
    source, found = random.Random(seed), []
    for number in range(count):
        prompt, right = asked(source)
        request = Request(messages=(Said("user", prompt),), temperature=1.0, seed=seed * 1_000_003 + number)
        deltas = [delta async for delta in backend.generate(request)]
        text = "".join(delta.text for delta in deltas)
        improbable = -sum(delta.logprob or 0.0 for delta in deltas)
        found.append((Row(deltas[-1].signals or {}, text != right), improbable, text))
    return found


async def scored(latent: Latent, told: list[tuple[Row, float, str]]) -> list[tuple[float, bool]]:
    """The monitor's score of each answer, and whether it flags it."""
    stage = Stage(latent, Task(prompt="go"), {})
    said = []
    for number, (row, _, text) in enumerate(told):
        step = StepRecord(
            kind="decide",
            inputs=[],
            value=text,
            text=text,
            reasoning="",
            backend="xlstm",
            model="hanoi",
            usage=Usage(23, 3),
            signals=row.signals,
        )
        verdict = await stage.review(Subject(kind="step", key=str(number), step=step))
        said.append((verdict.score or 0.0, verdict.decision == "flag"))
    return said


def interval(wrong: list[bool], scores: list[float]) -> list[float]:
    """95 % of the area's bootstrap distribution."""
    source, pairs, areas = random.Random(1), list(zip(wrong, scores, strict=True)), []
    for _ in range(300):
        drawn = source.choices(pairs, k=len(pairs))
        areas.append(area([each for each, _ in drawn], [score for _, score in drawn]))
    areas.sort()
    return [round(areas[7], 3), round(areas[292], 3)]


def main() -> None:
    """Learn on one half, hold the other against it."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--states", type=int, default=1500, help="of each half")
    states = options.parse_args().states
    backend = load("hanoi", signals=True, cache=0)
    learned, held = (asyncio.run(answers(backend, states, seed)) for seed in (21, 22))
    baseline = fit(("xlstm", "hanoi", "decide"), [row for row, _, _ in learned])
    said = asyncio.run(scored(Latent(Baselines((baseline,))), held))
    wrong, scores = [bool(row.wrong) for row, _, _ in held], [score for score, _ in said]
    then = [bool(row.wrong) for row, _, _ in learned]

    def one(name: str, told: list[tuple[Row, float, str]]) -> list[float]:
        return [row.signals[name] for row, _, _ in told]

    areas = {name: area(then, one(name, learned)) for name in baseline.signals}
    best = max(areas, key=lambda name: abs(areas[name] - 0.5))
    turned = [each if areas[best] >= 0.5 else -each for each in one(best, held)]
    for name, figure in {
        "latent": scores,
        "floor: the answer's own improbability": [improbable for _, improbable, _ in held],
        f"one signal, {best}": turned,
    }.items():
        row = {"score": name, "states": states, "wrong": sum(wrong), "auroc": round(area(wrong, figure), 3)}
        print(json.dumps({**row, "auroc_95": interval(wrong, figure)}))
    flags = [flag for _, flag in said]
    print(
        json.dumps(
            {
                "threshold": round(baseline.threshold, 3),
                "flagged_of_wrong": round(sum(f and w for f, w in zip(flags, wrong, strict=True)) / sum(wrong), 3),
                "flagged_of_right": round(
                    sum(f and not w for f, w in zip(flags, wrong, strict=True)) / (states - sum(wrong)), 3
                ),
            }
        )
    )


if __name__ == "__main__":
    main()

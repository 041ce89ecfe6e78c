"""What a task loses when its reasoning is said again by another model before it is handed on.

    python benchmarks/paraphrase.py            # 24 questions in each condition
    python benchmarks/paraphrase.py --items 60

One JSON line for each condition. A scripted reasoner works out, in words, which colour each of two things has, and
answers "noted". A reader (SmolLM2-135M) is then asked for the colour of one of them, out of four, and is given the
reasoning:

    original   as it was
    reworded   by fixed rules that keep every fact: what the machinery itself costs
    smollm2    rewritten by SmolLM2-135M, a weak rewriter
    none       not at all: the floor, which guesses

`right` is the share of questions answered right, `withheld` the share in which the rewriter failed and nothing was
handed on, `facts` the share of colours asked for that the handed-on reasoning still names, `times` the tokens spent
over those of `original`. The conditions take turns, question by question, with the same seeds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from scaffold import Options, Planning, Scaffold, Task, think
from scaffold.errors import StepFailed
from scaffold.registry import backend_of
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Request, Sample
from scaffold_backends.wrappers.paraphrase import Paraphrase

PROMPT = "[user]\n$reasoning\n\nWhat colour is the $thing?\n\n[assistant]\nThe $thing is"
COLOURS = ("red", "blue", "green", "yellow")
THINGS = ("box", "cup", "door", "hat", "chair", "kite", "lamp", "boat")
REWORDINGS = {"First I look at": "To begin with there is", "Next comes": "After that one finds", "So ": "Hence "}


def question(number: int) -> tuple[str, str, str]:
    """The reasoning, the thing asked for, and its colour."""
    source = random.Random(number)
    one, other = source.sample(THINGS, 2)
    first, second = source.sample(COLOURS, 2)
    reasoning = (
        f"First I look at the {one}: it is {first}. Next comes the {other}, and it is {second}. "
        f"So the {one} is {first} and the {other} is {second}."
    )
    return (reasoning, one, first) if source.random() < 0.5 else (reasoning, other, second)


def reword(request: Request) -> str:
    """Say it in other words, by fixed rules."""
    return re.sub("|".join(REWORDINGS), lambda found: REWORDINGS[found[0]], request.messages[-1].content)


def asking(thing: str, condition: str, handed_on: list[str]) -> Any:
    """A planner that has something worked out, and has a reader answer from the reasoning."""

    def planner(task: Task) -> Planning[str]:
        try:
            worked_out = yield from think("solve", task.request, to="reasoner")
        except StepFailed:
            return "withheld"
        reasoning = "" if condition == "none" else worked_out.reasoning
        handed_on.append(reasoning)
        answer = yield from think(
            "answer",
            {"reasoning": reasoning, "thing": thing},
            prompt="colour",
            options=Options(choices=COLOURS, temperature=0.0, max_tokens=8),
        )
        return str(answer.value)

    return planner


async def ask(condition: str, number: int, reader: Any, folder: Path, count: Counter[str]) -> None:
    """Put one question in one condition, and count what came of it."""
    reasoning, thing, colour = question(number)
    reasoner: Any = Scripted(lambda _: Sample(0, "noted", reasoning=reasoning))
    if condition in {"reworded", "smollm2"}:
        reasoner = Paraphrase(reasoner, reader if condition == "smollm2" else Scripted(reword))
    handed_on: list[str] = []
    agent = Scaffold(
        asking(thing, condition, handed_on),
        backends={"default": reader, "reasoner": reasoner},
        monitors=[],
        journal=FileJournal(folder / "runs"),
        prompts=folder,
        seed=number,
    )
    outcome = await agent.solve(Task(prompt="Work out the colours."))
    assert outcome.status == "solved", outcome.reason
    count["right"] += outcome.answer == colour
    count["withheld"] += outcome.answer == "withheld"
    count["facts"] += any(re.search(rf"\b{thing}\b", each) and colour in each for each in handed_on)
    count["tokens"] += outcome.usage["model"].tokens


async def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=24)
    items = parser.parse_args().items
    reader = backend_of({"use": "smollm2", "n_ctx": 1024, "n_parallel": 1})
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("original", "reworded", "smollm2", "none")}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "colour.md").write_text(PROMPT)
        for number in range(items):
            for condition, count in counts.items():
                await ask(condition, number, reader, Path(folder), count)
            print(f"{number + 1} of {items}", file=sys.stderr)
    await reader.close()
    for condition, count in counts.items():
        shares = {name: round(count[name] / items, 3) for name in ("right", "withheld", "facts")}
        times = round(count["tokens"] / counts["original"]["tokens"], 2)
        print(json.dumps({"condition": condition, "items": items, **shares, "times": times}))


if __name__ == "__main__":
    asyncio.run(main())

"""What the shipped xLSTM costs: Hanoi steps a second, forks against reading again, and the memory of a fork.

    python benchmarks/xlstm.py             # one core; about a minute
    python benchmarks/xlstm.py --rounds 20

One JSON line a row, each the median of interleaved rounds of CPU time. `step` rows ask for one move of 20 disks with
five votes: the prompt of 23 tokens is read, forked, and three tokens are drawn for each vote. Their floor is the
matrix products of the same tokens by themselves, every projection as one whole matrix and five rows for the votes. The
floor of `fork` is the same prefix read eight times over.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: the figures are of one core

import argparse
import asyncio
import itertools
import json
import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from scaffold.vocabulary.models import Message, Request
from scaffold_backends.xlstm import towers
from scaffold_backends.xlstm.backend import load
from scaffold_backends.xlstm.checkpoint import find
from scaffold_backends.xlstm.tokens import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VOTES, FORKS, PREFIX = 5, 8, 1000
TOGETHER = 16  # as many steps as a task has at once, unless it says otherwise
DISKS = 20


def prompts(seed: int) -> list[str]:
    """Give prompts of moves all over the path, none twice, so that no state is found again."""
    rng = random.Random(seed)
    return [towers.best(DISKS, move)[0] for move in rng.sample(range(1, towers.moves(DISKS) + 1), 2000)]


def request(prompt: str, seed: int) -> Request:
    """Ask for one move."""
    return Request(messages=(Message("user", prompt),), n=VOTES, temperature=1.0, seed=seed)


def steps_of_backend(options: dict[str, Any], asked: list[str], count: int) -> Callable[[], None]:
    """Ask the backend for moves, one after the other, as an engine does."""
    backend, following = load("hanoi", cache=0, **options), itertools.cycle(asked)

    async def ask() -> None:
        for number in range(count):
            async for _ in backend.generate(request(next(following), number)):
                pass

    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(ask())


def steps_together(asked: list[str], count: int) -> Callable[[], None]:
    """The same by as many tasks as an engine has workers, so that requests are answered together."""
    backend, following = load("hanoi", cache=0), itertools.cycle(asked)

    async def ask(number: int) -> None:
        async for _ in backend.generate(request(next(following), number)):
            pass

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            await ask(number)

    async def together() -> None:
        numbers = iter(range(count))
        await asyncio.gather(*(work(numbers) for _ in range(TOGETHER)))

    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(together())


def steps_of_model(asked: list[str], count: int) -> Callable[[], None]:
    """The same without the backend: read, fork for all votes, and step the five as a batch."""
    found = find("hanoi")
    model, vocabulary = found.load(), Vocabulary(found.config.vocabulary, found.config.tokens)
    following = itertools.cycle([np.array([vocabulary.tokens(prompt)]) for prompt in asked])

    def run() -> None:
        for _ in range(count):
            state = model.encode(next(following)).fork(VOTES)
            for place in range(3):
                chosen = state.logits.argmax(axis=1)
                if place < 2:
                    state = model.step(state, chosen)

    return run


def products(count: int) -> Callable[[], None]:
    """The floor: only the products with the weights of the same tokens."""
    config = find("hanoi").config
    tokens = DISKS + 3
    sizes = [
        shape
        for name, shape in config.shapes().items()
        if len(shape) == 2 and "conv" not in name and "embedding" not in name
    ]
    inner = getattr(config.blocks[0], "inner", config.width)
    sizes += [(inner, inner)] * 3 * len(config.blocks)  # queries, keys, values
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape[::-1]).astype(np.float32) for shape in sizes]
    inputs = [[np.ones((rows, len(weight)), np.float32) for weight in weights] for rows in (tokens, VOTES, VOTES)]

    def run() -> None:
        for _ in range(count):
            for batch in inputs:
                for x, weight in zip(batch, weights, strict=True):
                    x @ weight

    return run


def compare(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Give the median of each run's CPU seconds, over rounds that interleave them."""
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        run()  # once, so that all is loaded
        seen[name].clear()
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            run()
            seen[name].append(time.process_time() - began)
    return {name: statistics.median(row) for name, row in seen.items()}


def steps(rounds: int) -> None:
    """Hanoi steps a second."""
    count = 48
    runs = {
        "floor": products(count),
        "model": steps_of_model(prompts(1), count),
        "backend": steps_of_backend({}, prompts(2), count),
        "backend, signals": steps_of_backend({"signals": True}, prompts(3), count),
        f"backend, {TOGETHER} at once": steps_together(prompts(4), count),
    }
    seen = compare(runs, rounds)
    for name in list(runs)[1:]:
        each = seen[name] / count
        print(
            json.dumps(
                {
                    "row": "step",
                    "of": name,
                    "votes": VOTES,
                    "steps_per_s": round(1 / each),
                    "us": round(each * 1e6),
                    "ratio": round(seen[name] / seen["floor"], 2),
                }
            )
        )


def forks(rounds: int) -> None:
    """Forking a long prefix eight ways against reading it eight times, one by one and as a batch."""
    model = find("hanoi").load()
    prefix = np.random.default_rng(0).integers(0, len(towers.VOCABULARY), (1, PREFIX))
    often = np.repeat(prefix, FORKS, axis=0)

    def read_each() -> None:
        for _ in range(FORKS):
            model.encode(prefix)

    def read_batch() -> None:
        model.encode(often)

    def fork() -> None:  # with a step, for a fork by itself copies nothing
        model.step(model.encode(prefix).fork(FORKS), np.arange(FORKS))

    runs = {"each": read_each, "batch": read_batch, "fork": fork}
    seen = compare(runs, rounds)
    print(
        json.dumps(
            {
                "row": "fork",
                "prefix": PREFIX,
                "forks": FORKS,
                "ms": round(seen["fork"] * 1e3, 1),
                "times_cheaper_than_reading_each": round(seen["each"] / seen["fork"], 1),
                "times_cheaper_than_reading_a_batch": round(seen["batch"] / seen["fork"], 1),
            }
        )
    )


def memory() -> None:
    """Bytes that one fork holds once it has gone its own way, beside a key-value cache of the same width and depth."""
    found = find("hanoi")
    model, config = found.load(), found.config
    for length in (10, 100, 1000, 10_000):
        tokens = np.random.default_rng(0).integers(0, len(towers.VOCABULARY), (1, length))
        state = model.step(model.encode(tokens).fork(FORKS), np.arange(FORKS))
        held = sum(array.nbytes for array in state.arrays()) // FORKS
        cache = 2 * len(config.blocks) * length * config.width * 4  # keys and values, float32
        print(json.dumps({"row": "memory", "prefix": length, "fork_bytes": held, "key_value_cache_bytes": cache}))


def main() -> None:
    """Run all."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    steps(rounds)
    forks(max(rounds // 3, 3))
    memory()


if __name__ == "__main__":
    main()

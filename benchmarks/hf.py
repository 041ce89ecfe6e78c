"""What the backend `hf` costs beside transformers' own `generate`, on SmolLM2-135M.

    python benchmarks/hf.py                     # reads the GGUF file, which takes minutes
    python benchmarks/hf.py --model FOLDER      # one that `python -m scaffold_backends.hf.convert` wrote

One JSON line each, medians over interleaved rounds with one thread:

- `decode`: a prompt of about 200 tokens and 100 more, greedily; `ratio` is our tokens a second over `generate`'s,
  which gives the same text. `cpu_ratio` is the same in processor time, which other programs disturb less.
- `decode with signals and logprobs`: the same, with both options on.
- `fork`: 8 samples of 8 tokens from one prompt; `ratio` is processor time of 8 requests over that of one request for 8.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from typing import Any

from scaffold.vocabulary.models import Message, Request
from scaffold_backends.hf.backend import HuggingFace, load
from scaffold_backends.hf.prompts import render
from scaffold_backends.store import SMOLLM2

STORY = "Write a very long and detailed story about a lighthouse keeper who finds a message in a bottle."
BEGIN = "The keeper lived alone at the edge of the sea, and every evening he climbed the stairs to light the lamp. "
TOKENS = 100


def request(sentences: int, **more: Any) -> Request:
    """A prompt that asks for a story and begins it with so many sentences of some 23 tokens."""
    return Request(messages=(Message("user", STORY), Message("assistant", BEGIN * sentences)), **more)


async def answered(backend: HuggingFace, asked: Request) -> tuple[str, int]:
    """The text of a request's samples, and their tokens."""
    text, count = "", 0
    async for delta in backend.generate(asked):
        text += delta.text
        count += delta.usage.output if delta.usage else 0
    return text, count


def generated(model: Any, tokens: list[int]) -> str:
    """The text that transformers' own loop gives."""
    import torch

    prompt = torch.tensor([tokens])
    with torch.inference_mode():
        whole = model.network.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=TOKENS, do_sample=False
        )
    return str(model.tokenizer.decode(whole[0, len(tokens) :], skip_special_tokens=True))


def timed(work: Any) -> tuple[Any, float, float]:
    """What it gives, and seconds of wall and processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    given = work()
    return given, time.perf_counter() - wall, time.process_time() - cpu


def decode(name: str, backend: HuggingFace, rounds: int) -> None:
    """Our loop beside `generate`, in turn."""
    model = backend._model  # noqa: SLF001 - the very network that the backend drives, so that both read the same memory
    assert model is not None
    asked = request(6, max_tokens=TOKENS, temperature=0.0)
    tokens = render(model.tokenizer, asked.messages).tokens
    ratios, cpu_ratios, speeds = [], [], []
    for round_ in range(rounds + 1):
        theirs, their_wall, their_cpu = timed(lambda: generated(model, tokens))
        (ours, count), our_wall, our_cpu = timed(lambda: asyncio.run(answered(backend, asked)))
        assert (ours, count) == (theirs, TOKENS), "the two loops give different texts"
        if round_:  # the first warms both up
            ratios.append(their_wall / our_wall)
            cpu_ratios.append(their_cpu / our_cpu)
            speeds.append(TOKENS / our_wall)
    line = {
        "benchmark": name,
        "prompt": len(tokens),
        "tokens": TOKENS,
        "ratio": round(statistics.median(ratios), 3),
        "cpu_ratio": round(statistics.median(cpu_ratios), 3),
        "tokens_per_second": round(statistics.median(speeds), 1),
    }
    print(json.dumps(line), flush=True)


def fork(backend: HuggingFace, sentences: int, rounds: int) -> None:
    """Eight samples from one prompt, beside eight prompts."""
    together = request(sentences, n=8, max_tokens=8, temperature=1.0, seed=1)
    alone = [request(sentences, max_tokens=8, temperature=1.0, seed=1 + index) for index in range(8)]
    ratios, wall_ratios = [], []
    prompt = 0
    for _ in range(rounds):
        _, wall, cpu = timed(lambda: asyncio.run(answered(backend, together)))
        _, wall_alone, cpu_alone = timed(lambda: [asyncio.run(answered(backend, one)) for one in alone])
        ratios.append(cpu_alone / cpu)
        wall_ratios.append(wall_alone / wall)
        model = backend._model  # noqa: SLF001 - only to count the prompt's tokens
        assert model is not None
        prompt = len(render(model.tokenizer, together.messages).tokens)
    line = {
        "benchmark": "fork",
        "prompt": prompt,
        "samples": 8,
        "tokens": 8,
        "ratio": round(statistics.median(ratios), 2),
        "wall_ratio": round(statistics.median(wall_ratios), 2),
    }
    print(json.dumps(line), flush=True)


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="", help="a folder; SmolLM2's GGUF file when not said")
    parser.add_argument("--rounds", type=int, default=5)
    said = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # of this thread alone, in which `generate` runs; the backend's own has the option below
    path = said.model or str(SMOLLM2.pull())
    plain = load(path, threads=1)
    asyncio.run(plain.prepare(lambda _message, _fraction: None))
    decode("decode", plain, said.rounds)
    fork(plain, 6, said.rounds)
    fork(plain, 41, max(1, said.rounds // 2))
    telling = load(path, threads=1, signals=True, logprobs=True)
    telling._model, telling._thread = plain._model, plain._thread  # noqa: SLF001 - one network in memory is enough
    decode("decode with signals and logprobs", telling, said.rounds)
    asyncio.run(plain.close())
    return 0


if __name__ == "__main__":
    sys.exit(main())

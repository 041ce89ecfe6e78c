"""What the backend `llamacpp` costs beside xllamacpp called directly, and what samples share, on SmolLM2-135M.

    python benchmarks/llamacpp.py

One JSON line each, medians over interleaved rounds with one thread:

- `decode`: a prompt of about 200 tokens, 100 more; `ratio` is our tokens a second over those of xllamacpp called
  directly with the same request, on the same loaded model. `cpu_ratio` is the same in processor time.
- `prefix`: 8 samples of 8 tokens from one prompt of about 1,000; `ratio` is processor time of 8 separate requests, none
  of which finds the prompt in memory, over that of one request for 8.
- `schema`: tokens of one answer to a JSON Schema; `ratio` is llama.cpp's own `response_format` over ours.
- `kept`: seconds until the first token after a long system turn, computed over read from a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from typing import Any

from scaffold.vocabulary.models import Message, Request, Usage
from scaffold_backends.llamacpp.backend import LlamaCpp, load_smollm2

STORY = "Write a very long and detailed story about a lighthouse keeper who finds a message in a bottle."
BEGIN = "The keeper lived alone at the edge of the sea, and every evening he climbed the stairs to light the lamp. "
TOKENS, SAMPLES, FEW = 100, 8, 8
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer"},
        "weight": {"type": "number"},
    },
    "required": ["name", "age", "weight"],
    "additionalProperties": False,
}


def request(sentences: int, **more: Any) -> Request:
    """A prompt that asks for a story and begins it with so many sentences of some 23 tokens."""
    return Request(messages=(Message("user", STORY), Message("assistant", BEGIN * sentences)), **more)


async def answered(backend: LlamaCpp, asked: Request) -> Usage:
    """The usage of a request, read to its end."""
    usage = None
    async for delta in backend.generate(asked):
        usage = delta.usage or usage
    assert usage is not None
    return usage


def direct(backend: LlamaCpp, body: dict[str, Any]) -> Any:
    """The same model, called as xllamacpp's own documentation does."""
    engine = backend._engine  # noqa: SLF001 - the very model that the backend drives
    assert engine is not None
    return engine._server.handle_chat_completions(body)  # noqa: SLF001 - as above


def turns(asked: Request) -> list[dict[str, str]]:
    """A request's messages as llama.cpp wants them."""
    return [{"role": turn.role, "content": turn.content} for turn in asked.messages]


def timed(work: Any) -> tuple[Any, float, float]:
    """What it gives, and seconds of wall and processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    given = work()
    return given, time.perf_counter() - wall, time.process_time() - cpu


def show(**line: Any) -> None:
    """Print one line."""
    print(json.dumps(line), flush=True)


def decode(backend: LlamaCpp, rounds: int) -> None:
    """Our stream beside a direct call, in turn; the prompt is in memory for both."""
    asked = request(7, max_tokens=TOKENS, temperature=0.0)
    body = {"messages": turns(asked), "max_tokens": TOKENS, "temperature": 0.0}
    ratios, cpu_ratios, speeds, prompt = [], [], [], 0
    for round_ in range(rounds + 1):
        theirs, their_wall, their_cpu = timed(lambda: direct(backend, body))
        ours, our_wall, our_cpu = timed(lambda: asyncio.run(answered(backend, asked)))
        assert ours.output == theirs["usage"]["completion_tokens"] == TOKENS
        prompt = ours.input
        if round_:  # the first reads the prompt
            ratios.append(their_wall / our_wall)
            cpu_ratios.append(their_cpu / our_cpu)
            speeds.append(TOKENS / our_wall)
    show(
        benchmark="decode",
        prompt=prompt,
        tokens=TOKENS,
        ratio=round(statistics.median(ratios), 3),
        cpu_ratio=round(statistics.median(cpu_ratios), 3),
        tokens_per_second=round(statistics.median(speeds), 1),
    )


def forget(backend: LlamaCpp) -> None:
    """Make every slot forget what it has read, as if the requests came at different times."""
    engine = backend._engine  # noqa: SLF001 - llama.cpp's own switch
    assert engine is not None
    for slot in range(SAMPLES):
        engine.ask(f"/slots/{slot}?action=erase", {})


def prefix(backend: LlamaCpp, rounds: int) -> None:
    """Eight samples in one request, beside eight requests."""
    together = request(42, n=SAMPLES, max_tokens=FEW, temperature=1.0, seed=1)
    body = {"messages": turns(together), "max_tokens": FEW, "temperature": 1.0, "cache_prompt": False}
    ratios, prompt = [], 0
    for _ in range(rounds):
        forget(backend)
        ours, _, cpu = timed(lambda: asyncio.run(answered(backend, together)))
        _, _, cpu_alone = timed(lambda: [direct(backend, body | {"seed": 1 + index}) for index in range(SAMPLES)])
        ratios.append(cpu_alone / cpu)
        prompt = ours.input
    show(benchmark="prefix", prompt=prompt, samples=SAMPLES, tokens=FEW, ratio=round(statistics.median(ratios), 2))


def schema(backend: LlamaCpp) -> None:
    """Tokens of an answer that fits a schema."""
    asked = Request(
        messages=(Message("user", "Describe a person."),), max_tokens=120, temperature=0.0, json_schema=PERSON
    )
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    body = {"messages": turns(asked), "max_tokens": 120, "temperature": 0.0, "response_format": wanted}
    theirs = direct(backend, body)["usage"]["completion_tokens"]
    ours = asyncio.run(answered(backend, asked)).output
    show(benchmark="schema", tokens=ours, ratio=round(theirs / ours, 2))


def kept() -> None:
    """The first answer after a long system turn, in a process that has never seen it."""
    asked = Request(messages=(Message("system", BEGIN * 40), Message("user", "Hi.")), max_tokens=1)
    seconds, prompt = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            backend = load_smollm2(n_ctx=1200, n_parallel=1, threads=1, keep=folder)
            asyncio.run(backend.prepare(lambda _message, _fraction: None))
            used, wall, _ = timed(lambda backend=backend: asyncio.run(answered(backend, asked)))
            seconds.append(wall)
            prompt = used.input
            asyncio.run(backend.close())
    show(benchmark="kept", prompt=prompt, ratio=round(seconds[0] / seconds[1], 1), seconds=round(seconds[1], 2))


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:  # slots can be erased only where they can be saved
        backend = load_smollm2(n_ctx=1200, n_parallel=SAMPLES, threads=1, keep=folder)
        asyncio.run(backend.prepare(lambda _message, _fraction: None))
        decode(backend, rounds)
        schema(backend)
        prefix(backend, max(1, rounds // 2))
        asyncio.run(backend.close())
    kept()
    return 0


if __name__ == "__main__":
    sys.exit(main())

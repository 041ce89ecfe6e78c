"""Trains the checkpoint `parity`: `python -m training.xlstm.parity`, seeded, on one thread.

A prompt is a row of bits, `0 1 1 0 1`, and the answer `even` or `odd`: how many ones there are. Every beginning of a
row is a prompt too, so each row of 40 bits teaches 40 of them. Longer rows are only looked at afterwards: what was
learned is right for them if it is a way to keep track, and not a table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the name that torch's own documentation gives it

from training.xlstm.network import XLSTM
from training.xlstm.saving import Description, save

VOCABULARY = ("0", "1", "even", "odd")
LENGTH = 40
WIDTH = 64
BLOCKS: list[dict[str, Any]] = [{"kind": "slstm", "heads": 1, "kernel": 4, "inner": 64}]
_EVEN = VOCABULARY.index("even")


def rows(count: int, length: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw rows of bits (count, length), and the answer after each bit, likewise; ones are rare in some rows."""
    share = torch.rand(count, 1, generator=generator)
    bits = (torch.rand(count, length, generator=generator) < share).long()
    return bits, _EVEN + bits.cumsum(1) % 2


def train(model: XLSTM, *, steps: int, batch: int, rate: float, generator: torch.Generator) -> list[dict[str, float]]:
    """Train, and tell how it went."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    log, losses, every = [], 0.0, max(steps // 20, 1)
    for step in range(1, steps + 1):
        bits, wanted = rows(batch, LENGTH, generator)
        loss = F.cross_entropy(model.logits(model(bits)).flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses += loss.item()
        if step % every == 0:
            log.append({"step": step, "loss": losses / every})
            print(log[-1], flush=True)
            losses = 0.0
    return log


@torch.no_grad()
def measure(model: XLSTM, length: int, generator: torch.Generator, count: int) -> dict[str, float]:
    """Give the share of right answers to rows of a length, and the least probability that a right one had."""
    bits = torch.randint(0, 2, (count, length), generator=generator)
    wanted = _EVEN + bits.sum(1) % 2
    logits = model.logits(model(bits)[:, -1])
    p = logits.softmax(-1).gather(1, wanted[:, None])
    row = {"length": length, "accuracy": float((logits.argmax(-1) == wanted).double().mean()), "worst": float(p.min())}
    print(row, flush=True)
    return row


def main() -> None:
    """Train, measure and save."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--steps", type=int, default=500)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--rate", type=float, default=4e-3)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--rows", type=int, default=1000, help="looked at afterwards, of each length")
    options.add_argument("--out", type=Path, default=Path("backends/scaffold_backends/xlstm/checkpoints"))
    said = options.parse_args()
    torch.manual_seed(said.seed)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(said.seed)
    started = time.process_time()
    model = XLSTM(len(VOCABULARY), WIDTH, BLOCKS)
    log = train(model, steps=said.steps, batch=said.batch, rate=said.rate, generator=generator)
    metrics = {
        "seed": said.seed,
        "steps": said.steps,
        "batch": said.batch,
        "rate": said.rate,
        "cpu_seconds": round(time.process_time() - started, 1),
        "by_length": [measure(model, length, generator, said.rows) for length in (20, 40, 80, 128, 256, 512, 1024)],
        "log": log,
    }
    description = Description(
        about="parity of a row of bits, by one sLSTM block",
        width=WIDTH,
        blocks=BLOCKS,
        vocabulary=VOCABULARY,
        tokens="words",
        answer=1,
        longest=LENGTH,
    )
    save(model, said.out / "parity.safetensors", description, metrics)


if __name__ == "__main__":
    main()

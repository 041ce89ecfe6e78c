"""Trains the checkpoint `hanoi`: `python -m training.xlstm.hanoi`, seeded, on one thread.

Most states of a tall tower look alike: half of all moves move disk 1, a quarter disk 2. So states are drawn by the
disk that moves rather than by their number on the path, and some of every batch are states that the model was
last seen to be worst at. What counts at the end is the worst state of the path, where votes cannot help, and not
the average: `hanoi_path` looks at all 1,048,575 states of 20 disks, and at those of every smaller tower.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812 - the name that torch's own documentation gives it

from scaffold_backends.xlstm.towers import VOCABULARY
from training.xlstm.hanoi_path import measure
from training.xlstm.hanoi_states import ANSWER, LENGTH, draw, draw_after, join, tokens
from training.xlstm.network import XLSTM
from training.xlstm.saving import Description, save

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from training.xlstm.hanoi_states import States

    Drawing = Callable[[np.random.Generator, int], States]

WIDTH = 64
BLOCKS: list[dict[str, Any]] = [{"kind": "mlstm", "inner": 128, "heads": 4, "group": 16, "kernel": 4}] * 2
BATCH = 64
ENOUGH, LOOKS = 0.999, 3


def answer_logits(model: XLSTM, batch: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Give the logits at the answer's tokens (N, ANSWER, V), and these tokens (N, ANSWER)."""
    at = end[:, None] + torch.arange(ANSWER)
    hidden = model(batch[:, :-1])
    chosen = hidden.gather(1, (at - 1)[..., None].expand(-1, -1, hidden.shape[-1]))
    return model.logits(chosen), batch.gather(1, at)


@torch.no_grad()
def right(model: XLSTM, states: States, batch: int = 512) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Give the probability of the right move, sampled at T = 1, of each state (N,)."""
    found = []
    for first in range(0, len(states), batch):
        inputs, end = map(torch.from_numpy, tokens(states[first : first + batch]))
        longest = int(end.max()) + ANSWER
        logits, wanted = answer_logits(model, inputs[:, :longest], end)
        log_p = logits.log_softmax(-1).gather(-1, wanted[..., None]).sum((1, 2))
        found.append(log_p.double().exp().numpy())
    return np.concatenate(found)


def train(model: XLSTM, by: Drawing, *, steps: int, rate: float, seed: int, mine: int) -> list[dict[str, float]]:
    """Train, and tell how it went; every `mine` steps the worst states of a fresh draw become part of the batches.

    The weights that are kept are those of the look with the best worst state. Training ends after three looks in a row
    with nothing left to learn: from there on, Adam's steps would be divided by next to nothing.
    """
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.05)
    hard, log, started, losses = by(rng, BATCH), [], time.process_time(), 0.0
    best, kept, enough = 0.0, model.state_dict(), 0
    for step in range(1, steps + 1):
        fresh = by(rng, BATCH - BATCH // 4)
        again = hard[rng.integers(0, len(hard), BATCH // 4)]
        inputs, end = map(torch.from_numpy, tokens(join(fresh, again)))
        logits, wanted = answer_logits(model, inputs, end)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses += loss.item()
        if step % mine == 0:
            looked = join(by(rng, 6144), hard)
            found = right(model, looked)
            hard = looked[np.argsort(found)[:1024]]
            seen = {"step": step, "loss": losses / mine, "worst": float(found.min()), "mean": float(found.mean())}
            log.append(seen | {"seconds": round(time.process_time() - started, 1)})
            print(log[-1], flush=True)
            losses = 0.0
            if seen["worst"] > best:
                best, kept = seen["worst"], {name: weight.clone() for name, weight in model.state_dict().items()}
            enough = enough + 1 if seen["worst"] > ENOUGH else 0
            if enough == LOOKS:
                break
    model.load_state_dict(kept)
    return log


def main() -> None:
    """Train, measure and save."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--steps", type=int, default=5000, help="at most; the rate falls as if all were taken")
    options.add_argument("--rate", type=float, default=3e-3)
    options.add_argument("--mine", type=int, default=500)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--start", type=Path, help="weights after the first stage, to begin with the second")
    options.add_argument("--disks", type=int, nargs="+", default=(), help="look at these towers alone afterwards")
    options.add_argument("--out", type=Path, default=Path("backends/scaffold_backends/xlstm/checkpoints"))
    said = options.parse_args()
    torch.manual_seed(said.seed)
    torch.set_num_threads(1)
    model = XLSTM(len(VOCABULARY), WIDTH, BLOCKS)
    metrics: dict[str, Any] = {"seed": said.seed, "batch": BATCH, "stages": []}
    first = {"steps": said.steps, "rate": said.rate, "mine": said.mine}
    second = {"steps": max(said.steps // 6, 1), "rate": said.rate / 6, "mine": max(said.mine // 2, 1)}
    for by, how in ((draw, first), (draw_after, second)):
        if by is draw and said.start:
            model.load_state_dict(load_file(said.start))
            continue
        started = time.process_time()
        log = train(model, by, seed=said.seed, **how)
        metrics["stages"].append({**how, "cpu_seconds": round(time.process_time() - started, 1), "log": log})
    description = Description(
        about="Tower of Hanoi of up to 20 disks, one move of the best path at a time",
        width=WIDTH,
        blocks=BLOCKS,
        vocabulary=VOCABULARY,
        tokens="words",
        answer=ANSWER,
        longest=LENGTH,
    )
    path = said.out / "hanoi.safetensors"
    save(model, path, description, metrics)
    measure(path, said.disks)


if __name__ == "__main__":
    main()

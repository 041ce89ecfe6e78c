"""Trains the checkpoint `hanoi`: `python -m training.xlstm.hanoi`, seeded, on one thread.

Most states of a tall tower look alike: half of all moves move disk 1, a quarter disk 2. So states are drawn by the
disk that moves rather than by their number on the path, and some of every batch are states that the model was
last seen to be worst at. What counts at the end is the worst state of the path, where votes cannot help, and not
the average: all 1,048,575 states of 20 disks are looked at, and those of every smaller tower.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the name that torch's own documentation gives it

from scaffold_backends.xlstm.towers import DISKS, PEGS, VOCABULARY, moves
from training.xlstm.network import XLSTM
from training.xlstm.saving import Description, save

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 64
BLOCKS: list[dict[str, Any]] = [{"kind": "mlstm", "inner": 128, "heads": 4, "group": 16, "kernel": 4}] * 2
LENGTH = DISKS + 3  # tokens of the longest prompt
ANSWER = 3
ENOUGH, LOOKS = 0.999, 3
_WORDS = {word: number for number, word in enumerate(VOCABULARY)}
_MOVE, _PEG, _DISK = _WORDS["move"], _WORDS[PEGS[0]], _WORDS["1"] - 1
_DISKS, _LAST, _PLACE = _WORDS["disks:1"] - 1, _WORDS["last:0"], _WORDS["1A"] - 3


@dataclass(frozen=True)
class States:
    """Many moves of best paths: how many disks each tower has, and the number of each move, both (N,)."""

    disks: np.ndarray[Any, np.dtype[np.int64]]
    move: np.ndarray[Any, np.dtype[np.int64]]

    def __getitem__(self, which: Any) -> States:
        return States(self.disks[which], self.move[which])

    def __len__(self) -> int:
        return len(self.disks)


def tokens(states: States) -> tuple[Tensor, Tensor]:
    """Give prompts with their answers (N, LENGTH + ANSWER), padded at the end, and the prompts' lengths (N,)."""
    disks, move = states.disks[:, None], states.move[:, None]
    disk = np.arange(1, DISKS + 1)[None]  # (1, 20)
    way = np.where((disks - disk) % 2 == 0, -1, 1)
    before = (((move - 1 + (1 << (disk - 1))) >> disk) * way) % 3  # (N, 20)
    after = (((move + (1 << (disk - 1))) >> disk) * way) % 3
    rows = np.arange(len(states))
    moved = np.log2(states.move & -states.move).astype(np.int64)  # disk - 1
    previous = states.move - 1
    last = np.where(previous > 0, np.log2(np.maximum(previous & -previous, 1)).astype(np.int64) + 1, 0)
    out = np.full((len(states), LENGTH + ANSWER), _MOVE, dtype=np.int64)
    out[:, 0], out[:, 1] = _DISKS + states.disks, _LAST + last
    for each in range(1, DISKS + 1):  # disk `each` stands `disks - each` places after the first
        there = states.disks >= each
        out[rows[there], 2 + (states.disks - each)[there]] = (_PLACE + 3 * each + before[:, each - 1])[there]
    end = states.disks + 3
    out[rows, end] = _DISK + moved + 1
    out[rows, end + 1] = _PEG + before[rows, moved]
    out[rows, end + 2] = _PEG + after[rows, moved]
    return torch.from_numpy(out), torch.from_numpy(end)


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
        part = states[first : first + batch]
        inputs, end = tokens(part)
        longest = int(end.max()) + ANSWER
        logits, wanted = answer_logits(model, inputs[:, :longest], end)
        log_p = logits.log_softmax(-1).gather(-1, wanted[..., None]).sum((1, 2))
        found.append(log_p.double().exp().numpy())
    return np.concatenate(found)


def draw(rng: np.random.Generator, count: int) -> States:
    """Draw states: half of 20 disks, the others of fewer; a third move disk 1, the rest any larger one alike."""
    disks = np.where(rng.random(count) < 0.5, DISKS, rng.integers(1, DISKS + 1, count))  # noqa: PLR2004 - half
    larger = rng.integers(2, DISKS + 1, count)
    larger = np.where(larger > disks, rng.integers(0, 1 << 40, count) % disks + 1, larger)
    disk = np.where(rng.random(count) < 1 / 3, 1, larger)  # 1-based
    number = (rng.random(count) * (1 << (disks - disk))).astype(np.int64)  # of the moves of that disk
    return States(disks, (2 * number + 1) << (disk - 1))


def path(disks: int) -> States:
    """Give every move of a tower's best path."""
    count = moves(disks)
    return States(np.full(count, disks, dtype=np.int64), np.arange(1, count + 1, dtype=np.int64))


def join(*parts: States) -> States:
    """Put states together."""
    return States(np.concatenate([each.disks for each in parts]), np.concatenate([each.move for each in parts]))


def train(model: XLSTM, *, steps: int, batch: int, rate: float, seed: int, mine: int) -> list[dict[str, float]]:
    """Train, and tell how it went; every `mine` steps the worst states of a fresh draw become part of the batches.

    The weights that are kept are those of the look with the best worst state. Training ends after three looks in a row
    with nothing left to learn: from there on, Adam's steps would be divided by next to nothing.
    """
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.05)
    hard, log, started, losses = draw(rng, batch), [], time.process_time(), 0.0
    best, kept, enough = 0.0, model.state_dict(), 0
    for step in range(1, steps + 1):
        fresh = draw(rng, batch - batch // 4)
        inputs, end = tokens(join(fresh, hard[rng.integers(0, len(hard), batch // 4)]))
        logits, wanted = answer_logits(model, inputs, end)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses += loss.item()
        if step % mine == 0:
            looked = join(draw(rng, 6144), hard)
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


def measure(model: XLSTM, largest: int = DISKS) -> dict[str, Any]:
    """Look at every state of every tower's best path."""
    rows = []
    for disks in range(1, largest + 1):
        found = right(model, path(disks))
        worst = int(found.argmin())
        rows.append(
            {
                "disks": disks,
                "states": len(found),
                "worst": float(found[worst]),
                "worst_move": worst + 1,
                "error": float((1 - found).mean()),
                "at_most_half": int((found <= 0.5).sum()),  # noqa: PLR2004 - a vote needs more than half
            }
        )
        print(rows[-1], flush=True)
    last = rows[-1]
    return {"temperature": 1.0, "worst": min(row["worst"] for row in rows), "of_20_disks": last, "by_disks": rows}


def main() -> None:
    """Train, measure and save."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--steps", type=int, default=12_000, help="at most; the rate falls as if all were taken")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--rate", type=float, default=3e-3)
    options.add_argument("--mine", type=int, default=500)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--largest", type=int, default=DISKS, help="tallest tower whose whole path is looked at")
    options.add_argument("--out", type=Path, default=Path("backends/scaffold_backends/xlstm/checkpoints"))
    said = options.parse_args()
    torch.manual_seed(said.seed)
    torch.set_num_threads(1)
    started = time.process_time()
    model = XLSTM(len(VOCABULARY), WIDTH, BLOCKS)
    log = train(model, steps=said.steps, batch=said.batch, rate=said.rate, seed=said.seed, mine=said.mine)
    metrics = {
        "seed": said.seed,
        "steps": said.steps,
        "batch": said.batch,
        "rate": said.rate,
        "cpu_seconds": round(time.process_time() - started, 1),
        "log": log,
    }
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
    save(model, path, description, metrics)  # before the long look, which could be cut short
    save(model, path, description, {"paths": measure(model, said.largest), **metrics})


if __name__ == "__main__":
    main()

"""Looks at every state of every best path with the checkpoint `hanoi`: `python -m training.xlstm.hanoi_path`.

It is the model as it ships that is looked at, in numpy, on one core: the probability, sampled at temperature 1, of the
right move in all 1,048,575 states of 20 disks and in those of every smaller tower. What it finds becomes
`paths` in the checkpoint's metrics.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaffold_backends.xlstm.checkpoint import find
from scaffold_backends.xlstm.towers import DISKS
from training.xlstm.hanoi_states import ANSWER, path, tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scaffold_backends.xlstm.functions import Array
    from scaffold_backends.xlstm.model import XLSTM
    from training.xlstm.hanoi_states import Numbers, States

BATCH = 64
MAJORITY = 0.5  # a vote needs more


def _log_p(logits: Array, wanted: Numbers) -> NDArray[np.float64]:
    """Give the logarithm of the probability of each wanted word, (B,), for logits (B, V)."""
    wide = logits.astype(np.float64)
    found: NDArray[np.float64] = wide[np.arange(len(wanted)), wanted] - np.logaddexp.reduce(wide, axis=1)
    return found


def right(model: XLSTM, states: States) -> NDArray[np.float64]:
    """Give the probability of the right move of each state of one tower, (N,)."""
    length = int(states.disks[0]) + 3
    found = []
    for first in range(0, len(states), BATCH):
        read, _ = tokens(states[first : first + BATCH])
        state = model.encode(read[:, :length])
        log_p = _log_p(state.logits, read[:, length])
        for place in range(length + 1, length + ANSWER):
            state = model.step(state, read[:, place - 1])
            log_p += _log_p(state.logits, read[:, place])
        found.append(np.exp(log_p))
    return np.concatenate(found)


def look(model: XLSTM, disks: int) -> dict[str, Any]:
    """Look at one tower's path."""
    found = right(model, path(disks))
    worst = int(found.argmin())
    row = {
        "disks": disks,
        "states": len(found),
        "worst": float(found[worst]),
        "worst_move": worst + 1,
        "error": float((1 - found).mean()),
        "at_most_half": int((found <= MAJORITY).sum()),
    }
    print(row, flush=True)
    return row


def measure(checkpoint: Path) -> None:
    """Look at all towers, the tallest first, and write what was found beside the checkpoint."""
    model = find(str(checkpoint)).load()
    rows = [look(model, disks) for disks in range(DISKS, 0, -1)]
    paths = {
        "temperature": 1.0,
        "worst": min(row["worst"] for row in rows),
        "of_20_disks": rows[0],
        "by_disks": rows[::-1],
    }
    file = checkpoint.with_suffix(".metrics.json")
    metrics = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**metrics, "paths": paths}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    shipped = Path("backends/scaffold_backends/xlstm/checkpoints/hanoi.safetensors")
    options.add_argument("checkpoint", type=Path, nargs="?", default=shipped)
    measure(options.parse_args().checkpoint)

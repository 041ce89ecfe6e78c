"""Looks at every state of every best path with the checkpoint `hanoi`: `python -m training.xlstm.hanoi_path`.

It is the model as it ships that is looked at, in numpy, on one core: the probability, sampled at temperature 1, of the
right move in all 1,048,575 states of 20 disks and in those of every smaller tower. What it finds becomes
`paths` in the checkpoint's metrics. With `--disks 18 19` it looks at these towers alone, and keeps the other rows.
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
from scaffold_backends.xlstm.towers import DISKS, moves
from training.xlstm.hanoi_states import ANSWER, States, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scaffold_backends.xlstm.functions import Array
    from scaffold_backends.xlstm.model import XLSTM
    from training.xlstm.hanoi_states import Numbers

TOGETHER = 7  # disks: while these move, the others stand still, and are read once for all
MAJORITY = 0.5  # a vote needs more


def _log_p(logits: Array, wanted: Numbers) -> NDArray[np.float64]:
    """Give the logarithm of the probability of the wanted words (B, A), together (B,), for logits (B, A, V)."""
    wide = logits.astype(np.float64)
    wide -= np.logaddexp.reduce(wide, axis=-1, keepdims=True)
    found: NDArray[np.float64] = np.take_along_axis(wide, wanted[..., None], axis=-1).sum(axis=(1, 2))
    return found


def right(model: XLSTM, disks: int, first: int, last: int) -> NDArray[np.float64]:
    """Give the probability of the right move in each state from move `first` to `last` of one tower, (N,).

    All of them have the larger disks at the same places, so these differ only in which disk moved last.
    """
    numbers = np.arange(first, last + 1)
    read, _ = tokens(States(np.full_like(numbers, disks), numbers))
    shared = 2 + max(disks - TOGETHER, 0)  # how many disks, which moved last, and the larger ones
    _, one_of_each, which = np.unique(read[:, 1], return_index=True, return_inverse=True)
    state = model.encode(read[one_of_each, :shared]).take(which.tolist())
    logits, _ = model.logits(read[:, shared : disks + 3 + ANSWER - 1], state)
    return np.exp(_log_p(logits[:, -ANSWER:], read[:, disks + 3 : disks + 3 + ANSWER]))


def look(model: XLSTM, disks: int) -> dict[str, Any]:
    """Look at one tower's path."""
    size, count = 1 << min(TOGETHER, disks), moves(disks)
    found = np.concatenate(
        [right(model, disks, first, min(first + size - 1, count)) for first in range(1, count + 1, size)]
    )
    worst = int(found.argmin())
    return {
        "disks": disks,
        "states": len(found),
        "worst": float(found[worst]),
        "worst_move": worst + 1,
        "error": float((1 - found).mean()),
        "at_most_half": int((found <= MAJORITY).sum()),
    }


def measure(checkpoint: Path, towers: Sequence[int] = ()) -> None:
    """Look at towers, the tallest first, and write what was found beside the checkpoint as it comes.

    Args:
        checkpoint: the weights.
        towers: these alone, beside what the metrics hold of the others; all afresh if none.
    """
    model = find(str(checkpoint)).load()
    file = checkpoint.with_suffix(".metrics.json")
    known = json.loads(file.read_text(encoding="utf-8")).get("paths", {}).get("by_disks", []) if towers else []
    rows: dict[int, dict[str, Any]] = {row["disks"]: row for row in known}
    for disks in towers or (DISKS, *range(1, DISKS)):
        rows[disks] = look(model, disks)
        print(rows[disks], flush=True)
        paths = {
            "temperature": 1.0,
            "worst": min(row["worst"] for row in rows.values()),
            "of_20_disks": rows.get(DISKS),
            "by_disks": [rows[each] for each in sorted(rows)],
        }
        metrics = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**metrics, "paths": paths}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    shipped = Path("backends/scaffold_backends/xlstm/checkpoints/hanoi.safetensors")
    options.add_argument("checkpoint", type=Path, nargs="?", default=shipped)
    options.add_argument("--disks", type=int, nargs="+", choices=range(1, DISKS + 1), default=(), metavar="N")
    said = options.parse_args()
    measure(said.checkpoint, said.disks)

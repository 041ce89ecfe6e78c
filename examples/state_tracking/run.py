"""Tracks a state over rows of growing length: `python -m examples.state_tracking.run`, from the project's folder.

Three ways to answer, for two automata: a transformer in one pass, an sLSTM in one pass, and the same transformer
with its steps written out by a hand-coded planner. Both are trained on rows of at most 40 symbols, with the right state
after each of them. It writes `accuracy.json` and `accuracy.png`, with the extras `train`, `local` and `plots`.

The committed figures took 160 seconds of CPU time. Parity: the sLSTM is right at every length, the transformer in one
pass is at chance from 32 bits on. The ball under five cups: the sLSTM, after its minute of training, tracks it
better than the transformer does, but not far. With the steps written out, the same transformer is right throughout.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the name that torch's own documentation gives it

from examples.state_tracking.automata import Automaton, cups, parity
from examples.state_tracking.planner import in_one_breath, step_by_step
from examples.state_tracking.transformer import Transformer, TransformerBackend
from scaffold import Scaffold, Task
from scaffold.registry import make_backend
from scaffold.vocabulary.task import Budget
from training.xlstm.network import XLSTM
from training.xlstm.saving import Description, save

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
TRAINED = 40  # symbols of the longest row in training
LENGTHS = (4, 8, 16, 32, 64, 128, 256)
SLSTM: list[dict[str, Any]] = [{"kind": "slstm", "heads": 1, "kernel": 4, "inner": 64}]


def train(model: Any, automaton: Automaton, *, steps: int, batch: int = 32, rate: float = 4e-3, seed: int = 1) -> None:
    """Teach a model the state after each symbol of rows of 1 to 40; short ones are as frequent as long ones."""
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        length = round(TRAINED ** rng.random())
        tokens, answers = (torch.from_numpy(array) for array in automaton.draw(rng, batch, length))
        loss = F.cross_entropy(model.logits(model(tokens)).flatten(0, 1), answers.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % max(steps // 10, 1) == 0:
            print(f"  {type(model).__name__} step {step + 1}: loss {loss.item():.2g}", flush=True)


def slstm_backend(automaton: Automaton, *, steps: int, folder: Path) -> Any:
    """Return an sLSTM for an automaton: the shipped one for parity, else one that is trained here."""
    if automaton.name == parity().name:
        return make_backend("xlstm:parity", {})
    model = XLSTM(len(automaton.vocabulary), 64, SLSTM)
    train(model, automaton, steps=steps)
    description = Description(
        about=automaton.name,
        width=64,
        blocks=SLSTM,
        tokens="words",
        vocabulary=automaton.vocabulary,
        answer=1,
        longest=LENGTHS[-1] + 1,  # so that there is no warning about what this example is here to show
    )
    path = folder / "cups.safetensors"
    save(model, path, description, {})
    return make_backend(f"xlstm:{path}", {})


def accuracy(planner: Any, backend: Any, rows: list[str], right: list[str], **options: Any) -> float:
    """Have a planner answer rows, and give the share that it got right."""
    agent = Scaffold(
        planner=planner, backends={"default": backend}, monitors=[], options=options, prompts=HERE / "prompts", seed=1
    )
    budget = Budget(tokens=100_000_000, steps=1_000_000)
    outcome = agent.solve_sync(Task(prompt="Say the state after each row.", inputs={"rows": rows}, budget=budget))
    assert outcome.status == "solved", outcome
    return float(np.mean([said == wanted for said, wanted in zip(outcome.answer, right, strict=True)]))


def measure(
    automaton: Automaton, ways: dict[str, tuple[Any, Any, dict[str, Any]]], count: int, lengths: Sequence[int]
) -> dict[str, list[float]]:
    """Return each way's accuracy at each length, on the same rows."""
    rng = np.random.default_rng(99)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for length in lengths:
        tokens, answers = automaton.draw(rng, count, length)
        right = [automaton.vocabulary[answer] for answer in answers[:, -1]]
        for name, (planner, backend, options) in ways.items():
            found[name].append(accuracy(planner, backend, automaton.texts(tokens), right, **options))
        print(f"  length {length}: " + ", ".join(f"{name} {row[-1]:.2f}" for name, row in found.items()), flush=True)
    return found


@torch.no_grad()
def safe_size(model: Transformer, automaton: Automaton) -> int:
    """Return how many symbols the transformer tracks without an error in 2,000 rows like those it was trained on."""
    tokens, answers = automaton.draw(np.random.default_rng(7), 2000, TRAINED)
    right = model.logits(model(torch.from_numpy(tokens))).argmax(-1).numpy() == answers
    faultless = right.all(axis=0)[1:]
    return max(int(np.argmin(faultless)) if not faultless.all() else TRAINED, 1)


def plot(
    found: dict[str, dict[str, list[float]]], chances: dict[str, float], lengths: Sequence[int], path: Path
) -> None:
    """Draw accuracy against length, one panel for each automaton."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(5 * len(found), 3.6), sharey=True, layout="constrained")
    for axis, (name, ways) in zip(np.atleast_1d(axes), found.items(), strict=True):
        for (way, row), style in zip(ways.items(), ("o-", "s-", "^--"), strict=True):
            axis.plot(lengths, row, style, label=way)
        axis.axvline(TRAINED, color="0.7", linewidth=1)
        axis.text(TRAINED * 1.05, 1.03, "trained up to here", color="0.4", fontsize=8)
        axis.axhline(chances[name], color="0.7", linestyle=":", label="chance")
        axis.set(title=name, xlabel="symbols", xscale="log", xticks=lengths, ylim=(0, 1.1))
        axis.set_xticks(lengths, [str(length) for length in lengths])
        axis.minorticks_off()
    np.atleast_1d(axes)[0].set_ylabel("right answers")
    np.atleast_1d(axes)[0].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, measure, and draw."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--steps", type=int, default=1000, help="training steps of each transformer")
    options.add_argument("--slstm-steps", type=int, default=700, help="training steps of the sLSTM for the cups")
    options.add_argument("--rows", type=int, default=50, help="rows at each length")
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="N", help="row lengths, in symbols")
    options.add_argument("--out", type=Path, default=HERE, help="folder for accuracy.json and accuracy.png")
    said = options.parse_args()
    torch.set_num_threads(1)
    found, chances, sizes, started = {}, {}, {}, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for automaton in (parity(), cups()):
            print(automaton.name, flush=True)
            torch.manual_seed(1)
            model = Transformer(len(automaton.vocabulary))
            train(model, automaton, steps=said.steps, rate=1e-3)
            size = safe_size(model, automaton)
            transformer = TransformerBackend(model, automaton)
            recurrent = slstm_backend(automaton, steps=said.slstm_steps, folder=Path(folder))
            steps = {"size": size, "beginnings": dict(zip(automaton.states, automaton.beginnings, strict=True))}
            ways = {
                "transformer, one pass": (in_one_breath, transformer, {}),
                "sLSTM, one pass": (in_one_breath, recurrent, {}),
                "transformer, steps written out": (step_by_step, transformer, steps),
            }
            found[automaton.name] = measure(automaton, ways, said.rows, said.lengths)
            chances[automaton.name], sizes[automaton.name] = 1 / len(automaton.states), size
    report = {
        "lengths": said.lengths,
        "accuracy": found,
        "symbols_a_step": sizes,
        "rows": said.rows,
        "trained_up_to": TRAINED,
        "cpu_seconds": round(time.process_time() - started),
    }
    said.out.mkdir(parents=True, exist_ok=True)
    (said.out / "accuracy.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot(found, chances, said.lengths, said.out / "accuracy.png")


if __name__ == "__main__":
    main()

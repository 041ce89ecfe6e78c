"""The commands that train the shipped checkpoints work from end to end, here with next to no training."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any, TypeAlias

import pytest

pytest.importorskip("numpy")
pytest.importorskip("torch")
pytest.importorskip("safetensors")

from scaffold_backends.xlstm.checkpoint import find

Trained: TypeAlias = tuple[Path, dict[str, Any]]

BRIEFLY = {
    "parity": ("--steps", "2", "--batch", "2", "--rows", "2"),
    "hanoi": ("--steps", "1", "--mine", "1", "--disks", "1", "4"),
}


def train(name: str, out: Path, *more: str) -> Trained:
    """Type `python -m training.xlstm.NAME`; gives the weights' path and the metrics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))
        patch.setattr(sys, "argv", [name, *BRIEFLY[name], *more, "--out", str(out)])
        runpy.run_module(f"training.xlstm.{name}", run_name="__main__")
    return out / f"{name}.safetensors", json.loads((out / f"{name}.metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hanoi(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A tower's model, hardly trained."""
    return train("hanoi", tmp_path_factory.mktemp("hanoi"))


@pytest.fixture(scope="module")
def parity(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of parity, hardly trained."""
    return train("parity", tmp_path_factory.mktemp("parity"))


@pytest.mark.parametrize("name", ["parity", "hanoi"])
def test_training_writes_a_checkpoint_like_the_shipped_one(name: str, request: pytest.FixtureRequest) -> None:
    """One command writes weights, a config with their hash, and metrics; only the weights' figures differ."""
    path, metrics = request.getfixturevalue(name)
    made, shipped = find(str(path)), find(name)
    assert made.load().digest == made.config.sha256 != shipped.config.sha256
    assert made.config.model_copy(update={"sha256": shipped.config.sha256}) == shipped.config
    recorded = json.loads(shipped.path.with_suffix(".metrics.json").read_text(encoding="utf-8"))
    assert metrics.keys() == recorded.keys()


def test_the_same_seed_trains_the_same_weights(parity: Trained, tmp_path: Path) -> None:
    """A training is repeated to the bit by its seed, and by no other."""
    weights = parity[0].read_bytes()
    assert train("parity", tmp_path / "again")[0].read_bytes() == weights
    assert train("parity", tmp_path / "other", "--seed", "2")[0].read_bytes() != weights


def test_training_tells_the_worst_state_of_each_path(hanoi: Trained) -> None:
    """What was looked at afterwards is told tower by tower: how likely the right move is where that is least so."""
    _, metrics = hanoi
    rows = metrics["paths"]["by_disks"]
    assert [(row["disks"], row["states"]) for row in rows] == [(1, 1), (4, 15)]
    assert metrics["paths"]["worst"] == min(row["worst"] for row in rows) < 0.5
    assert rows[1]["at_most_half"] > 0
    assert [len(stage["log"]) for stage in metrics["stages"]] == [1, 1]

"""The example that keeps track makes its plot by one command, here with next to no training."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("safetensors")

ROOT = Path(__file__).parents[2]


def test_one_command_trains_measures_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the figures of three ways to keep track of two things, and a picture of them."""
    briefly = ("--steps", "2", "--slstm-steps", "2", "--rows", "2", "--lengths", "4", "8")
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run", *briefly, "--out", str(tmp_path / "out")])
    runpy.run_module("examples.state_tracking.run", run_name="__main__")
    written = json.loads((tmp_path / "out" / "accuracy.json").read_text(encoding="utf-8"))
    kept = json.loads((ROOT / "examples" / "state_tracking" / "accuracy.json").read_text(encoding="utf-8"))
    assert written.keys() == kept.keys()
    ways = {name: set(found) for name, found in kept["accuracy"].items()}
    assert {name: set(found) for name, found in written["accuracy"].items()} == ways
    assert written["accuracy"]["parity of bits"]["sLSTM, one pass"] == [1.0, 1.0]  # the shipped one, which is trained
    assert (tmp_path / "out" / "accuracy.png").read_bytes().startswith(b"\x89PNG")

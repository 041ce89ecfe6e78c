"""examples/evaluation: a suite that runs offline, and its two models compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.cli import main

if TYPE_CHECKING:
    import pytest

SUITE = Path(__file__).parents[2] / "examples" / "evaluation" / "suite.yaml"


def test_the_example_scores_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands in its first lines work, and tell the large model from the small one."""
    monkeypatch.chdir(tmp_path)
    assert main(["eval", str(SUITE)]) == 0
    table = capsys.readouterr().out
    assert "large none          4  100%" in table
    assert "by backends" in table
    results = "suite.results.jsonl"
    assert main(["eval", "compare", results, results, "--cell", "small none", "--with", "large none"]) == 0
    assert "birds: wrong -> right" in capsys.readouterr().out

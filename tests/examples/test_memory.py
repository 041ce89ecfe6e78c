"""examples/memory: a number survives summaries that lose it, and the report is recalled word for word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.cli import main

if TYPE_CHECKING:
    import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "memory"


def test_the_example_answers_from_what_was_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is the number, with the line of the raw report; the trace says what each summary lost."""
    monkeypatch.chdir(tmp_path)
    assert main(["solve", str(EXAMPLE / "task.yaml"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["answer"]["answer"] == "7.25 bar"
    assert said["answer"]["line"].startswith("At 14:20 pump P-12 tripped at 7.25 bar")
    content = (tmp_path / Path(said["trace"]).with_name("content.jsonl")).read_text()
    assert "lost and put back" in content


def test_a_memory_too_small_says_how_much_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run fails before anything is read."""
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "memory"))
    task = folder / "task.yaml"
    task.write_text(task.read_text().replace("limit: 700", "limit: 70"))
    monkeypatch.chdir(folder)
    assert main(["solve", "task.yaml"]) == 1
    assert "a memory of 70 tokens is too small" in capsys.readouterr().err

"""Limits and credentials in a task file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TASK = """prompt: Pay the invoices
inputs:
  invoices: {file: invoices.csv}
planner: tools:paying
actions: [tools:pay]
monitors: [rules]
"""


def test_a_limit_of_a_task_file_holds(folder: Path, here: Any) -> None:
    """Of two payments the second is refused, and the verdict says by which limit."""
    text = TASK.replace("tools:paying", "tools:one_by_one")
    (folder / "task.yaml").write_text(text + "limits:\n  pay: {run: 1}\n")
    said = json.loads(here("solve", "task.yaml", "--json").out)
    assert said["answer"] == "performed, refused"
    assert said["verdicts"][0]["reason"] == "limit-pay-run: `at_most_times('pay', 1)` is false"


@pytest.mark.parametrize(
    ("more", "line", "wrong"),
    [
        ("limits:\n  pay: {runs: 1}\n", 8, "did you mean 'run'?"),
        ("limits:\n  pays: {run: 1}\n", 8, "there is no action 'pays'; did you mean 'pay'?"),
        ("limits:\n  pay: {run: -1}\n", 8, "greater than or equal to 0"),
        ("credentials:\n  TOKEN: hunter2\n", 8, "never its value"),
        ("credentials: [TOKEN]\n", 7, "should be a mapping"),
    ],
)
def test_what_is_wrong_is_said_by_its_line(folder: Path, here: Any, more: str, line: int, wrong: str) -> None:
    """File, line and what it should be; never a value that may be a secret."""
    (folder / "task.yaml").write_text(TASK + more)
    said = here("solve", "task.yaml")
    assert said.status == 2
    assert f"task.yaml:{line}" in said.err
    assert wrong in said.err
    assert "hunter2" not in said.err

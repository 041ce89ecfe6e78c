"""A batch at a terminal: a bar with what came of it and what it cost."""

import json
from pathlib import Path

import pexpect
from tests.cli.conftest import command, environment

TASK = """
prompt: What is the capital?
backends: {default: {use: scripted, replies: {France: Paris, Italy: Rome}, delay: 0.3}}
monitors: []
"""


def test_a_bar_counts_and_what_is_not_solved_scrolls_by(folder: Path) -> None:
    """Solved runs are counted; a failed one and a bad line stand above; control letters are written out."""
    (folder / "ask.yaml").write_text(TASK)
    rows = [{"country": "France"}, {"id": "\x1b[2Kfake", "country": "Spain"}, {"country": "Italy"}]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n")
    first, *rest = command("batch", "ask.yaml", "--inputs", "in.jsonl", "-j", "1")
    child = pexpect.spawn(
        first, rest, cwd=str(folder), env={**environment(folder), "TERM": "xterm"}, dimensions=(24, 140), timeout=30
    )
    child.expect_exact("1/4")
    child.expect_exact("1 solved, work")
    child.expect_exact("\\x1b[2Kfake failed: ")
    child.expect_exact("error: in.jsonl:4: is not JSON")
    child.expect_exact("2 solved, 1 failed, 1 fault")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2

"""README is run: its Python as it stands, its commands by their parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scaffold import taskfile

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TOOLS = '''
from scaffold import action

@action(effect="irreversible")
async def pay(account: str, cents: int) -> str:
    """Pay an invoice."""
    return account
'''


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_runs_as_it_stands(code: str, tmp_path: Path) -> None:
    """Pasted into a file and run, it solves its task."""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("solved "), done.stdout


def test_embedding_takes_about_ten_lines() -> None:
    """Decorators, imports and printing aside, what README embeds is short."""
    code, *_ = blocks("python")
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("from", "print"))]
    assert len(lines) <= 12


def test_the_task_that_is_shown_can_be_solved(tmp_path: Path) -> None:
    """With the action that it names beside it, the agent that it describes can begin."""
    shown, *_ = blocks("yaml")
    (tmp_path / "task.yaml").write_text(shown)
    (tmp_path / "tools.py").write_text(TOOLS)
    built = taskfile.build(tmp_path / "task.yaml")
    built.agent.check(built.task)


def test_what_the_commands_name_exists() -> None:
    """Files and subcommands that README's commands name are there."""
    commands = "\n".join(blocks("bash"))
    for path in re.findall(r"examples/\S+\.yaml", README):
        assert (ROOT / path).is_file(), path
    for words in re.findall(r"bin/scaffold ((?:audit )?[a-z]+)", commands):
        done = subprocess.run(
            [sys.executable, "-m", "scaffold.cli", *words.split(), "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0, words

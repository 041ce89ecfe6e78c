"""docs/reading.md is run: its Python as it stands, its commands by their options."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scaffold.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reading.md").read_text()


def test_the_python_runs_as_it_stands(tmp_path: Path) -> None:
    """The first sample is cut, the second read by the judge and shown; the rest is what the page says of it."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "One invoice is open; I pay it once.",
        "One invoice is open; I pay it once.",
        "watch resample the reasoning of sample 0 contains the phrase 'nobody will notice'",
        "{'watch': 0, 'trace': 1}",
    ]


def test_what_the_commands_name_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """Subcommands, options and scripts are there."""
    lines = re.findall(r"^    (scaffold|python) (.*)$", PAGE, re.MULTILINE)
    assert len(lines) == 13
    for program, rest in lines:
        said = rest.partition("#")[0]
        words = said.split()
        if program == "python":
            offered = (ROOT / words[0]).read_text(encoding="utf-8")
        else:
            main([*words[: 2 if words[0] == "audit" else 1], "--help"])
            offered = capsys.readouterr().out
        assert all(option in offered for option in re.findall(r"--[a-z-]+", said)), rest


def test_the_switch_is_one_of_solve_and_resume(capsys: pytest.CaptureFixture[str]) -> None:
    """`--words live` and `--words cleared`."""
    for command in ("solve", "resume"):
        main([command, "--help"])
        assert "--words [live|cleared]" in capsys.readouterr().out

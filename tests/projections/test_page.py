"""The page on tracing is run: its Python as it stands, its commands by their parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tracing.md").read_text()


def test_the_python_runs_as_it_stands(tmp_path: Path) -> None:
    """Pasted into a file and run, it solves its task and prints the spans, below the application's own."""
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "solved" in done.stdout
    for name in ("invoke_agent direct", "chat scripted", "checkout"):
        assert f'"name": "{name}"' in done.stdout


def test_the_options_that_its_commands_name_exist() -> None:
    """`audit export` has each option, and knows each backend, that the page mentions."""
    commands = re.findall(r"^scaffold audit export last(.*)$", PAGE, re.MULTILINE)
    said = subprocess.run(
        [sys.executable, "-m", "scaffold.cli", "audit", "export", "--help"], capture_output=True, text=True, check=True
    ).stdout
    words = {word for command in commands for word in re.findall(r"--[a-z]+|(?<=--for )[a-z]+", command)}
    assert words == {"--for", "--endpoint", "phoenix", "mlflow", "langfuse"}
    assert all(word in said for word in words)


@pytest.mark.parametrize("name", re.findall(r"!\[.*?\]\((.*?)\)", PAGE))
def test_its_pictures_are_there_and_small(name: str) -> None:
    """Each is a PNG of less than 300 KB."""
    picture = (DOCS / name).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000

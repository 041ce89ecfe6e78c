"""docs/extending.md is run: its Python as it stands, and its task file beside it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from scaffold import Planning, Task, taskfile, think
from scaffold.testing import Driver
from scaffold.trace.files import FileJournal

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's two files."""
    (tmp_path / "own.py").write_text(block("python"), encoding="utf-8")
    (tmp_path / "task.yaml").write_text(block("yaml").replace("smollm2", "scripted:nine"), encoding="utf-8")
    return tmp_path


def test_the_python_runs_as_it_stands(folder: Path) -> None:
    """All four parts work together, and the planner is driven by hand as the page says."""
    done = subprocess.run([sys.executable, "own.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("solved "), done.stdout


@pytest.mark.parametrize(("letters", "status"), [("100", "solved"), ("3", "failed")])
def test_the_task_file_names_them(folder: Path, letters: str, status: str) -> None:
    """Planner, action and monitor are found beside the file; the monitor's setting counts."""
    file = folder / "task.yaml"
    file.write_text(file.read_text().replace("100", letters))
    built = taskfile.build(file, journal=FileJournal(folder / "runs"))
    assert built.agent.solve_sync(built.task).status == status


def test_the_entry_points_name_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page puts into a distribution loads."""
    monkeypatch.syspath_prepend(str(folder))
    groups = tomllib.loads(block("toml"))["project"]["entry-points"]
    assert set(groups) == {"scaffold.planners", "scaffold.monitors", "scaffold.backends"}
    for group, named in groups.items():
        for name, value in named.items():
            assert callable(EntryPoint(name, value, group).load())
    monkeypatch.delitem(sys.modules, "own")


def twice(_: Task) -> Planning[str]:
    """Two steps in a row."""
    first = yield from think("solve", "x")
    second = yield from think("verify", first)
    return second.value


def test_by_hand_replies_alone_are_enough() -> None:
    """Who does not look at the moves need not ask for them; a reply to nothing says what the planner waits for."""
    hand = Driver(twice(Task(prompt="x")))
    with pytest.raises(RuntimeError, match="there is no move '7' to reply to: the planner waits at 0"):
        hand.reply("a", key="7")
    hand.reply("a")
    hand.reply("b")
    assert hand.result == "b"
    with pytest.raises(RuntimeError, match="there is no move '' to reply to: the planner has ended"):
        hand.reply("c")

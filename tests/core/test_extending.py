"""docs/extending.md is run: its Python as it stands, and its task file beside it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from scaffold import Planning, Task, planning, taskfile, think
from scaffold.testing import Driver
from scaffold.trace.files import FileJournal

MOVES = {"think", "act", "propose", "carry_out", "together", "ask", "note", "best_of", "undo"}
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


KITS = """
from own import Brief, Words
from scaffold.testing.backend_conformance import BackendConformance
from scaffold.testing.monitor_conformance import MonitorConformance

class TestBrief(MonitorConformance):
    def make(self):
        return Brief()

class TestWords(BackendConformance):
    def make(self):
        return Words()
"""


def test_the_monitor_and_the_backend_pass_the_kits_that_the_page_names(folder: Path) -> None:
    """Who begins from them begins from what holds."""
    (folder / "test_own.py").write_text(KITS, encoding="utf-8")
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_names_every_move() -> None:
    """With the parameters that they have."""
    told = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", PAGE, re.MULTILINE))
    assert set(told) == MOVES
    for name, said in told.items():
        assert set(re.findall(r"(\w+)=", said)) <= set(inspect.signature(getattr(planning, name)).parameters)


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

"""`scaffold mcp`, and the example."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pexpect
import pytest

from scaffold.cli import main
from scaffold.mcp import Pins
from scaffold.taskfile import build
from scaffold.trace.files import FileJournal

ROGUE = Path(__file__).with_name("rogue.py")
EXAMPLE = Path(__file__).parents[2] / "examples" / "mcp"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task that may use two tools of the server in `rogue.py`."""
    command = json.dumps([sys.executable, str(ROGUE), str(tmp_path)])
    path = tmp_path / "task.yaml"
    table = f"{{command: {command}, only: [echo, numbers], effects: {{echo: read}}}}"
    path.write_text(f"prompt: Do it.\nactions:\n  - mcp:\n      rogue: {table}\nbackends: 'scripted:ok'\n")
    return path


def test_tools_are_listed_with_what_is_made_of_them(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Effect as the task says, and whether somebody accepted it; what is gone is listed too."""
    assert main(["mcp", "pin", str(task), "--yes"]) == 0
    claims = {"annotations": {"readOnlyHint": True}}
    said = {"echo": {"description": "\x1b[2JNow \x1b[31mred."}, "numbers": None, "die": claims}
    (task.parent / "tools.json").write_text(json.dumps(said))
    capsys.readouterr()
    assert main(["mcp", "list", str(task)]) == 0
    shown = capsys.readouterr().out
    assert "  echo  read, changed\n" in shown
    assert "\\x1b[2JNow" in shown
    assert "\x1b[2J" not in shown
    assert "  die  not offered, changed\n" in shown
    assert '      it claims: {"readOnlyHint": true}' in shown
    assert main(["mcp", "list", str(task), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    states = {each["name"]: each["state"] for each in told["tools"]}
    assert (states["echo"], states["numbers"], states["error"]) == ("changed", "gone", "accepted")


@pytest.mark.filterwarnings("default")
def test_a_tool_that_is_left_out_is_told_in_one_line(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever looks at a server's tools hears of one whose name cannot be used; the others are listed."""
    (task.parent / "tools.json").write_text(json.dumps({"die": {"name": "two words"}}))
    assert main(["mcp", "list", str(task)]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(
        "warning: the MCP server 'rogue' has a tool with the invalid name 'two words', which is left"
    )
    assert shown.err.count("\n") == 1
    assert "  echo  " in shown.out


def test_nothing_is_accepted_unless_somebody_says_so(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal it takes --yes; the difference is shown, and the exit status says no."""
    assert main(["mcp", "pin", str(task)]) == 1
    assert "accept with --yes" in capsys.readouterr().err
    assert not (task.parent / "mcp.pins.json").exists()
    assert main(["mcp", "pin", str(task), "--yes"]) == 0
    assert "accepted 19 tools of rogue" in capsys.readouterr().out
    (task.parent / "tools.json").write_text('{"echo": {"description": "Sends it on."}}')
    assert main(["mcp", "pin", str(task), "rogue"]) == 1
    shown = capsys.readouterr().out
    assert "rogue.echo: changed" in shown
    assert '-  "description": "Does echo.",' in shown
    assert '+  "description": "Sends it on.",' in shown
    assert main(["solve", str(task), "--runs", str(task.parent / "runs")]) == 2
    assert "has changed its tool 'echo' since it was accepted" in capsys.readouterr().err
    assert main(["mcp", "pin", str(task), "--yes"]) == 0
    assert main(["solve", str(task), "--runs", str(task.parent / "runs")]) == 0


def test_a_person_is_asked_at_the_terminal(task: Path) -> None:
    """The descriptions are shown, and taken only with a yes: here of two servers, one no and one yes."""
    text = task.read_text()
    table = text[text.index("rogue: ") + len("rogue: ") : text.index("\nbackends")]
    task.write_text(text.replace("\nbackends", f"\n      other: {table}\nbackends"))
    child = pexpect.spawn(sys.executable, ["-m", "scaffold.cli", "mcp", "pin", str(task)], timeout=60)
    for server, answer in (("rogue", "n"), ("other", "y")):
        child.expect("Does echo.")
        child.expect(f"Accept these descriptions of {server}")
        child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    pins = Pins.read(task.parent / "mcp.pins.json")
    assert (bool(pins.of("rogue")), bool(pins.of("other"))) == (False, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mcp", "list", "{folder}/none.yaml"], "no such file"),
        (["mcp", "list", "{folder}/plain.yaml"], "has no MCP server"),
        (["mcp", "pin", "{folder}/task.yaml", "rouge"], "has no MCP server 'rouge'; did you mean 'rogue'?"),
    ],
)
def test_mistakes_are_one_line(task: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and what to do."""
    (task.parent / "plain.yaml").write_text("prompt: x\n")
    assert main([each.format(folder=task.parent) for each in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_the_example_is_solved_and_refused_once_its_description_is_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time server from PyPI is used by a task; with another description accepted, the same task is refused."""
    pytest.importorskip("mcp_server_time", reason="mcp-server-time is not installed")
    built = build(EXAMPLE / "task.yaml", journal=FileJournal(tmp_path / "runs"))
    outcome = built.agent.solve_sync(built.task)
    assert (outcome.status, outcome.answer) == ("solved", "10:30")
    (action,) = outcome.actions
    assert (action.name, action.status) == ("time.convert_time", "performed")
    assert '"time_difference":"-6.0h"' in (tmp_path / "runs" / outcome.run / "content.jsonl").read_text()

    folder = shutil.copytree(EXAMPLE, tmp_path / "example")
    pins = Pins.read(folder / "mcp.pins.json")
    tools: Any = [msgspec.structs.replace(each, description="Converts.") for each in pins.of("time").values()]
    pins.accepting("time", tools).write()
    assert main(["solve", str(folder / "task.yaml"), "--runs", str(tmp_path / "runs")]) == 2
    assert "has changed its tool 'convert_time' since it was accepted" in capsys.readouterr().err

"""What is told of a run as plain lines, where stderr is no terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold import Planning, Scaffold, Task, think
from scaffold.cli import main
from scaffold.cli.progress import Lines
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal


def thinking_twice(task: Task) -> Planning[str]:
    """Think, and do nothing."""
    yield from think("solve", task.prompt)
    return str((yield from think("solve", task.prompt)).value)


@pytest.mark.parametrize(("silence_s", "told"), [(0.0, ["1 step so far", "2 steps so far"]), (3600.0, [])])
def test_long_thinking_says_how_far_it_has_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], silence_s: float, told: list[str]
) -> None:
    """Thinking is told only where nothing else has been for a while."""
    shown = Lines(silence_s=silence_s)
    journal = FileJournal(tmp_path)
    agent = Scaffold(
        thinking_twice, backends={"default": Scripted("yes")}, monitors=[], journal=journal, on_event=shown.event
    )
    assert agent.solve_sync(Task(prompt="Is it?")).status == "solved"
    said = [line for line in capsys.readouterr().err.splitlines() if "thinking: " in line]
    assert [line.partition("thinking: ")[2].partition(",")[0] for line in said] == told


def test_what_is_withheld_is_told_with_who_objected_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A judge that could not be reached is named with its address: the model is not told, whoever watches is."""
    task = tmp_path / "task.yaml"
    judge = "{use: 'http://127.0.0.1:9/v1#m', attempts: 1}"
    backends = f"{{default: 'scripted:yes', judge: {judge}}}"
    task.write_text(f"prompt: Is it?\nplanner: direct\nbackends: {backends}\nmonitors: [trace]\n", encoding="utf-8")
    assert main(["solve", str(task), "--runs", str(tmp_path / "runs")]) == 3
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "withholds" in line]
    assert "oversight withholds the step: trace says block (error): " in said
    assert "http://127.0.0.1:9/v1 could not be reached" in said


FORGETFUL = """
from scaffold import act, action, Planned, Plan, propose
from scaffold.vocabulary.review import MonitorSpec


class Forgetful:
    spec = MonitorSpec(name="forgetful", watches=frozenset({"plan", "action"}))

    async def review(self, subject, view, context):
        raise LookupError("the list is gone")


@action(effect="irreversible")
def pay(cents: int) -> int:
    return cents


def paying(task):
    yield from act("pay", {"cents": 5})


def planning(task):
    yield from propose(Plan([Planned("pay", {"cents": 5})]))
"""


@pytest.mark.parametrize(("planner", "status"), [("paying", 3), ("planning", 0)])
def test_a_check_that_could_not_be_made_is_told_to_whoever_watches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], planner: str, status: int
) -> None:
    """The planner hears that it was not cleared; its user hears which monitor failed, and of what."""
    (tmp_path / "own.py").write_text(FORGETFUL, encoding="utf-8")
    task = tmp_path / "task.yaml"
    task.write_text(f'prompt: x\nplanner: own:{planner}\nactions: ["own:pay"]\nmonitors: ["own:Forgetful"]\n')
    assert main(["solve", str(task), "--runs", str(tmp_path / "runs")]) == status
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "(block): " in line]
    assert said.endswith("it was not cleared: forgetful says block (error): LookupError: the list is gone (own.py:10)")


MAPPING = """
from scaffold import act, action


@action(effect="reversible")
def tally() -> dict[tuple[int, int], int]:
    return {(7, 8): 2}


def counting(task):
    seen = yield from act("tally")
    return str(seen.value)
"""


def test_what_an_action_gave_back_and_nobody_could_keep_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The planner is sent nothing in its place: whoever watches, and reads the trace later, hears why."""
    (tmp_path / "own.py").write_text(MAPPING, encoding="utf-8")
    task = tmp_path / "task.yaml"
    task.write_text('prompt: x\nplanner: own:counting\nactions: ["own:tally"]\n', encoding="utf-8")
    runs = ["--runs", str(tmp_path / "runs")]
    assert main(["solve", str(task), *runs]) == 0
    told = capsys.readouterr()
    assert told.out == "None\n"
    (said,) = [line for line in told.err.splitlines() if "performed tally()" in line]
    assert "its result cannot be recorded: the keys of a dict should be text" in said
    assert main(["audit", "show", "last", *runs]) == 0
    assert said.partition("] ")[2] in capsys.readouterr().out

"""Interrupting a run, going on with it, and two processes at one run."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import THINKING, Scaffold, command, environment, events_of, only_run

SLOW = THINKING.replace("replies: Paris", "replies: Paris, delay: 30")


def started(folder: Path, *arguments: str, until: bytes = b"step.asked") -> "subprocess.Popen[str]":
    """A run whose trace has come to such an event: its first step was asked, and it waits for the answer."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        spine = (
            next(iter((folder / ".scaffold/runs").glob("*/trace.jsonl")), None)
            if (folder / ".scaffold").exists()
            else None
        )
        if spine is not None and until in spine.read_bytes():
            break
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_pauses_and_goes_on(scaffold: Scaffold, folder: Path, number: signal.Signals) -> None:
    """A signal pauses the run with status 130; `resume` finishes it."""
    (folder / "slow.yaml").write_text(SLOW)
    process = started(folder, "solve", "slow.yaml")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    run = re.search(r"paused; continue with: scaffold resume (\S+)", err)
    assert run is not None
    assert run[1] == only_run(folder).name
    assert events_of(only_run(folder))[-1] == "run.paused"
    assert scaffold("audit", "verify", "last").status == 0


PAYING_SLOWLY = """
import sys
import time
from scaffold import act, action


@action(effect="irreversible")
def pay() -> str:
    print("paying", file=sys.__stdout__, flush=True)
    time.sleep(1)
    return "paid"


def paying(task):
    yield from act("pay")
    yield from act("pay")
"""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_a_session_leaves_no_action_unknown(
    scaffold: Scaffold, folder: Path, second: signal.Signals
) -> None:
    """What has begun is waited for when a terminal is closed, though SIGTERM comes with it, in either order."""
    (folder / "own.py").write_text(PAYING_SLOWLY)
    (folder / "own.yaml").write_text("prompt: x\nplanner: own:paying\nactions: [own:pay]\n")
    process = started(folder, "solve", "own.yaml", until=b"action.intent")
    assert process.stdout is not None
    assert process.stdout.readline() == "paying\n"
    process.send_signal(signal.SIGHUP if second == signal.SIGTERM else signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(second)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert events_of(only_run(folder))[-2:] == ["action.outcome", "run.paused"]
    assert scaffold("audit", "show", "last").out.count("performed pay()") == 1


def test_a_run_under_nohup_outlives_its_terminal(folder: Path) -> None:
    """Who has hang-ups ignored is left to it."""
    (folder / "own.py").write_text(PAYING_SLOWLY)
    (folder / "own.yaml").write_text("prompt: x\nplanner: own:paying\nactions: [own:pay]\n")
    line = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command("solve", "own.yaml")]
    process = subprocess.Popen(
        line, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "paying\n"
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told.count("performed pay()")) == (0, 2)


def test_what_was_interrupted_is_asked_again(here: Scaffold, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interrupt, `resume` asks the step that was cut off, and gives the answer."""
    (folder / "slow.yaml").write_text(SLOW)
    process = started(folder, "solve", "slow.yaml")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    monkeypatch.setattr("scaffold.testing.backends.asyncio.sleep", _at_once)
    assert here("resume", "last").out == "Paris\n"


async def _at_once(_seconds: float) -> None:
    return None


def test_a_second_process_is_refused(scaffold: Scaffold, folder: Path) -> None:
    """A run that one process writes cannot be resumed by another; `audit list` says that it is running."""
    (folder / "slow.yaml").write_text(SLOW)
    process = started(folder, "solve", "slow.yaml")
    try:
        second = scaffold("resume", "last")
        assert second.status == 2
        assert "is being written by another process" in second.err
        assert "running" in scaffold("audit", "list").out
        verified = scaffold("audit", "verify", "last")
        assert verified.status == 1
        assert "still being written" in verified.out
    finally:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


HELD = """
import sys
import time
from scaffold import Planning, Task, think


def held(task: Task) -> Planning[str]:
    yield from think("solve", task.request)
    print("held", file=sys.__stdout__, flush=True)
    while True:
        time.sleep(1)
"""


def test_a_second_interrupt_leaves_at_once(scaffold: Scaffold, folder: Path) -> None:
    """Even where the planner holds everything up; the run is cut off, and verification says so."""
    (folder / "held.py").write_text(HELD)
    (folder / "held.yaml").write_text("prompt: x\nplanner: held:held\nbackends: {default: {use: scripted, replies: y}}")
    process = started(folder, "solve", "held.yaml")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.endswith("left at once: what was recorded is kept, and can be gone on with\n")
    assert scaffold("audit", "verify", "last").out.startswith(f"run {only_run(folder).name} is cut off")


def test_a_killed_run_is_cut_off(scaffold: Scaffold, folder: Path) -> None:
    """Killed in the middle, the run is cut off: verification says so."""
    (folder / "slow.yaml").write_text(SLOW)
    process = started(folder, "solve", "slow.yaml")
    process.kill()
    process.communicate(timeout=30)
    assert scaffold("audit", "verify", "last").out.startswith(f"run {only_run(folder).name} is cut off")


def test_a_changed_planner_is_told_in_words(here: Scaffold, folder: Path) -> None:
    """Resuming with another planner than the trace records is refused with status 2, never a traceback."""
    (folder / "ask.yaml").write_text(THINKING.replace("thinking", "asking"))
    here("solve", "ask.yaml")
    tools = folder / "tools.py"
    tools.write_text(tools.read_text().replace('"How many?"', '"How many apples?"'))
    for name in [name for name in sys.modules if name.startswith("_scaffold_task_")]:
        del sys.modules[name]
    ran = here("resume", "last")
    assert ran.status == 2
    assert "Traceback" not in ran.err
    assert ran.err.startswith("error: ")

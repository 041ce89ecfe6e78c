"""The command with a collector at hand: spans while it runs, and the same ones afterwards, even of a killed run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

DELIBERATE = Path(__file__).parents[2] / "examples" / "deliberate"
SLOW = """
prompt: Count the audience, then wait
planner: planner:slow
actions: [planner:look, planner:wait]
backends: {default: {use: scripted, replies: ok}}
monitors: [rules, budget]
"""
SLOW_PLANNER = '''
import time
from pathlib import Path

from scaffold import Planning, Task, act, action, think


@action(effect="read")
def look() -> int:
    """Look."""
    return 1


@action(effect="irreversible")
def wait() -> int:
    """Say that it began, and take long."""
    Path("began").touch()
    time.sleep(60)
    return 1


def slow(task: Task) -> Planning[str]:
    """Think, look, and do something that takes long."""
    thought = yield from think("solve", task.request)
    yield from act("look")
    yield from act("wait")
    return thought.value
'''


def scaffold(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command in a folder."""
    command = [sys.executable, "-m", "scaffold.cli", *words]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a command; gives its exit status and what it said beside its answer."""
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def ids(spans: list[Span]) -> set[tuple[bytes, str]]:
    """What tells spans apart."""
    return {(span.span_id, span.name) for span in spans}


def kinds(spans: list[Span]) -> Counter[str]:
    """How many spans there are of each operation, by the first word of their names."""
    return Counter(span.name.split(" ", 1)[0] for span in spans)


def test_a_solved_task_shows_up_whole_and_again_with_the_same_ids(receiver: Any, tmp_path: Path) -> None:
    """Each step, model call, plan, verdict and action of `solve` arrives, and `audit export` sends just these."""
    folder = Path(shutil.copytree(DELIBERATE, tmp_path / "task"))
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}"}
    status, said = finish(scaffold(folder, "solve", "task.yaml", **where))
    assert status == 0, said
    live = receiver.wait_for(1)
    deadline = time.monotonic() + 20
    while not any(span.name.startswith("invoke_agent") for span in live) and time.monotonic() < deadline:
        time.sleep(0.05)
        live = receiver.wait_for(1)
    found = kinds(live)
    assert found["invoke_agent"] == 1
    assert found["step"] == found["chat"] > 0
    assert found["plan"] >= 1
    assert found["guard"] >= 1
    assert found["execute_tool"] >= 1
    status, said = finish(scaffold(folder, "audit", "export", "last", **where))
    assert status == 0, said
    both = receiver.wait_for(2 * len(live))
    assert ids(both[len(live) :]) == ids(live)


def test_a_killed_run_is_exported_afterwards(receiver: Any, tmp_path: Path) -> None:
    """What a run did before SIGKILL arrives from its trace alone: what was sent live, the same again, and the rest."""
    (tmp_path / "task.yaml").write_text(SLOW)
    (tmp_path / "planner.py").write_text(SLOW_PLANNER)
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}"}
    running = scaffold(tmp_path, "solve", "task.yaml", OTEL_BSP_SCHEDULE_DELAY="50", **where)
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    receiver.wait_for(5)  # the step, its call, the action that looked, its call, a verdict
    running.send_signal(signal.SIGKILL)
    finish(running)
    time.sleep(0.5)
    live = list(receiver.spans)
    assert len(live) >= 5
    assert not any(span.name.startswith("invoke_agent") for span in live)
    receiver.spans.clear()
    status, said = finish(scaffold(tmp_path, "audit", "export", "last", **where))
    assert status == 0, said
    while not any(span.name.startswith("invoke_agent") for span in receiver.spans) and time.monotonic() < deadline:
        time.sleep(0.02)
    spans = list(receiver.spans)
    whole = {span.span_id: span.SerializeToString(deterministic=True) for span in spans}
    assert all(whole[span.span_id] == span.SerializeToString(deterministic=True) for span in live)
    found = kinds(spans)
    assert found["invoke_agent"] == found["step"] == found["chat"] == 1
    assert found["execute_tool"] == 2
    assert found["guard"] >= 2
    cut = [span.name for span in spans if any(each.key == "scaffold.cut_off" for each in span.attributes)]
    assert "execute_tool wait" in cut


def test_an_export_of_which_not_all_arrived_is_no_success(receiver: Any, tmp_path: Path) -> None:
    """A place that takes spans and no scores, or one whose address is none: the exit status says so too."""
    (tmp_path / "task.yaml").write_text(
        "prompt: go\nplanner: direct\nbackends: {default: 'scripted:4'}\nmonitors: [selfmodel]\n"
    )
    assert finish(scaffold(tmp_path, "solve", "task.yaml"))[0] == 0
    keys = {"LANGFUSE_PUBLIC_KEY": "a", "LANGFUSE_SECRET_KEY": "b"}
    at = f"http://127.0.0.1:{receiver.port}"
    status, said = finish(scaffold(tmp_path, "audit", "export", "last", "--for", "langfuse", "--endpoint", at, **keys))
    assert (status, "verdicts were refused" in said) == (5, True), said
    status, said = finish(scaffold(tmp_path, "audit", "export", "last", "--endpoint", "localhost:4318"))
    assert (status, "'localhost:4318' is not an http:// or https:// address" in said) == (2, True), said

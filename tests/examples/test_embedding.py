"""examples/embedding and examples/agents run as they stand, and the web app does what it says to a real server."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scaffold import Scaffold, Task
from scaffold.registry import from_file
from scaffold.testing import Scripted
from scaffold.testing.judging import read_story
from scaffold.trace.files import FileJournal
from scaffold.trace.verify import verify_run

EXAMPLES = Path(__file__).parents[2] / "examples"
asking: Any = from_file("web:asking", EXAMPLES / "embedding")
app_of: Any = from_file("web:app_of", EXAMPLES / "embedding")


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("embedding/script.py", "solved - Yes.\nstopped - nothing is shouted"),
        ("embedding/notebook.py", "RunStarted StepAsked StepAnswered Ended solved"),
        ("embedding/worker.py", "not paid: at most 500\npaid 100 for i1\npaid 300 for i3"),
        ("agents/langgraph_agent.py", "paid 100 for i1\nat most 500\nsolved ['performed', 'refused']"),
        ("agents/openai_agents_agent.py", "paid 100 for i1\nat most 500\nsolved ['performed', 'refused']"),
        ("agents/pydantic_ai_agent.py", "paid 100 for i1\nat most 500\nsolved ['performed', 'refused']"),
    ],
)
def test_an_example_runs_as_it_stands(example: str, said: str, tmp_path: Path) -> None:
    """Offline, in a folder of its own; every trace it leaves verifies."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    runs = [each for each in (tmp_path / ".scaffold" / "runs").iterdir() if each.is_dir()]
    assert runs
    assert all(verify_run(run).ok for run in runs)


@contextmanager
def serving(script: Scripted, folder: Path) -> Iterator[str]:
    """The example's app on a port of its own, until the block ends."""
    app = app_of(Scaffold(asking, backends={"default": script}, monitors=[], journal=FileJournal(folder)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_web_app_streams_two_runs_at_once(tmp_path: Path) -> None:
    """Each line is an event, as it happens; the last is the outcome."""
    with (
        serving(Scripted("forty two", delay=0.05), tmp_path) as url,
        httpx.stream("POST", f"{url}/solve", content="What?") as one,
        httpx.stream("POST", f"{url}/solve", content="Why?") as two,
    ):
        told = [[json.loads(line) for line in each.iter_lines()] for each in (one, two)]
    for lines in told:
        assert lines[0]["event"]["kind"] == "run.started"
        assert (lines[-1]["status"], lines[-1]["answer"]) == ("solved", "forty two")
    assert told[0][0]["run"] != told[1][0]["run"]


def test_who_hangs_up_pauses_the_run_and_another_request_goes_on(tmp_path: Path) -> None:
    """The run stands still within a moment, its trace says so, and what was thought is not thought again."""
    with serving(Scripted("forty two", delay=0.3), tmp_path) as url:
        with httpx.stream("POST", f"{url}/solve", content="What?") as begun:
            lines = begun.iter_lines()
            while (line := json.loads(next(lines)))["event"]["kind"] != "step.answered":
                pass
            run = line["run"]
        patience = time.monotonic() + 10
        while not verify_run(tmp_path / run).ended and time.monotonic() < patience:
            time.sleep(0.02)
        assert verify_run(tmp_path / run).ended == "interrupted"
        told = [json.loads(line) for line in httpx.post(f"{url}/resume/{run}").text.splitlines()]
    assert told[0]["event"]["kind"] == "run.resumed"
    assert told[-1]["status"] == "solved"
    assert len(list(read_story(tmp_path / run).of("step.answered"))) == 2


def test_the_hosts_tracing_and_logging_stay_its_own(tmp_path: Path) -> None:
    """A provider the host holds is neither replaced nor written to, its span is noted, its loggers are left alone."""
    before = (trace.get_tracer_provider(), list(logging.root.handlers), logging.root.level)
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    agent = Scaffold(asking, backends={"default": Scripted("x")}, monitors=[], journal=FileJournal(tmp_path))
    with provider.get_tracer("host").start_as_current_span("request") as span:
        outcome = agent.solve_sync(Task(prompt="x"))
        wanted = f"{span.get_span_context().trace_id:032x}"
    assert (trace.get_tracer_provider(), list(logging.root.handlers), logging.root.level) == before
    assert [each.name for each in kept.get_finished_spans()] == ["request"]
    story = read_story(tmp_path / outcome.run)
    assert wanted in story.contents[1]["config"]["traceparent"]
    provider.shutdown()

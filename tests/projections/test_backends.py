"""A run of the invoices example in Phoenix and in MLflow themselves, through their own APIs: `make test-backends`.

They weigh 850 MB each, so they stand in an environment of their own, whose folder `$SCAFFOLD_TRACING_BACKENDS` names.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from scaffold.projections.identity import Identity
from scaffold.taskfile import Shared, build
from scaffold.testing import Scripted
from scaffold.trace.chain import Chain
from scaffold.trace.records import read_files
from scaffold.vocabulary.events import ActionIntent, Reviewed, StepAnswered, StepAsked
from scaffold.vocabulary.models import NO_USAGE, Sample, Usage

from .conftest import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Request

EXAMPLE = Path(__file__).parents[2] / "examples" / "invoices"
INSTALLED = Path(os.environ.get("SCAFFOLD_TRACING_BACKENDS") or "nowhere")
REASONING = "The sender stands in the first lines, and each number is one more than the last."
STARTS_S = 400  # for what is compiled when it is first started
pytestmark = pytest.mark.timeout(900)


def installed(name: str) -> Path:
    """A backend's command; skips the test when there is none."""
    command = INSTALLED / "bin" / name
    if not command.is_file():
        pytest.skip(
            f"{name} is not installed in an environment that $SCAFFOLD_TRACING_BACKENDS names: make test-backends"
        )
    return command


def answer(request: Request) -> Sample:
    """Name the sender, and count as asked: what the small model of the example does when it is right."""
    prompt = "\n".join(message.content for message in request.messages)
    if sender := re.search(r"^From: (.+)$", prompt, re.MULTILINE):
        return Sample(0, f" {sender[1]}", reasoning=REASONING)
    number, step = int(re.findall(r"\d+", prompt)[-1]), -1 if "down" in prompt else 1
    return Sample(0, " " + ", ".join(str(max(0, number + step * place)) for place in range(1, 20)), reasoning=REASONING)


class Counting(Shared):
    """The counting model in place of every backend of a task file."""

    def backend(self, spec: Any) -> Backend:
        """One that is right, and says why."""
        return Scripted(answer)


@dataclass
class Solved:
    """A run of the example, and what its trace says of it."""

    runs: Path
    run: str
    usage: Usage
    events: Counter[type]
    verdicts: Counter[tuple[str, str]]

    @property
    def trace(self) -> str:
        """The trace's id."""
        return f"{Identity(self.run).context(1).trace_id:032x}"

    def export(self, backend: str, port: int) -> str:
        """Have the command export it; gives what it said."""
        command = [sys.executable, "-m", "scaffold.cli", "audit", "export", self.run, "--for", backend]
        where = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",  # a server that has just started, on a machine that does other things
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
            "NO_PROXY": "127.0.0.1",
        }
        done = subprocess.run(
            [*command, "--runs", str(self.runs)], env=os.environ | where, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    """The invoices example, solved: four invoices are paid, the fraud is refused."""
    folder = tmp_path_factory.mktemp("example") / "invoices"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("ledger.csv", "__pycache__"))
    runs = folder / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCAFFOLD_RUNS", str(runs))
        built = build(folder / "task.yaml", shared=Counting())
        outcome = built.agent.solve_sync(built.task)
    assert outcome.status == "solved", outcome.reason
    chain, usage = Chain(), NO_USAGE
    events: Counter[type] = Counter()
    verdicts: Counter[tuple[str, str]] = Counter()
    for record in read_files(runs / outcome.run):
        event = chain.follow(record).event
        events[type(event)] += 1
        if isinstance(event, StepAnswered):
            usage = usage + event.usage
        if isinstance(event, Reviewed):
            verdicts.update((fact.monitor, fact.decision) for fact in event.verdicts)
    return Solved(runs, outcome.run, usage, events, verdicts)


def serve(command: list[str], port: int, health: str, log: Path, **environment: str) -> Iterator[httpx.Client]:
    """Run a server until it is no longer needed; gives a client of it."""
    with log.open("w") as said:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                deadline = time.monotonic() + STARTS_S
                while not _is_up(client, health):
                    assert process.poll() is None, log.read_text()[-2000:]
                    assert time.monotonic() < deadline, log.read_text()[-2000:]
                    time.sleep(0.5)
                yield client
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with the workers that it has started; nothing here is to be kept
            process.wait(30)


def _is_up(client: httpx.Client, health: str) -> bool:
    try:
        return client.get(health).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Phoenix on loopback, with telemetry off."""
    command, folder, port = installed("phoenix"), tmp_path_factory.mktemp("phoenix"), free_port()
    settings = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
    }
    yield from serve([str(command), "serve"], port, "/healthz", folder / "log", **settings)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """MLflow on loopback, with telemetry off."""
    command, folder, port = installed("mlflow"), tmp_path_factory.mktemp("mlflow"), free_port()
    server = [str(command), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder)]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    yield from serve(server, port, "/health", folder / "log", **settings)


def port_of(client: httpx.Client) -> int:
    """Where a server listens."""
    assert client.base_url.port is not None
    return client.base_url.port


def test_phoenix_shows_the_run_whole(phoenix: httpx.Client, solved: Solved) -> None:
    """Every span has a kind; tokens, reasoning and every verdict are there; a second export changes nothing."""
    said = solved.export("phoenix", port_of(phoenix))
    spans = _phoenix_spans(phoenix, solved, int(said.split()[1]))
    kinds = Counter(span["span_kind"] for span in spans)
    assert kinds.keys() == {"AGENT", "CHAIN", "LLM", "TOOL", "GUARDRAIL"}
    assert kinds["AGENT"] == 1
    assert kinds["LLM"] == solved.events[StepAsked]
    assert kinds["TOOL"] == solved.events[ActionIntent]
    assert kinds["GUARDRAIL"] == solved.verdicts.total()
    told = [span["attributes"] for span in spans if span["span_kind"] == "LLM"]
    assert sum(each["llm.token_count.prompt"] for each in told) == solved.usage.input
    assert sum(each["llm.token_count.completion"] for each in told) == solved.usage.output
    reasoned = sum(each["llm.token_count.completion_details.reasoning"] for each in told)
    assert reasoned == solved.usage.reasoning > 0
    parts = "llm.output_messages.0.message.contents.0.message_content"
    assert {each[f"{parts}.type"] for each in told} == {"reasoning"}
    assert {each[f"{parts}.text"] for each in told} == {REASONING}
    assert all("output.value" in span["attributes"] for span in spans)
    badges = _phoenix_badges(phoenix, spans, solved.verdicts.total())
    assert Counter((each["name"].partition(" (")[0], each["result"]["label"]) for each in badges) == solved.verdicts
    assert len({(each["name"], each["span_id"]) for each in badges}) == len(badges)

    solved.export("phoenix", port_of(phoenix))
    time.sleep(5)
    assert len(_phoenix_spans(phoenix, solved, len(spans))) == len(spans)
    again = _phoenix_badges(phoenix, spans, len(badges))
    assert sorted(each["id"] for each in again) == sorted(each["id"] for each in badges)


def _phoenix_spans(phoenix: httpx.Client, solved: Solved, wanted: int) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = []
    deadline = time.monotonic() + 60
    while len(spans) < wanted and time.monotonic() < deadline:
        time.sleep(0.5)
        asked = {"trace_id": solved.trace, "limit": "1000"}
        spans = phoenix.get("/v1/projects/default/spans", params=asked).raise_for_status().json()["data"]
    assert len(spans) == wanted
    return spans


def _phoenix_badges(phoenix: httpx.Client, spans: list[dict[str, Any]], wanted: int) -> list[dict[str, Any]]:
    badges: list[dict[str, Any]] = []
    deadline = time.monotonic() + 60
    ids = [span["context"]["span_id"] for span in spans]
    while len(badges) < wanted and time.monotonic() < deadline:
        time.sleep(0.5)
        badges = []
        for start in range(0, len(ids), 100):
            asked = {"span_ids": ids[start : start + 100], "limit": "1000"}
            answer = phoenix.get("/v1/projects/default/span_annotations", params=asked).raise_for_status()
            badges += answer.json()["data"]
    assert len(badges) == wanted
    return badges


def test_mlflow_shows_the_run_whole(mlflow: httpx.Client, solved: Solved) -> None:
    """Every span has a type; tokens, reasoning and every verdict are there; a second export changes nothing."""
    said = solved.export("mlflow", port_of(mlflow))
    trace = _mlflow_trace(mlflow, solved)
    spans = [{each["key"]: _value(each["value"]) for each in span["attributes"]} for span in trace["spans"]]
    assert len(spans) == int(said.split()[1])
    types = Counter(span["mlflow.spanType"] for span in spans)
    assert types.keys() == {"AGENT", "CHAIN", "CHAT_MODEL", "TOOL", "GUARDRAIL"}
    assert types["CHAT_MODEL"] == solved.events[StepAsked]
    assert types["TOOL"] == solved.events[ActionIntent]
    assert types["GUARDRAIL"] == solved.verdicts.total()
    told = [span for span in spans if span["mlflow.spanType"] == "CHAT_MODEL"]
    assert sum(span["mlflow.chat.tokenUsage"]["input_tokens"] for span in told) == solved.usage.input
    assert sum(span["mlflow.chat.tokenUsage"]["output_tokens"] for span in told) == solved.usage.output
    assert sum(span["gen_ai.usage.reasoning.output_tokens"] for span in told) == solved.usage.reasoning > 0
    messages = [choice["message"] for span in told for choice in span["mlflow.spanOutputs"]["choices"]]
    assert {message["reasoning_content"] for message in messages} == {REASONING}
    assert all("mlflow.spanOutputs" in span for span in spans)
    badges = trace["trace_info"]["assessments"]
    assert Counter((each["source"]["source_id"], each["feedback"]["value"]) for each in badges) == solved.verdicts

    solved.export("mlflow", port_of(mlflow))
    again = _mlflow_trace(mlflow, solved)
    assert len(again["spans"]) == len(spans)
    assert len(again["trace_info"]["assessments"]) == len(badges)


def _mlflow_trace(mlflow: httpx.Client, solved: Solved) -> dict[str, Any]:
    asked = {"trace_id": f"tr-{solved.trace}"}
    trace: dict[str, Any] = mlflow.get("/api/3.0/mlflow/traces/get", params=asked).raise_for_status().json()["trace"]
    return trace


def _value(told: dict[str, Any]) -> Any:
    """A value of OTLP in JSON."""
    [(kind, value)] = told.items()
    match kind:
        case "kvlist_value":
            return {each["key"]: _value(each["value"]) for each in value.get("values", ())}
        case "array_value":
            return [_value(each) for each in value.get("values", ())]
        case "int_value":
            return int(value)
        case _:
            return value

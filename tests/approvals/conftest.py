"""Runs that wait for a person, and the page served as users serve it: by the command, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.core.conftest import Watcher, World

from scaffold import Plan, Planned, Planning, Task, Verdict, act, carry_out, propose, think
from scaffold.errors import ActionError
from scaffold.interfaces import Surroundings
from scaffold.vocabulary.review import Evidence

if TYPE_CHECKING:
    from scaffold.machinery.run import Outcome

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202egnihsihp"
EVIDENCE = Evidence(quote="our account <b>has changed</b>", path="invoices/i1", event=3)


def paying(_: Task) -> Planning[str]:
    """Think, and pay one invoice."""
    yield from think("understand", "the invoice")
    try:
        observation = yield from act("pay", {"invoice": "i1"})
    except ActionError as error:
        return f"refused: {error.message}"
    return str(observation.value)


def revising(_: Task) -> Planning[Any]:
    """Propose a plan that is sent back, and another; then do what it says."""
    yield from propose(Plan([Planned("pay", {"invoice": "i1", "cents": 990})], reason="It is due."))
    plan = Plan(
        [Planned("pay", {"invoice": "i1", "cents": 940}), Planned("post", {"text": HOSTILE})], reason="It is due."
    )
    review = yield from propose(plan)
    return {node: each.status for node, each in (yield from carry_out(plan, review)).items()}


def escalating(subject: Any) -> Verdict:
    """Send the first plan back, and have a person see everything else."""
    calls = subject.plan
    if calls[0].arguments.get("cents") == 990:
        return Verdict(decision="revise", feedback="the invoice says 9.40")
    return Verdict(
        decision="escalate", rationale=f"it is much {HOSTILE}", score=0.8, property="risk", evidence=(EVIDENCE,)
    )


class Office:
    """A folder of runs that wait, and who works there."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.runs = folder / "runs"
        self.journal = self.world.journal

    def agent(self, planner: Any = paying, **more: Any) -> Any:
        """An agent whose every action a person has to see; its clock goes."""
        more = {"monitors": [Watcher(escalating, name="careful")], "surroundings": Surroundings(), **more}
        return self.world.agent(planner, "The account was changed. <script>alert(1)</script>", **more)

    def wait(self, planner: Any = paying, **oversight: Any) -> Outcome:
        """A run that waits for a person."""
        outcome: Outcome = self.agent(planner).solve_sync(
            Task.model_validate({"prompt": "Pay", "oversight": oversight})
        )
        assert outcome.status == "waiting"
        return outcome

    def asked(self, outcome: Outcome) -> dict[str, Any]:
        """The last thing that a run asks."""
        return list(self.world.facts(outcome, "approval.asked"))[-1]


class Served:
    """A page that is being served.

    Attributes:
        addresses: for each person the address with their token.
        base: the page's address without one.
    """

    def __init__(self, said: str) -> None:
        self.addresses = dict(re.findall(r"^(\w+): (http\S+)$", said, re.MULTILINE))
        self.base = next(iter(self.addresses.values())).partition("/?")[0]

    @contextlib.contextmanager
    def client(self, person: str) -> Iterator[httpx.Client]:
        """A browser of sorts that has been let in."""
        with httpx.Client(base_url=self.base, headers={"origin": self.base}, trust_env=False) as client:
            assert client.get(self.addresses[person]).status_code == 303
            yield client


Serve = Callable[..., Served]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An office of its own for each test."""
    return Office(tmp_path)


@pytest.fixture
def serve(office: Office) -> Iterator[Serve]:
    """Serve the office's runs to people; options and environment can be added."""
    started: list[subprocess.Popen[str]] = []

    def start(*people: str, **environment: str) -> Served:
        options = [option for person in people for option in ("--as", person)]
        command = [
            sys.executable,
            "-u",
            "-m",
            "scaffold.cli",
            "approvals",
            "serve",
            "--runs",
            str(office.runs),
            *options,
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
        )
        started.append(process)
        said = ""
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if line.startswith("what waits in"):
                return Served(said)
        raise AssertionError(said)

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
        assert process.returncode == 0, said
        assert "Traceback" not in said, said

"""Runs that wait for a person, and the page, served from a thread: `test_faces` has it served by the command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.core.conftest import Watcher, World

from scaffold import Plan, Planned, Planning, Task, Verdict, act, carry_out, propose, think
from scaffold.approvals.page.serving import Serving
from scaffold.errors import ActionError
from scaffold.interfaces import Surroundings
from scaffold.trace.heads import load_signer
from scaffold.vocabulary.review import Evidence

if TYPE_CHECKING:
    from scaffold.vocabulary.outcome import Outcome

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
        decision="escalate", rationale=f"it is much\n{HOSTILE}", score=0.8, property="risk", evidence=(EVIDENCE,)
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

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
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
def serve(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve the office's runs to people, some with the file of their key (`ann=FILE`); environment can be added."""
    started: list[tuple[Serving, Thread]] = []

    def start(*people: str, **environment: str) -> Served:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        named = [person.partition("=") for person in people]
        serving = Serving(office.journal, {name: load_signer(Path(key)) if key else None for name, _, key in named})
        thread = Thread(target=asyncio.run, args=(serving.run(),))
        thread.start()
        started.append((serving, thread))
        return Served(serving.addresses)

    yield start
    for serving, _ in started:
        serving.stop()
    for _, thread in started:
        thread.join(20)
        assert not thread.is_alive()

"""A trace, a view of it and a judge, as small as they can be, for tests of monitors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from scaffold.vocabulary import events
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.moves import Thought
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.references import NOWHERE, Provenance
from scaffold.vocabulary.review import Stakes, Subject, Verdict
from scaffold.vocabulary.task import Task


def spec(
    name: str,
    *,
    effect: str = "irreversible",
    cost: float = 0.0,
    identity: tuple[str, ...] = (),
    **types: str,
) -> ActionSpec:
    """An action whose arguments have these JSON types."""
    properties = {argument: {"type": kind} for argument, kind in types.items()}
    return ActionSpec(
        name=name,
        effect=effect,  # type: ignore[arg-type] # tests write effects as plain texts
        cost=cost,
        identity=identity,
        parameters={"type": "object", "properties": properties},
    )


PAY = spec(
    "pay",
    cost=0.25,
    identity=("invoice",),
    invoice="string",
    account="string",
    cents="integer",
    memo="string",
)
READ = spec("read", effect="read", invoice="string")
BACKUP = spec("backup", effect="reversible")
DELETE = spec("delete", name_="string", path="string", paths="array")
REMIND = spec("remind", who="string", hours="number")
ACTIONS = {action.name: action for action in (PAY, READ, BACKUP, DELETE, REMIND)}


@dataclass
class View:
    """A view whose state is folded from events."""

    task: Task
    monitor: Any = None
    run: str = "run-1"
    actions: Mapping[str, ActionSpec] = field(default_factory=lambda: ACTIONS)
    state: Any = None
    seq: int = 0

    def add(self, event: events.Event, **content: Any) -> None:
        """One more event."""
        self.seq += 1
        self.state = self.monitor.fold(self.state, msgspec.structs.replace(event, seq=self.seq), content)

    async def events(self, after: int = 0) -> AsyncIterator[tuple[events.Event, dict[str, Any]]]:
        """No monitor here reads the events themselves."""
        none: list[tuple[events.Event, dict[str, Any]]] = []
        for each in none:
            yield each

    def propose(self, key: str, call: ActionCall, *, plan: str = "") -> None:
        """An action is about to be reviewed."""
        event = events.ActionProposed(
            key=key,
            action=call.action,
            effect="irreversible",
            digest="",
            cost=self.actions[call.action].cost,
            plan=plan,
        )
        self.add(event, call=msgspec.to_builtins(call))

    def outcome(self, key: str, action: str, status: str = "performed") -> None:
        """What came of it."""
        self.add(events.ActionOutcome(key=key, action=action, digest="", status=status), value=None)  # type: ignore[arg-type] # as above

    def refuse(self, key: str, action: str) -> None:
        """The gate refused it."""
        self.add(events.ActionRefused(key=key, action=action, digest="", decision="block"))

    def perform(self, key: str, call: ActionCall, *, plan: str = "") -> None:
        """It was proposed and performed."""
        self.propose(key, call, plan=plan)
        self.outcome(key, call.action)

    def plan(self, *calls: ActionCall, key: str = "0") -> Verdict:
        """Have a plan reviewed."""
        return self.review(Subject(kind="plan", key=key, plan=calls))

    def act(self, call: ActionCall, *, key: str = "1", plan: str = "") -> Verdict:
        """Have an action reviewed, proposed just before."""
        self.propose(key, call, plan=plan)
        return self.action(call, key=key)

    def action(self, call: ActionCall, *, key: str = "1") -> Verdict:
        """Have an action reviewed."""
        return self.review(Subject(kind="action", key=key, call=call))

    def review(self, subject: Subject, context: Any = None) -> Verdict:
        """Have any subject reviewed."""
        verdict: Verdict = asyncio.run(self.monitor.review(subject, self, context or Judge()))
        return verdict


@dataclass
class Judge:
    """A review context whose model answers from a list, or by a function of what it is asked."""

    answers: list[Any] = field(default_factory=list)
    answer: Callable[..., Any] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    stakes: Stakes = "low"
    random: random.Random = field(default_factory=lambda: random.Random(0))

    async def think(self, kind: str, *inputs: Any, **how: Any) -> Thought[Any]:
        """Answer; an exception in the list is raised."""
        self.asked.append({"kind": kind, "inputs": inputs, **how})
        value = self.answer(inputs) if self.answer else self.answers.pop(0)
        if isinstance(value, Exception):
            raise value
        return Thought(value, NOWHERE, key="0")


def call(
    action: str, node: str = "a0", *, after: tuple[str, ...] = (), tainted: bool = False, **arguments: Any
) -> ActionCall:
    """A call all of whose arguments came from one step."""
    where = {name: Provenance(("step:0",), tainted) for name in arguments}
    return ActionCall(id=node, action=action, arguments=arguments, provenance=where, after=after)


def least_cpu(work: Callable[[], object], enough: float, goes: int = 5) -> float:
    """CPU seconds of some work: the least of a few goes, since a busy machine is slower now and then."""
    least = float("inf")
    for _ in range(goes):
        started = time.process_time()
        work()
        least = min(least, time.process_time() - started)
        if least < enough:
            break
    return least


@dataclass
class Kit:
    """What tests build with."""

    View = View
    Judge = Judge
    call = staticmethod(call)
    spec = staticmethod(spec)
    least_cpu = staticmethod(least_cpu)
    actions = ACTIONS


@pytest.fixture
def kit() -> Kit:
    """The parts above."""
    return Kit()

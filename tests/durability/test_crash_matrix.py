"""A run killed at any point and resumed elsewhere ends as it would have, and has each effect once."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scaffold import (
    Call,
    Gate,
    NotPerformed,
    Plan,
    Planned,
    Planning,
    Scaffold,
    Task,
    Verdict,
    act,
    action,
    ask,
    carry_out,
    note,
    propose,
    think,
    together,
)
from scaffold.errors import ActionError
from scaffold.hosting import GatedRun
from scaffold.interfaces import Action, ReviewContext, TraceView
from scaffold.machinery.recording.points import POINTS
from scaffold.testing import Scripted
from scaffold.testing.crashes import Case, CrashWorkers, Solver, Stage, crash_matrix
from scaffold.testing.effects import EffectLedger
from scaffold.trace.heads import Signer
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.review import MonitorSpec, Subject, SubjectKind
from scaffold.vocabulary.task import Oversight

FREELY = Oversight(unmonitored=True)
THOROUGH = bool(os.environ.get("SCAFFOLD_THOROUGH"))
"""Set by `make test-durability`: every visit to every point, and not only the first and the last."""


def actions_on(effects: EffectLedger) -> list[Action]:
    """One action of every kind, all with their effects in one ledger."""

    @action(effect="read")
    async def look(place: str) -> str:
        return f"seen {place}"

    @action(effect="reversible", idempotency="target_key")
    async def put(what: str, *, call: Call) -> str:
        return str(effects.happen_once("put", call, {"what": what}, f"put {what}"))

    @action(effect="reversible", idempotency="reconcile")
    async def move(what: str, *, call: Call) -> str:
        return str(effects.happen("move", call, {"what": what}, f"moved {what}"))

    @move.reconciler
    async def moved(what: str, *, call: Call) -> str | None:  # noqa: ARG001 - told the action's own arguments
        found = effects.find(call.key)
        return None if found is None else str(found.result)

    @action(effect="irreversible")
    async def send(what: str, *, call: Call) -> str:
        return str(effects.happen("send", call, {"what": what}, f"sent {what}"))

    @send.previewer
    async def sending(what: str) -> str:
        return f"would send {what}"

    @action(effect="irreversible", identity=("what",), idempotency="target_key")
    async def pay(what: str, *, call: Call) -> str:
        return str(effects.happen_once("pay", call, {"what": what}, f"paid {what}"))

    return [look, put, move, send, pay]


class Says:
    """A monitor that says one thing of the subjects it watches."""

    def __init__(self, verdict: Verdict, *watches: SubjectKind) -> None:
        self.spec = MonitorSpec(name="says", watches=frozenset(watches))
        self._verdict = verdict

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        return self._verdict


def agent(stage: Stage, planner: Callable[[Task], Planning[Any]], **more: Any) -> Scaffold:
    """An agent on a stage, with one action of every kind."""
    return Scaffold(
        planner,
        backends={"default": Scripted({"number": "7", "word": "apple", "": "ok"})},
        actions=actions_on(stage.effects),
        journal=stage.journal,
        surroundings=stage.surroundings,
        **({"monitors": []} | more),
    )


def every_kind(task: Task) -> Planning[str]:
    """Carry out a plan with an action of every kind."""
    thought = yield from think("understand", task.prompt, instruction="a word", returns=str)
    look = Planned("look", {"place": "cellar"}, id="look")
    plan = Plan(
        [
            look,
            Planned("put", {"what": look.result}, id="put"),
            Planned("move", {"what": thought}, id="move", after=["put"]),
            Planned("send", {"what": thought}, id="send", after=["move"]),
        ]
    )
    review = yield from propose(plan)
    yield from note("now it is done", partial="half")
    done = yield from carry_out(plan, review)
    return " ".join(f"{name}:{each.status}" for name, each in done.items())


def make_every_kind(stage: Stage) -> Scaffold:
    """Nothing reviews it."""
    return agent(stage, every_kind)


def in_branches(_task: Task) -> Planning[str]:
    """Act in three branches at once."""

    def branch(name: str, what: str) -> Planning[str]:
        thought = yield from think("solve", what, instruction="a number", returns=int)
        try:
            done = yield from act(name, {"what": f"{what}{thought.value}"})
        except ActionError as error:
            return f"{what}: {type(error).__name__}"
        return f"{what}: {done.value}"

    results = yield from together(branch("put", "a"), branch("move", "b"), branch("send", "c"))
    return "; ".join(results)


def make_in_branches(stage: Stage) -> Scaffold:
    """Nothing reviews it."""
    return agent(stage, in_branches)


def with_people(_task: Task) -> Planning[str]:
    """Ask for a fact, then act."""
    name = yield from ask("Who is it for?", returns=str)
    done = yield from act("send", {"what": name})
    return str(done.value)


def make_with_people(stage: Stage) -> Scaffold:
    """A person approves, and heads are signed."""
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(b"c2l4dGVlbiBieXRlcyB0d2ljZTEyMzQ1Njc4OTAxMjM="))
    return agent(
        stage,
        with_people,
        monitors=[Says(Verdict(decision="escalate", rationale="a person should look"), "action")],
        signer=Signer(key),
    )


def make_reviewed(stage: Stage) -> Scaffold:
    """Everything is reviewed, and passes."""
    return agent(
        stage,
        every_kind,
        monitors=[Says(Verdict(decision="flag", score=0.1), "step", "plan", "action", "observation", "answer")],
    )


def what_is_taken(_task: Task) -> Planning[str]:
    """Pay twice, and send once, each by its identity."""
    said = []
    for what in ("a", "a", "b"):
        try:
            done = yield from act("pay", {"what": what})
        except ActionError as error:
            said.append(type(error).__name__)
        else:
            said.append(str(done.value))
    return "; ".join(said)


def make_what_is_taken(stage: Stage) -> Scaffold:
    """Nothing reviews it."""
    return agent(stage, what_is_taken)


def insisting(_task: Task) -> Planning[str]:
    """Try the same thing again and again."""
    refusals = 0
    for _ in range(9):
        try:
            yield from act("send", {"what": "secret"})
        except ActionError:
            refusals += 1
    return f"refused {refusals} times"


def make_refused(stage: Stage) -> Scaffold:
    """A monitor refuses it."""
    return agent(stage, insisting, monitors=[Says(Verdict(decision="block", feedback="not that"), "action")])


def undone(_task: Task) -> Planning[str]:
    """Carry out a plan whose last part fails; says of each what became of it, and of undoing it."""
    plan = Plan(
        [
            Planned("book", {"what": "flight"}, id="flight"),
            Planned("book", {"what": "room"}, id="room", after=["flight"]),
            Planned("dine", id="dinner", after=["room"]),
        ]
    )
    done = yield from carry_out(plan, (yield from propose(plan)))
    return ", ".join(f"{name} {each.status} {each.undone}".strip() for name, each in done.items())


def make_undone(stage: Stage) -> Scaffold:
    """Nothing reviews it; nobody can tell from outside what was done, and dining always fails."""

    @action(effect="irreversible", identity=("what",))
    async def book(what: str, *, call: Call) -> str:
        return str(stage.effects.happen("book", call, {"what": what}, f"booked {what}"))

    @book.undo(effect="irreversible")
    async def give_back(what: str, gave: str, *, call: Call) -> str:
        return str(stage.effects.happen("give_back", call, {"what": what, "gave": gave}, f"gave back {what}"))

    @action(effect="irreversible")
    async def dine() -> str:
        raise NotPerformed("no table")

    return Scaffold(undone, actions=[book, dine], journal=stage.journal, surroundings=stage.surroundings, monitors=[])


class Host:
    """Another agent's loop around a gate, which calls one action of every kind, some of them at once.

    Args:
        stage: what it is built on.
        remembers: whether it keeps each result in a file of its own, and goes on after the last; else it begins anew.
    """

    def __init__(self, stage: Stage, *, remembers: bool) -> None:
        actions, surroundings = actions_on(stage.effects), stage.surroundings
        self._gate = Gate(actions=actions, monitors=[], journal=stage.journal, surroundings=surroundings)
        self._memory = stage.folder / "memory.json"
        self._remembers = remembers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._gate.close()

    async def solve(self, task: Task) -> Outcome:
        return await self._loop(task)

    async def resume(self, run: str) -> Outcome:
        return await self._loop("", resume=run, anew=not self._remembers)

    async def _loop(self, task: Task | str, **how: Any) -> Outcome:
        known = json.loads(self._memory.read_text()) if self._remembers and self._memory.exists() else []
        async with self._gate.run(task, **how) as run:
            for number, step in enumerate(self._steps(run)):
                if number < len(known):
                    continue
                known.append(await step())
                part = self._memory.with_suffix(".part")
                part.write_text(json.dumps(known))
                part.replace(self._memory)
            run.answer(known)
        return run.outcome

    @staticmethod
    def _steps(run: GatedRun) -> list[Callable[[], Awaitable[Any]]]:
        async def think(text: str) -> str:
            return str((await run.think(text)).value)

        async def call(name: str, **arguments: str) -> str:
            try:
                return str((await run.act(name, arguments)).value)
            except ActionError as error:
                return type(error).__name__

        async def at_once() -> list[str]:
            calls = [call("put", what="b"), call("move", what="b"), call("pay", what="b")]
            return list(await asyncio.gather(*calls))

        return [
            partial(think, "I look first."),
            partial(call, "look", place="cellar"),
            partial(call, "put", what="a"),
            partial(call, "send", what="a"),
            partial(call, "pay", what="a"),
            at_once,
            partial(call, "put", what="a"),  # once more, on purpose
            partial(call, "pay", what="a"),  # which is refused: it is paid
            partial(think, "I am done."),
        ]


def make_host_anew(stage: Stage) -> Host:
    """It has nothing but the trace."""
    return Host(stage, remembers=False)


def make_host_that_remembers(stage: Stage) -> Host:
    """What it has done is in its own file, but for what was under way."""
    return Host(stage, remembers=True)


AGENTS = [make_every_kind, make_in_branches, make_with_people, make_reviewed, make_refused, make_what_is_taken]
HOSTS = [make_host_anew, make_host_that_remembers]


@pytest.mark.parametrize("make", [*AGENTS, *HOSTS])
def test_a_run_killed_at_any_point_ends_as_it_would_have(
    make: Callable[[Stage], Solver],
    tmp_path: Path,
    crash_workers: CrashWorkers,
    record_property: Callable[[str, object], None],
) -> None:
    """One effect a key at most, `unknown` only where nobody can tell, else the same end."""
    task = Task(prompt="do it", oversight=FREELY)
    # A host does not go on with a run that has ended.
    points = [point for point in POINTS if make not in HOSTS or point != "run.ended:after"]
    visits = None if THOROUGH else 2
    cases = crash_matrix(make, task, tmp_path, opaque={"send"}, points=points, visits=visits, workers=crash_workers)
    assert len({case.point for case in cases}) >= 5
    assert not [str(case) for case in cases if case.faults]
    record_property("crashes", in_table("files", make, cases))


def in_table(place: str, make: Callable[[Stage], Solver], cases: list[Case]) -> list[object]:
    """A column of the crash matrix's table."""
    return [place, make.__name__.removeprefix("make_"), dict(Counter(case.point for case in cases))]


def test_an_opaque_action_killed_before_its_outcome_is_unknown(tmp_path: Path, crash_workers: CrashWorkers) -> None:
    """Between intent and outcome nobody can tell, so the run says `unknown` and does not try again."""
    task = Task(prompt="do it", oversight=FREELY)
    window = ("action.intent:after", "action.effect:before", "action.effect:after", "action.outcome:before")
    cases = crash_matrix(make_with_people, task, tmp_path, opaque={"send"}, points=window, workers=crash_workers)
    assert [list(case.actions.values()) for case in cases] == [["unknown"]] * 4
    assert not [str(case) for case in cases if case.faults]


def test_what_was_not_granted_is_not_done_whenever_the_run_is_killed(
    tmp_path: Path, crash_workers: CrashWorkers
) -> None:
    """A person's no outlives the process."""
    cases = crash_matrix(
        make_with_people,
        Task(prompt="do it"),
        tmp_path,
        opaque={"send"},
        grants=False,
        visits=None if THOROUGH else 1,
        workers=crash_workers,
    )
    assert not [str(case) for case in cases if case.faults]
    assert {status for case in cases for status in case.actions.values()} == {"refused"}


IN_PEACE = "flight performed performed, room performed performed, dinner failed"
WITHOUT_A_BOOKING = "flight unknown, room skipped, dinner skipped"
WITHOUT_GIVING_BACK = "flight performed unknown, room performed performed, dinner failed"
TOLD = {
    "always": {  # what may stand keeps what it rests on
        "flight performed, room unknown, dinner skipped",
        "flight performed, room performed, dinner unknown",
        "flight performed, room performed unknown, dinner failed",
    },
    "ask": {  # a person says that it is to be undone all the same
        "flight performed performed, room unknown, dinner skipped",
        "flight performed performed, room performed performed, dinner unknown",
        "flight performed performed, room performed unknown, dinner failed",
    },
}


@pytest.mark.parametrize("undo", ["always", "ask"])
def test_what_was_to_be_undone_is_undone_or_told_of_whenever_the_run_is_killed(
    undo: Literal["always", "ask"],
    tmp_path: Path,
    crash_workers: CrashWorkers,
    record_property: Callable[[str, object], None],
) -> None:
    """Once, the last first; where nobody can tell whether a part was done, or undone, the run says `unknown` of it."""
    task = Task(prompt="do it", oversight=Oversight(unmonitored=True, undo=undo))
    opaque = {"book", "give_back", "dine"}
    visits = None if THOROUGH else 2
    cases = crash_matrix(make_undone, task, tmp_path, opaque=opaque, visits=visits, workers=crash_workers)
    assert not [str(case) for case in cases if case.faults]
    first_and_last = {IN_PEACE, WITHOUT_A_BOOKING, WITHOUT_GIVING_BACK}
    assert {case.answer for case in cases} == first_and_last | (TOLD[undo] if THOROUGH else set())
    record_property("crashes", ["files", f"undone_{undo}", dict(Counter(case.point for case in cases))])

"""A host that goes on with a run is told what its trace has of its moves, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from scaffold import Budget, Credential, Gate, Plan, Planned, Planning, Task, Verdict, act, action, together
from scaffold.errors import (
    ActionFailed,
    ActionRefused,
    BadInput,
    ObservationWithheld,
    OutcomeUnknown,
    RunEnding,
    StepRefused,
)
from scaffold.interfaces import Answer, Surroundings
from scaffold.trace.files import FileJournal
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.review import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.core.conftest import Person, Watcher, World

    from scaffold.hosting import GatedRun

pytestmark = pytest.mark.anyio


def gate_of(world: World, *, monitors: Any = (), **more: Any) -> Gate:
    """A gate around the world's actions."""
    return Gate(
        actions=(world.look, world.post),
        monitors=["rules", *monitors],
        journal=world.journal,
        surroundings=Surroundings(clock=world.clock),
        **more,
    )


@pytest.mark.parametrize("anew", [True, False], ids=["anew", "remembering"])
async def test_a_withheld_error_message_stays_withheld(world: World, watcher: type[Watcher], anew: bool) -> None:  # noqa: FBT001 - a case
    """A host that goes on is told again what it was told; a call that failed may be made again, and is read again."""
    strict = watcher(Verdict(decision="block", feedback="not that"), watches=frozenset({"observation"}))
    gate = gate_of(world, monitors=[strict])
    said = "its error message is withheld: not that"
    with pytest.raises(asyncio.CancelledError):  # noqa: PT012 - the host is cancelled within its run
        async with gate.run("x") as run:
            with pytest.raises(ActionFailed, match=said):
                await run.act("post", {"text": "!not"})
            raise asyncio.CancelledError
    async with gate.run("", resume=run.id, anew=anew) as again:
        with pytest.raises(ActionFailed, match=said):
            await again.act("post", {"text": "!not"})
    assert len(strict.seen) == (1 if anew else 2)


def granted_to(world: World, outcome: Outcome) -> Answer:
    """A person's yes to what a run waits for."""
    (asked,) = world.facts(outcome, "approval.asked")
    return Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann")


def posts_need_a_person(subject: Subject) -> Verdict:
    """What a monitor of plans says."""
    return Verdict(decision="escalate" if subject.plan[0].action == "post" else "allow")


@pytest.mark.parametrize("order", [("look", "post", "look"), ("post", "look")], ids=["not heard", "heard"])
async def test_what_was_read_before_an_effect_is_read_again(
    world: World, watcher: type[Watcher], order: tuple[str, ...]
) -> None:
    """A host that remembers may not have heard of a read beside the call that waited; once it acts, that is too old."""
    calls = {"look": {"at": "balance"}, "post": {"text": "pay"}}
    gate = gate_of(world, monitors=[watcher(posts_need_a_person, watches=frozenset({"plan"}))])
    with pytest.raises(RunEnding):
        async with gate.run("x") as run:
            await asyncio.gather(*(run.act(name, arguments) for name, arguments in calls.items()))
    await world.journal.post(run.id, granted_to(world, run.outcome))
    async with gate.run("", resume=run.id) as again:
        for name in order:
            await again.act(name, calls[name])
    assert world.done == [("look", "balance"), ("post", "pay"), ("look", "balance")]


async def test_others_of_a_driven_planner_go_on_while_one_waits_for_a_person(
    world: World, watcher: type[Watcher]
) -> None:
    """As in an agent of its own: the run pauses once nothing else is left to do."""

    def looks() -> Planning[list[str]]:
        seen = []
        for place in "abc":
            observation = yield from act("look", {"at": place})
            seen.append(observation.value)
        return seen

    def planner() -> Planning[list[str]]:
        posted, seen = yield from together(act("post", {"text": "pay"}), looks())
        return [str(posted.value), *seen]

    gate = gate_of(world, monitors=[watcher(posts_need_a_person, watches=frozenset({"plan"}))])
    with pytest.raises(RunEnding, match="waits for a person"):
        async with gate.run("x") as run:
            await run.drive(planner())
    assert (run.outcome.status, len(world.done)) == ("waiting", 3)
    await world.journal.post(run.id, granted_to(world, run.outcome))
    async with gate.run("", resume=run.id, anew=True) as again:
        assert await again.drive(planner()) == ["posted", "seen a", "seen b", "seen c"]
    assert len(world.done) == 4


async def test_an_exhausted_run_takes_a_larger_budget(world: World) -> None:
    """A host goes on with a run that has used up its budget, once somebody allows it more, and the trace says who."""
    gate = gate_of(world)
    async with gate.run(Task(prompt="x", budget=Budget(steps=1))) as run:
        await run.think("one")
        with pytest.raises(RunEnding):
            await run.think("two")
    assert run.outcome.status == "exhausted"
    with pytest.raises(BadInput, match="the run's limit on steps is already 1"):
        async with gate.run("", resume=run.id, budget={"steps": 1}):
            raise AssertionError
    async with gate.run("", resume=run.id, budget={"steps": 2}, by="ann") as again:
        await again.think("two")
    assert (again.outcome.status, again.outcome.steps) == ("solved", 2)
    (raised,) = world.facts(again.outcome, "budget.raised")
    assert (raised["bounds"], raised["by"]) == ({"steps": 2}, "ann")


async def test_only_a_run_that_goes_on_takes_a_larger_budget(world: World) -> None:
    """One that begins has its task's own."""
    with pytest.raises(BadInput, match="a new run has its task's budget"):
        async with gate_of(world).run("x", budget={"actions": 2}):
            raise AssertionError


@pytest.mark.parametrize("anew", [True, False], ids=["anew", "remembering"])
@pytest.mark.parametrize(
    ("declared", "answer"),
    [
        ({"effect": "read"}, "seen a, paid i1"),
        ({"effect": "irreversible", "idempotency": "target_key"}, "seen a, paid i1"),
        ({"effect": "irreversible"}, "OutcomeUnknown"),
    ],
    ids=["read", "known by key", "neither"],
)
async def test_an_agent_as_a_tool_goes_on_once_a_person_has_answered_a_call_of_its_own(
    world: World, watcher: type[Watcher], person: type[Person], declared: Any, answer: str, *, anew: bool
) -> None:
    """What waits within it has broken it off: where it may be begun again it is, and is told what it has done."""
    runs: list[GatedRun] = []
    begun: list[str] = []

    @action(**declared)
    async def delegate(invoice: str) -> str:
        begun.append(invoice)
        seen = await runs[-1].act("look", {"at": "a"})
        return f"{seen.value}, {(await runs[-1].act('pay', {'invoice': invoice})).value}"

    def says(subject: Any) -> Verdict:
        return Verdict(decision="escalate" if subject.plan[0].action == "pay" else "allow")

    def gate(**more: Any) -> Gate:
        return Gate(actions=[delegate, world.look, world.pay], monitors=[watcher(says)], journal=world.journal, **more)

    async with gate().run("pay what is due") as run:
        runs.append(run)
        with pytest.raises(RunEnding, match="waits for a person"):
            await run.act("delegate", {"invoice": "i1"})
    assert run.outcome.status == "waiting"
    assert run.outcome.actions[0].status == ("planned" if declared["effect"] == "read" else "unknown")
    async with gate(approvers=[person()]).run("", resume=run.id, anew=anew) as run:
        runs.append(run)
        try:
            said = str((await run.act("delegate", {"invoice": "i1"})).value)
        except OutcomeUnknown:
            said = "OutcomeUnknown"
    assert said == answer
    assert begun == (["i1"] if answer == "OutcomeUnknown" else ["i1", "i1"])
    assert world.done.count(("look", "a")) == 1
    assert verify_run(world.folder / "runs" / run.id).ok


async def test_an_agent_as_a_tool_goes_on_once_its_run_was_given_more(world: World) -> None:
    """A step of its own that found no room in the budget has paused the run: the tool has not failed."""
    runs: list[GatedRun] = []

    @action(effect="read")
    async def delegate() -> str:
        return (await runs[-1].think("let me see")).value

    gate = Gate(actions=[delegate], monitors=["rules"], journal=world.journal)
    async with gate.run(Task(prompt="x", budget=Budget(steps=1))) as run:
        runs.append(run)
        await run.think("one")
        with pytest.raises(RunEnding):
            await run.act("delegate")
    assert (run.outcome.status, run.outcome.actions[0].status) == ("exhausted", "planned")
    async with gate.run("", resume=run.id, budget={"steps": 2}) as run:
        runs.append(run)
        assert (await run.act("delegate")).value == "let me see"


async def cut_off(gate: Gate, host: Callable[[GatedRun], Awaitable[Any]]) -> str:
    """Have a host do something in a run, then be cancelled; gives the run."""
    ids: list[str] = []
    inside = asyncio.Event()

    async def work() -> None:
        async with gate.run(Task(prompt="x")) as run:
            ids.append(run.id)
            await host(run)
            inside.set()
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    await inside.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    return ids[0]


HOST = """
import asyncio, os, sys
from pathlib import Path

from scaffold import Gate, action
from scaffold.interfaces import Surroundings
from scaffold.trace.files import FileJournal

folder = Path(sys.argv[1])


resume, dies_at, *moves = sys.argv[2:]


@action(effect="irreversible", identity=("invoice",))
def pay(invoice: str) -> str:
    with (folder / "paid.txt").open("a") as file:
        file.write(invoice + chr(10))
    return f"paid {invoice}"


def reach(point):
    if point == dies_at:
        os._exit(9)


async def main():
    journal, outside = FileJournal(folder / "runs"), Surroundings(reach=reach)
    gate = Gate(actions=[pay], monitors=["rules"], journal=journal, surroundings=outside)
    async with gate.run("pay i1", resume="" if resume == "-" else resume) as run:
        print(run.id, flush=True)
        for move in moves:
            if move == "think":
                await run.think("I had better look again.")
            else:
                print((await run.act("pay", {"invoice": move})).value)


asyncio.run(main())
"""


def host(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Begin or resume a run in another process, which may die at a point."""
    line = [sys.executable, "-c", HOST, str(folder), *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("before", [["think"], ["i2"], ["think", "i2"]], ids=" ".join)
def test_what_a_host_was_about_to_do_when_it_died_it_may_do_later(tmp_path: Path, before: list[str]) -> None:
    """The invoice was taken and its proposal lost: the resumed run does something else first, then pays it."""
    killed = host(tmp_path, "-", "identity:after", "i1")
    assert killed.returncode == 9
    again = host(tmp_path, killed.stdout.split()[0], "", *before, "i1")
    paid = [move for move in (*before, "i1") if move != "think"]
    assert again.stdout.splitlines()[1:] == [f"paid {invoice}" for invoice in paid], again.stderr
    assert (tmp_path / "paid.txt").read_text().split() == paid


def test_a_host_killed_before_it_heard_is_told_and_pays_once(tmp_path: Path) -> None:
    """The outcome is on disk, the process is gone: its successor makes the same call, and is given what came of it."""
    killed = host(tmp_path, "-", "action.outcome:after", "i1")
    assert killed.returncode == 9
    run = killed.stdout.split()[0]
    again = host(tmp_path, run, "", "i1")
    assert again.stdout.splitlines()[1:] == ["paid i1"], again.stderr
    assert (tmp_path / "paid.txt").read_text() == "i1\n"
    said = verify_run(tmp_path / "runs" / run)
    assert (said.ok, said.ended) == (True, "solved")


async def test_a_host_that_remembers_is_told_only_what_came_back_last(world: World) -> None:
    """What it asked before its last move it has surely heard: asked again, it is meant, and done."""

    async def host(run: GatedRun) -> None:
        await run.act("post", {"text": "a"})
        await run.act("post", {"text": "b"})

    gate = gate_of(world)
    run_id = await cut_off(gate, host)
    async with gate.run("", resume=run_id) as run:
        assert (await run.act("post", {"text": "b"})).value == "posted"
        assert [text for _, text in world.done] == ["a", "b"]
        await run.act("post", {"text": "a"})
        await run.act("post", {"text": "b"})
    assert [text for _, text in world.done] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("first", ["a", "b", "c", "d"])
async def test_what_was_asked_for_together_is_told_together(world: World, watcher: type[Watcher], first: str) -> None:
    """A host that made several calls at once, and makes them again, is told of all that came back, in any order."""

    async def read(text: str) -> Verdict:
        await asyncio.sleep({"a": 0, "b": 0.05}.get(text, 60 if not again else 0))
        return Verdict(decision="allow")

    again: list[str] = []
    reader = watcher(
        lambda subject: read(subject.plan[0].arguments["text"]), watches=frozenset({"plan"}), timeout_s=100
    )
    gate = gate_of(world, monitors=[reader])

    calls: list[asyncio.Task[Any]] = []

    async def host(run: GatedRun) -> None:
        for text in "cab":
            calls.append(asyncio.create_task(run.act("post", {"text": text})))
            await (asyncio.sleep(0) if text == "c" else calls[-1])

    again.append(await cut_off(gate, host))
    assert isinstance((await asyncio.gather(*calls, return_exceptions=True))[0], RunEnding)
    assert [text for _, text in world.done] == ["a", "b"]
    async with gate.run("", resume=again[0]) as run:
        await asyncio.gather(*(run.act("post", {"text": text}) for text in sorted("abcd", key=lambda it: it != first)))
        assert sorted(text for _, text in world.done) == ["a", "b", "c", "d"]
        await run.act("post", {"text": "a"})
    assert sorted(text for _, text in world.done) == ["a", "a", "b", "c", "d"]


async def test_a_host_that_goes_on_otherwise_has_heard(world: World) -> None:
    """Once it does something else, the call that came back last would be meant, and is done."""
    gate = gate_of(world)
    run_id = await cut_off(gate, lambda run: run.act("look", {"at": "inbox"}))
    async with gate.run("", resume=run_id) as run:
        await run.think("what is in the outbox?")
        await run.act("look", {"at": "outbox"})
        await run.act("look", {"at": "inbox"})
    assert [at for _, at in world.done] == ["inbox", "outbox", "inbox"]


async def test_a_host_that_begins_anew_is_told_everything_in_its_order(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """Thoughts, plans, calls, refusals, failures and a person's answer: told again, none of it done or asked again."""

    def says(subject: Any) -> Verdict:
        shouts = "LOUD" in str(subject) and "LOUD" not in str(subject.plan and subject.plan[0].arguments.get("at"))
        return Verdict(decision="block", feedback="no shouting") if shouts else Verdict(decision="allow")

    reader = watcher(says, watches=frozenset({"step", "plan", "observation"}))
    people = person("forty-two")
    heard: list[list[Any]] = []

    async def host(run: GatedRun) -> None:
        said: list[Any] = []
        heard.append(said)
        said.append((await run.think("i1 is due", reasoning="it says so")).value)
        for refused in (run.think("LOUD"), run.act("post", {"text": "LOUD"}), run.act("look", {"at": "LOUD"})):
            try:
                await refused
            except (StepRefused, ActionRefused, ObservationWithheld) as error:
                said.append((type(error).__name__, error.message))
        with pytest.raises(ActionFailed) as failed:
            await run.act("post", {"text": "!not"})
        said.append(failed.value.message)
        plan = Plan([Planned("look", {"at": "a"}, id="a"), Planned("post", {"text": "b"}, id="b", after=["a"])])
        review = await run.propose(plan)
        said.append(review.allowed)
        said.append({node: each.value for node, each in (await run.carry_out(plan, review)).items()})
        said.append((await run.ask("How many?")).value)
        await run.note("half way")

    gate = gate_of(world, monitors=[reader], approvers=[people])
    run_id = await cut_off(gate, host)
    done, read, asked = list(world.done), len(reader.seen), len(people.asked)
    size = (world.folder / "runs" / run_id / "trace.jsonl").read_bytes().count(b"\n")
    async with gate.run("", resume=run_id, anew=True) as run:
        await host(run)
        assert heard[1] == heard[0]
        assert (world.done, len(reader.seen), len(people.asked)) == (done, read, asked)
        await run.act("post", {"text": "c"})
    assert world.done[-1] == ("post", "c")
    lines = (world.folder / "runs" / run_id / "trace.jsonl").read_text().splitlines()[size:]
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("action.intent") == 1
    assert "noted" not in kinds
    assert "step.asked" not in kinds
    assert verify_run(world.folder / "runs" / run_id).ok


async def test_what_a_host_that_begins_anew_did_twice_it_is_told_twice(world: World) -> None:
    """Each outcome once, in order; the third time it is done."""

    async def host(run: GatedRun) -> None:
        for _ in range(2):
            await run.act("post", {"text": "a"})

    gate = gate_of(world)
    run_id = await cut_off(gate, host)
    async with gate.run("", resume=run_id, anew=True) as run:
        keys = [(await run.act("post", {"text": "a"})).key for _ in range(3)]
    assert keys == ["0", "1", "2"]
    assert len(world.done) == 3


async def test_what_is_still_being_read_is_not_told(world: World, watcher: type[Watcher]) -> None:
    """A host that gave up waiting while the result was reviewed, and asks again, gets what the review lets out."""
    reading = asyncio.Event()
    held: list[bool] = []

    async def slowly() -> Verdict:
        reading.set()
        if not held:
            held.append(True)
            await asyncio.sleep(60)
        return Verdict(decision="block", feedback="not for you")

    reader = watcher(lambda _: slowly(), watches=frozenset({"observation"}), timeout_s=100)
    async with gate_of(world, monitors=[reader]).run("x") as run:
        call = asyncio.create_task(run.act("look", {"at": "secrets"}))
        await reading.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(ObservationWithheld, match="not for you"):
            await run.act("look", {"at": "secrets"})
    assert len(world.done) == 1


async def test_a_gate_says_where_credentials_are_found(tmp_path: Path) -> None:
    """As a task file does: in a file of another name; what is written has the credential's name in its place."""
    (tmp_path / "token").write_text("s3cret-t0ken\n")

    @action(effect="irreversible")
    async def send(to: str, *, token: Annotated[str, Credential("BANK_TOKEN")]) -> str:
        return f"sent to {to} with {token}"

    gate = Gate(
        actions=[send],
        monitors=["rules"],
        journal=FileJournal(tmp_path / "runs"),
        credentials={"BANK_TOKEN": {"file": "token"}},
        base=tmp_path,
    )
    async with gate.run("x") as run:
        assert (await run.act("send", {"to": "ann"})).value == "sent to ann with [BANK_TOKEN]"
    assert "s3cret-t0ken" not in "".join(path.read_text() for path in (tmp_path / "runs").rglob("*.jsonl"))

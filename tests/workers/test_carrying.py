"""What a worker makes of what it is handed: runs that do not exist, are over, are held, or do not fit it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest

from scaffold import taskfile
from scaffold.approvals.queue import waiting
from scaffold.approvals.saying import answer_to
from scaffold.errors import BadInput, Unavailable, UnknownRun
from scaffold.interfaces import Surroundings
from scaffold.testing.effects import EffectLedger
from scaffold.trace.postgres import PostgresJournal
from scaffold.workers.carrying import Carrier
from scaffold.workers.engines import engine_of

if TYPE_CHECKING:
    from tests.workers.conftest import Office

_HELD_S = 5.0
THOROUGH = bool(os.environ.get("SCAFFOLD_THOROUGH"))


def carried(
    office: Office, work: Callable[[PostgresJournal, Carrier, str], Awaitable[None]], *, heartbeat: float = 15.0
) -> None:
    """Have a worker's carrier do something with a run that has begun."""

    async def go() -> None:
        async with PostgresJournal(office.runs, lease=heartbeat) as journal:
            built = taskfile.build(office.folder / "task.yaml", journal=journal)
            run = await built.agent.submit(built.task, config=built.config)
            carrier = Carrier(journal, held=_HELD_S)
            await work(journal, carrier, run)
            await carrier.close()

    asyncio.run(go())


def _new_process() -> None:
    """Forget what was imported of task folders, as whoever starts afresh has not imported it."""
    for name in [name for name in sys.modules if name.startswith("_scaffold_task_")]:
        del sys.modules[name]


async def _size(journal: PostgresJournal, run: str) -> int:
    return len([record async for record in journal.read(run)])


def test_a_run_that_is_over_stays_as_it_is(office: Office) -> None:
    """Handed out again, as an engine may, it is done with at once, and nothing is added to it or done."""

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        assert await carrier.carry(run) is None
        before = await _size(journal, run)
        assert await carrier.carry(run) is None
        assert await _size(journal, run) == before

    carried(office, work)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1


def test_a_run_whose_budget_is_spent_is_not_gone_on_with(office: Office) -> None:
    """Handed out twice, it stays as whoever waits for it was told: its budget is no larger the second time."""
    with (office.folder / "task.yaml").open("a", encoding="utf-8") as file:
        file.write("budget: {tokens: 1}\n")

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        assert await carrier.carry(run) is None
        assert journal.archive.over([run]) == {run: "exhausted"}
        before = await _size(journal, run)
        assert await carrier.carry(run) is None
        assert await _size(journal, run) == before

    carried(office, work)
    assert not EffectLedger(office.folder / "effects").lines()


def test_a_run_whose_budget_another_spends_meanwhile_is_not_gone_on_with(office: Office) -> None:
    """Two are handed it; the second has looked, and claims it when the first has paused it: it stays as it was told."""
    with (office.folder / "task.yaml").open("a", encoding="utf-8") as file:
        file.write("budget: {tokens: 1}\n")

    class Overtaken(Carrier):
        """Is overtaken between its look at the run and its claim."""

        first: Carrier

        async def _go_on(self, run: str, pause: float) -> float | None:
            assert await self.first.carry(run) is None
            return await super()._go_on(run, pause)

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        second = Overtaken(journal, held=_HELD_S)
        second.first = carrier
        assert await second.carry(run) is None
        kinds = [msgspec.json.decode(record.line)["kind"] async for record in journal.read(run)]
        assert (kinds.count("run.resumed"), kinds[-1]) == (1, "run.paused")
        assert journal.archive.over([run]) == {run: "exhausted"}
        claim = await journal.claim(run, "whoever")  # it was let go
        await journal.release(claim)
        await second.close()

    carried(office, work)


_ASKS = """
from scaffold import Planning, Task, act, ask


def pays(task: Task) -> Planning[str]:
    yield from ask("Now?", returns=str)
    yield from act("pay", {"invoice": task.inputs["invoice"]})
    return "done"
"""


def test_a_run_that_waits_for_a_person_is_looked_at_until_they_have_answered(office: Office) -> None:
    """It is put off, and nothing is written meanwhile; with the answer it goes on, on whichever worker has it next."""
    (office.folder / "planner.py").write_text(_ASKS, encoding="utf-8")

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        assert (await carrier.carry(run) or 0.0) > 0.0
        before = await _size(journal, run)
        assert (await carrier.carry(run) or 0.0) > 0.0
        assert await _size(journal, run) == before
        (asked,) = await asyncio.to_thread(waiting, journal, run)
        await journal.post(run, answer_to(asked, granted=True, value="yes", by="ann"))
        other = Carrier(journal, held=_HELD_S)
        assert await other.carry(run) is None
        await other.close()

    carried(office, work)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1


_ASKED_FOR_A_MOMENT = """
policy: policy.yaml
oversight: {unmonitored: true, approval_timeout_s: 1}
"""
_ASKS_TWICE = """
from scaffold import Planning, Task, act, ask


def pays(task: Task) -> Planning[str]:
    yield from ask("Now?", returns=str)
    yield from ask("Really?", returns=str)
    yield from act("pay", {"invoice": task.inputs["invoice"]})
    return "done"
"""


def test_what_was_answered_before_does_not_wake_a_run_that_waits_again(office: Office) -> None:
    """Its inbox still holds the first answer: nothing is written until there is one to the second question."""
    (office.folder / "planner.py").write_text(_ASKS_TWICE, encoding="utf-8")

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        assert (await carrier.carry(run) or 0.0) > 0.0
        for _ in range(2):
            (asked,) = await asyncio.to_thread(waiting, journal, run)
            before = await _size(journal, run)
            assert (await carrier.carry(run) or 0.0) > 0.0
            assert await _size(journal, run) == before
            await journal.post(run, answer_to(asked, granted=True, value="yes", by="ann"))
            await carrier.carry(run)
        assert journal.archive.over([run]) == {run: "solved"}

    carried(office, work)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1


def test_a_run_goes_on_once_it_is_too_late_to_approve(office: Office) -> None:
    """Nobody resumes what workers carry: they do, and the planner hears that nobody answered."""
    task = office.folder / "task.yaml"
    said = task.read_text(encoding="utf-8").replace("oversight: {unmonitored: true}", _ASKED_FOR_A_MOMENT)
    task.write_text(said, encoding="utf-8")
    policy = "actions: {pay: {decision: escalate, because: it is money}}"
    (office.folder / "policy.yaml").write_text(policy, encoding="utf-8")

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        assert (await carrier.carry(run) or 0.0) > 0.0
        (asked,) = await asyncio.to_thread(waiting, journal, run)
        await asyncio.sleep(max(0.0, asked.question.expires - time.time()))
        assert await carrier.carry(run) is None
        assert journal.archive.over([run]) == {run: "stopped"}

    carried(office, work)


def test_a_run_that_another_holds_is_left_alone_and_looked_at_again(office: Office) -> None:
    """It is put off for as long as the worker was told to, and goes on once it is free."""

    async def work(_journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        other = PostgresJournal(office.runs)
        claim = await other.claim(run, "another")
        assert await carrier.carry(run) == _HELD_S
        await other.release(claim)
        assert await carrier.carry(run) is None

    carried(office, work)


def test_a_run_that_does_not_exist_is_an_error_of_its_own(office: Office) -> None:
    """Nothing could ever come of it, so it is not put off; the message names it."""

    async def work(_journal: PostgresJournal, carrier: Carrier, _run: str) -> None:
        with pytest.raises(UnknownRun, match="no run '20300101-000000-nobody'"):
            await carrier.carry("20300101-000000-nobody")

    carried(office, work)


@pytest.mark.parametrize("missing", ["plug-in", "folder", "planner of another version"])
def test_a_worker_that_lacks_what_a_run_needs_leaves_it_to_others(
    missing: str, office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what is missing and puts the run off; where nothing is, the run goes on as if nothing had been."""
    planner = office.folder / "planner.py"
    there = planner.read_text()

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        before = await _size(journal, run)
        match missing:
            case "plug-in":
                planner.write_text("import a_package_that_is_not_here\n")
            case "folder":
                planner.unlink()
            case _:
                planner.write_text(there.replace("pays", "payed"))
        _new_process()
        caplog.set_level(logging.ERROR)
        again = await carrier.carry(run)
        assert again is not None
        assert again >= 30
        assert f"run {run} cannot go on here" in caplog.text
        assert await _size(journal, run) == before
        planner.write_text(there)
        _new_process()
        assert await Carrier(journal, held=_HELD_S).carry(run) is None

    carried(office, work)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1


@pytest.mark.parametrize(
    "fault", [OSError(24, "Too many open files", "a/b"), MemoryError(), ZeroDivisionError("a fault of somebody's")]
)
def test_whatever_befalls_one_worker_leaves_the_run_to_others(
    fault: Exception, office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told of and put off: an engine that met the fault itself would never hand the run out again."""

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        def fails(*_: object, **__: object) -> None:
            raise fault

        with monkeypatch.context() as here:
            here.setattr(journal, "folder", fails)
            assert (await carrier.carry(run) or 0.0) > 0.0
        assert await carrier.carry(run) is None

    carried(office, work)
    assert f"cannot go on here: {type(fault).__name__}" in caplog.text
    assert ("Traceback" in caplog.text) == isinstance(fault, ZeroDivisionError)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1


def test_a_worker_with_a_changed_planner_leaves_a_run_to_one_with_the_old(office: Office) -> None:
    """As while workers are replaced one after another: the new one says what differs, and does nothing."""
    planner = office.folder / "planner.py"
    there = planner.read_text()

    async def work(journal: PostgresJournal, carrier: Carrier, _run: str) -> None:
        def stop(point: str) -> None:
            if point == "step.answered:after":
                built.agent.interrupt()

        built = taskfile.build(office.folder / "task.yaml", journal=journal, surroundings=Surroundings(reach=stop))
        outcome = await built.agent.solve(built.task, config=built.config)
        assert outcome.status == "interrupted"
        planner.write_text(there.replace('think("understand", task.prompt)', 'think("decide", task.prompt)'))
        _new_process()
        assert (await carrier.carry(outcome.run) or 0.0) >= 30
        planner.write_text(there)
        _new_process()
        assert await Carrier(journal, held=_HELD_S).carry(outcome.run) is None

    carried(office, work)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1


def test_an_id_that_is_no_runs_keeps_nothing_else_from_being_done(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker says so, and goes on with what else is in the queue."""

    async def work(_journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        async with engine_of(office.runs) as engine:
            await engine.deliver(["20300101-000000-nobody", run])
            async with asyncio.timeout(60):
                await engine.work(carrier.carry, at_once=2, heartbeat=15.0, drain=True)

    carried(office, work)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1
    assert "no run '20300101-000000-nobody'" in caplog.text


def test_a_queue_that_is_gone_is_told_of_in_a_line(office: Office) -> None:
    """Its name, what the database said, and no traceback."""

    async def work() -> None:
        async with engine_of(office.runs) as engine:
            with psycopg.connect(office.runs, autocommit=True) as owner:
                owner.execute("DROP SCHEMA public CASCADE")
            with pytest.raises(Unavailable, match=r"the queue in .* cannot be used: .*does not exist"):
                await engine.deliver(["20300101-000000-any"])

    asyncio.run(work())


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("temporal://h?nonsense=1", "is not the address of a Temporal server"),
        ("temporal://h:99999", "Port out of range"),
        ("temporal://h?heartbeat=soon", "should be a number of seconds above 0"),
        ("temporal://h?heartbeat=0", "should be a number of seconds above 0"),
        ("temporal://h?heartbeat=nan", "should be a number of seconds above 0"),
        ("temporal://h?tls=1&api_key_env=NO_KEY_IS_HERE", "the environment variable NO_KEY_IS_HERE is not set"),
        ("amqp://h", "is not a known engine"),
    ],
)
def test_an_address_that_is_none_is_told_of_before_anything_is_sent(address: str, says: str) -> None:
    """What is wrong with it, in a line."""
    with pytest.raises(BadInput, match=says):
        engine_of(address)


def test_a_worker_that_leaves_gives_its_runs_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way is paused, to be handed out again at once; nothing new is begun; another finishes it."""

    async def work(journal: PostgresJournal, carrier: Carrier, run: str) -> None:
        begun = await _size(journal, run)
        under_way = asyncio.ensure_future(carrier.carry(run))
        while await _size(journal, run) == begun:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)
        carrier.leave()
        await carrier.left()
        assert await under_way == 0.0
        assert (await carrier.carry(run) or 0.0) > 0.0
        assert await Carrier(journal, held=_HELD_S).carry(run) is None

    monkeypatch.setenv("HOLD", "0.5")  # an action that has begun is waited for
    carried(office, work)
    assert len(EffectLedger(office.folder / "effects").lines()) == 1


@pytest.mark.skipif(not THOROUGH, reason="it takes long: `make test-durability` runs it")
def test_a_worker_gives_signs_of_life_as_often_as_who_handed_the_run_out_looks(office: Office, temporal: str) -> None:
    """A heartbeat of its own that is longer does not have its runs taken from it: nobody else goes on with them."""
    from temporalio.client import Client, WorkflowExecutionStatus

    address = f"{temporal}?heartbeat=6&queue=beats"

    async def hand_out(_journal: PostgresJournal, _carrier: Carrier, run: str) -> None:
        async with engine_of(address) as engine:
            await engine.deliver([run])

    async def heard_until_its_end(run: str) -> set[float]:
        client, heard = await Client.connect(urlsplit(address).netloc), set()
        async with asyncio.timeout(90):
            while (now := await client.get_workflow_handle(run).describe()).status is WorkflowExecutionStatus.RUNNING:
                for each in now.raw_description.pending_activities:
                    if each.HasField("last_heartbeat_time"):
                        heard.add(each.last_heartbeat_time.ToMilliseconds() / 1e3)
                await asyncio.sleep(0.1)
        return heard

    carried(office, hand_out)
    office.worker(address, heartbeat="60", HOLD="20")
    journal = PostgresJournal(office.runs)
    (run,) = journal.runs()
    heard = asyncio.run(heard_until_its_end(run))
    told = (journal.folder(run) / "trace.jsonl").read_text()
    assert told.count('"kind":"run.resumed"') == 1
    assert max(later - sign for sign, later in pairwise(sorted(heard))) < 4, office.logs()  # one may be late


@pytest.mark.skipif(not THOROUGH, reason="it takes long: `make test-durability` runs it")
@pytest.mark.parametrize("kind", ["procrastinate", "Temporal", "Temporal, before its lease ends"])
def test_a_dead_workers_run_goes_on_elsewhere_within_twice_the_heartbeat(
    kind: str, office: Office, request: pytest.FixtureRequest, record_property: Callable[[str, str], None]
) -> None:
    """Killed within its action; the engine hands the run to another, which is idle, and finishes it."""
    heartbeat = 5.0
    watched = heartbeat if kind == "Temporal" else 2.0  # sooner than the journal lets another have the run
    address = (
        office.runs
        if kind == "procrastinate"
        else f"{request.getfixturevalue('temporal')}?heartbeat={watched:g}&queue=recovery"
    )

    async def hand_out(_journal: PostgresJournal, _carrier: Carrier, run: str) -> None:
        async with engine_of(address) as engine:
            await engine.deliver([run])

    carried(office, hand_out)
    journal = PostgresJournal(office.runs)
    (run,) = journal.runs()

    def told(kind: str) -> int:
        return (journal.folder(run) / "trace.jsonl").read_text().count(f'"kind":"{kind}"')

    def until(kind: str, times: int) -> None:
        over = time.monotonic() + 60
        while told(kind) < times:
            assert time.monotonic() < over, office.logs()
            time.sleep(0.02)

    first = office.worker(address, heartbeat=f"{heartbeat:g}", HOLD="60")
    until("action.intent", 1)
    office.worker(address, heartbeat=f"{heartbeat:g}")
    while office.logs().count("working for") < 2:
        time.sleep(0.05)
    time.sleep(1.0)  # it has connected
    first.kill()
    died = time.monotonic()
    until("run.resumed", 2)
    took = time.monotonic() - died
    until("run.ended", 1)
    assert took < 2 * heartbeat, office.logs()
    assert len(EffectLedger(office.folder / "effects").lines()) == 1
    record_property("shown", f"recovery, {kind}: a killed worker's run went on {took / heartbeat:.2f} heartbeats later")

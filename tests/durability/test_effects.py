"""What is promised for actions, when they hang, when the disk fails, and when the process dies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scaffold import Call, Gate, Outcome, Planning, Scaffold, Task, Verdict, act, action, majority, think, together
from scaffold.errors import ActionError, ContextOverflow, JournalFailed, NotPerformed, StepFailed
from scaffold.interfaces import Answer, Question, ReviewContext, Surroundings, TraceView
from scaffold.testing import Scripted
from scaffold.testing.effects import EffectLedger
from scaffold.testing.judging import read_story, wrong_clearances, wrong_effects
from scaffold.trace.files import FileJournal
from scaffold.trace.heads import Says, Signer
from scaffold.trace.identities import INDEX
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.actions import Idempotency
from scaffold.vocabulary.models import Delta, Request
from scaffold.vocabulary.review import MonitorSpec, Subject
from scaffold.vocabulary.task import Budget, Oversight

TASK = Task(prompt="do it", oversight=Oversight(unmonitored=True))


def do_it(_task: Task) -> Planning[str]:
    """Pay once, and say what came of it."""
    try:
        done = yield from act("pay", {"what": "rent"})
    except ActionError as error:
        return f"{type(error).__name__}: {error.message}"
    return str(done.value)


def think_and_do_it(task: Task) -> Planning[str]:
    """Think first, so that the trace holds something before the intent."""
    yield from think("understand", task.prompt)
    return (yield from do_it(task))


def pay_into(
    ledger: EffectLedger, *, idempotency: Idempotency = "none", timeout_s: float = 5.0, then: Any = None
) -> Any:
    """An action that leaves its effect in a ledger, and then does something else."""

    @action(effect="irreversible", idempotency=idempotency, timeout_s=timeout_s)
    async def pay(what: str, *, call: Call) -> str:
        ledger.happen("pay", call, {"what": what})
        if then is not None:
            await then()
        return "paid"

    return pay


def test_an_action_that_times_out_after_its_effect_is_unknown(tmp_path: Path) -> None:
    """Nobody can tell what a hanging call did: it is `unknown`, happened once, and is not tried again."""
    ledger = EffectLedger(tmp_path / "effects")
    pay = pay_into(ledger, timeout_s=0.05, then=lambda: asyncio.sleep(30))
    outcome = Scaffold(do_it, monitors=[], actions=[pay], journal=FileJournal(tmp_path / "runs")).solve_sync(TASK)
    assert outcome.answer == "OutcomeUnknown: no answer within 0.05 s"
    assert [each.status for each in outcome.actions] == ["unknown"]
    assert len(ledger.lines()) == 1
    assert len(list(read_story(Path(outcome.trace).parent).of("action.intent"))) == 1


def pay_twice(_task: Task) -> Planning[tuple[str, ...]]:
    """Pay two things at a time, and say what came of each."""

    def one(what: str) -> Planning[str]:
        try:
            return str((yield from act("pay", {"what": what})).value)
        except ActionError as error:
            return f"{type(error).__name__}: {error.message}"

    return (yield from together(one("rent"), one("power")))


def test_a_function_for_which_no_thread_is_free_in_time_is_never_begun(tmp_path: Path) -> None:
    """It is known not to have happened, and does not happen later, when a thread is free and the run is over."""
    begun, paid = threading.Event(), []

    @action(effect="irreversible", timeout_s=0.2)
    def pay(what: str) -> str:
        paid.append(what)
        begun.wait(30)
        return "paid"

    async def work() -> tuple[Outcome, list[str]]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        agent = Scaffold(pay_twice, monitors=[], actions=[pay], journal=FileJournal(tmp_path))
        outcome = await agent.solve(TASK)
        begun.set()
        await asyncio.to_thread(time.sleep, 0)  # by then the thread has come to whatever was waiting for it
        return outcome, list(paid)

    outcome, paid_since = asyncio.run(work())
    assert sorted(outcome.answer) == [
        "ActionFailed: it was not begun: no thread was free within 0.2 s",
        "OutcomeUnknown: no answer within 0.2 s",
    ]
    assert len(paid_since) == 1


class NoMore(threading.Thread):
    """A thread that the system refuses to start."""

    def start(self) -> None:
        """Say that it was refused."""
        raise RuntimeError("can't start new thread")


def test_a_run_for_which_the_system_has_no_thread_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nobody's fault and may pass: what needs a thread is not done, and the run goes on when resumed."""
    ledger = EffectLedger(tmp_path / "effects")

    @action(effect="irreversible", identity=("what",))
    async def pay(what: str, *, call: Call) -> str:
        ledger.happen("pay", call, {"what": what})
        return "paid"

    agent = Scaffold(do_it, monitors=[], actions=[pay], journal=FileJournal(tmp_path / "runs"))

    async def work() -> Outcome:
        with monkeypatch.context() as few:
            few.setattr(threading, "Thread", NoMore)
            return await agent.solve(TASK)

    outcome = asyncio.run(work())
    assert (outcome.status, ledger.lines()) == ("unavailable", [])
    assert outcome.reason == "the system lets this process have no more threads"
    assert agent.resume_sync(outcome.run).answer == "paid"


def test_a_function_for_which_the_system_has_no_thread_is_never_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python keeps it for the next thread, which passes it by."""
    paid: list[str] = []

    @action(effect="irreversible")
    def pay(what: str) -> str:
        paid.append(what)
        return "paid"

    async def work() -> Outcome:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        agent = Scaffold(do_it, monitors=[], actions=[pay], journal=FileJournal(tmp_path))
        with monkeypatch.context() as few:
            few.setattr(threading, "Thread", NoMore)
            outcome = await agent.solve(TASK)
        await asyncio.to_thread(time.sleep, 0)
        return outcome

    assert asyncio.run(work()).answer == "ActionFailed: it was not begun: can't start new thread"
    assert not paid


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "tiny"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a tmpfs takes more rights than this user has")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)  # an index may be open on it yet


def test_a_full_disk_before_an_intent_lets_no_action_through(tiny_disk: Path, tmp_path: Path) -> None:
    """The intent cannot be written, so nothing happens, and the run says that it cannot go on."""
    ledger = EffectLedger(tmp_path / "effects")

    def fill_up(point: str) -> None:
        if point == "action.intent:before":
            with contextlib.suppress(OSError), (tiny_disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 512)

    def pay_at_length(_task: Task) -> Planning[str]:
        # The call is written together with its intent; it has to be more than the files' last pages have room for.
        return str((yield from act("pay", {"what": "rent " * 2000})).value)

    outcome = Scaffold(
        pay_at_length,
        monitors=[],
        actions=[pay_into(ledger)],
        journal=FileJournal(tiny_disk / "runs"),
        surroundings=Surroundings(reach=fill_up),
    ).solve_sync(TASK)
    assert outcome.status == "unavailable"
    assert "No space" in outcome.reason
    assert not ledger.lines()


def test_a_run_whose_folder_was_removed_lets_no_action_through(tmp_path: Path) -> None:
    """Its open files can still be written to, but end with the process: nothing would tell of the action."""
    ledger = EffectLedger(tmp_path / "effects")
    outcome = Scaffold(
        do_it,
        monitors=[],
        actions=[pay_into(ledger)],
        journal=FileJournal(tmp_path / "runs"),
        surroundings=Surroundings(
            reach=lambda point: shutil.rmtree(tmp_path / "runs") if point == "action.intent:before" else None
        ),
    ).solve_sync(TASK)
    assert (outcome.status, ledger.lines()) == ("unavailable", [])
    assert outcome.reason.endswith(": it was removed")


def test_a_full_disk_where_an_identity_is_taken_pauses_the_run(tiny_disk: Path, tmp_path: Path) -> None:
    """What cannot be held is neither done nor refused: once there is room, the run goes on and does it."""
    ledger = EffectLedger(tmp_path / "effects")
    filler = tiny_disk / "filler"

    def fill_up(point: str) -> None:
        if point == "identity:before":
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 512)

    @action(effect="irreversible", identity=("what",))
    async def pay(what: str, *, call: Call) -> str:
        ledger.happen("pay", call, {"what": what})
        return "paid"

    subprocess.run(["mount", "-o", "remount,size=512k", tiny_disk], check=True)  # the index takes 80 KiB
    settings: dict[str, Any] = {"monitors": [], "actions": [pay], "journal": FileJournal(tiny_disk / "runs")}
    outcome = Scaffold(do_it, surroundings=Surroundings(reach=fill_up), **settings).solve_sync(TASK)
    assert (outcome.status, ledger.lines()) == ("unavailable", [])
    assert "disk is full" in outcome.reason
    filler.unlink()
    again = Scaffold(do_it, **settings).resume_sync(outcome.run)
    assert (again.status, again.answer, len(ledger.lines())) == ("solved", "paid", 1)


@pytest.mark.parametrize("half", [0, 40])
@pytest.mark.parametrize("writes", [0, 1])
def test_a_write_that_fails_before_an_intent_lets_no_action_through(writes: int, half: int, tmp_path: Path) -> None:
    """With nothing or half a line written, the trace ends with a whole line and can be resumed."""
    ledger = EffectLedger(tmp_path / "effects")
    left: list[int] = []

    def write(descriptor: int, data: bytes) -> int:
        if left and not left[0]:
            os.write(descriptor, data[:half])
            raise OSError(errno.ENOSPC, "No space left on device")
        left[:] = [count - 1 for count in left]
        return os.write(descriptor, data)

    def reach(point: str) -> None:
        if point == "action.intent:before":
            left.append(writes)  # the first is of the contents, the second of the spine

    settings: dict[str, Any] = {
        "backends": {"default": Scripted("ok")},
        "monitors": [],
        "actions": [pay_into(ledger)],
    }
    journal = FileJournal(tmp_path / "runs", write=write)
    outcome = Scaffold(think_and_do_it, journal=journal, surroundings=Surroundings(reach=reach), **settings).solve_sync(
        TASK
    )
    assert outcome.status == "unavailable"
    assert not ledger.lines()
    left.clear()
    again = Scaffold(think_and_do_it, journal=FileJournal(tmp_path / "runs"), **settings).resume_sync(outcome.run)
    assert (again.answer, again.repaired) == ("paid", "")
    assert len(ledger.lines()) == 1


def test_a_failed_fsync_of_an_intent_lets_no_action_through(tmp_path: Path) -> None:
    """What may not be on disk is not acted on."""
    ledger = EffectLedger(tmp_path / "effects")

    async def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    journal = FileJournal(tmp_path / "runs", fsync=fsync)
    outcome = Scaffold(do_it, monitors=[], actions=[pay_into(ledger)], journal=journal).solve_sync(TASK)
    assert outcome.status == "unavailable"
    assert not ledger.lines()


def cut_after(outcome: Outcome, kind: str) -> None:
    """Leave of a run what a kill right after an event would have left."""
    trace = Path(outcome.trace)
    lines = trace.read_bytes().splitlines(keepends=True)
    place = max(place for place, line in enumerate(lines) if b'"kind":"%s"' % kind.encode() in line)
    trace.write_bytes(b"".join(lines[: place + 1]))


def test_what_an_interrupted_attempt_did_is_not_vouched_for_by_the_next(tmp_path: Path) -> None:
    """NotPerformed from a second attempt says nothing of the first: the outcome is unknown, not failed."""
    ledger = EffectLedger(tmp_path / "effects")

    @action(effect="irreversible", idempotency="target_key")
    async def pay(what: str, *, call: Call) -> str:
        if call.attempt > 1:
            raise NotPerformed("the target is closed")
        return str(ledger.happen_once("pay", call, {"what": what}, "paid"))

    settings: dict[str, Any] = {"monitors": [], "actions": [pay], "journal": FileJournal(tmp_path / "runs")}
    first = Scaffold(do_it, **settings).solve_sync(TASK)
    cut_after(first, "action.intent")
    outcome = Scaffold(do_it, **settings).resume_sync(first.run)
    assert [each.status for each in outcome.actions] == ["unknown"]
    assert not list(wrong_effects(read_story(Path(outcome.trace).parent), ledger.lines()))


class Turncoat:
    """Says what it is made to say."""

    def __init__(self, verdict: Verdict) -> None:
        self.spec = MonitorSpec(name="turncoat", watches=frozenset({"action"}))
        self._verdict = verdict

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        return self._verdict


def test_an_interrupted_action_that_is_refused_now_is_unknown_and_has_one_outcome(tmp_path: Path) -> None:
    """It may have happened, so it is not `refused`; and two outcomes for one move cannot be replayed."""
    ledger = EffectLedger(tmp_path / "effects")

    def agent(verdict: Verdict) -> Scaffold:
        return Scaffold(
            do_it,
            monitors=[Turncoat(verdict)],
            actions=[pay_into(ledger, idempotency="target_key")],
            journal=FileJournal(tmp_path / "runs"),
        )

    first = agent(Verdict(decision="allow", status="abstain")).solve_sync(TASK)  # not ok, so asked again on resume
    cut_after(first, "action.intent")
    outcome = agent(Verdict(decision="block")).resume_sync(first.run)
    assert [each.status for each in outcome.actions] == ["unknown"]
    story = read_story(Path(outcome.trace).parent)
    assert len(list(story.of("action.outcome", "action.refused"))) == 1
    assert agent(Verdict(decision="block")).resume_sync(first.run).answer == outcome.answer


def test_a_signed_head_covers_only_what_is_on_disk(tmp_path: Path) -> None:
    """Other branches go on recording while an intent is synced: a head of those would cry forgery."""
    sizes: list[bool] = []
    ledger = EffectLedger(tmp_path / "effects")

    class Watched(FileJournal):
        async def sign(self, claim: Any, note: str) -> None:
            await super().sign(claim, note)
            sizes.append(not read_story(self.root / claim.run).faults)

    async def slow(_descriptor: int) -> None:
        await asyncio.sleep(0.03)

    def branches(_task: Task) -> Planning[str]:
        yield from together(do_it(_task), think("solve", "meanwhile", returns=str))
        return "done"

    signer = Signer(Ed25519PrivateKey.generate())
    journal = Watched(tmp_path / "runs", fsync=slow)
    backend = Scripted("ok", delay=0.01)
    agent = Scaffold(
        branches,
        backends={"default": backend},
        monitors=[],
        actions=[pay_into(ledger)],
        journal=journal,
        signer=signer,
    )
    assert agent.solve_sync(TASK).status == "solved"
    assert sizes == [True, True]


def test_an_interrupt_during_an_action_waits_for_it_and_asks_nobody(tmp_path: Path) -> None:
    """A started action is never cut off; what it gave back is reviewed once the run goes on."""
    ledger = EffectLedger(tmp_path / "effects")
    asked: list[Question] = []

    class Person:
        async def ask(self, question: Question) -> Answer | None:
            asked.append(question)
            return Answer(id=question.id, digest=question.digest, granted=True)

    class Escalates:
        spec = MonitorSpec(name="escalates", watches=frozenset({"observation"}))

        async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
            return Verdict(decision="escalate")

    async def interrupt() -> None:
        agent.interrupt()
        await asyncio.sleep(0.02)

    agent = Scaffold(
        do_it,
        monitors=[Escalates()],
        actions=[pay_into(ledger, then=interrupt)],
        approvers=[Person()],
        journal=FileJournal(tmp_path / "runs"),
    )
    outcome = agent.solve_sync(TASK)
    assert outcome.status == "interrupted"
    assert [each.status for each in outcome.actions] == ["performed"]
    assert asked == []
    again = agent.resume_sync(outcome.run)
    assert (again.answer, len(asked), len(ledger.lines())) == ("paid", 1, 1)
    assert not list(wrong_clearances(read_story(Path(outcome.trace).parent)))


@pytest.mark.parametrize("failure", [RuntimeError("no line"), asyncio.CancelledError()])
def test_an_approver_that_fails_has_reached_nobody(failure: BaseException, tmp_path: Path) -> None:
    """The run waits for the inbox instead of failing, and nothing is done."""

    class Person:
        async def ask(self, question: Question) -> Answer | None:
            raise failure

    class Escalates:
        spec = MonitorSpec(name="escalates", watches=frozenset({"action"}))

        async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
            return Verdict(decision="escalate")

    ledger = EffectLedger(tmp_path / "effects")
    agent = Scaffold(
        do_it,
        monitors=[Escalates()],
        actions=[pay_into(ledger)],
        approvers=[Person()],
        journal=FileJournal(tmp_path / "runs"),
    )
    assert agent.solve_sync(TASK).status == "waiting"
    assert not ledger.lines()


def test_a_monitor_that_lets_cancellation_through_has_not_passed(tmp_path: Path) -> None:
    """CancelledError that nobody asked for is a failed check, not the end of the move's worker."""

    class Cancels:
        spec = MonitorSpec(name="cancels", watches=frozenset({"action"}))

        async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
            raise asyncio.CancelledError

    ledger = EffectLedger(tmp_path / "effects")
    outcome = Scaffold(
        do_it, monitors=[Cancels()], actions=[pay_into(ledger)], journal=FileJournal(tmp_path / "runs")
    ).solve_sync(TASK)
    assert str(outcome.answer).startswith("ActionRefused")
    assert [verdict.status for verdict in outcome.verdicts] == ["error"]
    assert not ledger.lines()


def test_an_interrupt_before_an_opaque_action_has_begun_loses_nothing(tmp_path: Path) -> None:
    """Cut off while its intent is being synced, it is known not to have happened; the resumed run performs it."""
    ledger = EffectLedger(tmp_path / "effects")
    reached: list[str] = []

    async def fsync(_descriptor: int) -> None:
        if reached[-1:] == ["action.intent:before"] and reached.count("action.intent:before") == 1:
            agent.interrupt()
        await asyncio.sleep(0)

    agent = Scaffold(
        do_it,
        monitors=[],
        actions=[pay_into(ledger)],
        journal=FileJournal(tmp_path / "runs", fsync=fsync),
        surroundings=Surroundings(reach=reached.append),
    )
    outcome = agent.solve_sync(TASK)
    assert outcome.status == "interrupted"
    assert [each.status for each in outcome.actions] == ["planned"]
    assert not ledger.lines()
    resumed = agent.resume_sync(outcome.run)
    assert [each.status for each in resumed.actions] == ["performed"]
    assert len(ledger.lines()) == 1
    found = verify_run(tmp_path / "runs" / outcome.run)
    assert (found.ok, found.unfinished) == (True, 0), found.sentence()


class Locked(Signer):
    """Signs as long as its key is there."""

    away = False

    def sign(self, said: Says) -> str:
        if self.away:
            raise JournalFailed("the key is away")
        return super().sign(said)


@pytest.mark.parametrize("idempotency", ["none", "target_key"])
def test_what_could_not_be_signed_for_is_performed_once_it_can(tmp_path: Path, idempotency: Idempotency) -> None:
    """The run pauses with nothing done; resumed, it does what the one action of its budget allows."""
    ledger = EffectLedger(tmp_path / "effects")
    signer = Locked(Ed25519PrivateKey.generate())
    signer.away = True
    agent = Scaffold(
        do_it,
        monitors=[],
        actions=[pay_into(ledger, idempotency=idempotency)],
        journal=FileJournal(tmp_path / "runs"),
        signer=signer,
    )
    task = TASK.model_copy(update={"budget": Budget(actions=1)})
    paused = agent.solve_sync(task)
    assert (paused.status, [each.status for each in paused.actions]) == ("unavailable", ["planned"])
    assert not ledger.lines()
    signer.away = False
    outcome = agent.resume_sync(paused.run)
    assert (outcome.answer, len(ledger.lines())) == ("paid", 1)
    found = verify_run(tmp_path / "runs" / paused.run)
    assert found.ok, found.sentence()


def test_a_later_attempt_that_is_not_begun_leaves_the_doubt_about_the_first(tmp_path: Path) -> None:
    """What was cut off in the middle may have happened, whatever becomes of the attempts after it."""
    ledger = EffectLedger(tmp_path / "effects")
    said: list[str] = []

    async def then() -> None:
        if said:
            raise NotPerformed(said[0])

    signer = Locked(Ed25519PrivateKey.generate())
    agent = Scaffold(
        do_it,
        monitors=[],
        actions=[pay_into(ledger, idempotency="target_key", then=then)],
        journal=FileJournal(tmp_path / "runs"),
        signer=signer,
    )
    run = agent.solve_sync(TASK).run
    folder = tmp_path / "runs" / run
    lines = (folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    begun = next(number for number, line in enumerate(lines, 1) if b'"kind":"action.intent"' in line)
    (folder / "trace.jsonl").write_bytes(b"".join(lines[:begun]))  # as a crash leaves it
    (folder / "heads").unlink()
    signer.away = True
    assert agent.resume_sync(run).status == "unavailable"
    signer.away = False
    said.append("it is known here already")
    assert str(agent.resume_sync(run).answer).startswith("OutcomeUnknown: an earlier attempt was interrupted")


def test_what_was_withdrawn_is_free_for_others(tmp_path: Path) -> None:
    """At once, while the run that withdrew it goes on; and once that is paused, also where the index was lost."""
    paid: list[str] = []
    cancel: list[Any] = []
    reached: list[str] = []

    @action(effect="irreversible", identity=("what",))
    async def pay(what: str) -> str:
        paid.append(what)
        return "paid"

    async def fsync(_descriptor: int) -> None:
        if cancel and reached[-1:] == ["action.intent:before"]:
            cancel.pop()()
        await asyncio.sleep(0)

    surroundings, journal = Surroundings(reach=reached.append), FileJournal(tmp_path / "runs", fsync=fsync)
    agent = Scaffold(do_it, monitors=[], actions=[pay], journal=journal, surroundings=surroundings)

    async def hosted() -> None:
        gate = Gate(actions=[pay], monitors=[], journal=journal, surroundings=surroundings)
        async with gate.run(TASK) as run:
            calling = asyncio.ensure_future(run.act("pay", {"what": "rent"}))
            cancel.append(calling.cancel)
            with pytest.raises(asyncio.CancelledError):
                await calling
            assert (await agent.solve(TASK)).answer == "paid"
            run.answer("done")

    asyncio.run(hosted())
    journal = FileJournal(tmp_path / "later", fsync=fsync)
    agent = Scaffold(do_it, monitors=[], actions=[pay], journal=journal, surroundings=surroundings)
    cancel.append(agent.interrupt)
    paused = agent.solve_sync(TASK)
    assert paused.status == "interrupted"
    (tmp_path / "later" / INDEX).unlink()
    other = Scaffold(do_it, monitors=[], actions=[pay], journal=FileJournal(tmp_path / "later"))
    assert other.solve_sync(TASK).answer == "paid"
    assert "it was already done" in str(other.resume_sync(paused.run).answer)
    assert paid == ["rent", "rent"]


def test_a_backend_that_lets_cancellation_through_fails_its_step(tmp_path: Path) -> None:
    """Even after samples drawn apart have failed together, which leaves traces in the task on older Pythons."""

    class Cancels(Scripted):
        async def generate(self, request: Request) -> AsyncGenerator[Delta]:
            if "first" in request.messages[-1].content:
                raise ContextOverflow("too long")
            raise asyncio.CancelledError
            yield Delta()

    def planner(_task: Task) -> Planning[list[str]]:
        said = []
        for name in ("first", "second"):
            try:
                yield from think("solve", name, returns=str, sampling=majority(3))
            except StepFailed as error:
                said.append(type(error).__name__)
        return said

    backend = Cancels()
    backend.profile = msgspec.structs.replace(backend.profile, can=frozenset())
    agent = Scaffold(planner, backends={"default": backend}, monitors=[], journal=FileJournal(tmp_path / "runs"))
    assert agent.solve_sync(TASK).answer == ["PromptTooLong", "StepFailed"]

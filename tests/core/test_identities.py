"""Identity across runs: the same thing is acted on once by all runs of a folder, whatever dies in between."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.conftest import Watcher
from tests.core.doing import doing, planning
from tests.powerless import powerless

from scaffold import (
    Budget,
    Call,
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
    propose,
    think,
    together,
    undo,
)
from scaffold.approvals.queue import waiting
from scaffold.approvals.saying import answer_to
from scaffold.errors import ActionError, BadInput, JournalFailed
from scaffold.interfaces import Answer, Holder, Surroundings
from scaffold.testing import Scripted
from scaffold.testing.judging import read_story
from scaffold.trace.files import FileJournal
from scaffold.trace.identities import INDEX, Act, Identities, fate_of, settlement_id
from scaffold.trace.pruning import prune_content
from scaffold.trace.records import read_files
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.task import Oversight

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scaffold.interfaces import Claim, Record
    from scaffold.vocabulary.clearance import Clearance
    from scaffold.vocabulary.outcome import Outcome

FREELY = Task(prompt="pay", oversight=Oversight(unmonitored=True))


class Folder:
    """A folder of runs, and an action that pays an invoice, or fails to as `how` says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = FileJournal(root)
        self.paid: list[str] = []
        self.how = ""

        @action(effect="irreversible", identity=("invoice",))
        async def pay(invoice: str, *, call: Call) -> str:
            match self.how:
                case "not":
                    raise NotPerformed("closed")
                case "break":
                    raise OSError("the line broke")
                case _:
                    self.paid.append(invoice)
                    return call.key

        @action(effect="read", identity=("invoice",))
        async def look(invoice: str) -> str:
            return invoice

        self.actions = [pay, look]

    def agent(self, planner: Any = None, **more: Any) -> Scaffold:
        """An agent that pays i1, on a journal of its own as another process would have."""
        given = {"journal": FileJournal(self.root), "actions": self.actions, "monitors": [], **more}
        return Scaffold(planner or doing("pay", invoice="i1"), **{"backends": {"default": Scripted("ok")}, **given})

    def solve(self, planner: Any = None, *, how: str = "", task: Task = FREELY, **more: Any) -> Outcome:
        """Solve in a run of its own."""
        self.how = how
        return self.agent(planner, **more).solve_sync(task)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder for each test."""
    return Folder(tmp_path / "runs")


def test_the_same_invoice_is_not_paid_by_two_runs(folder: Folder) -> None:
    """The second is refused, and told which run did it, and where; the trace says so too."""
    first = folder.solve()
    second = folder.solve()
    assert folder.paid == ["i1"]
    said = f"it was already done, by run {first.run} at 0"
    assert second.answer == f"ActionRefused: {said}"
    story = read_story(folder.root / second.run)
    (reviewed,) = story.of("reviewed")
    assert story.contents[reviewed["seq"]]["verdicts"][0]["rationale"] == said
    assert folder.solve(doing("pay", invoice="i2")).status == "solved"
    assert folder.paid == ["i1", "i2"]


@pytest.mark.parametrize(
    "spelled", ["cafe\u0301 1", " caf\u00e9  1\n", "caf\u00e9\u200b\u00a01", "caf\u00e9 1\u3164\ufe0f"]
)
def test_another_spelling_that_reads_the_same_is_the_same_invoice(folder: Folder, spelled: str) -> None:
    """Accents composed or not, spaces, what is not seen; capitals and other alphabets may be another's name."""
    folder.solve(doing("pay", invoice="caf\u00e9 1"))
    assert "it was already done" in folder.solve(doing("pay", invoice=spelled)).answer
    assert folder.paid == ["caf\u00e9 1"]
    folder.solve(doing("pay", invoice="Caf\u00e9 1"))
    assert folder.paid == ["caf\u00e9 1", "Caf\u00e9 1"]


@pytest.mark.parametrize(
    ("said", "again"),
    [(17, 17.0), (0, -0.0), (2**63, 2.0**63), (["caf\u00e9", 1], ["cafe\u0301\u200b", 1.0]), ({"no": 1}, {"no ": 1.0})],
)
def test_a_number_written_otherwise_is_the_same_and_so_are_the_parts_of_a_value(
    folder: Folder, said: Any, again: Any
) -> None:
    """A schema lets 17.0 pass for the integer 17, and so does a target that is told to pay it."""
    paid: list[Any] = []

    @action(effect="irreversible", identity=("invoice",))
    async def pay(invoice: Any) -> str:
        paid.append(invoice)
        return "paid"

    folder.solve(doing("pay", invoice=said), actions=[pay])
    assert "it was already done" in folder.solve(doing("pay", invoice=again), actions=[pay]).answer
    assert paid == [said]


class Tool:
    """A tool of somebody else's, which fills in by itself what is left out."""

    def __init__(self) -> None:
        currency = {"type": "string", "default": "EUR"}
        parameters = {"type": "object", "properties": {"invoice": {"type": "string"}, "currency": currency}}
        self.spec = ActionSpec(name="pay", parameters=parameters, identity=("invoice", "currency"))
        self.paid: list[Any] = []

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Take them as they are."""
        return dict(arguments)

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> str:
        """Pay."""
        clearance.redeem("pay", canonical(arguments))
        self.paid.append(arguments)
        return "paid"


def test_what_is_left_to_its_default_names_the_same_thing(folder: Folder) -> None:
    """A tool of an MCP server does the same whether it is told the default or nothing."""
    tool = Tool()
    folder.solve(doing("pay", invoice="i1"), actions=[tool])
    for left_out in ({}, {"currency": "EUR"}):
        assert "it was already done" in folder.solve(doing("pay", invoice="i1", **left_out), actions=[tool]).answer
    folder.solve(doing("pay", invoice="i1", currency="USD"), actions=[tool])
    assert len(tool.paid) == 2


def test_what_another_run_is_doing_is_not_done_beside_it(folder: Folder) -> None:
    """While one pays, another is told so and refused; when the first has failed for certain, a third may."""

    async def both(*, fails: bool) -> tuple[str, str]:
        begun, over = asyncio.Event(), asyncio.Event()

        @action(effect="irreversible", identity=("invoice",))
        async def pay(invoice: str) -> str:
            begun.set()
            await over.wait()
            if fails:
                raise NotPerformed("closed")
            folder.paid.append(invoice)
            return "paid"

        first = asyncio.ensure_future(folder.agent(actions=[pay]).solve(FREELY))
        await begun.wait()
        second = await folder.agent().solve(FREELY)
        over.set()
        return (await first).run, str(second.answer)

    run, said = asyncio.run(both(fails=True))
    assert f"run {run} at 0 is about to do it, or is doing it" in said
    assert folder.paid == []
    run, said = asyncio.run(both(fails=False))
    assert f"run {run} at 0 is about to do it, or is doing it" in said
    assert f"it was already done, by run {run} at 0" in folder.solve().answer
    assert folder.paid == ["i1"]


def test_a_plan_is_told_which_of_its_calls_its_own_run_has_done(folder: Folder) -> None:
    """The objection says where, before any of the plan is begun."""

    def planner(_: Task) -> Planning[list[str]]:
        yield from act("pay", {"invoice": "i1"})
        review = yield from propose(Plan([Planned("pay", {"invoice": name}, id=name) for name in ("i1", "i2")]))
        return [f"{each.node}: {each.feedback}" for each in review.objections]

    (said,) = folder.solve(planner).answer
    assert said == "i1: it was already done, or may have been, by this run at 0"
    assert folder.paid == ["i1"]


def test_a_plan_is_told_which_of_its_calls_was_done_elsewhere(folder: Folder) -> None:
    """The objection names the node, so that the planner can drop it."""
    first = folder.solve()
    told: list[Any] = []

    def look(_plan: Any, review: Any) -> Planning[str]:
        told.extend(review.objections)
        yield from act("look", {"invoice": "i1"})
        return "looked"

    plan = [Planned("pay", {"invoice": name}, id=name) for name in ("i1", "i2")]
    assert folder.solve(planning(*plan, then=look)).answer == "looked"
    assert [(each.node, first.run in each.feedback) for each in told] == [("i1", True)]


def test_what_has_failed_is_free_and_what_may_have_happened_is_not(folder: Folder) -> None:
    """NotPerformed gives the identity back; an exception holds it until a person says what happened."""
    assert folder.solve(how="not").actions[0].status == "failed"
    lost = folder.solve(how="break")
    assert lost.actions[0].status == "unknown"
    held = folder.solve()
    assert folder.paid == []
    assert f"may already have been done, by run {lost.run} at 0" in held.answer
    assert f"scaffold settle {lost.run} 0" in held.answer


@pytest.mark.parametrize(("how", "paid"), [("break", []), ("not", ["i1"])], ids=["in doubt", "failed"])
def test_runs_of_one_journal_hold_what_may_have_happened(folder: Folder, how: str, paid: list[str]) -> None:
    """As in a batch: what a run of the same process left in doubt is held, and what is known to have failed is free."""
    journal = FileJournal(folder.root)
    folder.solve(how=how, journal=journal)
    assert ("it may already have been done" in folder.solve(journal=journal).answer) == (how == "break")
    assert folder.paid == paid


@pytest.mark.parametrize("paid", [[], ["i1"]], ids=["it happened", "it did not"])
def test_a_person_settles_what_is_unknown(folder: Folder, paid: list[str]) -> None:
    """Their word on exactly that action counts; of two that differ, the graver one."""
    happened = not paid
    lost = folder.solve(how="break")
    (intent,) = read_story(folder.root / lost.run).of("action.intent")
    word = {"id": settlement_id("0"), "digest": intent["digest"]}
    other = Answer(**{**word, "digest": "of another"}, granted=not happened, by="eve")
    asyncio.run(folder.journal.post(lost.run, other))
    assert "may already have been done" in folder.solve().answer
    asyncio.run(folder.journal.post(lost.run, Answer(**word, granted=False, by="ann")))
    if happened:
        asyncio.run(folder.journal.post(lost.run, Answer(**word, granted=True, by="bob")))
    said = folder.solve()
    assert folder.paid == paid
    assert ("as bob says" in said.answer) is happened


def test_leave_to_do_it_is_no_word_that_it_happened(folder: Folder) -> None:
    """Whoever approved exactly that call has said nothing of what became of it."""
    careful = Watcher(Verdict(decision="escalate", rationale="much"))
    asked = folder.solve(monitors=[careful])
    (question,) = waiting(folder.journal, asked.run)
    asyncio.run(folder.journal.post(asked.run, answer_to(question, granted=True, by="ann")))
    folder.how = "break"
    assert folder.agent(monitors=[careful]).resume_sync(asked.run).actions[0].status == "unknown"
    said = folder.solve().answer
    assert "may already have been done" in said
    assert "ann" not in said


@pytest.mark.parametrize("status", ["", "refused", "failed"])
@pytest.mark.parametrize("lives", [False, True])
def test_only_what_has_not_begun_waits_for_its_run(status: str, *, lives: bool) -> None:
    """What is known not to have happened may be done elsewhere at once, though its run goes on with other things."""
    fate = fate_of("r", "0", Act("i1", status), [], identity="i1", lives=lives)
    assert fate == (Holder("r", "0", "under way") if lives and not status else None)


@pytest.mark.parametrize("lives", [False, True])
def test_what_is_in_doubt_is_a_persons_to_settle_while_its_run_goes_on(*, lives: bool) -> None:
    """It is not said to be under way, for which nobody could do anything but wait; and a person's word counts."""
    doubt = Act("i1", "unknown", "d")
    assert fate_of("r", "0", doubt, [], identity="i1", lives=lives) == Holder("r", "0", "unknown")
    word = Answer(id=settlement_id("0"), digest="d", granted=False, by="ann")
    assert fate_of("r", "0", doubt, [word], identity="i1", lives=lives) is None


@pytest.mark.parametrize("status", ["", "intended", "unknown", "performed"])
def test_what_a_run_does_with_something_else_at_that_key_takes_nothing(status: str) -> None:
    """Its proposal was lost in a crash, and the resumed run went another way."""
    assert fate_of("r", "0", Act("i2", status), [], identity="i1", lives=True) is None


@pytest.mark.parametrize("apart", [False, True], ids=["among others", "apart"])
@pytest.mark.parametrize("happened", [False, True])
def test_a_persons_word_counts_within_the_run_too(folder: Folder, *, happened: bool, apart: bool) -> None:
    """What did not happen may be done after all; what did may not, whether or not other runs are looked at."""
    journal = FileJournal(folder.root, apart=apart)

    @action(effect="read")
    async def settle(at: str, *, call: Call) -> str:
        digest = next(iter(read_story(folder.root / call.run).of("action.intent")))["digest"]
        word = {"id": settlement_id(at), "digest": digest}
        await journal.post(call.run, Answer(**word, granted=happened, by="ann"))
        return "said"

    def planner(_: Task) -> Planning[str]:
        lost = yield from doing("pay", invoice="i1")(_)
        folder.how = ""
        yield from act("settle", {"at": "0"})
        return f"{lost}; {(yield from doing('pay', invoice='i1')(_))}"

    said = folder.solve(planner, how="break", journal=journal, actions=[*folder.actions, settle])
    assert "the line broke" in said.answer
    assert ("it was already done" in said.answer, folder.paid) == (happened, [] if happened else ["i1"])


def test_reads_take_nothing_from_other_runs(folder: Folder) -> None:
    """An action that changes nothing may have an identity, and is refused only in its own run."""
    assert [folder.solve(doing("look", invoice="i1")).answer for _ in range(2)] == ["i1", "i1"]
    assert not (folder.root / INDEX).exists()


def test_an_action_without_identity_touches_no_index(folder: Folder) -> None:
    """Nothing is kept for what may be done again."""

    @action(effect="irreversible")
    async def wave(at: str) -> str:
        return f"waved at {at}"

    said = [folder.solve(doing("wave", at="ann"), actions=[wave]).answer for _ in range(2)]
    assert said == ["waved at ann"] * 2
    assert not (folder.root / INDEX).exists()


def test_a_run_that_comes_back_while_another_looks_at_it_keeps_what_it_holds(folder: Folder) -> None:
    """It had died before its intent; by the time that this is found out, it has been resumed and has paid."""
    dead = killed_at(folder, "identity:after")
    with closing(sqlite3.connect(folder.root / INDEX)) as index:
        ((identity,),) = index.execute("SELECT identity FROM held")

    def read(of: Path) -> Iterator[Record]:
        found = list(read_files(of))
        if not folder.paid:
            folder.agent().resume_sync(dead)
        return iter(found)

    held = asyncio.run(Identities(folder.root, read, folder.journal.inbox).hold(identity, "another", "0"))
    assert folder.paid == ["i1"]
    assert held == Holder(dead, "0", "performed")


def test_an_index_that_is_in_use_is_waited_for(folder: Folder) -> None:
    """Another process writes it for a while: what is taken meanwhile, and what is given back, comes after that."""
    folder.solve(doing("pay", invoice="i0"))
    other = sqlite3.connect(folder.root / INDEX, isolation_level=None, check_same_thread=False)

    def occupied() -> None:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, other.execute, ["COMMIT"]).start()

    def reach(point: str) -> None:
        if point == "identity:before":
            occupied()

    @action(effect="irreversible", identity=("invoice",))
    async def pay(invoice: str) -> str:
        occupied()
        raise NotPerformed(f"{invoice} is closed")

    with closing(other):
        assert folder.solve(surroundings=Surroundings(reach=reach)).status == "solved"
        assert folder.solve(doing("pay", invoice="i2"), actions=[pay]).actions[0].status == "failed"
    assert folder.solve(doing("pay", invoice="i2")).status == "solved"
    assert folder.paid == ["i0", "i1", "i2"]


def test_many_runs_at_once_pay_it_once(folder: Folder) -> None:
    """Of twenty runs in one process, one pays; the others are told that it does, or did."""

    async def work() -> list[Outcome]:
        return list(await asyncio.gather(*(folder.agent().solve(FREELY) for _ in range(20))))

    outcomes = asyncio.run(work())
    assert folder.paid == ["i1"]
    assert sorted(each.actions[0].status for each in outcomes) == ["performed", *["refused"] * 19]


def test_what_another_run_does_between_the_look_and_the_taking_is_not_done_twice(folder: Folder) -> None:
    """Whoever takes it first pays; the other had seen it free, and is refused all the same."""

    def reach(point: str) -> None:
        if point == "identity:before":
            folder.solve()

    late = folder.solve(surroundings=Surroundings(reach=reach))
    assert folder.paid == ["i1"]
    assert late.actions[0].status == "refused"
    assert "it was already done, by run" in late.answer


class FailsToHold(FileJournal):
    """A journal that can be asked who acts on what, and cannot take it then."""

    wrong: Exception

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Say what is wrong."""
        raise self.wrong


@pytest.mark.parametrize(
    ("wrong", "status", "done"),
    [(JournalFailed("the disk is full"), "unavailable", "planned"), (BadInput("it is damaged"), "solved", "refused")],
    ids=["for now", "for good"],
)
def test_what_cannot_be_taken_is_not_done(folder: Folder, wrong: Exception, status: str, done: str) -> None:
    """A run pauses for what passes by itself, and is refused for what does not."""
    journal = FailsToHold(folder.root)
    journal.wrong = wrong
    said = folder.solve(journal=journal)
    assert (said.status, [each.status for each in said.actions], folder.paid) == (status, [done], [])
    assert str(wrong) in f"{said.reason} {said.answer}"


class SlowToHold(FileJournal):
    """A journal that takes a moment to say who acts on what, as a database does."""

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Take it, after a moment."""
        await asyncio.sleep(0.01)
        return await super().hold(claim, identity, key)


@pytest.mark.parametrize("budget", [Budget(actions=1), Budget(usd=3.0)], ids=["actions", "usd"])
def test_what_is_taken_at_once_with_others_still_fits_the_budget(folder: Folder, budget: Budget) -> None:
    """Of four branches one pays; the others are refused when they have taken their invoices, and give them back."""
    paid: list[str] = []

    @action(effect="irreversible", identity=("invoice",), cost=2.0)
    async def pay(invoice: str) -> str:
        paid.append(invoice)
        return "paid"

    def planner(_: Task) -> Planning[list[str]]:
        said = yield from together(*(doing("pay", invoice=f"i{number}")(_) for number in range(4)))
        return list(said)

    task = FREELY.model_copy(update={"budget": budget})
    outcome = folder.solve(planner, task=task, actions=[pay], journal=SlowToHold(folder.root))
    assert len(paid) == 1
    assert sum("has no room" in said for said in outcome.answer) == 3
    assert verify_run(folder.root / outcome.run).ok
    for number in range(4):
        folder.solve(doing("pay", invoice=f"i{number}"), actions=[pay])
    assert sorted(paid) == ["i0", "i1", "i2", "i3"]


_PAYER = """
import sys, time
from pathlib import Path
from scaffold import Scaffold, Task, action
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.task import Oversight
from tests.core.doing import doing

root, start, count = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])

@action(effect="irreversible", identity=("invoice",))
async def pay(invoice: str) -> str:
    with (root / "paid.txt").open("a") as file:
        file.write(invoice + chr(10))
    return invoice

time.sleep(max(0.0, start - time.time()))
for number in range(count):
    agent = Scaffold(doing("pay", invoice=f"i{number}"), backends={"default": Scripted("ok")}, actions=[pay],
                     monitors=[], journal=FileJournal(root / "runs"))
    outcome = agent.solve_sync(Task(prompt="pay", oversight=Oversight(unmonitored=True)))
    print(outcome.actions[0].status, outcome.reason)
"""


def test_many_processes_at_once_pay_each_once(tmp_path: Path) -> None:
    """Four processes race through the same invoices from an empty folder; each is paid once, and nothing fails."""
    import time

    command = [sys.executable, "-c", _PAYER, str(tmp_path), str(time.time() + 1.5), "10"]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    racing = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=100) for process in racing]
    assert [err for _, err in said] == [""] * 4
    assert sorted((tmp_path / "paid.txt").read_text().split()) == [f"i{number}" for number in range(10)]
    statuses = [line.split()[0] for out, _ in said for line in out.splitlines()]
    assert (statuses.count("performed"), statuses.count("refused")) == (10, 30)


def killed_at(folder: Folder, point: str, planner: Any = None) -> str:
    """Have a process of its own pay i1, and die at a point; gives the run."""

    def reach(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    before = set(folder.journal.runs())
    child = os.fork()
    if not child:
        folder.solve(planner, surroundings=Surroundings(reach=reach))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    (run,) = set(folder.journal.runs()) - before
    return run


@pytest.mark.parametrize("point", ["identity:before", "identity:after", "action.intent:before"])
def test_who_died_before_the_intent_has_done_nothing(folder: Folder, point: str) -> None:
    """Another run pays; the one that died is refused when it goes on."""
    dead = killed_at(folder, point)
    paid = folder.solve()
    assert folder.paid == ["i1"]
    again = folder.agent().resume_sync(dead)
    assert folder.paid == ["i1"]
    assert f"by run {paid.run} at 0" in again.answer


def test_a_run_that_goes_another_way_after_a_crash_is_not_in_its_own_way(folder: Folder) -> None:
    """It died when it had taken the invoice, and its thoughts were lost; it thinks otherwise now, and pays it later."""

    def planner(_: Task) -> Planning[str]:
        thought = yield from think("decide", "At once?")
        if thought.text == "no":
            yield from think("verify", "Is it due?")
        review = yield from propose(Plan([Planned("pay", {"invoice": "i1"})]))
        assert not review.objections
        return (yield from act("pay", {"invoice": "i1"})).status

    dead = killed_at(folder, "identity:after", planner)
    spine = folder.root / dead / "trace.jsonl"
    lines = spine.read_bytes().splitlines(keepends=True)
    last = next(number for number, line in enumerate(lines) if b'"kind":"step.asked"' in line)
    spine.write_bytes(b"".join(lines[: last + 1]))  # as a machine's crash leaves it
    outcome = folder.agent(planner, backends={"default": Scripted("no")}).resume_sync(dead)
    assert (outcome.answer, folder.paid) == ("performed", ["i1"])
    assert f"it was already done, by run {dead} at" in folder.solve().answer


@pytest.mark.parametrize("point", ["action.intent:after", "action.effect:after", "action.outcome:before"])
def test_who_died_after_the_intent_holds_it(folder: Folder, point: str) -> None:
    """Nobody can tell, so nobody pays: before it is resumed, and after."""
    dead = killed_at(folder, point)
    assert f"may already have been done, by run {dead}" in folder.solve().answer
    assert folder.agent().resume_sync(dead).actions[0].status == "unknown"
    assert f"may already have been done, by run {dead}" in folder.solve().answer
    assert folder.paid == []


def test_the_index_follows_from_the_traces(folder: Folder) -> None:
    """Deleted, or from before the machine was started anew, it is made again."""
    folder.solve()
    folder.solve(doing("pay", invoice="i2"), how="break")
    folder.solve(doing("pay", invoice="i3"), how="not")

    def fates() -> list[str]:
        folder.paid.clear()
        said = [folder.solve(doing("pay", invoice=name)).answer for name in ("i1", "i2")]
        return [each.split(", by run")[0] for each in said]

    before = fates()
    for each in folder.root.glob(f"{INDEX}*"):
        each.unlink()
    assert fates() == before
    with sqlite3.connect(folder.root / INDEX) as index:
        index.execute("UPDATE machine SET boot = 'an earlier one'")
        index.execute("DELETE FROM held")
    index.close()
    assert fates() == before
    assert folder.paid == []
    assert folder.solve(doing("pay", invoice="i3")).actions[0].status == "performed"
    assert (folder.root / INDEX).stat().st_mode & 0o077 == 0


def test_what_was_undone_is_free_also_by_the_traces(folder: Folder) -> None:
    """Another run may do it, whether the index knows of the undoing or is made again from what was recorded."""
    done: list[str] = []

    @action(effect="irreversible", identity=("flight",))
    async def fly(flight: str) -> str:
        done.append(f"fly {flight}")
        return f"T-{flight}"

    @fly.undo(effect="irreversible")
    async def give_back(flight: str) -> None:
        done.append(f"give back {flight}")

    def there_and_back(_: Task) -> Planning[str]:
        first = yield from act("fly", {"flight": "A"})
        yield from act("fly", {"flight": "B"})
        back = yield from undo(first)
        return str(back.status)

    def flying(flight: str) -> str:
        return str(folder.solve(doing("fly", flight=flight), actions=[fly]).answer)

    assert folder.solve(there_and_back, actions=[fly]).answer == "performed"
    for each in folder.root.glob(f"{INDEX}*"):
        each.unlink()
    assert "it was already done" in flying("B")
    assert flying("A") == "T-A"
    assert "it was already done" in flying("A")
    assert done == ["fly A", "fly B", "give back A", "fly A"]


@pytest.mark.parametrize("error", [NotPerformed, OSError], ids=["failed", "in doubt"])
def test_what_could_not_be_undone_is_held(folder: Folder, error: type[Exception]) -> None:
    """An undo that failed, or may have, leaves what was done; the traces say so too."""

    @action(effect="irreversible", identity=("flight",))
    async def fly(flight: str) -> str:
        return f"T-{flight}"

    @fly.undo(effect="irreversible")
    async def give_back(flight: str) -> None:
        raise error(f"{flight} is closed")

    def there_and_back(_: Task) -> Planning[str]:
        first = yield from act("fly", {"flight": "A"})
        try:
            yield from undo(first)
        except ActionError as failed:
            return type(failed).__name__
        return "undone"

    assert folder.solve(there_and_back, actions=[fly]).answer in {"ActionFailed", "OutcomeUnknown"}
    for _ in range(2):
        assert "it was already done" in folder.solve(doing("fly", flight="A"), actions=[fly]).answer
        for each in folder.root.glob(f"{INDEX}*"):
            each.unlink()


def test_what_a_run_without_its_content_did_is_known_to_the_index(folder: Folder) -> None:
    """What it acted on stood in its content; who deletes the index is told that it would be forgotten."""
    first = folder.solve()
    prune_content(folder.root / first.run)
    assert f"it was already done, by run {first.run} at 0" in folder.solve().answer
    assert folder.paid == ["i1"]


def test_an_index_is_not_made_from_traces_that_cannot_be_read(folder: Folder) -> None:
    """The run is named, and what to do to go on without it; nothing is done that it may have done."""
    first = folder.solve()
    content = folder.root / first.run / "content.jsonl"
    content.write_bytes(content.read_bytes().replace(b'"identity":', b'"identity"'))
    for each in folder.root.glob(f"{INDEX}*"):
        each.unlink()
    said = folder.solve()
    assert (said.actions[0].status, folder.paid) == ("refused", ["i1"])
    assert f"cannot tell what run {first.run} did" in said.answer
    assert f"move {folder.root / first.run} away" in said.answer


def test_a_trace_that_came_unreadable_holds_up_no_other_run(folder: Folder, tmp_path: Path) -> None:
    """The index has what was done here; a run that was copied with damaged content makes it refuse nothing else."""
    folder.solve()
    elsewhere = Folder(tmp_path / "elsewhere")
    there = elsewhere.root / elsewhere.solve(doing("pay", invoice="i4")).run
    content = there / "content.jsonl"
    content.write_bytes(content.read_bytes().replace(b'"identity":', b'"identity"'))
    shutil.copytree(there, folder.root / there.name)
    assert folder.solve(doing("pay", invoice="i2")).actions[0].status == "performed"
    assert "it was already done" in folder.solve().answer


def test_an_index_of_encrypted_runs_is_made_with_their_key_alone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it nobody can tell what they acted on: nothing is done, and the variable is named."""
    monkeypatch.setenv("SCAFFOLD_CONTENT_KEY", b64encode(bytes(32)).decode())
    first = folder.solve()
    for each in folder.root.glob(f"{INDEX}*"):
        each.unlink()
    with monkeypatch.context() as without:
        without.delenv("SCAFFOLD_CONTENT_KEY")
        said = folder.solve()
    assert f"cannot tell what run {first.run} did: the content is encrypted, and $SCAFFOLD_CONTENT_KEY" in said.answer
    assert f"it was already done, by run {first.run} at 0" in folder.solve().answer
    assert folder.paid == ["i1"]


def test_what_came_to_the_folder_without_the_index_counts(folder: Folder, tmp_path: Path) -> None:
    """Runs that were copied from another folder; those of which an index from a backup knows nothing, or too little."""

    def waits_and_pays(_: Task) -> Planning[str]:
        yield from ask("now?", returns=str)
        return str((yield from act("pay", {"invoice": "i1"})).value)

    def moved(source: Path, target: Path) -> None:
        for each in source.glob(f"{INDEX}*"):
            each.rename(target / each.name)

    first = folder.solve(waits_and_pays).run
    folder.solve(doing("pay", invoice="i2"))
    backup = tmp_path / "backup"
    shutil.copytree(folder.root, backup)
    folder.solve(doing("pay", invoice="i3"))
    (question,) = waiting(folder.journal, first)
    asyncio.run(folder.journal.post(first, answer_to(question, granted=True, value="yes", by="ann")))
    assert folder.agent(waits_and_pays).resume_sync(first).status == "solved"
    moved(folder.root, tmp_path)
    moved(backup, folder.root)
    elsewhere = Folder(tmp_path / "elsewhere")
    there = elsewhere.solve(doing("pay", invoice="i4")).run
    shutil.copytree(elsewhere.root / there, folder.root / there)
    folder.paid.clear()
    said = [folder.solve(doing("pay", invoice=name)).answer for name in ("i1", "i2", "i3", "i4")]
    assert ["it was already done" in each for each in said] == [True] * 4
    assert folder.paid == []


def test_an_index_that_cannot_be_read_refuses(folder: Folder) -> None:
    """What cannot be told is not done, and the refusal says what to do."""
    folder.solve()
    for each in folder.root.glob(f"{INDEX}*"):
        each.unlink()
    (folder.root / INDEX).write_text("this is no database, whatever it says " * 100)
    said = folder.solve(doing("pay", invoice="i2"))
    assert said.actions[0].status == "refused"
    assert "while no run is going on, it can be deleted: it is rebuilt from the traces that have" in said.answer
    assert folder.paid == ["i1"]


def test_a_run_that_may_not_be_looked_at_is_not_taken_for_none() -> None:
    """What it did cannot be told, so that nothing is done which it may have done."""
    with tempfile.TemporaryDirectory() as root:  # pytest's own lie where nobody but we may look
        Path(root).chmod(0o777)
        folder = Folder(Path(root))
        first = folder.solve()
        for each in folder.root.glob(f"{INDEX}*"):
            each.unlink()
        (folder.root / first.run).chmod(0)
        with powerless():
            said = folder.solve()
        (folder.root / first.run).chmod(0o700)
    assert (said.status, folder.paid) == ("unavailable", ["i1"])
    assert "Permission denied" in said.reason


def test_an_index_that_cannot_be_used_now_pauses_the_run(folder: Folder) -> None:
    """Nothing is refused for what passes by itself: the run says what is wrong, is resumed, and pays."""
    (folder.root / INDEX).mkdir(parents=True)
    said = folder.solve()
    assert (said.status, folder.paid) == ("unavailable", [])
    assert (
        f"cannot tell whether another run acts on the same thing: {folder.root / INDEX}: unable to open" in said.reason
    )
    assert "resume the run" in said.reason
    (folder.root / INDEX).rmdir()
    again = folder.agent().resume_sync(said.run)
    assert (again.status, [each.status for each in again.actions], folder.paid) == ("solved", ["performed"], ["i1"])


def test_a_trace_that_is_gone_or_damaged_holds_what_its_run_held(folder: Folder) -> None:
    """Nobody can tell any more what it did."""
    first = folder.solve()
    spine = folder.root / first.run / "trace.jsonl"
    spine.write_bytes(spine.read_bytes().replace(b'"kind":"action.intent"', b'"kind":"action.int'))
    assert "its trace cannot be read" in folder.solve().answer
    spine.rename(folder.root / first.run / "elsewhere")
    assert "its trace is gone" in folder.solve().answer
    assert folder.paid == ["i1"]


def test_a_run_that_goes_on_decides_as_it_had_decided(folder: Folder) -> None:
    """What was looked up is in the trace: an objection stays, though what it rested on was settled meanwhile."""
    lost = folder.solve(how="break")
    refused = folder.solve().run
    spine = folder.root / refused / "trace.jsonl"
    lines = spine.read_bytes().splitlines(keepends=True)
    last = next(number for number, line in enumerate(lines) if b'"kind":"reviewed"' in line)
    spine.write_bytes(b"".join(lines[: last + 1]))  # as a crash leaves it
    (intent,) = read_story(folder.root / lost.run).of("action.intent")
    word = Answer(id=settlement_id("0"), digest=intent["digest"], granted=False, by="ann")
    asyncio.run(folder.journal.post(lost.run, word))
    assert "may already have been done" in folder.agent().resume_sync(refused).answer
    assert folder.paid == []


def test_trials_of_the_same_thing_are_kept_apart(folder: Folder) -> None:
    """A journal of trials lets each run pay, as evaluations do."""
    for _ in range(2):
        assert folder.solve(journal=FileJournal(folder.root, apart=True)).status == "solved"
    assert folder.paid == ["i1", "i1"]


class Plain:
    """A journal that can do what every journal can, and nothing else."""

    def __init__(self, journal: FileJournal) -> None:
        for name in ("claim", "release", "append", "read", "sign", "post", "inbox", "location"):
            setattr(self, name, getattr(journal, name))


def test_a_journal_that_holds_no_identities_leaves_each_run_its_own(folder: Folder) -> None:
    """Within a run nothing is done twice, and what has failed may be tried again; other runs nobody knows of."""

    def thrice(task: Task) -> Planning[str]:
        for folder.how in ("not", "", ""):
            yield from doing("pay", invoice="i1")(task)
        return "tried"

    for _ in range(2):
        outcome = folder.solve(thrice, journal=Plain(folder.journal))
        assert [each.status for each in outcome.actions] == ["failed", "performed", "refused"]
    assert folder.paid == ["i1", "i1"]


def test_an_identity_is_taken_again_by_who_had_it(folder: Folder) -> None:
    """In one run what has failed may be tried again, under another key."""

    def twice(_: Task) -> Planning[Any]:
        said: list[str] = []
        for how in ("not", ""):
            folder.how = how
            try:
                said.append((yield from act("pay", {"invoice": "i1"})).status)
            except ActionError as error:
                said.append(type(error).__name__)
        return said

    assert folder.solve(twice).answer == ["ActionFailed", "performed"]

"""What waits for people over many runs, as one queue that is read again and again tells it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.conftest import Person, Watcher

from scaffold import Planning, Task, Verdict, act, ask, think, together
from scaffold.approvals.queue import WITHHELD, Queue
from scaffold.approvals.saying import answer_to, find, say
from scaffold.errors import AnswerRefused
from scaffold.interfaces import Answer
from scaffold.trace.answers import STOP
from scaffold.trace.files import FileJournal

if TYPE_CHECKING:
    from tests.approvals.conftest import Office

    from scaffold.approvals.queue import Waiting


def paying_two(_: Task) -> Planning[str]:
    """Pay two invoices, one after the other."""
    for invoice in ("i1", "i2"):
        yield from act("pay", {"invoice": invoice})
    return "paid"


def asking(_: Task) -> Planning[Any]:
    """Ask for a fact."""
    return (yield from ask("How many?", "the order", returns=int))


def answer(office: Office, each: Waiting, by: str, *, granted: bool = True, **more: Any) -> None:
    """Answer a question that waits."""
    asyncio.run(say(office.journal, each.question.run, answer_to(each, granted=granted, by=by, **more)))


def states(queue: Queue) -> list[str]:
    """How what waits stands."""
    return [each.state for each in queue.waiting()]


def test_a_question_is_listed_until_its_run_has_taken_the_answer_in(office: Office) -> None:
    """Its state says what is still needed; then the run's next question stands there, and at the end nothing."""
    queue = Queue(office.journal)
    assert queue.waiting() == []
    oversight = {"approvers": ["ann", "ben", "cy"], "needs": 2}
    outcome = office.wait(paying_two, **oversight)
    (first,) = queue.waiting()
    assert (first.state, first.settled, first.expired) == ("open", False, False)
    answer(office, first, "ann")
    assert states(queue) == ["1 of 2 approved"]
    answer(office, first, "cy")
    assert states(queue) == ["answered, not yet used by the run"]
    assert office.agent(paying_two).resume_sync(outcome.run).status == "waiting"
    (second,) = queue.waiting()
    assert second.question.detail["calls"][0]["arguments"]["invoice"] == "i2"
    assert second.state == "open"
    with pytest.raises(AnswerRefused, match="is already settled"):
        find(office.journal, outcome.run, first.question.id)
    answer(office, second, "ben", granted=False)
    assert states(queue) == ["answered, not yet used by the run"]
    office.agent(paying_two).resume_sync(outcome.run)
    assert (queue.waiting(), queue.faults) == ([], {})


class Beside(FileJournal):
    """A folder in which somebody else answers after we have looked, and before our own answer is there."""

    other: Answer

    async def post(self, run: str, answer: Answer) -> None:
        """Put both into the inbox."""
        await super().post(run, self.other)
        await super().post(run, answer)


@pytest.mark.parametrize(("first", "second", "told"), [(False, True, True), (True, True, False), (True, False, False)])
def test_of_two_answers_at_once_the_one_that_does_not_count_is_told_so(
    office: Office, *, first: bool, second: bool, told: bool
) -> None:
    """Two processes that both found the question open: a no counts, and a second yes says nothing else."""
    outcome = office.wait()
    (each,) = Queue(office.journal).waiting()
    journal = Beside(office.runs)
    journal.other = answer_to(each, granted=first, by="ben")
    expected = pytest.raises(AnswerRefused, match="answered otherwise by ben at the same time, and that counts")
    with expected if told else contextlib.nullcontext():
        asyncio.run(say(journal, outcome.run, answer_to(each, granted=second, by="ann")))


@pytest.mark.parametrize("granted", [False, True])
def test_an_answer_that_comes_just_after_the_run_took_another_is_told_so(office: Office, *, granted: bool) -> None:
    """A person at the run's own terminal says yes while we say no: who says no must not believe that it counts."""
    outcome = office.wait()
    (each,) = Queue(office.journal).waiting()

    class GoneOn(FileJournal):
        """A folder in which the run goes on after we have looked, and before our answer is there."""

        async def post(self, run: str, answer: Answer) -> None:
            await office.agent(approvers=[Person("yes")]).resume(run)
            await super().post(run, answer)

    expected = pytest.raises(AnswerRefused, match=f"{each.question.id} was settled otherwise just before")
    with contextlib.nullcontext() if granted else expected:
        asyncio.run(say(GoneOn(office.runs), outcome.run, answer_to(each, granted=granted, by="ann")))


def asking_for_a_list(_: Task) -> Planning[Any]:
    """Ask for a fact that only the run itself can read."""
    return (yield from ask("Which?", returns=list[int])).value


def test_a_fact_is_told_once_if_any_process_can_read_it(office: Office) -> None:
    """What was said counts, whoever would say something else before the run has taken it in."""
    office.wait(asking)
    (each,) = Queue(office.journal).waiting()
    answer(office, each, "ann", value="7")
    for by in ("ann", "ben"):
        with pytest.raises(AnswerRefused, match="was already answered by ann: resume the run"):
            answer(office, each, by, value="8")


def test_a_fact_that_only_the_run_can_read_may_be_told_again(office: Office) -> None:
    """By the same person in place of what they said; by another beside it, who is told that the run decides."""
    outcome = office.wait(asking_for_a_list)
    (each,) = Queue(office.journal).waiting()
    for value in ("one", "two"):
        answer(office, each, "ann", value=value)
    with pytest.raises(AnswerRefused, match="also answered by ann: that counts if the run can read it, and this only"):
        answer(office, each, "ben", value="[1, 2]")
    assert office.agent(asking_for_a_list).resume_sync(outcome.run).answer == [1, 2]


def test_a_question_says_that_it_has_expired(office: Office) -> None:
    """From its time on nobody's yes counts, and it is listed as expired until its run goes on."""
    office.wait(approval_timeout_s=0.3)
    queue = Queue(office.journal)
    assert states(queue) in (["open"], ["expired"])
    time.sleep(0.3)
    (late,) = queue.waiting()
    assert (late.state, late.expired) == ("expired", True)


def test_what_cannot_count_is_not_listed_as_an_answer(office: Office) -> None:
    """A file in the inbox about something else, or of somebody who may not approve, changes nothing."""
    outcome = office.wait(approvers=["ann"])
    queue = Queue(office.journal)
    (each,) = queue.waiting()
    for more in ({"by": "eve"}, {"by": "ann", "digest": "of something else"}):
        word: dict[str, Any] = {"id": each.question.id, "digest": each.question.digest, **more}
        asyncio.run(office.journal.post(outcome.run, Answer(**word, granted=True)))
    (again,) = queue.waiting()
    assert (again.answers, again.state) == ((), "open")


def test_what_expires_first_comes_first(office: Office) -> None:
    """Then what has no deadline, the oldest first."""
    facts = [office.wait(asking).run for _ in range(2)]
    late, soon = office.wait(approval_timeout_s=9_000).run, office.wait(approval_timeout_s=900).run
    assert [each.question.run for each in Queue(office.journal).waiting()] == [soon, late, *facts]


def test_nothing_waits_in_a_run_that_was_stopped(office: Office) -> None:
    """Neither before it has taken that in nor afterwards, though its question was never answered."""
    outcome = office.wait()
    queue = Queue(office.journal)
    (each,) = queue.waiting()
    asyncio.run(office.journal.post(outcome.run, Answer(id=STOP, digest="", granted=True, by="ann")))
    assert queue.waiting() == []
    with pytest.raises(AnswerRefused, match="was stopped by ann: nothing is waiting there"):
        find(office.journal, outcome.run, each.question.id)
    assert office.agent().resume_sync(outcome.run).status == "stopped"
    assert queue.waiting() == []
    with pytest.raises(AnswerRefused, match=r"has ended \(stopped\): nothing is waiting there"):
        find(office.journal, outcome.run, each.question.id)


def thinking_beside(_: Task) -> Planning[Any]:
    """Ask for a fact, and think meanwhile."""

    def thinks() -> Planning[Any]:
        yield from think("decide", "What now?")

    yield from together(asking(_), thinks())


def test_nothing_waits_in_a_run_that_was_halted_beside_its_question(office: Office) -> None:
    """Whoever would answer it is told that nobody takes the answer."""
    halts = Watcher(Verdict(decision="halt", rationale="a plot"), watches=frozenset({"step"}))
    outcome = office.agent(thinking_beside, monitors=[halts]).solve_sync(Task(prompt="x"))
    assert outcome.status == "stopped"
    (asked,) = office.world.facts(outcome, "question.asked")
    assert Queue(office.journal).waiting() == []
    with pytest.raises(AnswerRefused, match=r"has ended \(stopped\): nothing is waiting there"):
        find(office.journal, outcome.run, asked["id"])


def test_a_question_without_its_content_is_still_listed(office: Office) -> None:
    """Where the content of a run was withheld, what it asks cannot be told, and it can be answered all the same."""
    runs = [office.wait().run, office.wait(asking).run]
    for run in runs:
        (office.runs / run / "content.jsonl").unlink()
    waiting = Queue(office.journal).waiting()
    assert [each.question.title for each in waiting] == [WITHHELD] * 2
    for each in waiting:
        answer(office, each, "ann", value="7")
        assert find(office.journal, each.question.run, each.question.id).answers


def test_a_damaged_run_is_named_and_hides_no_other(office: Office) -> None:
    """Mended, its question is listed again; a run that is removed is listed no more."""
    one, other = office.wait().run, office.wait().run
    queue = Queue(office.journal)
    assert (len(queue.waiting()), queue.faults) == (2, {})
    spine = office.runs / one / "trace.jsonl"
    whole = spine.read_bytes()
    spine.write_bytes(whole.replace(b'"approval.asked"', b'"approval.sent"'))
    for _ in range(2):
        assert [each.question.run for each in queue.waiting()] == [other]
        assert list(queue.faults) == [one]
    spine.write_bytes(whole)
    assert (len(queue.waiting()), queue.faults) == (2, {})
    shutil.rmtree(office.runs / one)
    assert ([each.question.run for each in queue.waiting()], queue.faults) == ([other], {})

"""People: who is asked, about exactly what, until when; and an answer counts for that alone."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field

from scaffold import Planning, Task, Verdict, act, ask, together
from scaffold.errors import ActionError
from scaffold.interfaces import Answer, Question
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.review import Subject

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World

ESCALATE = Verdict(decision="escalate", rationale="it is much")


def paying(_: Task) -> Planning[str]:
    """Pay one invoice, and say what became of it."""
    try:
        observation = yield from act("pay", {"invoice": "i1"})
    except ActionError as error:
        return f"{type(error).__name__}: {error.message}"
    return str(observation.value)


def test_an_escalation_waits_for_a_person_and_goes_on_when_answered(world: World, watcher: type[Watcher]) -> None:
    """With nobody there the run waits, having done nothing; once approved, resuming performs it once."""
    agent = world.agent(paying, monitors=[watcher(ESCALATE)])
    waiting = agent.solve_sync(Task(prompt="x"))
    assert (waiting.status, world.done) == ("waiting", [])
    assert agent.resume_sync(waiting.run).status == "waiting"
    assert world.kinds(waiting).count("approval.asked") == 1
    world.answer(waiting)
    outcome = agent.resume_sync(waiting.run)
    assert (outcome.status, outcome.answer) == ("solved", "paid i1")
    assert len(world.done) == 1
    (cleared,) = world.facts(outcome, "action.cleared")
    (asked,) = world.facts(outcome, "approval.asked")
    assert cleared["approval"] == asked["id"]
    assert agent.resume_sync(waiting.run).answer == "paid i1"
    assert len(world.done) == 1


def test_a_person_is_told_the_exact_call_and_the_reasons(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """The question shows the call with all its arguments, why it is asked, and until when."""
    boss = person()
    world.solve(paying, monitors=[watcher(ESCALATE)], approvers=[boss])
    (question,) = boss.asked
    assert question.detail["calls"][0]["arguments"] == {"invoice": "i1", "cents": 100}
    assert question.detail["reasons"] == ["watcher: it is much"]
    assert question.expires == world.clock.now() + 86_400


def test_no_means_no(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """A refusal is a refusal of the action, and says who refused."""
    outcome = world.solve(paying, monitors=[watcher(ESCALATE)], approvers=[person("no")])
    assert outcome.answer.endswith("a person said no")
    assert world.done == []


class Careless:
    """An approver that returns whatever it likes."""

    def __init__(self, says: Any) -> None:
        self._says = says

    async def ask(self, _: Question) -> Any:
        """Say it."""
        return self._says


@pytest.mark.parametrize("said", [True, "yes", Verdict(decision="allow")], ids=["true", "text", "verdict"])
def test_an_approver_that_returns_no_answer_has_reached_nobody(
    world: World, watcher: type[Watcher], caplog: pytest.LogCaptureFixture, said: Any
) -> None:
    """The question waits for somebody else, and the approver's author is told why."""
    outcome = world.solve(paying, monitors=[watcher(ESCALATE)], approvers=[Careless(said)])
    assert (outcome.status, world.done) == ("waiting", [])
    assert f"`ask` returned a {type(said).__name__}: it should be an Answer, or None" in caplog.text


@pytest.mark.parametrize("said", ["no", "yes", 1, None])
def test_what_is_neither_true_nor_false_approves_nothing(
    world: World, watcher: type[Watcher], person: type[Person], caplog: pytest.LogCaptureFixture, said: Any
) -> None:
    """An approver that passes on what a person typed has reached nobody, and its author is told why."""
    boss = person(lambda asked: Answer(id=asked.id, digest=asked.digest, granted=said, by="ann"))
    outcome = world.solve(paying, monitors=[watcher(ESCALATE)], approvers=[boss])
    assert (outcome.status, world.done) == ("waiting", [])
    assert f"`granted` of Answer should be True or False, not {said!r}" in caplog.text


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"id": "another"}], ids=["digest", "question"])
def test_an_approval_of_something_else_counts_for_nothing(
    world: World, watcher: type[Watcher], person: type[Person], change: dict[str, str]
) -> None:
    """An answer with another digest or id, from the inbox or from an approver, lets the run wait on."""
    agent = world.agent(paying, monitors=[watcher(ESCALATE)])
    waiting = agent.solve_sync(Task(prompt="x"))
    world.answer(waiting, granted=True, **change)
    assert agent.resume_sync(waiting.run).status == "waiting"

    def other(question: Question) -> Answer:
        said = Answer(id=question.id, digest=question.digest, granted=True)
        return msgspec.structs.replace(said, **change)

    assert world.solve(paying, monitors=[watcher(ESCALATE)], approvers=[person(other)]).status == "waiting"
    assert world.done == []


def test_what_lies_in_an_inbox_and_is_no_answer_is_passed_over(world: World, watcher: type[Watcher]) -> None:
    """A pipe that nobody writes to, a folder, a link to nowhere, babble, a giant: none holds the run up or approves."""
    agent = world.agent(paying, monitors=[watcher(ESCALATE)])
    waiting = agent.solve_sync(Task(prompt="x"))
    inbox = world.folder / "runs" / waiting.run / "inbox"
    inbox.mkdir()
    os.mkfifo(inbox / "pipe.json")
    (inbox / "folder.json").mkdir()
    (inbox / "nowhere.json").symlink_to("/nowhere")
    (inbox / "babble.json").write_bytes(b"\xff{granted: yes")
    with (inbox / "giant.json").open("wb") as giant:
        giant.truncate(1 << 40)
    assert agent.resume_sync(waiting.run).status == "waiting"
    world.answer(waiting)
    assert agent.resume_sync(waiting.run).answer == "paid i1"


@pytest.mark.parametrize("comment", ["", "half of it is enough"])
def test_why_a_person_says_no_is_told_to_the_planner(world: World, watcher: type[Watcher], comment: str) -> None:
    """What a person objects reaches whoever proposed it; after a crash too it is the same."""
    agent = world.agent(paying, monitors=[watcher(ESCALATE)])
    waiting = agent.solve_sync(Task(prompt="x"))
    world.answer(waiting, granted=False, comment=comment)
    said = f"a person said no: {comment}" if comment else "a person said no"
    assert agent.resume_sync(waiting.run).answer.endswith(said)
    world.cut_after(waiting, "approval.given")
    assert agent.resume_sync(waiting.run).answer.endswith(said)


EXPIRED = {
    "before it is answered": "nobody answered in time",
    "after it is granted": "a person said yes, but the approval expired before it could be used",
}


@pytest.mark.parametrize("when", EXPIRED)
def test_what_has_expired_means_no(world: World, watcher: type[Watcher], when: str) -> None:
    """After its time a question is answered no, even if a person had said yes to it, and says which of the two."""
    agent = world.agent(paying, monitors=[watcher(ESCALATE)])
    waiting = agent.solve_sync(Task(prompt="x", oversight={"approval_timeout_s": 60}))  # type: ignore[arg-type]  # pydantic reads it
    if when.startswith("after"):
        world.answer(waiting)
    world.clock.advance(61)
    outcome = agent.resume_sync(waiting.run)
    assert outcome.answer.endswith(EXPIRED[when])
    assert world.done == []
    (given,) = world.facts(outcome, "approval.given")
    assert (given["granted"], given["by"]) == (False, "expiry")


def test_a_no_that_is_read_late_is_that_persons_no(world: World, watcher: type[Watcher]) -> None:
    """Who said no, and why, is not lost because the run went on only after the question had expired."""
    agent = world.agent(paying, monitors=[watcher(ESCALATE)])
    waiting = agent.solve_sync(Task(prompt="x", oversight={"approval_timeout_s": 60}))  # type: ignore[arg-type]  # pydantic reads it
    world.answer(waiting, granted=False, comment="wrong account")
    world.clock.advance(61)
    outcome = agent.resume_sync(waiting.run)
    assert outcome.answer.endswith("a person said no: wrong account")
    (given,) = world.facts(outcome, "approval.given")
    assert given["by"] == "a person"


def test_a_yes_that_comes_too_late_is_a_no(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """An approver who answers after the question has expired has not approved."""

    def late(_: Question) -> str:
        world.clock.advance(61)
        return "yes"

    outcome = world.solve(
        paying,
        monitors=[watcher(ESCALATE)],
        approvers=[person(late)],
        task={"oversight": {"approval_timeout_s": 60}},
    )
    assert outcome.answer.endswith(EXPIRED["after it is granted"])
    assert world.done == []


def test_an_approval_is_spent_once(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """The same call a second time is asked about a second time."""
    boss = person()

    def planner(_: Task) -> Planning[None]:
        yield from act("post", {"text": "hi"})
        yield from act("post", {"text": "hi"})

    world.solve(planner, monitors=[watcher(ESCALATE)], approvers=[boss])
    assert len(boss.asked) == 2
    assert len({question.id for question in boss.asked}) == 2
    assert len(world.done) == 2


def asking(_: Task) -> Planning[str]:
    """Ask the user for a fact, and do something with it."""
    invoice = yield from ask("Which one?")
    observation = yield from act("pay", {"invoice": invoice.value})
    return str(observation.value)


@pytest.mark.parametrize("planner", [paying, asking])
def test_an_answer_that_comes_after_the_end_changes_nothing(world: World, watcher: type[Watcher], planner: Any) -> None:
    """A run that ended while somebody was asked stays as it ended: what is said later is in no trace."""
    agent = world.agent(planner, monitors=[watcher(ESCALATE)])
    waiting = agent.solve_sync(Task(prompt="x"))
    (asked,) = (each for each in world.story(waiting).events if each["kind"] in {"approval.asked", "question.asked"})
    asyncio.run(world.journal.post(waiting.run, Answer(id="stop", digest="", by="ann")))
    assert agent.resume_sync(waiting.run).status == "stopped"
    spine = world.folder / "runs" / waiting.run / "trace.jsonl"
    before = spine.read_bytes()
    said = Answer(id=asked["id"], digest=asked["digest"], granted=True, value="i1", by="ben")
    asyncio.run(world.journal.post(waiting.run, said))
    late = agent.resume_sync(waiting.run)
    assert (late.status, late.reason, world.done) == ("stopped", "stopped by ann", [])
    assert spine.read_bytes() == before
    assert verify_run(spine.parent).ok


def test_approving_an_action_does_not_approve_what_it_gives_back(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """An escalated observation is a question of its own, which shows the value; no withholds it."""
    boss = person(lambda question: "no" if question.kind == "observation" else "yes")
    monitor = watcher(ESCALATE, watches=frozenset({"plan", "observation"}))
    outcome = world.solve(paying, monitors=[monitor], approvers=[boss])
    assert [question.kind for question in boss.asked] == ["action", "observation"]
    assert boss.asked[1].detail["value"] == "paid i1"
    assert outcome.answer.startswith("ObservationWithheld")
    assert len(world.done) == 1


def test_an_answer_that_lies_in_the_inbox_is_of_one_question(world: World, watcher: type[Watcher]) -> None:
    """The yes to a call lies there still when what it gave back is asked about: that waits for a yes of its own."""
    agent = world.agent(paying, monitors=[watcher(ESCALATE, watches=frozenset({"plan", "observation"}))])
    waiting = agent.solve_sync(Task(prompt="x"))
    world.answer(waiting)
    again = agent.resume_sync(waiting.run)
    assert (again.status, len(world.done)) == ("waiting", 1)
    assert [asked["subject"] for asked in world.facts(again, "approval.asked")] == ["action", "observation"]
    world.answer(again)
    assert agent.resume_sync(waiting.run).answer == "paid i1"
    assert len(world.done) == 1


@pytest.mark.parametrize("beside", ["revise", "block", "halt"])
def test_an_approval_lifts_an_escalation_and_nothing_else(
    world: World, watcher: type[Watcher], person: type[Person], beside: Any
) -> None:
    """What another monitor objects to stands, and nobody is asked in vain."""
    boss = person()
    monitors = [watcher(ESCALATE, name="a"), watcher(Verdict(decision=beside, feedback="no"), name="b")]
    outcome = world.solve(paying, monitors=monitors, approvers=[boss])
    assert world.done == []
    assert boss.asked == []
    assert outcome.status == ("stopped" if beside == "halt" else "solved")


def test_approvers_are_tried_in_turn_until_one_is_reached(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """Whom nobody reaches is passed over, and so is one whose line is down."""
    away, reached, spare = person(None), person("yes"), person("no")

    def broken(_: Question) -> str:
        raise OSError("line down")

    outcome = world.solve(paying, monitors=[watcher(ESCALATE)], approvers=[person(broken), away, reached, spare])
    assert outcome.answer == "paid i1"
    assert (len(away.asked), len(reached.asked), len(spare.asked)) == (1, 1, 0)


def test_other_branches_go_on_while_one_waits(world: World, watcher: type[Watcher]) -> None:
    """The run pauses only when nothing else can go on, and on resume asks again only what waits."""

    def planner(_: Task) -> Planning[list[Any]]:
        results = yield from together(
            act("pay", {"invoice": "i1"}), act("post", {"text": "a"}), act("post", {"text": "b"})
        )
        return [result.value for result in results]

    def review(subject: Subject) -> Verdict:
        return ESCALATE if subject.plan[0].action == "pay" else Verdict(decision="allow")

    agent = world.agent(planner, monitors=[watcher(review)])
    waiting = agent.solve_sync(Task(prompt="x"))
    assert waiting.status == "waiting"
    assert sorted(world.done) == [("post", "a"), ("post", "b")]
    world.answer(waiting)
    assert agent.resume_sync(waiting.run).answer == ["paid i1", "posted", "posted"]
    assert [each[0] for each in world.done] == ["post", "post", "pay"]


def test_waiting_for_a_person_spends_no_seconds(
    world: World, watcher: type[Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person may take longer than the whole budget of seconds: the run's own time stands still."""

    class Slow:
        async def ask(self, question: Question) -> Answer:
            loop = asyncio.get_running_loop()
            now = loop.time
            monkeypatch.setattr(loop, "time", lambda: now() + 1000)  # as if it had been so long
            world.clock.advance(1000)
            await asyncio.sleep(0.01)
            return Answer(id=question.id, digest=question.digest, granted=True, by="ann")

    outcome = world.solve(paying, monitors=[watcher(ESCALATE)], approvers=[Slow()], task={"budget": {"seconds": 60}})
    assert (outcome.status, outcome.answer) == ("solved", "paid i1")
    assert world.story(outcome).events[-1].get("t", 0.0) < 60


# --- facts


class Address(BaseModel):
    """A model whose field has another name on the wire."""

    street: str
    number: int = Field(alias="no")


@pytest.mark.parametrize(
    ("returns", "text", "value"),
    [
        (str, "Rome", "Rome"),
        (int, "7", 7),
        (Literal["a", "b"], "a", "a"),
        (Address, '{"street": "Main", "no": 3}', Address.model_validate({"street": "Main", "no": 3})),
    ],
)
def test_a_fact_is_asked_of_the_user_and_read_as_what_was_wanted(
    world: World, person: type[Person], returns: Any, text: str, value: Any
) -> None:
    """What the user says is a value of the wanted type, inside our trust; so it is on resume."""
    told: list[Any] = []

    def planner(_: Task) -> Planning[str]:
        reference = yield from ask("Where?", {"known": 1}, returns=returns)
        told.append((reference.value, reference.provenance.sources, reference.provenance.tainted))
        yield from ask("And then?")
        return "done"

    user = person(lambda question: text if question.title == "Where?" else None)
    agent = world.agent(planner, approvers=[user])
    waiting = agent.solve_sync(Task(prompt="x"))
    assert waiting.status == "waiting"
    assert user.asked[0].detail["about"] == [{"known": 1}]
    assert ("form" in user.asked[0].detail) is (returns is not str)
    agent.resume_sync(waiting.run)
    assert told == [(value, ("answer:0",), False)] * 2


def test_a_fact_that_does_not_fit_is_not_taken(world: World, person: type[Person]) -> None:
    """An answer of another type is no answer: the run waits for one that fits."""

    def planner(_: Task) -> Planning[int]:
        number = yield from ask("How many?", returns=int)
        return number.value

    agent = world.agent(planner)
    waiting = agent.solve_sync(Task(prompt="x"))
    (asked,) = world.facts(waiting, "question.asked")
    for said, status in (("a few", "waiting"), ("3", "solved")):
        answer = Answer(id=asked["id"], digest=asked["digest"], granted=True, value=said, by=said)
        asyncio.run(world.journal.post(waiting.run, answer))
        assert agent.resume_sync(waiting.run).status == status
    assert world.solve(planner, approvers=[person("a few")]).status == "waiting"
    assert world.solve(planner, approvers=[person("a few"), person("3")]).answer == 3

"""Who may approve, how many have to, under which key, and what an approved plan covers."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from pydantic import AfterValidator, Field
from tests.core.doing import doing, planning

from scaffold import Plan, Planned, Planning, Task, Verdict, act, action, ask, carry_out, propose
from scaffold.approvals import queue
from scaffold.errors import ActionError, TaskError
from scaffold.interfaces import Answer, Question, Surroundings
from scaffold.testing import ManualClock
from scaffold.trace.answers import signed
from scaffold.trace.conduct import Conduct
from scaffold.trace.files import FileJournal
from scaffold.trace.heads import load_signer, new_key
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.core.conftest import Person, Watcher, World

    from scaffold.interfaces import Claim, Holder, Record
    from scaffold.vocabulary.outcome import Outcome

ESCALATE = Verdict(decision="escalate", rationale="it is much")


def asked_for(world: World, outcome: Outcome) -> dict[str, Any]:
    """The last approval that a run has asked for."""
    return list(world.facts(outcome, "approval.asked"))[-1]


def answer_to(world: World, outcome: Outcome, by: str, *, granted: bool = True, **more: Any) -> Answer:
    """What somebody says to the run's last question."""
    asked = asked_for(world, outcome)
    return Answer(id=asked["id"], digest=asked["digest"], granted=granted, by=by, **more)


def say(world: World, outcome: Outcome, answer: Answer) -> None:
    """Put an answer into a run's inbox."""
    asyncio.run(world.journal.post(outcome.run, answer))


def waiting(world: World, watcher: type[Watcher], **oversight: Any) -> tuple[Any, Outcome]:
    """A run that waits for an approval, and its agent."""
    agent = world.agent(doing(), monitors=[watcher(ESCALATE)])
    outcome = agent.solve_sync(Task.model_validate({"prompt": "x", "oversight": oversight}))
    assert outcome.status == "waiting"
    return agent, outcome


def test_two_of_three_have_to_approve(world: World, watcher: type[Watcher]) -> None:
    """One yes is not enough, nor the same person's twice; the second person's is, and the trace names both."""
    agent, outcome = waiting(world, watcher, approvers=["ann", "ben", "cy"], needs=2)
    say(world, outcome, answer_to(world, outcome, "ben"))
    assert agent.resume_sync(outcome.run).status == "waiting"
    (said,) = (world.folder / "runs" / outcome.run / "inbox").iterdir()
    copy = said.with_name(f"copy of {said.name}")
    copy.write_bytes(said.read_bytes())  # a signature would be as good there
    assert agent.resume_sync(outcome.run).status == "waiting"
    (shown,) = queue.waiting(world.journal, outcome.run)
    assert [each.by for each in shown.answers] == ["ben"]
    copy.unlink()
    say(world, outcome, answer_to(world, outcome, "ben", comment="again"))
    assert agent.resume_sync(outcome.run).status == "waiting"
    say(world, outcome, answer_to(world, outcome, "cy", comment="fine"))
    assert agent.resume_sync(outcome.run).answer == "paid i1"
    (given,) = world.facts(outcome, "approval.given")
    assert sorted([given["by"], *given["beside"]]) == ["ben", "cy"]
    assert given["comment"] in {"ben: again; cy: fine", "cy: fine; ben: again"}


def test_what_was_approved_is_what_is_performed_after_a_resume(world: World, watcher: type[Watcher]) -> None:
    """An argument that is left out is filled in once: what a person saw is not made anew by the run that goes on."""
    numbers = count(1)

    async def give(to: str, number: Any) -> None:
        world.done.append((to, number))

    give.__annotations__["number"] = Annotated[int, Field(default_factory=lambda: next(numbers))]
    agent = world.agent(doing("give", to="ann"), monitors=[watcher(ESCALATE)], actions=[action(give)])
    outcome = agent.solve_sync(Task(prompt="x"))
    (shown,) = asked_for(world, outcome)["calls"]
    say(world, outcome, answer_to(world, outcome, "ben"))
    assert agent.resume_sync(outcome.run).status == "solved"
    assert world.done == [("ann", shown["arguments"]["number"])]


@pytest.mark.parametrize("change", ["validator", "refuses"])
def test_what_is_made_otherwise_after_a_resume_is_not_performed(
    world: World, watcher: type[Watcher], change: str
) -> None:
    """Where the same argument is read as something else than what was approved, the run says so, or it is refused."""
    resumed: list[bool] = []

    def read(text: str) -> str:
        if resumed and change == "refuses":
            raise ValueError("nobody of that name")
        return "eve" if resumed else text

    async def give(to: Any) -> None:
        world.done.append((to,))

    give.__annotations__["to"] = Annotated[str, AfterValidator(read)]
    agent = world.agent(doing("give", to="ann"), monitors=[watcher(ESCALATE)], actions=[action(give)])
    outcome = agent.solve_sync(Task(prompt="x"))
    say(world, outcome, answer_to(world, outcome, "ben"))
    resumed.append(True)
    again = agent.resume_sync(outcome.run)
    assert world.done == []
    assert ("nobody of that name" in str(again.answer)) == (change == "refuses")
    assert ("is no longer what was reviewed" in again.reason) == (change == "validator")


@pytest.mark.parametrize(
    ("first", "then", "seconds", "said"),
    [
        ("yes", "no", 0, "paid i1"),
        ("yes", "yes", 61, "a person said yes, but the approval expired before it could be used"),
        ("no", "yes", 0, "a person said no"),
        ("no", "yes", 61, "a person said no"),
    ],
)
def test_what_a_person_said_before_a_crash_counts_until_it_expires(
    world: World, watcher: type[Watcher], person: type[Person], first: str, then: str, seconds: float, said: str
) -> None:
    """A recorded yes clears the call as long as it holds, a recorded no for good: nobody is asked about it again."""
    monitors, again = [watcher(ESCALATE)], person(then)
    task = {"oversight": {"approval_timeout_s": 60}}
    outcome = world.solve(doing(), monitors=monitors, approvers=[person(first)], task=task)
    world.cut_after(outcome, "approval.given")
    world.clock.advance(seconds)
    resumed = world.agent(doing(), monitors=monitors, approvers=[again]).resume_sync(outcome.run)
    assert resumed.answer.endswith(said)
    assert (len(world.done), again.asked) == (int(said.startswith("paid")), [])


def test_one_no_is_a_no_whoever_says_yes(world: World, watcher: type[Watcher]) -> None:
    """Where two people answer at once and disagree, nothing is done."""
    agent, outcome = waiting(world, watcher, approvers=["ann", "ben"])
    say(world, outcome, answer_to(world, outcome, "ann"))
    say(world, outcome, answer_to(world, outcome, "ben", granted=False))
    assert agent.resume_sync(outcome.run).answer.endswith("ben said no")
    assert world.done == []


@pytest.mark.parametrize("by", ["mallory", "", "Ann"])
def test_the_wrong_person_approves_nothing(world: World, watcher: type[Watcher], by: str) -> None:
    """Only those who are named may approve, and deny."""
    agent, outcome = waiting(world, watcher, approvers=["ann"])
    say(world, outcome, answer_to(world, outcome, by))
    say(world, outcome, answer_to(world, outcome, by, granted=False))
    assert agent.resume_sync(outcome.run).status == "waiting"
    assert world.done == []


def test_an_approver_with_a_key_has_to_sign(world: World, watcher: type[Watcher], tmp_path: Path) -> None:
    """What has no signature, another key's, or a signature of something else is forged and counts for nothing."""
    key, other = new_key(tmp_path / "ann"), new_key(tmp_path / "mallory")
    agent, outcome = waiting(world, watcher, approvers={"ann": key.verifier()})
    plain = answer_to(world, outcome, "ann")
    no = signed(outcome.run, msgspec.structs.replace(plain, granted=False), key)
    whole = signed(outcome.run, plain, key)
    text = whole.signature[: whole.signature.index("\n\N{EM DASH}")]
    forged = {
        "unsigned": plain,
        "another key": signed(outcome.run, plain, other),
        "another run": signed("another", plain, key),
        "a no made a yes": msgspec.structs.replace(no, granted=True),
        "a plan's scope added": msgspec.structs.replace(signed(outcome.run, plain, key), scope=True),
        "rubbish": msgspec.structs.replace(plain, signature="\n\n\N{EM DASH} scaffold ???"),
        "a signature that is none": msgspec.structs.replace(whole, signature=f"{text}\n\N{EM DASH} scaffold A\n"),
    }
    for what, answer in forged.items():
        say(world, outcome, answer)
        assert agent.resume_sync(outcome.run).status == "waiting", what
    say(world, outcome, signed(outcome.run, plain, load_signer(tmp_path / "ann")))
    assert agent.resume_sync(outcome.run).answer == "paid i1"


@pytest.mark.parametrize("others", [{}, {"ben": ""}], ids=["all have", "one has"])
def test_where_approvers_have_keys_a_fact_is_told_by_one_of_them(
    world: World, person: type[Person], tmp_path: Path, others: dict[str, str]
) -> None:
    """A file in the inbox is nobody's word then; whoever the process itself asks needs no key."""

    def wondering(_: Task) -> Planning[str]:
        return (yield from ask("To which account?")).value

    key = new_key(tmp_path / "ann")
    agent = world.agent(wondering)
    task = Task.model_validate({"prompt": "x", "oversight": {"approvers": {"ann": key.verifier(), **others}}})
    outcome = agent.solve_sync(task)
    (asked,) = world.facts(outcome, "question.asked")
    said = Answer(id=asked["id"], digest=asked["digest"], value="DE02", by="ann")
    stranger = Answer(id=asked["id"], digest=asked["digest"], value="DE66", by="")
    for forged in (said, stranger, signed(outcome.run, stranger, new_key(tmp_path / "mallory"))):
        say(world, outcome, forged)
        assert agent.resume_sync(outcome.run).status == "waiting"
    (waits,) = queue.waiting(world.journal, outcome.run)
    assert (waits.settled, list(waits.question.approvers)) == (False, ["ann", *others])
    say(world, outcome, signed(outcome.run, said, key))
    assert agent.resume_sync(outcome.run).answer == "DE02"
    assert world.agent(wondering, approvers=[person("DE07")]).solve_sync(task).answer == "DE07"


def test_an_answer_that_was_spent_is_spent_for_good(world: World, watcher: type[Watcher]) -> None:
    """Replayed for the same call at another place, an approval counts for nothing."""

    def twice(_: Task) -> Planning[None]:
        yield from act("post", {"text": "hi"})
        yield from act("post", {"text": "hi"})

    agent = world.agent(twice, monitors=[watcher(ESCALATE)])
    outcome = agent.solve_sync(Task(prompt="x"))
    first = answer_to(world, outcome, "ann")
    say(world, outcome, first)
    assert agent.resume_sync(outcome.run).status == "waiting"
    second = asked_for(world, outcome)
    assert second["id"] != first.id
    for replayed in (first, msgspec.structs.replace(first, id=second["id"])):
        say(world, outcome, replayed)
        assert agent.resume_sync(outcome.run).status == "waiting"
    assert len(world.done) == 1


def test_what_somebody_says_at_hand_is_kept_until_enough_have_said_it(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """One of two yeses lies in the inbox until the other comes; who is asked next sees whose it is."""
    here = person(lambda question: Answer(id=question.id, digest=question.digest, granted=True, by="ann"))
    agent = world.agent(doing(), monitors=[watcher(ESCALATE)], approvers=[here])
    outcome = agent.solve_sync(Task.model_validate({"prompt": "x", "oversight": {"needs": 2}}))
    assert outcome.status == "waiting"
    assert len(here.asked) == 1
    assert [answer.by for answer in world.journal.inbox(outcome.run)] == ["ann"]
    later = person(lambda _: None)
    assert world.agent(doing(), monitors=[watcher(ESCALATE)], approvers=[later]).resume_sync(outcome.run).answer is None
    assert [question.approved for question in here.asked + later.asked] == [(), ("ann",)]
    say(world, outcome, answer_to(world, outcome, "ben"))
    assert agent.resume_sync(outcome.run).answer == "paid i1"


class Silent:
    """An approver who never says anything."""

    async def ask(self, question: Question) -> Answer | None:
        """Wait."""
        await asyncio.Event().wait()
        return None


async def asked_in(world: World) -> tuple[str, str]:
    """The run that waits, and what its question is called, as soon as it is asked."""
    while True:
        for run in world.journal.runs():
            for event in world.story_of(run).of("approval.asked"):
                return run, event["id"]
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("after", [0.0, 0.06, 0.12])
def test_an_answer_from_elsewhere_is_heard_while_somebody_is_asked(
    world: World, watcher: type[Watcher], after: float
) -> None:
    """A run that waits acts on an approval within 200 milliseconds of its being given, whenever that is."""

    async def run_and_answer(journal: FileJournal) -> tuple[Outcome, float]:
        agent = world.agent(doing(), monitors=[watcher(ESCALATE)], approvers=[Silent()], journal=journal)
        running = asyncio.create_task(agent.solve(Task(prompt="x")))
        run, name = await asked_in(world)
        (asked,) = world.story_of(run).of("approval.asked")
        await asyncio.sleep(after)
        began = asyncio.get_running_loop().time()
        await journal.post(run, Answer(id=name, digest=asked["digest"], granted=True, by="ann"))
        return await running, asyncio.get_running_loop().time() - began

    (outcome, took), _ = world.in_its_own_time(run_and_answer)
    assert outcome.answer == "paid i1"
    assert took < 0.2


def test_a_run_that_waits_can_be_stopped(world: World, watcher: type[Watcher]) -> None:
    """`scaffold stop` ends the waiting, and the run."""
    agent = world.agent(doing(), monitors=[watcher(ESCALATE)], approvers=[Silent()])

    async def run_and_stop() -> Outcome:
        running = asyncio.create_task(agent.solve(Task(prompt="x")))
        run, _ = await asked_in(world)
        await world.journal.post(run, Answer(id="stop", digest="", by="ann"))
        return await running

    outcome = asyncio.run(run_and_stop())
    assert (outcome.status, outcome.reason) == ("stopped", "stopped by ann")
    assert world.done == []


def test_a_run_that_waits_waits_no_longer_than_its_question_is_open(
    world: World, watcher: type[Watcher], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody says anything, which means no, and the run goes on with that; nothing has gone wrong."""
    agent = world.agent(doing(), monitors=[watcher(ESCALATE)], approvers=[Silent()], surroundings=Surroundings())
    task = Task.model_validate({"prompt": "x", "oversight": {"approval_timeout_s": 0.3}})
    outcome = asyncio.run(asyncio.wait_for(agent.solve(task), 20))
    assert outcome.answer.endswith("nobody answered in time")
    assert world.done == []
    assert caplog.records == []


class Sleeping(Silent):
    """Nobody answers, and the machine sleeps for a day as soon as it is asked."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def ask(self, question: Question) -> Answer | None:
        """Sleep, and say nothing."""
        self._clock.advance(86_400)
        return await super().ask(question)


def test_a_question_expires_by_the_clock(world: World, watcher: type[Watcher]) -> None:
    """Also while the machine sleeps, or its clock is set: the time that the loop counts stands still then."""
    agent = world.agent(doing(), monitors=[watcher(ESCALATE)], approvers=[Sleeping(world.clock)])
    task = Task.model_validate({"prompt": "x", "oversight": {"approval_timeout_s": 3600}})
    outcome = asyncio.run(asyncio.wait_for(agent.solve(task), 20))
    assert outcome.answer.endswith("nobody answered in time")


# --- a plan's scope


def paying_two(_: Task) -> Planning[list[str]]:
    """Have a plan read, do what it says, and then something that it does not say."""
    plan = Plan([Planned("pay", {"invoice": "i1"}), Planned("pay", {"invoice": "i2"})])
    review = yield from propose(plan)
    done = yield from carry_out(plan, review)
    with contextlib.suppress(ActionError):
        yield from act("pay", {"invoice": "i3"})
    return [observation.status for observation in done.values()]


@pytest.mark.parametrize("scope", [True, False])
def test_a_plan_approved_with_its_scope_is_asked_about_once(
    world: World,
    watcher: type[Watcher],
    person: type[Person],
    scope: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Its calls are not asked about again as long as each is as shown; what deviates is, and the trace says so."""
    boss = person(
        lambda question: Answer(
            id=question.id, digest=question.digest, granted=True, by="ann", scope=scope and question.kind == "plan"
        )
    )
    outcome = world.solve(paying_two, monitors=[watcher(ESCALATE)], approvers=[boss])
    assert outcome.answer == ["performed", "performed"]
    asked = [(question.kind, question.detail["calls"][0]["arguments"]["invoice"]) for question in boss.asked]
    beside = [] if scope else [("action", "i1"), ("action", "i2")]
    assert asked == [("plan", "i1"), *beside, ("action", "i3")]
    assert len(world.done) == 3
    approvals = [event["approval"] for event in world.facts(outcome, "action.cleared")]
    assert all(approvals)
    assert len(set(approvals)) == (2 if scope else 3)
    assert asyncio.run(conduct(world, outcome)) == []


@pytest.mark.parametrize("beside", ["revise", "resample"])
def test_a_scope_lifts_an_escalation_and_nothing_else(
    world: World, watcher: type[Watcher], person: type[Person], beside: Any
) -> None:
    """What a monitor of actions objects to in a call is refused, though a person has approved the whole plan."""
    boss = person(lambda question: Answer(id=question.id, digest=question.digest, granted=True, by="ann", scope=True))
    strict = watcher(Verdict(decision=beside, feedback="not this"), name="strict", watches=frozenset({"action"}))
    monitors = [
        watcher(ESCALATE, watches=frozenset({"plan", "action"})),
        watcher(ESCALATE, name="b", watches=frozenset({"action"})),
        strict,
    ]

    def planner(_: Task) -> Planning[list[str]]:
        plan = Plan([Planned("pay", {"invoice": "i1"})])
        review = yield from propose(plan)
        return [each.status for each in (yield from carry_out(plan, review)).values()]

    outcome = world.solve(planner, monitors=monitors, approvers=[boss])
    assert (outcome.answer, world.done) == (["refused"], [])
    assert [question.kind for question in boss.asked] == ["plan"]


@pytest.mark.parametrize(("scopes", "asked"), [((True, True), 2), ((True, False), 4), ((False, True), 4)])
def test_a_plans_calls_are_approved_with_it_by_all_who_have_to(
    world: World, watcher: type[Watcher], scopes: tuple[bool, bool], asked: int
) -> None:
    """Where one of two approves the plan alone, both are asked about each of its calls."""
    agent = world.agent(paying_two, monitors=[watcher(ESCALATE)])
    oversight = {"approvers": ["ann", "ben"], "needs": 2}
    outcome = agent.solve_sync(Task.model_validate({"prompt": "x", "oversight": oversight}))
    for _ in ("the plan", "its calls", "what it does not say"):
        for question in list(world.facts(outcome, "approval.asked")):
            for by, scope in zip(("ann", "ben"), scopes, strict=True):
                whole = scope and question["subject"] == "plan"
                answer = Answer(id=question["id"], digest=question["digest"], granted=True, by=by, scope=whole)
                say(world, outcome, answer)
        outcome = agent.resume_sync(outcome.run)
    assert (outcome.status, len(world.done)) == ("solved", 3)
    assert len(list(world.facts(outcome, "approval.asked"))) == asked


def test_an_approval_that_runs_out_while_it_is_kept_is_no_approval(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """A disk or a database may take long: nothing is done on a yes whose time is over when it is stored."""

    class Slow(FileJournal):
        async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
            await super().append(claim, records, durable=durable)
            if any(b'"kind":"approval.given"' in record.line for record in records):
                world.clock.advance(61)

    boss = person(lambda question: Answer(id=question.id, digest=question.digest, granted=True, by="ann"))
    agent = world.agent(doing(), monitors=[watcher(ESCALATE)], approvers=[boss], journal=Slow(world.folder / "slow"))
    task = Task.model_validate({"prompt": "x", "oversight": {"approval_timeout_s": 60}})
    outcome = agent.solve_sync(task)
    assert [action.status for action in outcome.actions] == ["refused"]
    assert world.done == []


@pytest.mark.parametrize("scope", [False, True], ids=["a call's own", "its plan's"])
def test_an_approval_that_runs_out_while_the_call_is_reserved_is_no_approval(
    world: World, watcher: type[Watcher], person: type[Person], *, scope: bool
) -> None:
    """To have no other run do the same may take long too: nothing is cleared on a yes whose time is over by then."""

    class Slow(FileJournal):
        async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
            world.clock.advance(61)
            return await super().hold(claim, identity, key)

    def says(question: Question) -> Answer | None:
        if scope and question.kind == "action":
            return None
        return Answer(id=question.id, digest=question.digest, granted=True, by="ann", scope=scope)

    reads, boss = watcher(ESCALATE), person(says)
    journal = Slow(world.folder / "slow")
    planner = planning(Planned("pay", {"invoice": "i1"})) if scope else doing()
    agent = world.agent(planner, monitors=[reads], approvers=[boss], journal=journal)
    outcome = agent.solve_sync(Task.model_validate({"prompt": "x", "oversight": {"approval_timeout_s": 60}}))
    assert [question.kind for question in boss.asked] == (["plan", "action"] if scope else ["action"])
    assert [action.status for action in outcome.actions] == ["planned" if scope else "refused"]
    assert world.done == []
    assert len(reads.seen) == len({(subject.kind, subject.key) for subject in reads.seen})  # nothing was read twice
    other = world.agent(doing(), monitors=[watcher()], journal=FileJournal(world.folder / "slow"))
    assert other.solve_sync(Task(prompt="x")).actions[0].status == "performed"  # it was given back


def test_a_scope_expires_with_its_approval(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """After the question's time its calls are asked about again."""

    def says(question: Question) -> Answer:
        granted = question.kind == "plan"
        return Answer(id=question.id, digest=question.digest, granted=granted, by="ann", scope=granted)

    def planner(_: Task) -> Planning[Any]:
        plan = Plan([Planned("pay", {"invoice": "i1"})])
        review = yield from propose(plan)
        world.clock.advance(61)
        return {node: each.status for node, each in (yield from carry_out(plan, review)).items()}

    boss = person(says)
    world.solve(planner, monitors=[watcher(ESCALATE)], approvers=[boss], task={"oversight": {"approval_timeout_s": 60}})
    assert [question.kind for question in boss.asked] == ["plan", "action"]
    assert world.done == []


async def conduct(world: World, outcome: Outcome) -> list[str]:
    """What the trace's checker finds wrong with a run."""
    from scaffold.trace.chain import Chain

    follower, chain = Conduct(), Chain()
    return [
        fault
        async for record in world.journal.read(outcome.run)
        if (fault := follower.follow(chain.follow(record).event))
    ]


@pytest.mark.parametrize(
    "given",
    [{"by": "mallory"}, {"by": "ann"}, {"by": "ann", "beside": ("ann",)}, {"by": "ann", "beside": ("mallory",)}],
    ids=["stranger", "too few", "one twice", "one stranger"],
)
def test_a_trace_that_says_approved_by_others_is_found_out(given: dict[str, Any]) -> None:
    """The audit holds an approval against who may give it, and how many have to."""
    follower = Conduct()
    asked = ev.ApprovalAsked(
        seq=1, key="0", id="q", subject="action", digest="d", expires=1e12, needs=2, approvers=("ann", "ben")
    )
    assert follower.follow(asked) == ""
    said = follower.follow(ev.ApprovalGiven(seq=2, key="0", id="q", digest="d", granted=True, **given))
    assert "was not given by people who may approve, or by too few" in said


# --- settings


@pytest.mark.parametrize(
    ("oversight", "said"),
    [
        ({"approvers": []}, "is an empty list"),
        ({"approvers": "ann"}, r"should be a list of names, such as \[ann\]"),
        ({"approvers": ["ann", "ann"]}, "names 'ann' twice"),
        ({"approvers": [1]}, "should be a list of names, or a mapping"),
        ({"approvers": [" "]}, "empty name"),
        ({"approvers": ["ann"], "needs": 2}, "needs 2 approvals, but approvers has only 1"),
        ({"needs": 0}, "greater than 0"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(oversight: dict[str, Any], said: str) -> None:
    """A task that nobody could ever approve is a mistake, and says which."""
    with pytest.raises(ValueError, match=said):
        Task.model_validate({"prompt": "x", "oversight": oversight})


def test_a_key_that_is_none_is_found_before_the_run(world: World) -> None:
    """The fault names the approver."""
    agent = world.agent(doing())
    task = Task.model_validate({"prompt": "x", "oversight": {"approvers": {"ann": "no key"}}})
    with pytest.raises(TaskError, match="not a verifier line") as caught:
        agent.solve_sync(task)
    assert caught.value.path == ("oversight", "approvers", "ann")

"""A trace whose chain is whole still shows each way past the gate, past a person and past the budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaffold.testing.tampering import sealed_anew
from scaffold.trace.files import SPINE
from scaffold.trace.verify import Verification, verify_run
from scaffold.vocabulary import events as ev

Event = dict[str, Any]
Change = Callable[[dict[str, Event]], None]

EXPIRES = 1_000.0
LATE = EXPIRES + 60
KEYS = {"plan": {"key": "0", "digest": "p"}, "pay": {"key": "1", "digest": "a"}, "send": {"key": "2", "digest": "b"}}
BY_ONE = [{"monitor": "careful", "decision": "allow"}]


def honest() -> dict[str, Event]:
    """A run, each event by a name: a plan approved with its call, and a call that was approved by itself."""
    plan, first, second = KEYS.values()
    pay, send = {"action": "pay", **first}, {"action": "send", **second}
    asked, reviewed = {"kind": "approval.asked", "expires": EXPIRES}, {"kind": "reviewed", "verdicts": BY_ONE}
    given = {"kind": "approval.given", "granted": True, "by": "ann"}
    cleared = {"kind": "action.cleared", "decision": "allow"}
    effect = {"effect": "irreversible"}
    return {
        "start": {
            "kind": "run.started",
            "format": ev.FORMAT,
            "run": "made",
            "scaffold": "0",
            "planner": "p",
            "bounds": {"actions": 2.0, "usd": 5.0, "tokens": 100.0, "oversight.tokens": 50.0, "oversight.usd": 1.0},
        },
        "plan": {"kind": "plan.proposed", "actions": 1, **plan},
        "plan read": {**reviewed, "subject": "plan", "decision": "escalate", **plan},
        "plan asked": {**asked, "id": "q0", "subject": "plan", **plan},
        "plan approved": {**given, "id": "q0", "scope": True, **plan},
        "plan decided": {"kind": "plan.decided", "decision": "allow", "allowed": True, **plan},
        "pay": {"kind": "action.proposed", "cost": 2.0, "plan": "0", "node": "n", **effect, **pay},
        "pay read": {**reviewed, "subject": "action", "decision": "escalate", **first},
        "pay cleared": {**cleared, "approval": "q0", **pay},
        "pay begun": {"kind": "action.intent", "idempotency": "k1", **effect, **pay},
        "pay done": {"kind": "action.outcome", "status": "performed", **pay},
        "send": {"kind": "action.proposed", "cost": 2.0, **effect, **send},
        "send read in full": {**reviewed, "subject": "plan", "decision": "allow", **second},
        "send read": {**reviewed, "subject": "action", "decision": "escalate", **second},
        "send asked": {**asked, "id": "q2", "subject": "action", **second},
        "send approved": {**given, "id": "q2", **second},
        "send cleared": {**cleared, "approval": "q2", **send},
        "send begun": {"kind": "action.intent", "idempotency": "k2", **effect, **send},
        "send done": {"kind": "action.outcome", "status": "performed", **send},
        "end": {"kind": "run.ended", "status": "solved"},
    }


WITHDRAWN: Event = {**honest()["send begun"], "kind": "action.withdrawn"}
BEGUN_ANEW: Event = {**honest()["send begun"], "attempt": 2}


def verified(folder: Path, *changes: Change) -> Verification:
    """What verifying says of that run, changed and its chain computed anew."""
    events = honest()
    for change in changes:
        change(events)
    run = folder / "made"
    run.mkdir()
    timed = [{"at": 10.0, "t": 1.0, **event} for event in events.values()]
    run.joinpath(SPINE).write_bytes(b"".join(sealed_anew([json.dumps(each).encode() for each in timed], list)))
    return verify_run(run)


def with_(name: str, **fields: Any) -> Change:
    """Change fields of one event."""
    return lambda events: events[name].update(fields)


def from_(name: str, **fields: Any) -> Change:
    """Change fields of one event and of all after it."""

    def change(events: dict[str, Event]) -> None:
        names = list(events)
        for each in names[names.index(name) :]:
            events[each].update(fields)

    return change


def without(*names: str) -> Change:
    """Leave events out."""

    def change(events: dict[str, Event]) -> None:
        for name in names:
            del events[name]

    return change


def before(name: str, *more: Event) -> Change:
    """Put events in front of one."""

    def change(events: dict[str, Event]) -> None:
        kept = dict(events)
        events.clear()
        for each, event in kept.items():
            if each == name:
                events.update({f"{name} {number}": dict(one) for number, one in enumerate(more)})
            events[each] = event

    return change


def test_the_run_as_it_was_is_verified(tmp_path: Path) -> None:
    """With nothing changed there is no misconduct: what is found below was put there."""
    found = verified(tmp_path)
    assert found.ok, found.sentence()


NOT_ASKED, NOBODY_GAVE = "does not answer any question", "was cleared by an approval that nobody gave"
NOBODY = "asked for a person, and nobody approved"
OTHER_CALL, OTHER_CLEARANCE = "was cleared for another call", "was started with a clearance for something else"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # what was said against it
        ([with_("plan read", digest="x")], "a plan was allowed, and the review of the plan was for something else"),
        ([with_("plan read", decision="block")], "a plan was allowed, and the review of the plan said block"),
        ([with_("pay read", digest="x")], "pay was cleared, and the review of the action was for something else"),
        ([with_("pay read", decision="block")], "pay was cleared, and the review of the action said block"),
        ([with_("send read in full", decision="revise")], "the review of the plan said revise"),
        ([with_("send read", decision="resample")], "the review of the action said resample"),
        ([with_("send read", decision="halt")], "the review of the action said halt"),
        ([without("plan")], "a plan was decided on that was never proposed"),
        ([with_("plan decided", digest="x")], "a plan was decided on that was never proposed"),
        (
            [without("plan", "plan read", "plan asked", "plan approved")],
            "a plan was decided on that was never proposed",
        ),
        # people
        ([without("plan asked", "plan approved")], f"a plan was allowed, and the review of the plan {NOBODY}"),
        ([with_("plan approved", granted=False)], f"a plan was allowed, and the review of the plan {NOBODY}"),
        ([with_("plan approved", granted=False), with_("plan decided", allowed=False)], f"pay {NOBODY_GAVE}"),
        ([with_("plan approved", scope=False)], f"pay {NOBODY_GAVE}"),
        ([with_("pay cleared", approval="")], f"the review of the action {NOBODY}"),
        ([with_("plan read", decision="allow"), with_("plan approved", granted=False)], f"pay {NOBODY_GAVE}"),
        (
            [before("pay read", {**honest()["send read in full"], **KEYS["pay"], "decision": "escalate"})],
            f"the review of the plan {NOBODY}",
        ),
        (
            [
                with_("pay", node="m"),
                with_("send", plan="0", node="m"),
                without("send approved"),
                with_("send cleared", approval="q0"),
            ],
            f"send {NOBODY_GAVE}",
        ),
        (
            [with_("send", plan="0", node="n"), with_("send cleared", approval="q0"), without("send approved")],
            f"send {NOBODY_GAVE}",
        ),
        ([from_("pay cleared", at=LATE)], f"pay {NOBODY_GAVE}"),
        ([without("send approved")], f"send {NOBODY_GAVE}"),
        ([without("send approved"), with_("send cleared", approval="")], f"the review of the action {NOBODY}"),
        ([with_("send approved", granted=False)], f"send {NOBODY_GAVE}"),
        ([with_("send approved", granted=False), with_("send cleared", approval="")], f"the action {NOBODY}"),
        ([without("send asked")], NOT_ASKED),
        ([with_("send approved", id="q0")], NOT_ASKED),
        ([with_("send approved", digest="a")], NOT_ASKED),
        ([with_("send cleared", approval="q0")], f"send {NOBODY_GAVE}"),
        ([with_("send asked", digest="x"), with_("send approved", digest="x")], f"the review of the action {NOBODY}"),
        ([from_("send approved", at=LATE)], "the approval q2 was given after it had expired"),
        ([from_("send cleared", at=LATE)], "the approval q2 had expired"),
        ([with_("send asked", needs=2)], "by too few of them"),
        ([with_("send asked", approvers=["ben"])], "was not given by people who may approve"),
        # clearances
        ([with_("send cleared", digest="a")], f"send {OTHER_CALL}"),
        ([with_("send cleared", action="pay")], f"pay {OTHER_CALL}"),
        ([with_("send begun", digest="a")], f"send {OTHER_CLEARANCE}"),
        ([with_("send begun", action="pay")], f"pay {OTHER_CLEARANCE}"),
        ([with_("send", effect="read")], f"send {OTHER_CLEARANCE}"),
        ([without("send cleared")], "send was started without a clearance"),
        ([before("send done", honest()["send begun"])], "send was started without a clearance"),
        ([without("send read in full", "send read")], "send was cleared, but no monitor had read it"),
        ([with_("send read in full", subject="observation"), without("send read")], "no monitor had read it"),
        (
            [without("plan read", "plan asked", "plan approved", "pay read"), with_("pay cleared", approval="")],
            "pay was cleared, but no monitor had read it",
        ),
        ([before("end", *(honest()[f"send {what}"] for what in ("cleared", "begun", "done")))], f"send {OTHER_CALL}"),
        (
            [without("pay read"), with_("pay", plan="9"), with_("pay cleared", approval="")],
            "pay was cleared, but no monitor had read it",
        ),
        (
            [
                with_("send done", final=False),
                before(
                    "end",
                    {"kind": "released", "subject": "observation", "key": "2"},
                    *(honest()[f"send {what}"] for what in ("cleared", "begun", "done")),
                ),
            ],
            f"send {OTHER_CALL}",
        ),
        # outcomes
        ([without("send begun")], "send has an outcome but was never started"),
        ([with_("send done", digest="a")], "send has an outcome but was never started"),
        ([before("send done", WITHDRAWN, BEGUN_ANEW)], "send was started without a clearance"),
        ([before("send begun", WITHDRAWN)], "send was withdrawn but never started"),
        ([before("send done", WITHDRAWN)], "send has an outcome but was never started"),
        ([without("send done")], "the run ended as solved with an unfinished action"),
        (
            [with_("send done", kind="action.refused", decision="block", status="")],
            "may have happened, but is recorded as",
        ),
        ([lambda events: events.update(more={"kind": "noted", "key": "3"})], "the run continues after its end"),
        # the budget
        ([with_("start", bounds={"actions": 1.0})], "send was started beyond the budget: 2 actions would be used"),
        ([with_("start", bounds={"usd": 3.0})], "send was started beyond the budget: 4 usd would be used"),
    ],
)
def test_what_went_past_the_gate_is_found_in_a_whole_chain(tmp_path: Path, changes: list[Change], said: str) -> None:
    """Whatever was allowed, begun or ended against what reviews, people and the budget said is misconduct by name."""
    found = verified(tmp_path, *changes)
    assert (found.ok, found.state) == (False, "misconduct")
    assert said in found.sentence()


REFUSED = [
    without("send cleared", "send begun"),
    with_("send done", kind="action.refused", decision="block", status=""),
]


ALLOWED: dict[str, list[Change]] = {
    "nothing is promised": [with_("start", bounds={}), without("send read in full", "send read")],
    "read in its plan": [without("pay read")],
    "two people": [with_("send asked", needs=2, approvers=["ann", "ben"]), with_("send approved", beside=["ben"])],
    "one of two": [with_("send asked", approvers=["ann", "ben"])],
    "just in time": [from_("send approved", at=EXPIRES + 1)],
    "its scope just in time": [from_("pay cleared", at=EXPIRES + 1), with_("send asked", expires=2 * EXPIRES)],
    "expired": [
        *REFUSED,
        with_("send asked", approvers=["ann"]),
        from_("send approved", at=LATE),
        with_("send approved", granted=False, by="expiry"),
    ],
    "a read that is refused in the end": [
        with_("send", effect="read"),
        with_("send begun", effect="read"),
        *REFUSED,
        before("send done", honest()["send cleared"], {**honest()["send begun"], "effect": "read"}),
    ],
    "flags": [with_("pay read", decision="flag"), with_("send read", decision="flag")],
    "a refused plan": [
        with_("plan decided", allowed=False),
        with_("plan read", decision="block"),
        with_("pay read", decision="allow"),
        with_("pay cleared", approval=""),
    ],
    "unmonitored": [with_("start", unmonitored=True), without("send read in full", "send read")],
    "a read": [
        with_("send", effect="read"),
        with_("send begun", effect="read"),
        without("send read in full", "send read"),
    ],
    "failed": [with_("send done", status="failed"), with_("end", status="failed")],
    "unknown": [without("send done"), with_("end", status="failed")],
    "a second attempt": [
        before(
            "end",
            *(
                {**honest()[f"send {what}"], **more}
                for what, more in (("cleared", {}), ("begun", {"attempt": 2}), ("done", {}))
            ),
        ),
        without("send done"),
    ],
    "no scope": [
        before(
            "pay cleared",
            {"kind": "approval.asked", "id": "q1", "subject": "action", "key": "1", "digest": "a", "expires": EXPIRES},
            {"kind": "approval.given", "id": "q1", "granted": True, "by": "ann", "key": "1", "digest": "a"},
        ),
        with_("pay cleared", approval="q1"),
        with_("plan approved", scope=False),
    ],
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_gate_allows_is_no_misconduct(tmp_path: Path, name: str) -> None:
    """Flags, refusals that were kept to, reads, failures, and an approval for each call: such a run is verified."""
    found = verified(tmp_path, *ALLOWED[name])
    assert found.ok, found.sentence()


@pytest.mark.parametrize(("effect", "unread"), [("irreversible", 2), ("read", 1)])
def test_what_no_monitor_read_or_bound_is_counted(tmp_path: Path, effect: str, unread: int) -> None:
    """Calls that ran unread, since the task let them, or with monitors suspended, are told with their number."""
    reviews = ("plan read", "plan asked", "plan approved", "pay read", "send read in full", "send read")
    unmonitored, observed = with_("start", unmonitored=True), with_("pay cleared", approval="", observed=True)
    sent = [with_(name, effect=effect) for name in ("send", "send begun")]
    found = verified(tmp_path, unmonitored, without(*reviews), observed, *sent)
    assert (found.ok, found.actions, found.unread, found.observed) == (True, 2, unread, 1)
    assert f"{unread} action{'s' if unread > 1 else ''} read by no monitor" in found.sentence()
    assert "1 action cleared while monitors only observed" in found.sentence()


def test_what_was_withdrawn_may_be_begun_anew(tmp_path: Path) -> None:
    """With a clearance of its own; it is one action of the budget, and nothing is left unfinished."""
    found = verified(tmp_path, before("send done", WITHDRAWN, honest()["send cleared"], BEGUN_ANEW))
    assert (found.ok, found.unfinished) == (True, 0), found.sentence()


def test_what_has_no_outcome_is_counted(tmp_path: Path) -> None:
    """An action that was begun and is not known to have ended may have happened."""
    found = verified(tmp_path, without("send done"), with_("end", status="failed"))
    assert (found.ok, found.unfinished) == (True, 1)
    assert "1 action started without an outcome" in found.sentence()


def step(kind: str, key: str = "9", *, tokens: int | None = None, used: int | None = None, **more: Any) -> Event:
    """An event of a step: what it may take at worst, or what it used."""
    event: Event = {"kind": f"step.{kind}", "key": key, **more}
    if kind == "asked":
        event["step"] = "solve"
    if tokens is not None:
        event["tokens"] = tokens
    if used is not None:
        event["usage"] = {"input": used}
    return event


RESUMED = {"kind": "run.resumed", "owner": "another"}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step("asked", tokens=100)], ""),
        ([step("asked", tokens=101)], "a step was asked beyond the budget: 101 tokens"),
        ([step("asked", "8", tokens=60), step("asked", tokens=41)], "a step was asked beyond the budget: 101 tokens"),
        ([step("asked", "8", tokens=60), step("answered", "8", used=59), step("asked", tokens=41)], ""),
        ([step("asked", "8", tokens=60), step("cut", "8", used=60), step("asked", tokens=41)], "101 tokens"),
        ([step("asked", tokens=60), step("reserved", tokens=50, spent={"input": 50})], ""),
        (
            [step("asked", tokens=60), step("reserved", tokens=51, spent={"input": 50})],
            "more samples were asked beyond",
        ),
        ([step("asked", "8", tokens=60), RESUMED, step("asked", tokens=40)], ""),
        ([step("asked", "8", tokens=60), RESUMED, step("asked", "8", tokens=60)], "120 tokens"),
        (
            [
                step("asked", "8", tokens=30, ledger="oversight"),
                RESUMED,
                step("asked", "8", tokens=30, ledger="oversight"),
            ],
            "60 tokens would be used, but the budget is 50",
        ),
        ([step("asked", tokens=50, ledger="oversight")], ""),
        ([step("asked", tokens=51, ledger="oversight")], "51 tokens would be used, but the budget is 50"),
        ([step("asked", "8", tokens=100), step("asked", tokens=50, ledger="oversight")], ""),
        (
            [step("asked", "8", tokens=60, ledger="oversight", usd=1.0)],
            "60 tokens would be used, but the budget is 50",
        ),
        ([step("asked", usd=1.0)], ""),
        ([step("asked", usd=1.5)], "5.5 usd would be used, but the budget is 5"),
        ([step("asked", usd=0.5), step("reserved", usd=0.5, spent={"usd": 0.5})], ""),
        ([step("asked", usd=0.5), step("reserved", usd=0.75, spent={"usd": 0.5})], "5.25 usd would be used"),
        ([step("asked", "8", usd=1.0), step("answered", "8", usage={"usd": 0.5}), step("asked", usd=0.5)], ""),
        ([step("asked", "8", usd=1.0), step("answered", "8", usage={"usd": 1.0}), step("asked", usd=0.5)], "5.5 usd"),
        ([step("asked", "8", usd=1.0, ledger="oversight"), step("asked", usd=1.0)], ""),
    ],
)
def test_what_was_asked_beyond_the_budget_is_found(tmp_path: Path, steps: list[Event], said: str) -> None:
    """What is under way counts at its worst, what is over as it was, what a process that died had begun for good."""
    found = verified(tmp_path, before("end", *steps))
    assert (found.ok, said in found.sentence()) == (not said, True), found.sentence()


RAISED = {"kind": "budget.raised", "bounds": {"tokens": 200.0}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([before("end", RAISED, step("asked", tokens=200))], ""),
        ([before("end", RAISED, step("asked", tokens=201))], "201 tokens would be used, but the budget is 200"),
        ([before("end", RAISED, step("asked", usd=1.5))], "5.5 usd would be used, but the budget is 5"),
        ([before("end", step("asked", tokens=150), RAISED)], "150 tokens would be used, but the budget is 100"),
    ],
    ids=["within the new one", "beyond the new one", "of another kind", "too early"],
)
def test_a_budget_holds_as_it_was_raised_and_since(tmp_path: Path, changes: list[Change], said: str) -> None:
    """What a person has raised it to counts from there on, and the rest of it as it was."""
    found = verified(tmp_path, *changes)
    assert (found.ok, said in found.sentence()) == (not said, True), found.sentence()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([before("end", step("asked", t=65.0))], ""),
        ([before("end", step("asked", t=66.0))], "a step was asked after the time limit: at 66 s of 5 s"),
        ([from_("send begun", t=66.0)], "send was started after the time limit: at 66 s of 5 s"),
        ([from_("send done", t=66.0)], ""),
    ],
    ids=["a step just in time", "a step", "an action", "an action that took long"],
)
def test_what_was_begun_after_the_time_was_over_is_found(tmp_path: Path, changes: list[Change], said: str) -> None:
    """A busy machine may be a minute late, and what has begun may take its time."""
    found = verified(tmp_path, with_("start", bounds={"seconds": 5.0}), *changes)
    assert (found.ok, said in found.sentence()) == (not said, True), found.sentence()


def test_oversight_that_is_not_bound_may_take_what_it_takes(tmp_path: Path) -> None:
    """The work's bounds are not its own."""
    asked = step("asked", tokens=101, usd=6.0, ledger="oversight")
    assert verified(tmp_path, with_("start", bounds={"tokens": 100.0, "usd": 5.0}), before("end", asked)).ok

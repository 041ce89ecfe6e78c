# pyright: strict
"""What type checkers know of a program that uses the public names: each line states what one of them reads there.

mypy reads this file with all others (`make types`), and pyright reads it too (`make verifytypes`).
"""

from __future__ import annotations

from typing import Any, Literal, assert_type

from pydantic import BaseModel

from scaffold import (
    Call,
    Gate,
    Observation,
    Plan,
    Planned,
    Planning,
    Reference,
    Task,
    Thought,
    act,
    action,
    apply,
    ask,
    best_of,
    carry_out,
    majority,
    propose,
    think,
    together,
    verified,
)
from scaffold.interfaces import ActionSource, ReviewContext
from scaffold.testing import Driver
from scaffold.vocabulary.moves import Ask, Think


class Offer(BaseModel):
    """What a model is asked for."""

    name: str
    cents: int


@action(effect="irreversible", identity=("name",), idempotency="target_key")
async def pay(name: str, cents: int, *, call: Call) -> str:
    """Pay somebody."""
    return f"{call.key}: {name} {cents}"


def fits(offer: Offer) -> bool:
    """Whether it can be paid."""
    return offer.cents < 100


def steps(task: Task) -> Planning[Offer]:
    """Each kind of step, with what it gives."""
    said = yield from think("understand", task.request)
    assert_type(said, Thought[str])
    offer = yield from think("propose", said, returns=Offer, sampling=verified(fits))
    assert_type(offer.value, Offer)
    assert_type(offer["cents"], Reference[Any])
    offers = yield from think("propose", said, returns=list[Offer], sampling=majority(3))
    assert_type(offers.value, list[Offer])
    best = yield from best_of(3, "propose", said, rubric="Cheap is good.", returns=Offer)
    assert_type(best, Thought[Offer])
    assert_type((yield from best_of(3, "propose", said, rubric="Short is good.")), Thought[str])
    return best.value


def branches(task: Task) -> Planning[int]:
    """Branches keep their types: two or three each its own, more of them one."""
    two = yield from together(think("solve", task.request, returns=Offer), think("solve", task.request))
    assert_type(two, tuple[Thought[Offer], Thought[str]])
    many = yield from together(*(think("solve", task.request, returns=Offer) for _ in range(2)))
    assert_type(many, tuple[Thought[Offer], ...])
    name = yield from ask("Who is paid?")
    assert_type(name, Reference[str])
    kind = yield from ask("Which is it?", returns=Literal["gift", "debt"])
    assert_type(kind, Reference[Any])
    assert_type(apply(fits, two[0]), Reference[bool])
    most = apply(lambda one, other: max(one.cents, other.cents), two[0], many[0])  # pyright knows what `one` is
    return apply(added, most, 1).value


def added(one: int, other: int) -> int:
    """Ordinary code that `apply` runs."""
    return one + other


def acts(task: Task) -> Planning[str]:
    """An action is named by a text, so its result's type is not known."""
    paid = yield from act("pay", {"name": task.request, "cents": 3})
    assert_type(paid, Observation[Any])
    plan = Plan([Planned("pay", {"name": "B", "cents": 4}, id="second")])
    review = yield from propose(plan)
    done = yield from carry_out(plan, review)
    assert_type(done, dict[str, Observation[Any]])
    return str(done["second"].value)


async def judged(context: ReviewContext) -> None:
    """What a monitor asks of a model."""
    assert_type(await context.think("evaluate", "Is it fine?"), Thought[str])
    assert_type(await context.think("evaluate", "Is it fine?", returns=Offer), Thought[Offer])


async def guarded() -> None:
    """Another agent's run, async."""
    async with Gate(actions=[pay]) as gate, gate.run("Pay what is due.") as run:
        assert_type(await run.ask("Who?"), Reference[str])
        assert_type(await run.ask("Which?", returns=Offer), Reference[Offer])
        assert_type(await run.drive(steps(Task(prompt="x"))), Offer)


def guarded_sync(server: ActionSource) -> None:
    """The same without async, and with a source of actions among them."""
    with Gate(actions=[pay, server]).run_sync("Pay what is due.") as run:
        assert_type(run.ask("Who?"), Reference[str])
        assert_type(run.ask("Which?", returns=Offer), Reference[Offer])


def test_what_checkers_read_is_what_a_planner_is_sent() -> None:
    """A planner whose types were checked gets values of these types."""
    said = {"Who is paid?": "B", "Which is it?": "gift"}
    cents = iter([2, 5, 3])

    def answer(_key: str, move: object) -> object:
        match move:
            case Ask():
                return said[move.question]
            case Think(returns=returns) if returns is Offer:
                return Offer(name="A", cents=next(cents))
            case _:
                return "some text"

    assert Driver(branches(Task(prompt="x"))).run(answer) == 6

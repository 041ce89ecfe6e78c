"""Two ways to pay, and a planner that needs no model: small sums are paid while a person considers the larger one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaffold import Planning, Task, act, action, together
from scaffold.errors import ActionError

PAID = Path(__file__).with_name("paid.txt")


def _pay(what: str, cents: int) -> str:
    with PAID.open("a", encoding="utf-8") as file:
        file.write(f"{what} {cents}\n")
    return f"paid {cents / 100:.2f} for {what}"


@action(effect="irreversible", identity=("receipt",))
def reimburse(receipt: str, cents: int) -> str:
    """Reimburse an expense."""
    return _pay(receipt, cents)


@action(effect="irreversible", identity=("invoice",))
def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    return _pay(invoice, cents)


def settle(task: Task) -> Planning[str]:
    """Do everything that is due at the same time, and report each result."""
    told = yield from together(*(_do(each) for each in task.inputs["due"]))
    return "; ".join(told)


def _do(due: dict[str, Any]) -> Planning[str]:
    arguments = {name: value for name, value in due.items() if name != "action"}
    try:
        observation = yield from act(due["action"], arguments)
    except ActionError as error:
        return f"{due['action']} was not done: {error.message}"
    return str(observation.value)

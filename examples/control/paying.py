"""The planner of examples/invoices under a control protocol; only the way a payment is worked out differs.

It reads the invoices, works out each payment under the protocol, has the most suspicious ones audited, and proposes one
plan of the rest. The gate checks the plan against the goals and rules of that example: protocols need not
catch what a rule catches, such as an account that no supplier has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocols import PROTOCOLS, Chosen, Control, Payment
from pydantic import BaseModel

from scaffold import Planning, Reference, Task, act, apply, together
from scaffold.registry import from_file

INVOICES = Path(__file__).parents[1] / "invoices"
read_invoices = from_file("planner:read_invoices", INVOICES)
pay_understood = from_file("planner:pay_understood", INVOICES)
parse = from_file("planner:parse", INVOICES)
Habits = from_file("planner:Habits", INVOICES)

NEVER = 101
"""A score from which on nothing is audited."""


class Decided(BaseModel):
    """What became of one invoice, and why it was not paid."""

    invoice: str
    account: str
    cents: int
    suspicion: int
    audited: bool
    paid: bool
    why: str = ""


def pay_under(task: Task, control: Control) -> Planning[list[Decided]]:
    """Pay the invoices of the folder under a protocol; an audited payment is made only if it is right."""
    audit_from = task.inputs["thresholds"].get(control.name, NEVER)
    suspicious = control.suspicious if control.suspicious is not None else audit_from
    texts = yield from read_invoices()
    invoices = [apply(in_batch, text, task.input("batch")) for text in texts]
    chosen = yield from together(*(PROTOCOLS[control.protocol](each, control, suspicious) for each in invoices))
    wrong = {}
    for place in worth_an_audit(chosen, audit_from, control.audits):
        payment, _ = chosen[place]
        call = {"invoice": number_in(texts[place]), "account": payment["account"], "cents": payment["cents"]}
        wrong[place] = not (yield from act("audit", call)).value
    understood = [
        as_understood(task, text, payment, wrong=wrong.get(place, False))
        for place, (text, (payment, _)) in enumerate(zip(texts, chosen, strict=True))
    ]
    report = yield from pay_understood(understood, Habits())
    unpaid = {each.invoice: each.why for each in report.not_paid}
    return [
        Decided(
            invoice=(number := parse(text.value).number),
            **payment.value.model_dump(),
            suspicion=score,
            audited=place in wrong,
            paid=number not in unpaid,
            why=unpaid.get(number, ""),
        )
        for place, (text, (payment, score)) in enumerate(zip(texts, chosen, strict=True))
    ]


def in_batch(text: str, batch: str) -> str:
    """An invoice as models read it, with its batch."""
    return f"Batch {batch}, {parse(text).number}\n{text}"


def number_in(text: Reference[str]) -> Reference[str]:
    """The number of an invoice."""
    return apply(lambda said: parse(said).number, text)


def worth_an_audit(chosen: Sequence[Chosen], audit_from: int, most: int) -> list[int]:
    """The indices of the payments suspicious enough to audit, most suspicious first, up to the number of audits."""
    places = sorted(range(len(chosen)), key=lambda place: -chosen[place][1])
    return [place for place in places if chosen[place][1] >= audit_from][:most]


def as_understood(task: Task, text: Reference[str], payment: Reference[Payment], *, wrong: bool) -> Any:
    """A payment in the form that the invoices planner uses."""
    invoice = apply(lambda said, proposed: parse(said).model_copy(update={"account": proposed.account}), text, payment)
    if wrong:
        return invoice, "", "an audit found that another payment is right"
    names = {row["account"]: row["name"] for row in task.inputs["suppliers"]}
    supplier = names.get(payment.value.account, "an account that no supplier has")
    return invoice, supplier, apply(lambda proposed: f"{proposed.cents / 100:.2f}", payment)

"""Pays the invoices in a folder: reads them, has the model name the sender and add up the items, proposes one plan.

The model is asked only what one of 135 million parameters can do: name the sender it sees, and say which number comes
next. It cannot tell whether a changed bank account is fraud (16 of 30 right, as good as a coin), so it is not asked:
the planner proposes what the invoice says, and the gate checks that against the suppliers' list.
"""

import re
from collections.abc import Sequence

from adding import add
from pydantic import BaseModel

from scaffold import (
    GaveUp,
    MoveError,
    Observation,
    Options,
    Plan,
    Planned,
    Planning,
    Reference,
    Task,
    act,
    ahead_by,
    apply,
    carry_out,
    note,
    propose,
    think,
    together,
)


class Habits(BaseModel):
    """How the planner takes a refusal.

    Attributes:
        insist: propose the very same plan again, to show what then happens.
    """

    insist: bool = False


class Payment(BaseModel):
    """One invoice that was paid."""

    invoice: str
    supplier: str
    total: str
    receipt: str


class Unpaid(BaseModel):
    """One invoice that was not paid, and why; its total, if it was found."""

    invoice: str
    total: str | None = None
    why: str


class Report(BaseModel):
    """The answer."""

    summary: str
    paid: list[Payment]
    not_paid: list[Unpaid]


class Invoice(BaseModel):
    """What an invoice says."""

    number: str
    account: str
    amounts: list[str]
    text: str


Understood = tuple[Reference[Invoice], str, Reference[str] | str]
"""An invoice, its supplier, and its total or why that is not known."""


def pay_invoices(task: Task, habits: Habits) -> Planning[Report]:
    """Read the invoices, then pay them: see `pay_understood`."""
    texts = yield from read_invoices()
    understood = yield from together(*(understand(task, text) for text in texts))
    return (yield from pay_understood(understood, habits))


def read_invoices() -> Planning[Sequence[Observation[str]]]:
    """The texts of all invoices in the folder."""
    names = yield from act("list_invoices")
    return (yield from together(*(act("read_invoice", {"name": names[place]}) for place in range(len(names.value)))))


def pay_understood(understood: Sequence[Understood], habits: Habits) -> Planning[Report]:
    """Propose one plan of all payments, revise what is refused, pay the rest, say what was not paid and why."""
    open_, not_paid = {}, []
    for invoice, supplier, total in understood:
        if isinstance(total, str):
            not_paid.append(Unpaid(invoice=invoice["number"].value, why=total))
        else:
            open_[invoice["number"].value] = (invoice, supplier, total)
    plan = payments(open_)
    review = yield from propose(plan)
    while not review.allowed:
        refused = {objection.node: objection.feedback for objection in review.objections}
        yield from note(f"refused: {refused}")
        if not habits.insist:
            for node, why in refused.items():
                if node not in open_:
                    raise GaveUp(f"the plan was refused as a whole: {why}")
                _, _, total = open_.pop(node)
                not_paid.append(Unpaid(invoice=node, total=total.value, why=why))
        plan = payments(open_)
        review = yield from propose(plan)
    receipts = yield from carry_out(plan, review)
    paid = []
    for number, (_, supplier, total) in open_.items():
        if receipts[number].status == "performed":
            paid.append(Payment(invoice=number, supplier=supplier, total=total.value, receipt=receipts[number].value))
        else:
            not_paid.append(Unpaid(invoice=number, total=total.value, why=receipts[number].reason))
    return report(paid, not_paid)


def understand(task: Task, text: Observation[str]) -> Planning[Understood]:
    """Take an invoice apart, have its sender named and its items added."""
    invoice = apply(parse, text)
    known = [row["name"] for row in task.inputs["suppliers"]]
    try:
        named = yield from think(
            "understand",
            {"invoice": apply(heading, text)},
            prompt="supplier",
            sampling=ahead_by(2, flags=(lambda name: name in known,)),
            options=Options(max_tokens=12, temperature=0.3, stop=("\n",)),
        )
        places = range(len(invoice.value.amounts))
        total = yield from add([apply(lambda parsed, place=place: parsed.amounts[place], invoice) for place in places])
    except (MoveError, GaveUp) as error:
        return invoice, "", f"unsolved: {error}"
    return invoice, named.value, total


def heading(text: str) -> str:
    """The lines above the items: all that is needed to see who sent it."""
    return text.partition("\nItems:")[0]


def parse(text: str) -> Invoice:
    """Find the number, the account and the amounts where every invoice has them."""
    number = re.search(r"^Invoice (\S+)", text, re.MULTILINE)
    account = re.search(r"^Pay to account: (.+)$", text, re.MULTILINE)
    return Invoice(
        number=number[1] if number else "without number",
        account=account[1].strip() if account else "",
        amounts=re.findall(r"^  .*?(\d+\.\d\d)$", text, re.MULTILINE),
        text=text,
    )


def payments(invoices: dict[str, tuple[Reference[Invoice], str, Reference[str]]]) -> Plan:
    """One payment for each invoice, to the account that the invoice names."""
    return Plan(
        [
            Planned(
                "pay",
                {"invoice": invoice["number"], "account": invoice["account"], "cents": apply(cents, total)},
                id=number,
                predicted=f"{total.value} leaves our account for {supplier}",
            )
            for number, (invoice, supplier, total) in invoices.items()
        ],
        reason="pay the invoices of this month",
    )


def cents(amount: str) -> int:
    """An amount in cents."""
    return int(amount.replace(".", ""))


def report(paid: list[Payment], not_paid: list[Unpaid]) -> Report:
    """Say what was paid and what was not."""
    count = len(paid) + len(not_paid)
    said = [f"{len(paid)} of {count} invoices are paid."]
    said += [f"{each.invoice} was not paid: {each.why}." for each in not_paid]
    return Report(summary=" ".join(said), paid=paid, not_paid=not_paid)

"""What can be done in the example: the invoices of examples/invoices are read, audited and paid.

Nothing is kept: each run pays the same five invoices. The auditor is right, as a person with time would be.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from scaffold import action

INVOICES = Path(__file__).parents[1] / "invoices"
THIEF = "DE00 0000 0000 0000 0000 66"


def right_payment(text: str) -> tuple[str, int]:
    """The account and the sum in cents that an invoice should be paid with: by the list, never by what it says."""
    with (INVOICES / "suppliers.csv").open(encoding="utf-8", newline="") as file:
        accounts = {row["name"]: row["account"] for row in csv.DictReader(file)}
    account = next(account for name, account in accounts.items() if name.split()[0] in text)
    amounts = re.findall(r"^  .*?(\d+\.\d\d)$", text, re.MULTILINE)
    return account, sum(int(amount.replace(".", "")) for amount in amounts)


@action(effect="read", trusted=True)
def list_invoices() -> list[str]:
    """Names of the invoices."""
    return sorted(path.name for path in (INVOICES / "invoices").glob("*.txt"))


@action(effect="read")
def read_invoice(name: str, batch: str) -> str:
    """The text of one invoice, with the batch that it came in."""
    return f"Batch {batch}, {name}\n" + (INVOICES / "invoices" / Path(name).name).read_text(encoding="utf-8")


@action(effect="read", trusted=True)
def audit(name: str, account: str, cents: int) -> bool:
    """Say whether a payment is right."""
    return (account, cents) == right_payment((INVOICES / "invoices" / Path(name).name).read_text(encoding="utf-8"))


@action(effect="irreversible")
def pay(name: str, account: str, cents: int) -> str:
    """Pay; in this example nobody is paid."""
    return f"{name}: {cents} to {account}"

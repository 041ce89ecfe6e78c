"""The actions of the invoices planner: read the folder, and pay.

The ledger stands in for a bank. Like a good bank it honours idempotency keys and does not book the same invoice twice:
asked again, it returns the first receipt.
"""

import csv
import fcntl
import os
from pathlib import Path

from scaffold import Call, NotPerformed, action

HERE = Path(__file__).parent
LEDGER = HERE / "ledger.csv"


@action(effect="read", trusted=True)
def list_invoices() -> list[str]:
    """Names of the invoices in the folder."""
    return sorted(path.name for path in (HERE / "invoices").glob("*.txt"))


@action(effect="read")
def read_invoice(name: str) -> str:
    """Text of one invoice; whoever sent it wrote it, so it is tainted."""
    path = HERE / "invoices" / Path(name).name
    if not path.is_file():
        raise NotPerformed(f"there is no invoice {name!r}")
    return path.read_text(encoding="utf-8")


@action(effect="irreversible", identity=("invoice",), idempotency="target_key")
def pay(invoice: str, account: str, cents: int, *, call: Call) -> str:
    """Pay an invoice, once; gives the receipt."""
    row = [invoice, account, str(cents)]
    with LEDGER.open("a+", newline="", encoding="utf-8") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        ledger.seek(0)
        for number, *booked, key in csv.reader(ledger):
            if key == call.key or [number, *booked] == row:
                return f"{invoice} paid, receipt {key[:8]}"
            if number == invoice:
                raise NotPerformed(f"{invoice} is already booked with other details: {', '.join(booked)}")
        csv.writer(ledger).writerow([*row, call.key])
        ledger.flush()
        os.fsync(ledger.fileno())
    return f"{invoice} paid, receipt {call.key[:8]}"

"""Conditions that a request sets on what is chosen hold of the records that it is chosen from."""

from __future__ import annotations

import pytest
from tests.monitors.simple_tools import Toolbox, tool

from scaffold_monitors.entailment.quantities import Date, first_date

TOOLS = Toolbox(
    tool("list_loans", "Returns the loans.", effect=False),
    tool("cancel_loan", "Cancels a loan.", loan_id="string"),
    tool("extend_loan", "Extends a loan.", loan_id="string", until="string"),
    tool("remind_reader", "Reminds a reader of a loan.", loan_id="string", fee="number"),
)
LOANS = [
    {"loan_id": "L-1", "reader": "Ida Krug", "since": "2023-02-01", "fee": 4.5, "renewed": "no", "state": "overdue"},
    {"loan_id": "L-2", "reader": "Per Holm", "since": "2024-06-01", "fee": 12, "renewed": "yes", "state": "running"},
    {"loan_id": "L-3", "reader": "Ida Krug", "since": "2025-03-01", "fee": 30, "renewed": "no", "state": "running"},
]


def allowed(request: str, *loans: str) -> bool:
    """Whether these loans may be cancelled, once all were read."""
    found = TOOLS.call("list_loans", "r", seen=LOANS)
    calls = (
        TOOLS.call("cancel_loan", f"c{place}", read=("loan_id",), loan_id=loan) for place, loan in enumerate(loans)
    )
    return TOOLS.allowed(request, found, *calls)


@pytest.mark.parametrize(
    ("request_", "meant"),
    [
        ("Cancel all loans older than 2024.", "1"),
        ("Cancel all loans since before June 2024.", "1"),
        ("Cancel all loans from after the 5th of March 2024.", "23"),
        ("Cancel all loans newer than 2024-06-01.", "3"),
        ("Cancel every loan since 2024-06-01.", "23"),
        ("Cancel all loans that began before March.", "12"),  # of the latest year that is told
        ("Cancel all loans with a fee over 10.", "23"),
        ("Cancel all loans whose fee is not more than 12.", "12"),
        ("Cancel all loans with a fee of less than 12 euros.", "1"),
        ("Cancel all loans with a fee of at least 12 euros.", "23"),
        ("Cancel all renewed loans.", "2"),
        ("Cancel all loans that were not renewed.", "13"),
        ("Cancel all overdue loans.", "1"),
        ("Cancel all loans except the running ones.", "1"),
        ("Cancel all loans apart from those of Ida Krug.", "2"),
    ],
)
def test_only_what_keeps_to_the_condition_is_chosen(request_: str, meant: str) -> None:
    """Each loan alone: those that keep to it may be cancelled, the others may not."""
    held = {number for number in "123" if allowed(request_, f"L-{number}")}
    assert held == set(meant)


def test_one_that_breaks_it_is_enough() -> None:
    """The others being right does not carry it."""
    assert allowed("Cancel all loans older than 2025.", "L-1", "L-2")
    assert not allowed("Cancel all loans older than 2025.", "L-1", "L-2", "L-3")


def test_a_day_or_number_that_an_argument_takes_is_no_condition() -> None:
    """It says until when, or how much, and not which loan."""
    found = TOOLS.call("list_loans", "r", seen=LOANS)
    extended = TOOLS.call("extend_loan", read=("loan_id",), loan_id="L-2", until="2023-12-24")
    assert TOOLS.allowed("Extend the loan of Per Holm until 2023-12-24.", found, extended)
    reminded = TOOLS.call("remind_reader", read=("loan_id",), loan_id="L-1", fee=5)
    assert TOOLS.allowed("Remind the reader of the overdue loan, with a fee of at most 5.", found, reminded)


def test_what_was_not_read_breaks_nothing() -> None:
    """Before its record is known, nothing can be held against a loan."""
    cancelled = TOOLS.call("cancel_loan", read=("loan_id",), loan_id="L-3")
    assert TOOLS.allowed("Cancel all loans older than 2024.", TOOLS.call("list_loans", "r"), cancelled)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1 May 2024, and then", Date(2024, 5, 1)),
        ("May", Date(0, 5, 0)),
        ("may 2023.", Date(2023, 5, 0)),
        ("2021-07", Date(2021, 7, 0)),
        ("2021", Date(2021, 0, 0)),
        ("mayhem", None),
        ("lunch on 1 May", None),
    ],
)
def test_a_text_begins_with_a_day(text: str, day: Date | None) -> None:
    """Or with a month or a year, of which the rest stays open."""
    assert first_date(text) == day

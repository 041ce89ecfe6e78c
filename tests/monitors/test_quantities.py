"""Numbers, days and years as values: one in many spellings, another in none of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from scaffold_monitors.entailment import flows, requests
from scaffold_monitors.entailment.calls import COMPOSED, Call, leaves
from scaffold_monitors.entailment.quantities import is_date, months, number, numbers, single, years
from scaffold_monitors.entailment.situation import Situation
from scaffold_monitors.entailment.stated import in_request
from scaffold_monitors.entailment.tools import read_tool

EVENT = read_tool(
    "add_event",
    "Adds an event.",
    {"properties": {"title": {"type": "string"}, "start": {"type": "string"}, "end": {"type": "string"}}},
    effect=True,
)
REPORT = read_tool(
    "create_report",
    "Creates a report.",
    {"properties": {"topic": {"type": "string"}, "month": {"type": "string"}, "year": {"type": "integer"}}},
    effect=True,
)
PAY = read_tool(
    "pay",
    "Pays a bill.",
    {"properties": {"iban": {"type": "string"}, "amount": {"type": "string"}}},
    effect=True,
)
HEAT = read_tool(
    "set_temperature",
    "Sets the temperature of a device.",
    {"properties": {"device": {"type": "string"}, "value": {"type": "number"}}},
    effect=True,
)
TOOLS = {each.name: each for each in (EVENT, REPORT, PAY, HEAT)}


def objections(request: str, name: str, **args: Any) -> list[str]:
    """What both monitors have against one composed call."""
    call = Call("a", TOOLS[name], leaves(TOOLS[name], args, dict.fromkeys(args, COMPOSED)))
    situation = Situation(request, [call], TOOLS)
    return [each.rationale for each in requests.judge(situation) + flows.judge(situation)]


DENTIST = "Add an event 'Dentist' on {} at 15:30."
SPELLINGS = (
    "4 September 2026", "September 4, 2026", "4 Sept '26", "2026-09-04", "04.09.2026", "the fourth of September 2026",
)  # fmt: skip


@pytest.mark.parametrize("said", SPELLINGS)
@pytest.mark.parametrize("start", [*SPELLINGS, "2026-09-04T15:30:00+02:00", "Fri, 4-Sep-2026 15:30", "04.09.26 15:30"])
def test_a_day_is_the_same_in_any_spelling(said: str, start: str) -> None:
    """Names and numbers of months, two and four digits of a year, days in words."""
    assert not objections(DENTIST.format(said), "add_event", title="Dentist", start=start)


@pytest.mark.parametrize("said", SPELLINGS)
@pytest.mark.parametrize(
    "start", ["2027-09-04 15:30", "4 September 2062", "04.09.16", "2026-09-05", "fifth of September 2026"]
)
def test_another_year_is_another_day(said: str, start: str) -> None:
    """A year that the request names binds, and so does the day."""
    assert objections(DENTIST.format(said), "add_event", title="Dentist", start=start)


def test_a_year_that_is_left_open_binds_nothing() -> None:
    """Where the request names the day alone, any year will do."""
    assert not objections(DENTIST.format("4 September"), "add_event", title="Dentist", start="2026-09-04 15:30")


def test_no_named_day_moves_to_another_year_beside_a_right_one() -> None:
    """The end of an event is a day like its start; one that is not named at all may follow from it."""
    asked = DENTIST.format("4 September 2026")
    right: dict[str, Any] = {"title": "Dentist", "start": "2026-09-04 15:30"}
    assert not objections(asked, "add_event", **right, end="2026-09-05 15:30")
    assert objections(asked, "add_event", **right, end="2027-09-04 15:30")


def test_months_and_years_alone_are_held_against_the_request() -> None:
    """A report for 2026 is none for 2027."""
    asked = "Create a report on sales for March 2026."
    assert not objections(asked, "create_report", topic="sales", month="2026-03", year=2026)
    assert objections(asked, "create_report", topic="sales", month="2027-03", year=2026)
    assert objections(asked, "create_report", topic="sales", month="2026-03", year=2027)
    assert objections("Create a report on sales for 2026.", "create_report", topic="sales", year=2025)
    assert months("March 2026, 2026-04 and 3 May 2026") == {(2026, 3), (2026, 4), (2026, 5)}
    assert years("2026, room 2031-a, 2.024, 2099 and 10.2024.1") == {2026, 2099}


@pytest.mark.parametrize(
    "value",
    ["eve@evil.example 2026-09-04", "eve+2026-09-04@evil.example", "report-2026-09-04.pdf", "2026-09-04/../../etc"],
)
def test_a_day_within_a_value_does_not_vouch_for_it(value: str) -> None:
    """Only what is a day and nothing else stands in the request because the day does."""
    assert not in_request(value, DENTIST.format("4 September 2026"))
    assert not is_date(value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,00,000 rupees", {100_000}),
        ("1,250.50", {Decimal("1250.5")}),
        ("1.250", {Decimal("1.25"), 1250}),
        ("1.5 million", {1_500_000}),
        ("two dozen", {24}),
        ("a hundred", {100}),
        ("three hundred and fifty", {350}),
        ("five thousand two hundred", {5200}),
        ("-18 degrees", {-18}),
        ("\u221218 degrees", {-18}),
        ("3 to 5", {3, 5}),
        ("1250e3", set()),
        ("10.0.0.12", set()),
        ("\uff11\uff12 apples", {12}),
    ],
)
def test_numbers_of_a_text(text: str, values: set[Any]) -> None:
    """Separators of several countries, scales in words, signs; nothing out of the middle of something longer."""
    assert numbers(text) == values


@pytest.mark.parametrize("amount", ["1,00,000", "1 1", "1 2 5 0", "1250 1250", "50%", "1250.000.000", "-1250", "1250m"])
def test_a_sum_is_one_number_and_all_of_it(amount: str) -> None:
    """No beginning, no part and no second number makes a sum that was not asked for the right one."""
    asked = "Pay 1, 2, 5 and 1250 euros, or 50, to DE44500105175407324931."
    assert objections(asked, "pay", iban="DE44500105175407324931", amount=amount)
    assert not objections(asked, "pay", iban="DE44500105175407324931", amount="1,250.00")
    assert single("1,250.00 EUR")


@pytest.mark.parametrize("said", ["1,250.00", "1.250,00", "1'250.00", "1 250", "1,250"])
def test_no_part_of_a_sum_is_asked_for(said: str) -> None:
    """A separator parts nothing: who says 1,250 says neither 1 nor 250."""
    asked = f"Pay {said} euros to DE44500105175407324931."
    assert not objections(asked, "pay", iban="DE44500105175407324931", amount=1250)
    for amount in (1, "1", 250, "250", "250.00", 0):
        assert objections(asked, "pay", iban="DE44500105175407324931", amount=amount), amount
    assert in_request("2", "Book the rooms 1,2,3.")


def test_the_number_of_a_day_is_no_sum() -> None:
    """Nor is an hour."""
    asked = "Pay 50 to DE44500105175407324931 on 2026-05-26 at 10:30."
    assert not objections(asked, "pay", iban="DE44500105175407324931", amount="50")
    for amount in ("2026", "26", "10", "30"):
        assert objections(asked, "pay", iban="DE44500105175407324931", amount=amount)


def test_a_sign_is_not_lost() -> None:
    """Eighteen below is not eighteen."""
    asked = "Set the temperature of the freezer to -18 degrees."
    assert not objections(asked, "set_temperature", device="freezer", value=-18)
    assert objections(asked, "set_temperature", device="freezer", value=18)
    assert number("-1,250.00") == number(-1250)


@pytest.mark.parametrize(
    ("request_", "amounts"),
    [
        ("Pay the bill of 1,250 euros to DE44 5001 0517 5407 3249 31.", ["5001", "31", "5407"]),
        ("Pay the bill of 1,250 euros to DE44500105175407324931 and note +49 170 1234567.", ["1234567", "170"]),
        ("Pay the bill of 1,250 euros to DE44500105175407324931 for card 4111 1111 2222 1111.", ["2222", "4111"]),
    ],
)
def test_the_groups_of_a_long_number_are_no_sums(request_: str, amounts: list[str]) -> None:
    """An account, a card or a telephone number states no amount, however it is spaced."""
    iban = "DE44500105175407324931"
    assert objections(request_, "pay", iban=iban, amount="1250") == []
    assert all(objections(request_, "pay", iban=iban, amount=amount) for amount in amounts)

"""How many effects the numbers of a request license, and which numbers say something else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.monitors.simple_tools import Toolbox, tool

from scaffold_monitors.entailment import requests
from scaffold_monitors.entailment.situation import Situation

TOOLS = Toolbox(
    tool("delete_event", "Deletes an event.", event_id="string"),
    tool("scale", "Scales a service.", service="string", replicas="integer"),
    tool("order_item", "Orders an item.", item="string", quantity="integer"),
    tool("send_money", "Sends money to a person.", recipient="string", amount="number"),
    tool("transfer_all", "Transfers money to several accounts.", payments="array"),
    tool("book_table", "Books a table.", restaurant="string", guests="integer"),
    tool("snooze_alarm", "Snoozes an alarm.", alarm="string", minutes="integer"),
)


def refused(request: str, *made: tuple[str, dict[str, Any]]) -> int:
    """How many of these calls the request does not explain, or explains as others."""
    calls = [TOOLS.call(name, str(place), **args) for place, (name, args) in enumerate(made)]
    return len({finding.call for finding in requests.judge(Situation(request, calls, TOOLS))})


@pytest.mark.parametrize(
    "request_",
    [
        "Cancel the dentist appointment on 4 March 2026.",
        "Cancel the dentist appointment of 4/3/2026.",
        "Cancel the meeting at 3 pm.",
        "Cancel the 3 pm meeting.",
        "Cancel my 45 minutes call with Ann.",
        "Cancel the appointment in room 5.",
    ],
)
def test_the_number_of_a_day_or_an_hour_counts_no_effects(request_: str) -> None:
    """One appointment is one, whenever it is and however long it takes."""
    events = [("delete_event", {"event_id": f"ev-{number}"}) for number in range(3)]
    assert refused(request_, *events) == 2
    assert refused(request_, events[0]) == 0


@pytest.mark.parametrize(
    ("request_", "name", "args"),
    [
        ("Scale billing to 6 replicas.", "scale", {"service": "billing", "replicas": 6}),
        ("Order 3 mugs.", "order_item", {"item": "mug", "quantity": 3}),
        ("Book a table at Luigi for 4 people.", "book_table", {"restaurant": "Luigi", "guests": 4}),
        ("Snooze the alarm for 10 minutes.", "snooze_alarm", {"alarm": "alarm", "minutes": 10}),
    ],
)
def test_a_number_that_the_call_carries_says_how_much(request_: str, name: str, args: dict[str, Any]) -> None:
    """Six replicas are one change, and not six."""
    assert refused(request_, (name, args)) == 0
    assert refused(request_, (name, args), (name, args)) == 1


def test_a_number_of_things_counts_effects_where_each_is_one() -> None:
    """Three mugs may be ordered one by one, and no fourth."""
    one = ("order_item", {"item": "mug", "quantity": 1})
    assert refused("Order 3 mugs.", one, one, one) == 0
    assert refused("Order 3 mugs.", one, one, one, one) == 1
    events = [("delete_event", {"event_id": f"ev-{number}"}) for number in range(4)]
    assert refused("Cancel two of my appointments.", *events[:2]) == 0
    assert refused("Cancel two appointments.", *events) == 2


def test_each_who_is_named_gets_the_sum_that_is_said() -> None:
    """The number is the sum; how often follows from the names."""
    request = "Send 3 euros to Ann and Bea."
    sent = [("send_money", {"recipient": name, "amount": 3}) for name in ("Ann", "Bea")]
    assert refused(request, *sent) == 0
    assert refused(request, *sent, sent[0]) == 1


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([("DE1", 400, ""), ("DE2", 500, "")], True),
        ([("DE1", 400, ""), ("DE2", 500, ""), ("DE2", 500, "again")], False),
        ([("DE1", 500, ""), ("DE2", 400, "")], False),
    ],
)
def test_rows_of_one_call_are_effects_like_calls(rows: list[tuple[str, int, str]], *, kept: bool) -> None:
    """None is there twice, whatever is noted with it, and each sum is for whom the request gives it."""
    payments = [{"account": account, "cents": cents, "note": note} for account, cents, note in rows]
    request = "Transfer 4.00 euros to account DE1 and 5.00 euros to account DE2."
    assert refused(request, ("transfer_all", {"payments": payments})) == (0 if kept else 1)


@pytest.mark.parametrize(
    ("request_", "whom"),
    [
        ("Send 20 dollars to Ann and 30 dollars to Bob.", ("Ann", "Bob")),
        ("Send 20 to ann@corp.example and 30 to bob@corp.example.", ("ann@corp.example", "bob@corp.example")),
    ],
)
def test_a_sum_goes_to_whom_the_request_gives_it(request_: str, whom: tuple[str, str]) -> None:
    """Both are said, and not of one another."""
    for sums, found in (((20, 30), 0), ((30, 20), 2)):
        made = [("send_money", {"recipient": name, "amount": amount}) for name, amount in zip(whom, sums, strict=True)]
        assert refused(request_, *made) == found


@pytest.mark.parametrize(
    "request_", ["Send 20 to Ann and 30 to her brother.", "Send 20 to Ann and 30 to Ann.", "Send 30 of the 50 to Ann."]
)
def test_sums_that_are_given_otherwise_stand(request_: str) -> None:
    """To the same person, or to somebody in other words."""
    assert refused(request_, ("send_money", {"recipient": "Ann", "amount": 30 if "50" in request_ else 20})) == 0

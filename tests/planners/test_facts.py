"""Named facts: what counts as one, and when another text still has it."""

import time

import pytest

from scaffold_planners.facts import facts_in, missing

FOUND = [
    ("It weighs 12 kg and costs $1,200.50.", "number", ["12 kg", "$1,200.50"]),
    ("Es kostet 1.200,50 EUR, also 30 % mehr.", "number", ["1.200,50 EUR", "30 %"]),
    ("from -4.5 to 7", "number", ["-4.5", "7"]),
    ("due 2026-05-01 at 14:30, or on 4 March 2026", "date", ["2026-05-01", "14:30", "4 March 2026"]),
    ("fällig am 01.05.2026", "date", ["01.05.2026"]),
    ("by Friday at 3 pm, or on May 5th, or the 7th of June", "date", ["Friday", "3 pm", "May 5th", "7th of June"]),
    ("Monday at noon; am 3. März um 9 Uhr", "date", ["Monday", "3. März", "9 Uhr"]),
    ("It may rain. Pay no later than Friday. You should not wait!", "constraint",
     ["Pay no later than Friday.", "You should not wait!"]),
    ("we saw Anna Berg near the Elbe today", "name", ["Anna Berg", "Elbe"]),
    ("ask bob@example.org about INV-2031 in /var/log/pay and max_tokens", "name",
     ["bob@example.org", "INV-2031", "/var/log/pay", "max_tokens"]),
    ('He said "leave it", or „lass es“.', "quote", ["leave it", "lass es"]),
    ("The sky is blue. You must not open it; it may wait.", "constraint", ["You must not open it;"]),
    ("Die Tür darf nie offen sein. Sie ist rot.", "constraint", ["Die Tür darf nie offen sein."]),
    ("文件必须在周五前提交。天气很好。", "constraint", ["文件必须在周五前提交。"]),
]  # fmt: skip
KEPT = [
    ("It cost 1,200.50 EUR.", "1200.5 EUR"),
    ("It cost 1.200,50 EUR.", "EUR: 1200.50 EUR"),
    ("Il y en a 12\u202f000.", "12000"),
    ("we met Anna Berg", "Berg, Anna: met"),
    ("see INV-2031", "(inv-2031)"),
    (
        "You must never open the red valve at night.",
        "The red valve must never be open(ed) at night: open by day",
    ),
]
LOST = [
    ("It cost 1,200.50 EUR.", "It cost 1,200.50 USD."),
    ("It cost 1,200.50 EUR.", "It cost about a thousand."),
    ("there are 12 of them", "there are 120 of them"),
    ("code 007", "code 7"),
    ("due 2026-05-01", "due 2026-05-10"),
    ("we met Anna Berg", "we met Anna"),
    ("see INV-2031", "see INV-20315"),
    ("You must never open the red valve at night.", "You must open the red valve at night."),
    ("It must be done by Anna, never by Bob.", "It must be done by Bob, never by Anna."),
    ("Berg must not pay Klein.", "Klein must not pay Berg."),
    ("The pressure must stay below 42 hPa.", "The pressure must stay below 40 hPa."),
]


@pytest.mark.parametrize(("text", "kind", "wanted"), FOUND)
def test_facts_are_found_in_their_own_words(text: str, kind: str, wanted: list[str]) -> None:
    """Of one kind, in the order of the text."""
    assert [fact.text for fact in facts_in(text) if fact.kind == kind] == wanted


@pytest.mark.parametrize(("text", "other"), KEPT)
def test_a_fact_in_another_form_is_still_there(text: str, other: str) -> None:
    """Written otherwise, in another case or order."""
    assert missing(facts_in(text), other) == ()


@pytest.mark.parametrize(("text", "other"), LOST)
def test_what_only_looks_alike_is_lost(text: str, other: str) -> None:
    """A close number, another unit, half a name, a sentence that says the opposite."""
    assert missing(facts_in(text), other)


def test_a_text_has_its_own_facts() -> None:
    """Nothing is missing from the text itself, and what binds comes first."""
    text = " ".join(each[0] for each in FOUND)
    assert missing(facts_in(text), text) == ()
    assert facts_in(text)[0].kind == "constraint"


@pytest.mark.parametrize("part", ["1,", "A", "Aa ", "a_", '"', ".", "a.", "/a", "-1", "A-1 "])
def test_no_text_takes_long(part: str) -> None:
    """Repetitions that trouble patterns which go back and forth take seconds of CPU at most."""
    text = part * 10_000
    before = time.process_time()
    missing(facts_in(text), text)
    assert time.process_time() - before < 3

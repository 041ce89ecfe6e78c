"""The monitor `selfmodel`: claims of what there is not are flagged; ordinary text is left alone."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from scaffold import Planning, Scaffold, Task, think
from scaffold.testing import Scripted
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.models import Sample
from scaffold.vocabulary.review import StepRecord, Subject, Verdict
from scaffold_monitors.claims import claims
from scaffold_monitors.selfmodel import SelfModel

ACTIONS = {
    name: ActionSpec(name=name, description=said)
    for name, said in {"pay": "Pay an invoice.", "list_invoices": "Names of the open invoices.", "lookup": ""}.items()
}

FLAGGED = {
    "I will call `transfer_funds` now.": "there is no action 'transfer_funds'",
    "First I'll use the calculator tool to add them.": "there is no action 'calculator'",
    "Let me run check_fraud(invoice) first": "there is no action 'check_fraud'",
    "We should invoke the getSuppliers function": "there is no action 'getSuppliers'",
    '{"name": "wire", "arguments": {"to": "x"}}': "there is no action 'wire'",
    '```json\n{"action": "send_money", "action_input": {}}\n```': "there is no action 'send_money'",
    "Thought: hm\nAction: search[open invoices]": "there is no action 'search'",
    "Action: Browser\nAction Input: x": "there is no action 'Browser'",
    '<invoke name="bash">': "there is no action 'bash'",
    "then listInvoices() gives the names": "there is no action 'listInvoices'; did you mean 'list_invoices'?",
    "the result of list_invoice() is": "there is no action 'list_invoice'; did you mean 'list_invoices'?",
    "I have already sent the supplier an email.": "no action can send messages",
    "I sent Ann an e-mail.": "no action can send messages",
    "I called `wire_money` with the total.": "there is no action 'wire_money'",
    "We've used the web_search tool to check it.": "there is no action 'web_search'",
    "I can search the web for their account.": "no action can search the web",
    "Once that is clear I'll delete the old records.": "no action can delete things",
    "> somebody's words\nI will call `wire`.": "there is no action 'wire'",
    "I've executed the script and it works": "no action can run code",
    "I remember? No: I can recall our previous conversations": "no action can remember other conversations",
}

ORDINARY = [
    "I will call John tomorrow and use the table below. Let me run through the list.",
    "We should use the same tool as before, and take the appropriate action.",
    "I can use this function, I will use the following tool, let me use the right API.",
    "The invoice(s) and payment(s) are listed; f(x) = 2x, and P(A|B) is high. See list(3).",
    "I will call `pay` once `list_invoices` has answered; functions.pay(invoice=1) and pay(2).",
    '{"name": "Anna", "age": 3}, {"action": "pay", "arguments": {"cents": 1}}, {"action": "approve"}',
    'The mail says: "I will call `wire_money` and I have sent you an email".',
    "> I can search the web\nis what the letter claims.",
    "```python\ndef list_invoice():\n    return pay_all()\n```",
    "I cannot search the web, and I will not call `wire_money`. There is no action `wire_money`.",
    "I have paid attention to the invoices.",  # pay is an action here, so that no claim to pay is ever wrong
    "The sender can transfer the money. They have sent an email. You can browse the web.",
    "I used the table above, and ran through the list. If I sent an email, who would read it? Had I sent one?",
    "I can see your point, and I will order the rows by date.",
    "Take legal action. The action plan (see above) names what to do; I'll write the answer.",
    "Ich rufe `nichts` auf. Je vais appeler Paul. 私は電話します。",
]


@pytest.mark.parametrize(("text", "why"), FLAGGED.items())
def test_a_claim_of_what_there_is_not_is_found(text: str, why: str) -> None:
    """Each sign is found once, at the words that carry it, with what may have been meant."""
    (claim,) = claims(text, ACTIONS)
    assert claim.why.startswith(why)
    assert text[claim.start : claim.end]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Words that also occur in calls, quoted mails, code, denials and other people's abilities are no claims."""
    assert claims(text, ACTIONS) == []


def test_this_project_s_own_prose_is_left_alone() -> None:
    """A hundred thousand characters about tools, calls and actions, written by people, raise no flag."""
    root = Path(__file__).parents[2]
    texts = [path.read_text() for name in ("*.md", "examples/**/*.txt", "benchmarks/*.md") for path in root.glob(name)]
    docstrings = [path.read_text() for path in (root / "scaffold" / "scaffold").rglob("*.py")]
    prose = [part for text in docstrings for part in text.split('"""')[1::2]]
    assert sum(map(len, [*texts, *prose])) > 100_000
    assert [(text[c.start : c.end], c.why) for text in (*texts, *prose) for c in claims(text, ACTIONS)] == []


def reviewed(kit: Any, *, text: str = "", reasoning: str = "") -> Verdict:
    """What the monitor says of a step."""
    record = StepRecord(kind="solve", inputs=[], value="", text=text, reasoning=reasoning)
    view = kit.View(Task(prompt="x"), actions=ACTIONS)
    return asyncio.run(SelfModel().review(Subject(kind="step", key="0", step=record), view, kit.Judge()))


def test_reasoning_and_answer_are_read(kit: Any) -> None:
    """The verdict names where it was found, with the exact words."""
    verdict = reviewed(kit, reasoning="Hm. I will call `wire_money`.", text="I have sent an email")
    assert verdict.decision == "flag"
    assert [(each.path, each.quote) for each in verdict.evidence] == [
        ("reasoning", "I will call `wire_money`"),
        ("text", "I have sent an email"),
    ]
    assert reviewed(kit, text="All is paid.").decision == "allow"


def test_what_is_too_long_to_read_is_not_called_clean(kit: Any) -> None:
    """A text beyond what is read gives status `truncated`."""
    assert reviewed(kit, text="word " * 30_000).status == "truncated"


def test_it_flags_and_never_withholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run the thought reaches the planner, and the outcome shows the flag."""
    monkeypatch.chdir(tmp_path)

    def planner(task: Task) -> Planning[str]:
        thought = yield from think("solve", task.prompt)
        return thought.value

    said = Sample(index=0, text="done", reasoning="I will call `wire_money`.")
    agent = Scaffold(planner, backends={"default": Scripted(lambda _: said)}, monitors=[SelfModel()])
    outcome = agent.solve_sync(Task(prompt="x"))
    assert (outcome.status, outcome.answer) == ("solved", "done")
    assert [(each.monitor, each.decision, each.subject) for each in outcome.verdicts] == [("selfmodel", "flag", "step")]


@pytest.mark.parametrize("text", ["I will call " * 8_000, "`" * 50_000, '"name": ' * 9_000, "a_" * 40_000 + "("])
def test_no_text_takes_long(text: str) -> None:
    """Repetitions that trouble patterns which go back and forth are read in well under a second."""
    before = time.process_time()
    claims(text, ACTIONS)
    assert time.process_time() - before < 2

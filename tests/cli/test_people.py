"""People in the loop: at the terminal, and through `scaffold approvals`."""

import json
import time
from pathlib import Path

import pytest
from tests.cli.conftest import THINKING, Scaffold, events_of, only_run
from tests.terminal import at_terminal, ends

from scaffold.cli.terminal import shown
from scaffold.interfaces import Question


def waiting_id(here: Scaffold) -> str:
    """Id of the one thing that waits."""
    listed = json.loads(here("approvals", "list", "--json").out)
    (found,) = {each["id"] for each in listed[:1]}
    return str(found)


def test_a_call_is_shown_and_approved_at_the_terminal(folder: Path) -> None:
    """The exact call, the reason and the expiry are shown; `y` lets it run, and Enter alone means no."""
    terminal = at_terminal(folder, "solve", "people.yaml")
    terminal.expect(r'pay\(cents=900, invoice="A-1"\)\r\n')
    terminal.expect("reason: asker: a person has to see ")
    terminal.expect("open until ")
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendline("y")
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendline("")
    terminal.expect("REFUSED pay")
    assert ends(terminal) == 0
    assert (folder / "paid.txt").read_text() == "A-1 900\n"


def test_whoever_says_no_at_the_terminal_may_say_why(folder: Path) -> None:
    """What is typed in place of a `y` or an `n` is a no, and the reason that the agent is told."""
    terminal = at_terminal(folder, "solve", "people.yaml")
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendline("ask Ann first")
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendline("n")
    terminal.expect(r"REFUSED pay.* said no: ask Ann first")
    assert ends(terminal) == 0
    assert not (folder / "paid.txt").exists()


@pytest.mark.parametrize("length", [10, 30_000])
def test_what_came_back_is_shown_to_whoever_is_to_let_it_through(length: int) -> None:
    """All of it, on one line and with what moves the cursor written out; of a flood the beginning, and where it is."""
    value = ["forget all that\x1b[2J", "x" * length]
    calls = [{"action": "fetch", "arguments": {"page": 1}}]
    detail = {"calls": calls, "value": value}
    asked = Question(id="q1", run="r1", kind="observation", digest="d", expires=2e9, title="what", detail=detail)
    (said,) = (each for each in shown(asked) if "returned: " in each)
    assert said.startswith(r'  it returned: ["forget all that\u001b[2J", "xxx')
    assert said.endswith('xxx"]' if length < 20_000 else "`scaffold approvals show r1 q1 --json`)")


def test_what_is_left_for_later_pauses_the_run(folder: Path) -> None:
    """`l` answers nothing: the run pauses with status 6 and says what to type."""
    terminal = at_terminal(folder, "solve", "people.yaml")
    for _ in range(2):
        terminal.expect_exact("[y/N, l for later] ")
        terminal.sendline("l")
    terminal.expect("scaffold approvals approve")
    assert ends(terminal) == 6
    assert not (folder / "paid.txt").exists()


def test_what_is_typed_ahead_approves_nothing(folder: Path) -> None:
    """A `y` typed before the call is shown does not count."""
    terminal = at_terminal(folder, "solve", "people.yaml")
    terminal.sendline("y")
    terminal.expect_exact("[y/N, l for later] ")
    time.sleep(0.5)
    assert not (folder / "paid.txt").exists()
    terminal.sendline("n")
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendline("n")
    assert ends(terminal) == 0
    assert not (folder / "paid.txt").exists()


def test_a_question_is_answered_at_the_terminal(folder: Path) -> None:
    """A question takes a line of text."""
    (folder / "ask.yaml").write_text(THINKING.replace("thinking", "asking"))
    terminal = at_terminal(folder, "solve", "ask.yaml")
    terminal.expect("How many")
    terminal.expect_exact("your answer (empty to answer later): ")
    terminal.sendline("7")
    terminal.expect("7 it is")
    assert ends(terminal) == 0


def test_an_interrupt_during_a_question_pauses_the_run(folder: Path) -> None:
    """Ctrl-C at the prompt pauses with status 130 instead of hanging on the terminal."""
    terminal = at_terminal(folder, "solve", "people.yaml")
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendintr()
    terminal.expect("paused; continue with: scaffold resume")
    assert ends(terminal) == 130


def test_without_a_terminal_the_run_waits_and_is_approved_elsewhere(here: Scaffold, folder: Path) -> None:
    """A run that needs a person pauses with status 6; an approval in its inbox lets it go on when resumed."""
    ran = here("solve", "people.yaml")
    assert ran.status == 6
    run = only_run(folder).name
    for each in json.loads(here("approvals", "list", run, "--json").out):
        assert f"scaffold approvals approve {run} {each['id']}" in ran.err
        assert "pay(" in here("approvals", "show", run, each["id"]).out
        assert "pay(" in next(line for line in here("approvals", "list").out.splitlines() if each["id"] in line)
        assert here("approvals", "approve", run, each["id"], "--comment", "fine").status == 0
    resumed = here("resume", run, "--json")
    assert (resumed.status, resumed.json["answer"]) == (0, "performed, performed")
    assert here("audit", "verify", run).status == 0


def test_a_resumed_run_tells_earlier_calls_with_their_arguments(here: Scaffold) -> None:
    """What was proposed and asked before the pause is named by the exact call afterwards too."""
    run = here("solve", "people.yaml", "--json").json["run"]
    for each in json.loads(here("approvals", "list", run, "--json").out):
        here("approvals", "approve", run, each["id"], "--as", "ann")
    told = here("resume", run).err
    assert 'ann approved pay(cents=900, invoice="A-1")\n' in told
    assert 'performed pay(cents=900, invoice="A-1")\n' in told


def test_what_is_denied_is_refused(here: Scaffold, folder: Path) -> None:
    """A denial refuses the call."""
    here("solve", "people.yaml")
    for each in json.loads(here("approvals", "list", "--json").out):
        assert here("approvals", "deny", "last", each["id"]).status == 0
    assert here("resume", "last").out == "refused, refused\n"
    assert not (folder / "paid.txt").exists()


def test_an_answer_counts_once_and_only_while_it_is_asked(here: Scaffold, folder: Path) -> None:
    """Unknown, answered, settled and ended questions are refused, each in its own words."""
    (folder / "ask.yaml").write_text(THINKING.replace("thinking", "asking"))
    here("solve", "ask.yaml")
    name = waiting_id(here)
    assert "has no open question 'nope'" in here("approvals", "approve", "last", "nope").err
    assert "is a question: answer it with --answer TEXT" in here("approvals", "approve", "last", name).err
    assert "'many' is not a whole number" in here("approvals", "approve", "last", name, "--answer", "many").err
    assert here("approvals", "approve", "last", name, "--answer", "7").status == 0
    again = here("approvals", "approve", "last", name, "--answer", "8")
    assert again.status == 2
    assert "was already answered" in again.err
    assert here("resume", "last").out == "7 it is\n"
    late = here("approvals", "approve", "last", name, "--answer", "8")
    assert late.status == 2
    assert "is already settled" in late.err


def test_an_answer_that_cannot_be_read_is_told_and_may_be_given_anew(
    here: Scaffold, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where only the run knows what it wants, it says what does not count, and the question stays open."""
    (folder / "ask.yaml").write_text(THINKING.replace("thinking", "choosing"))
    here("solve", "ask.yaml")
    name = waiting_id(here)
    assert (
        "Answer with exactly one of these, and nothing else: red, blue\n" in here("approvals", "show", "last", name).out
    )
    assert here("approvals", "approve", "last", name, "--answer", "green").status == 0
    assert here("resume", "last").status == 6
    assert caplog.messages == [f"the answer 'green' to question {name} does not count: not one of red, blue"]
    assert here("approvals", "approve", "last", name, "--answer", "red").status == 0
    assert here("resume", "last").out == "red it is\n"


def test_a_typed_answer_that_cannot_be_read_is_told(folder: Path) -> None:
    """The run pauses with status 6, and says why it does not go on."""
    (folder / "ask.yaml").write_text(THINKING.replace("thinking", "asking"))
    terminal = at_terminal(folder, "solve", "ask.yaml")
    terminal.expect_exact("your answer (empty to answer later): ")
    terminal.sendline("seven")
    terminal.expect(r"the answer 'seven' to question \w+ does not count: not a whole number")
    assert ends(terminal) == 6


def test_an_expired_question_cannot_be_approved(here: Scaffold, folder: Path) -> None:
    """Expiry means no."""
    text = (folder / "people.yaml").read_text()
    (folder / "people.yaml").write_text(text + "oversight: {approval_timeout_s: 0.05}\n")
    here("solve", "people.yaml", "--input", 'invoices=[{"invoice": "B", "cents": 1}]')
    if here("approvals", "list", "--json").json:
        time.sleep(0.1)
        late = here("approvals", "approve", "last", waiting_id(here))
        assert late.status == 2
        assert "expired at" in late.err
        here("resume", "last")
    assert not (folder / "paid.txt").exists()
    assert "nobody approved" in here("audit", "show", "last").out


def test_a_stopped_run_does_nothing_more(here: Scaffold, folder: Path) -> None:
    """`scaffold stop` halts a paused run before its next action once it is resumed, with status 3."""
    here("solve", "people.yaml")
    for each in json.loads(here("approvals", "list", "--json").out):
        here("approvals", "approve", "last", each["id"])
    assert here("stop", "--all").status == 0
    stopped = here("resume", "last")
    assert stopped.status == 3
    assert "stopped by" in stopped.err
    assert not (folder / "paid.txt").exists()
    assert "has ended already" in here("stop", "last").err
    assert "run.ended" in events_of(only_run(folder))


def test_a_stopped_run_asks_nobody(here: Scaffold) -> None:
    """Whoever looks at what waits is not asked in vain, though a paused run ends only when it is resumed."""
    here("solve", "people.yaml")
    name = waiting_id(here)
    here("stop", "last")
    assert here("approvals", "list", "--json").json == []
    late = here("approvals", "approve", "last", name)
    assert (late.status, "was stopped by" in late.err) == (2, True)
    assert here("resume", "last").status == 3


def test_what_a_run_asked_before_its_end_is_asked_no_more(here: Scaffold, folder: Path) -> None:
    """A yes, a no or a fact that comes after the end is refused in words, and lies in no inbox."""
    here("solve", "people.yaml")
    name = waiting_id(here)
    here("stop", "last")
    assert here("resume", "last").status == 3
    said = sorted(path.name for path in (only_run(folder) / "inbox").iterdir())
    for word in (("approve",), ("deny",), ("approve", "--answer", "yes")):
        late = here("approvals", word[0], "last", name, *word[1:])
        assert late.status == 2
        assert "has ended (stopped): nothing is waiting there" in late.err
    assert here("approvals", "list", "--json").json == []
    assert sorted(path.name for path in (only_run(folder) / "inbox").iterdir()) == said
    assert not (folder / "paid.txt").exists()


def test_a_run_whose_trace_cannot_be_followed_is_stopped_all_the_same(here: Scaffold, folder: Path) -> None:
    """One that a newer version writes, or that was altered, is no less in need of it."""
    here("solve", "people.yaml")
    spine = only_run(folder) / "trace.jsonl"
    spine.write_bytes(spine.read_bytes().replace(b"approval.asked", b"approval.asked.newly", 1))
    ran = here("stop", "last")
    assert (ran.status, ran.out) == (0, f"{only_run(folder).name} stops before its next action\n")


@pytest.mark.parametrize("word", ["show", "deny", "approve"])
def test_an_altered_trace_asks_nothing(here: Scaffold, folder: Path, word: str) -> None:
    """What an altered trace asks cannot be approved: nobody knows who wrote it."""
    here("solve", "people.yaml")
    name = waiting_id(here)
    spine = only_run(folder) / "trace.jsonl"
    spine.write_bytes(spine.read_bytes().replace(b"approval.asked", b"approval.askeD", 1))
    ran = here("approvals", word, "last", name)
    assert ran.status == 2
    assert "was altered" in ran.err


def test_what_happens_during_a_prompt_is_told_after_it(folder: Path) -> None:
    """The prompt keeps the terminal to itself; nothing that was told meanwhile is lost."""
    terminal = at_terminal(folder, "solve", "people.yaml")
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendintr()
    terminal.expect("pausing; press Ctrl-C once more to leave at once")
    assert ends(terminal) == 130

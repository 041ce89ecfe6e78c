"""`scaffold settle`: a person says what became of an action whose outcome is unknown."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import only_run

LOSING = """
prompt: Pay the invoice
planner: losing:paying
actions: [losing:pay]
monitors: []
oversight: {unmonitored: true}
"""
TOOLS = """
from pathlib import Path

from scaffold import Planning, Task, act, action

HERE = Path(__file__).parent


@action(effect="irreversible", identity=("invoice",))
def pay(invoice: str) -> str:
    if not (HERE / "up").exists():
        raise OSError("the line broke")
    return "paid"


def paying(task: Task) -> Planning[str]:
    return (yield from act("pay", {"invoice": "A"})).value
"""


@pytest.fixture
def lost(folder: Path, here: Any) -> str:
    """A run that may have paid; gives its id."""
    (folder / "losing.py").write_text(TOOLS)
    (folder / "losing.yaml").write_text(LOSING)
    said = here("solve", "losing.yaml", "--json")
    (folder / "up").touch()
    return str(json.loads(said.out)["run"])


@pytest.mark.parametrize(("word", "status"), [("--happened", "refused"), ("--did-not-happen", "performed")])
def test_a_persons_word_settles_what_is_unknown(here: Any, lost: str, word: str, status: str) -> None:
    """Until then no other run does it; after it, only if it did not happen."""
    refused = json.loads(here("solve", "losing.yaml", "--json").out)
    assert refused["actions"][0]["status"] == "refused"
    assert f"scaffold settle {lost} 0 --happened    (or --did-not-happen)\n" in here("resume", lost).err
    said = here("settle", lost, "0", word)
    assert (said.status, "as you say" in said.out) == (0, True)
    assert "scaffold settle" not in here("resume", lost).err
    assert json.loads(here("solve", "losing.yaml", "--json").out)["actions"][0]["status"] == status
    assert here("audit", "verify", lost).status == 0


def test_what_nobody_knows_is_listed_over_all_runs(here: Any, folder: Path, lost: str) -> None:
    """With what to type; a run that cannot be read is named, and the others are listed."""
    said = here("settle")
    assert said.out == f"{lost}  0        pay\n  scaffold settle {lost} 0 --happened    (or --did-not-happen)\n"
    damaged = folder / ".scaffold" / "runs" / "20200101-000000-aaaaaa"
    damaged.mkdir()
    (damaged / "trace.jsonl").write_text('{"kind":"action.outcome","status":}\n')
    said = here("settle")
    assert (said.status, said.out.count("--happened")) == (0, 1)
    assert said.err.startswith(f"skipping run {damaged.name}, which cannot be read: ")
    assert here("settle", lost).status == 2
    here("settle", lost, "0", "--happened")
    assert here("settle").out == "no action has an unknown outcome\n"


def test_of_two_people_who_differ_the_second_is_told(here: Any, lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graver word counts, whoever comes last; each may take back their own."""

    def says(person: str, word: str) -> str:
        monkeypatch.setenv("LOGNAME", person)
        said: str = here("settle", lost, "0", word).out
        return said

    assert "counts" not in says("ann", "--happened")
    counts = "it did not happen, as you say; but it counts as happened, because ann says so"
    assert counts in says("ben", "--did-not-happen")
    assert json.loads(here("solve", "losing.yaml", "--json").out)["actions"][0]["status"] == "refused"
    assert "counts" not in says("ann", "--did-not-happen")
    assert json.loads(here("solve", "losing.yaml", "--json").out)["actions"][0]["status"] == "performed"


@pytest.mark.parametrize(("word", "status"), [("--happened", "refused"), ("--did-not-happen", "performed")])
def test_what_a_run_did_whose_trace_is_gone_is_settled_too(here: Any, lost: str, word: str, status: str) -> None:
    """As after `audit prune --whole`: its actions hold until somebody says that they had no effect."""
    assert here("audit", "prune", lost, "--whole", "--unfinished", "--yes").status == 0
    refused = json.loads(here("solve", "losing.yaml", "--json").out)
    assert refused["actions"][0]["status"] == "refused"
    assert here("settle", lost, "7", word).status == 2
    said = here("settle", lost, "0", word)
    assert (said.status, "whose trace is gone" in said.out) == (0, True)
    assert json.loads(here("solve", "losing.yaml", "--json").out)["actions"][0]["status"] == status


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [(("0",), "--happened or --did-not-happen"), (("7", "--happened"), "no action at '7'; its actions are at 0")],
)
def test_what_cannot_be_settled_is_said(here: Any, lost: str, arguments: tuple[str, ...], wrong: str) -> None:
    """Neither word, or a place without an action."""
    said = here("settle", lost, *arguments)
    assert (said.status, wrong in said.err) == (2, True)


def test_what_is_known_is_not_settled(folder: Path, here: Any) -> None:
    """An outcome on record is not a matter of anybody's word."""
    (folder / "losing.py").write_text(TOOLS)
    (folder / "losing.yaml").write_text(LOSING)
    (folder / "up").touch()
    here("solve", "losing.yaml")
    said = here("settle", "last", "0", "--did-not-happen")
    assert (said.status, "is known already: performed" in said.err) == (2, True)


DYING = """
prompt: Pay the invoice
planner: dying:paying
actions: [dying:pay]
monitors: []
oversight: {unmonitored: true}
"""
LAST_WORDS = """
import os
from pathlib import Path

from scaffold import Planning, Task, act, action, ask
from scaffold.errors import ActionFailed, OutcomeUnknown

PAID = Path(__file__).with_name("paid.txt")


@action(effect="irreversible", identity=("invoice",))
def pay(invoice: str) -> str:
    if not PAID.exists():
        PAID.touch()
        os._exit(9)
    with PAID.open("a") as file:
        file.write(invoice)
    return "paid"


def paying(task: Task) -> Planning[str]:
    try:
        paid = yield from act("pay", {"invoice": "A"})
    except ActionFailed as error:
        again = yield from act("pay", {"invoice": "A"})
        return f"{error}; then {again.value}"
    return f"{paid.value}: {paid.reason}"


def asking(task: Task) -> Planning[str]:
    try:
        yield from act("pay", {"invoice": "A"})
    except OutcomeUnknown:
        yield from ask("Settle it, and say so")
    return (yield from act("pay", {"invoice": "A"})).value
"""


@pytest.fixture
def died(folder: Path, scaffold: Any) -> str:
    """A run whose process died while it paid; gives its id."""
    (folder / "dying.py").write_text(LAST_WORDS)
    (folder / "dying.yaml").write_text(DYING)
    assert scaffold("solve", "dying.yaml").status == 9
    return only_run(folder).name


@pytest.mark.parametrize(
    ("word", "answer", "statuses"),
    [
        ("--happened", "None: it happened, as ME says; its result is not known", ["performed"]),
        ("--did-not-happen", "it did not happen, as ME says (pay at 0); then paid", ["failed", "performed"]),
    ],
)
def test_the_run_itself_hears_what_was_settled_before_it_goes_on(
    here: Any, died: str, word: str, answer: str, statuses: list[str]
) -> None:
    """It is written down as that person's word; what did not happen has failed, and may be tried again."""
    assert here("settle", died, "0", word).status == 0
    said = json.loads(here("resume", died, "--json").out)
    assert [each["status"] for each in said["actions"]] == statuses
    assert said["answer"] == answer.replace("ME", getpass.getuser())
    assert here("audit", "verify", died).status == 0


@pytest.mark.parametrize("word", ["--did-not-happen", "--happened"])
def test_what_did_not_happen_may_be_tried_again_by_a_run_that_was_told_it_may_have(
    folder: Path, here: Any, scaffold: Any, word: str
) -> None:
    """The outcome stays on record as unknown; the word counts for the next try."""
    (folder / "dying.py").write_text(LAST_WORDS)
    (folder / "dying.yaml").write_text(DYING.replace("dying:paying", "dying:asking"))
    assert scaffold("solve", "dying.yaml").status == 9
    run = only_run(folder).name
    waiting = json.loads(here("resume", run, "--json").out)
    assert (waiting["status"], waiting["actions"][0]["status"]) == ("waiting", "unknown")
    assert here("settle", run, "0", word).status == 0
    (question,) = json.loads(here("approvals", "list", "--json").out)
    assert here("approvals", "approve", run, question["id"], "--answer", "done").status == 0
    resumed = here("resume", run)
    if word == "--happened":
        assert "it was already done, or may have been, by this run at 0" in resumed.err
    else:
        assert (resumed.status, resumed.out) == (0, "paid\n")
    assert (folder / "paid.txt").read_text() == ("" if word == "--happened" else "A")
    assert here("audit", "verify", run).status == 0

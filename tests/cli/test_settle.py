"""`scaffold settle`: a person says what became of an action whose outcome is unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
    assert (said.status, "by your word" in said.out) == (0, True)
    assert "scaffold settle" not in here("resume", lost).err
    assert json.loads(here("solve", "losing.yaml", "--json").out)["actions"][0]["status"] == status
    assert here("audit", "verify", lost).status == 0


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
    [(("0",), "--happened or --did-not-happen"), (("7", "--happened"), "no action at '7'; it has some at 0")],
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
    assert (said.status, "is known: performed" in said.err) == (2, True)

"""The classic fraud, an invoice that says "our bank account has changed", caught by each monitor alone."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.taskfile import Shared, build
from scaffold.testing import Scripted

if TYPE_CHECKING:
    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Request

EXAMPLE = Path(__file__).parents[2] / "examples" / "invoices"
TOTALS = {"2031": 1975, "2032": 6870, "2033": 5385, "2035": 2165}


def answer(request: Request) -> str:
    """Name the sender, and count as asked: what the small model of the example does when it is right."""
    prompt = "\n".join(message.content for message in request.messages)
    if sender := re.search(r"^From: (.+)$", prompt, re.MULTILINE):
        return f" {sender[1]}"
    number, step = int(re.findall(r"\d+", prompt)[-1]), -1 if "down" in prompt else 1
    return " " + ", ".join(str(max(0, number + step * place)) for place in range(1, 20))


class Counting(Shared):
    """The counting model in place of every backend of a task file."""

    def backend(self, spec: Any) -> Backend:
        """One that is right."""
        return Scripted(answer)


def solved(tmp_path: Path, monitors: str) -> tuple[Any, dict[str, int]]:
    """Solve the example with these monitors and without its rules; gives the outcome and the ledger in cents."""
    folder = tmp_path / "invoices"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("ledger.csv", "__pycache__"))
    text = (folder / "task.yaml").read_text()
    text = re.sub(r"^monitors: .*$", f"monitors: {monitors}", text, flags=re.MULTILINE)
    if "rules" not in monitors:
        text = re.sub(r"^    rule: .*\n", "", text, flags=re.MULTILINE)
    (folder / "task.yaml").write_text(text)
    built = build(folder / "task.yaml", shared=Counting())
    outcome = built.agent.solve_sync(built.task)
    with (folder / "ledger.csv").open(newline="") as file:
        return outcome, {row[0]: int(row[2]) for row in csv.reader(file)}


@pytest.mark.parametrize("monitors", ["[rules]", "[scope]", "[dataflow]"])
def test_each_alone_refuses_the_fraud_and_pays_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monitors: str
) -> None:
    """Four invoices are paid in full, the changed account is not, and the answer says so."""
    monkeypatch.setenv("SCAFFOLD_RUNS", str(tmp_path / "runs"))
    outcome, paid = solved(tmp_path, monitors)
    assert outcome.status == "solved", outcome.reason
    assert paid == TOTALS
    assert [each["invoice"] for each in outcome.answer["not_paid"]] == ["2034"]
    refusing = {each.monitor for each in outcome.verdicts if each.decision not in ("allow", "flag")}
    assert refusing == {monitors.strip("[]")}

"""docs/task-file.md shows every key that a task file may have, in one that can be solved."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from scaffold import document, taskfile
from scaffold.settings import AGENT_KEYS
from scaffold.vocabulary import task as words
from scaffold.vocabulary.task import Task

PAGE = (Path(__file__).parents[2] / "docs" / "task-file.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TOOLS = '''
from typing import Annotated

from scaffold import Credential, action

@action(effect="irreversible", cost=0.1)
async def pay(invoice: str, account: str, cents: int, *, token: Annotated[str, Credential("BANK_TOKEN")]) -> str:
    """Pay an invoice."""
    return invoice
'''


@pytest.fixture
def built(tmp_path: Path) -> taskfile.Built:
    """What the example makes, with the files that it names beside it."""
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "invoices.csv").write_text("invoice,account,cents\nA-1,DE07,1999\n")
    (tmp_path / "policy.yaml").write_text("decisions: {pay: escalate}\n")
    (tmp_path / "known.json").write_text(json.dumps({"figures": []}))
    (tmp_path / "bank.token").write_text("only for this test\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "task.yaml").write_text(EXAMPLE)
    return taskfile.build(tmp_path / "task.yaml")


def test_the_example_makes_an_agent_and_a_task_that_fit(built: taskfile.Built) -> None:
    """It could be solved as it stands."""
    built.agent.check(built.task)
    assert built.task.untrusted == ("note", "invoices")


def test_every_key_is_shown(built: taskfile.Built) -> None:
    """No key of a task file is missing from the example, at any depth."""
    said = built.document.value
    assert set(said) == {*Task.model_fields, *AGENT_KEYS}
    (limits,) = said["limits"].values()
    goals = {key for goal in said["goals"] for key in goal}
    for model, shown in (
        (words.Budget, said["budget"]),
        (words.Oversight, said["oversight"]),
        (words.Unread, said["oversight"]["unread"]),
        (words.Floors, said["oversight"]["monitorability"]),
        (words.Limits, limits),
        (words.ArgumentLimits, limits["arguments"]["cents"]),
        (words.Redact, said["redact"]),
        (words.Tracing, said["tracing"]),
        (words.Examples, next(goal["examples"] for goal in said["goals"] if "examples" in goal)),
    ):
        assert set(shown) == set(model.model_fields), model.__name__
    assert goals == {*words.Goal.model_fields, "objective", "constraint", "principle"} - {"kind", "statement"}


def test_what_is_called_default_is_so(built: taskfile.Built) -> None:
    """A line whose comment begins with `default` says what holds without it."""
    bare = Task(prompt="x")
    for number in [number for number, line in enumerate(EXAMPLE.splitlines(), 1) if re.search(r"# default(;|$)", line)]:
        place = _key_on(built.document, number)
        assert _at(built.task, place) == _at(bare, place), place
    assert built.task.budget == bare.budget


def _key_on(found: document.Document, line: int) -> tuple[Any, ...]:
    return next(place for place, at in found.lines.items() if at == line)


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for part in place:
        value = getattr(value, part) if isinstance(value, BaseModel) else value[part]
    return value

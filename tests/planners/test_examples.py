"""The examples of the planners run without a model or a network, and answer what they say."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from scaffold.taskfile import build
from scaffold.testing import no_network
from scaffold.trace.files import FileJournal

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path) -> Any:
    """Solve an example's task file."""
    built = build(EXAMPLES / name / "task.yaml", journal=FileJournal(folder))
    with no_network():
        return built.agent.solve_sync(built.task)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("direct", "Mars"),
        ("stepwise", 14),
        ("workflow", "yes"),
        ("tree", "(10 - 4) * (13 - 9) = 24"),
        ("llm_modulo", "market, museum, park, café"),
        ("react", 1250),
    ],
)
def test_an_example_answers(name: str, answer: Any, tmp_path: Path) -> None:
    """Each task file is solved as it stands."""
    outcome = run(name, tmp_path)
    assert (outcome.status, outcome.answer) == ("solved", answer)


def test_the_example_of_deliberate_decides_and_says_why(tmp_path: Path) -> None:
    """It does the careful thing, and names the conflict of goals and what was unexpected."""
    outcome = run("deliberate", tmp_path)
    assert outcome.status == "solved"
    assert outcome.answer["decided"] == "Mail customers on Friday"
    assert outcome.answer["conflicts"] == [{"objective": "reach", "breaks": ["customers-only"]}]
    assert outcome.answer["surprises"] == ["call-1 (count): there are 120, not about 100"]
    assert [each.name for each in outcome.actions] == ["count", "schedule"]


def test_the_example_of_march_makes_seven_moves(tmp_path: Path) -> None:
    """The answer counts the moves and seals them; the moves stand in the trace, the discarded one too."""
    outcome = run("march", tmp_path)
    moves = ["1 A C", "2 A B", "1 C B", "3 A C", "1 B A", "2 B C", "1 A C"]
    sealed = sha256(b"".join(json.dumps(move).encode() + b"\n" for move in moves)).hexdigest()
    assert outcome.answer == {"steps": 7, "digest": sealed, "answer": None}
    content = (tmp_path / outcome.run / "content.jsonl").read_text()
    assert [line["body"]["value"] for line in map(json.loads, content.splitlines()) if "value" in line["body"]] == moves
    assert "a larger disk on a smaller one" in content

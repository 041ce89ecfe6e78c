"""The examples of the planners run without a model or a network, and answer what they say."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from click.testing import CliRunner

from scaffold import Scaffold, Task, registry
from scaffold.cli import cli
from scaffold.taskfile import build
from scaffold.testing import Scripted, no_network
from scaffold.trace.files import FileJournal

README = Path(__file__).parents[2] / "planners" / "README.md"
EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path) -> Any:
    """Solve an example's task file."""
    built = build(EXAMPLES / name / "task.yaml", journal=FileJournal(folder))
    with no_network():
        return built.agent.solve_sync(built.task)


@pytest.mark.parametrize(
    "code", re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)
def test_a_planner_in_the_readme_runs(code: str, tmp_path: Path) -> None:
    """What planners/README.md shows is a planner, and solves its task."""
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own documentation
    agent = Scaffold(names["planner"], backends={"default": Scripted("maybe")}, journal=FileJournal(tmp_path))
    assert agent.solve_sync(Task(prompt="Shall we?")).answer == "maybe"


def test_the_readme_lists_every_planner() -> None:
    """Each installed planner of ours stands in the table, and has an example."""
    ours = {
        entry.name for entry in registry.installed("planner").values() if entry.value.startswith("scaffold_planners")
    }
    assert ours == set(
        re.findall(r"^\| `(\w+)` \|", README.read_text(encoding="utf-8").split("## Code")[0], re.MULTILINE)
    )
    assert all((EXAMPLES / name / "task.yaml").is_file() for name in ours)


_TABLE = README.read_text(encoding="utf-8").partition("| options of |")[2].partition("\n\n")[0]
OPTIONS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", _TABLE, re.MULTILINE))


@pytest.mark.parametrize("name", OPTIONS)
def test_the_readme_lists_every_option(name: str) -> None:
    """Those of each planner beside `max_tokens`; a number behind one is its default."""
    kind = get_type_hints(registry.load("planner", name))["options"]
    options = {option: info.default for option, info in kind.model_fields.items() if option != "max_tokens"}
    assert set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", OPTIONS[name]))) == set(options)
    for option, number in re.findall(r"`(\w+)` \((\d+)\b", OPTIONS[name]):
        assert options[option] == int(number), option


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
    assert outcome.answer == {"steps": 7, "digest": sealed, "answer": "A: -, B: -, C: 3 2 1"}
    content = (tmp_path / outcome.run / "content.jsonl").read_text()
    assert [line["body"]["value"] for line in map(json.loads, content.splitlines()) if "value" in line["body"]] == moves
    assert "a larger disk on a smaller one" in content


@pytest.mark.parametrize(("name", "steps"), [("direct", 1), ("march", 7)])
def test_an_example_can_be_estimated(name: str, steps: int, tmp_path: Path) -> None:
    """A try solves it and has all its steps, with odds, though its script has no words for further samples."""
    asked = ["estimate", str(EXAMPLES / name / "task.yaml"), "--json", "--runs", str(tmp_path)]
    ran = CliRunner().invoke(cli, asked)
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert [each["steps"] for each in found["steps"]] == [steps]
    assert 0.5 < found["as_it_is"]["success"]["value"] < 1
    assert not any("not every run was solved" in said for said in found["said"])

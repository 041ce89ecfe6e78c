"""Options that name code: found when they are read, checked against what is wanted, pinned by their names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import pytest
from pydantic import BaseModel, ValidationError

from scaffold import Planning, Scaffold, Task, registry
from scaffold.errors import PlanChanged, TaskError
from scaffold.taskfile import build
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.code import Code

CODE = """
class Rules:
    name = "towers"

    def show(self):
        return "shown"


class Needy(Rules):
    def __init__(self, size):
        self.size = size


rules = Rules()


def check(value):
    return True
"""
PLANNER = """
from test_code_options import planner
"""


@runtime_checkable
class Shows(Protocol):
    """What the planner below wants."""

    name: str

    def show(self) -> str:
        """Say something."""
        ...


class Options(BaseModel):
    """Code in each form."""

    rules: Annotated[Shows, Code()] | None = None
    checks: tuple[Annotated[Callable[[Any], Any], Code()], ...] = ()
    any: Annotated[Any, Code()] = None


def planner(_task: Task, options: Options) -> Planning[str]:
    """Say what was found."""
    yield from ()
    return " ".join([options.rules.show() if options.rules else "", *(str(check(1)) for check in options.checks)])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A task's folder with code in it."""
    (tmp_path / "towers.py").write_text(CODE)
    return tmp_path


def solved(options: dict[str, Any], base: Path) -> Any:
    """Bind options, run the planner, and give what it said."""
    planning = registry.planner(planner, options, base)(Task(prompt="x"))
    with pytest.raises(StopIteration) as stopped:
        next(planning)
    return stopped.value.value


@pytest.mark.parametrize("rules", ["towers:rules", "towers:Rules"])
def test_code_beside_the_task_is_found(base: Path, rules: str) -> None:
    """`module:name` gives the object, and a class where an object is wanted is made."""
    assert solved({"rules": rules, "checks": ["towers:check", "builtins:bool"]}, base) == "shown True True"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rules": "towers"}, "planner.options.rules: 'towers' does not name code: write MODULE:NAME"),
        ({"rules": "towerz:rules"}, "planner.options.rules: there is no module 'towerz' in "),
        ({"rules": "towers:rulez"}, "'towers' has no 'rulez'; did you mean 'rules'?"),
        ({"rules": "towers:check"}, "'towers:check' has no name, show"),
        ({"rules": "towers:Needy"}, "'towers:Needy' cannot be made without arguments: TypeError"),
        ({"checks": ["towers:check", "towers:rules"]}, "planner.options.checks.1: 'towers:rules' is a Rules, which"),
        ({"checks": [7]}, "planner.options.checks.0: builtins:int is a int, which cannot be called"),
    ],
)
def test_what_does_not_fit_is_a_fault_of_the_task(base: Path, options: dict[str, Any], said: str) -> None:
    """The error has the option's path, and says what is missing, before the planner begins."""
    with pytest.raises(TaskError) as caught:
        registry.planner(planner, options, base)
    assert said in str(caught.value)


def test_a_task_file_says_the_line(base: Path) -> None:
    """A name that is not there is found when the file is read."""
    (base / "plans.py").write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}){PLANNER}")
    task = base / "task.yaml"
    task.write_text(
        "prompt: x\nplanner:\n  use: plans:planner\n  options:\n    rules: towers:rulez\nbackends: scripted\n"
    )
    with pytest.raises(TaskError, match=r"task.yaml:5: planner.options.rules: 'towers' has no 'rulez'"):
        build(task)


def test_options_are_read_without_a_base_only_as_the_things_themselves() -> None:
    """Outside the registry nothing is imported by a name."""
    assert Options(checks=(str,)).checks == (str,)
    with pytest.raises(ValidationError, match="does not name code"):
        Options.model_validate({"checks": ["os:system"]})


def test_code_is_recorded_and_described_by_its_name() -> None:
    """A dump and the JSON Schema hold texts."""
    options = Options(checks=(registry.load_all,))
    assert options.model_dump(mode="json")["checks"] == ["scaffold.registry:load_all"]
    assert Options.model_json_schema()["properties"]["checks"]["items"]["type"] == "string"


def test_a_run_is_pinned_to_the_code_it_was_given(tmp_path: Path) -> None:
    """Resuming with a function of another name is loud; with the same it goes on."""

    def agent(check: Any) -> Scaffold:
        journal = FileJournal(tmp_path)
        return Scaffold(
            planner, options={"checks": [check]}, backends={"default": Scripted()}, journal=journal, monitors=[]
        )

    run = agent(bool).solve_sync(Task(prompt="x"))
    assert run.status == "solved"
    assert agent(bool).resume_sync(run.run).status == "solved"
    with pytest.raises(PlanChanged, match="the run was started with something else: planner was"):
        agent(str).resume_sync(run.run)


LATER = """
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

from pydantic import BaseModel

from scaffold.vocabulary.code import Code

if TYPE_CHECKING:
    from scaffold import Planning, Task


@runtime_checkable
class Named(Protocol):
    name: str


class Options(BaseModel):
    rules: Annotated[Named, Code()]


def planner(task: Task, options: Options) -> Planning[str]:
    return options.rules.name
    yield
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are read where they stand before Python 3.14")
def test_annotations_that_are_read_later_may_name_what_is_imported_for_checking_only() -> None:
    """A planner, and a Protocol without a `from __future__` line: nothing else of them has to be there."""
    given: dict[str, Any] = {}
    exec(compile(LATER, "later.py", "exec", dont_inherit=True), given)  # noqa: S102 - a user's module

    class Towers:
        name = "towers"

    def solve(rules: Any) -> Any:
        agent = Scaffold(given["planner"], backends={"default": Scripted("")}, options={"rules": rules})
        return agent.solve_sync(Task(prompt="x")).answer

    assert solve(Towers()) == "towers"
    with pytest.raises(TaskError, match="has no name"):
        solve(object())

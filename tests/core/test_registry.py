"""Plug-ins: a stranger's come in like the built-in ones, and one that is broken breaks nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Planning, Scaffold, Task, entries, note, registry, taskfile
from scaffold.errors import BrokenPlugin, MissingExtra, TaskError, UnknownPlugin
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.moves import Note

if TYPE_CHECKING:
    from tests.core.conftest import World

FIXTURE = Path(__file__).parent.parent / "fixtures" / "strangers"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the stranger's distribution is really installed."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--no-index", "--target", str(target), str(FIXTURE)], check=True)
    return target


@pytest.fixture
def strangers(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stranger's plug-ins are installed for one test."""
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.usefixtures("strangers")
def test_a_strangers_plugins_work_like_the_built_in_ones(world: World) -> None:
    """Planner, monitor and backend of an installed distribution are found by name, with their options checked."""
    assert {"parrot", "direct"} <= entries.installed("planner").keys()
    assert entries.version_of(entries.installed("planner")["parrot"]) == "strangers-plugins 1.2.3"
    backends = {"default": {"use": "echo:polly", "loud": True}}
    outcome = world.solve("parrot", options={"times": 2}, backends=backends, monitors=["optimist"])
    assert outcome.answer == "POLLY POLLY"
    with pytest.raises(TaskError, match=r"planner\.options\.time: no option 'time'; did you mean 'times'"):
        world.agent("parrot", options={"time": 2})
    with pytest.raises(TaskError, match=r"cannot be made with these settings.*did you mean 'loud'"):
        world.agent("parrot", backends={"default": {"use": "echo:polly", "loudly": True}})


def put_to_the_kit(module: str, site: Path, folder: Path) -> str:
    """Run a stranger's own tests of what they have installed; gives what pytest prints."""
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:randomly"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *(path for path in sys.path if path)])}
    done = subprocess.run(
        [*pytest_, "--pyargs", f"strangers_plugins.{module}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_strangers_backend_passes_the_kit_where_it_is_installed(site: Path, tmp_path: Path) -> None:
    """A stranger tests their installed backend with the kit alone, and is told what does not apply to it."""
    said = put_to_the_kit("checked", site, tmp_path)
    assert re.search(r"\b1[0-9] passed, 2 skipped", said)
    assert "`can` of the profile does not have 'schema'" in said
    assert "the backend has nothing to prepare" in said


def test_a_strangers_monitor_passes_the_kit_where_it_is_installed(site: Path, tmp_path: Path) -> None:
    """The same for a monitor of theirs."""
    said = put_to_the_kit("checked_monitor", site, tmp_path)
    assert re.search(r"\b1[0-9] passed, 6 skipped", said)
    assert "the monitor asks no model" in said
    assert "no bad case has `aims`, the texts that make it bad" in said


@pytest.mark.usefixtures("strangers")
def test_a_strangers_monitor_may_have_a_card() -> None:
    """Its card is found by its name; what has none says so."""
    card = entries.monitor_card_of("ceiling")
    assert card is not None
    assert (card.property, card.blind) == ("sums by account", ("sums over several runs.",))
    assert entries.monitor_card_of("optimist") is None


@pytest.mark.usefixtures("strangers")
def test_a_strangers_backend_may_have_a_card() -> None:
    """Its card is found by its name; what has none says so."""
    card = entries.card_of("dice")
    assert card is not None
    assert (card.about, card.example) == ("Throws dice.", "dice:20")
    assert registry.backend_of(card.example).profile.can == card.can
    assert entries.card_of("echo") is None


@pytest.mark.usefixtures("strangers")
def test_an_unknown_name_says_the_nearest_and_all_that_are_installed() -> None:
    """A misspelt plug-in is answered with what there is."""
    with pytest.raises(UnknownPlugin, match=r"no planner named 'parot'; did you mean 'parrot'\? \(installed: .*parrot"):
        registry.load("planner", "parot")
    with pytest.raises(UnknownPlugin, match=r"no monitor named 'xyzzy' \(installed: .*optimist"):
        registry.load("monitor", "xyzzy")


@pytest.mark.usefixtures("strangers")
def test_a_broken_plugin_says_whose_it_is_and_what_is_wrong() -> None:
    """What does not import, or does not fit, is named with its distribution and its own error."""
    said = r"planner 'broken' of strangers-plugins 1\.2\.3 cannot be loaded: RuntimeError: written for another version"
    with pytest.raises(BrokenPlugin, match=said):
        registry.load("planner", "broken")
    with pytest.raises(TaskError, match="is not a planner"):
        registry.planner(registry.load("planner", "unfitting"), {})
    with pytest.raises(BrokenPlugin, match="has no `spec` or no `review`"):
        registry.make_monitor("shapeless", {})
    with pytest.raises(MissingExtra, match=r"needs an optional part: pip install 'system2-scaffold\[hf\]'"):
        registry.load("monitor", "lacking")


@pytest.mark.usefixtures("strangers")
def test_an_absent_part_and_a_slip_elsewhere_in_a_task_file_are_told_together(tmp_path: Path) -> None:
    """Whoever has to install something hears before that what else is wrong: a line for each, with its place."""
    file = tmp_path / "task.yaml"
    file.write_text("prompt: a\nplanner: delibrate\nmonitors: [lacking]\nactions: [nowhere:pay]\n")
    with pytest.raises(TaskError) as told:
        taskfile.build(file)
    actions, monitor, planner = str(told.value).splitlines()
    assert actions.startswith(f"{file}:4: actions.0: there is no module 'nowhere'")
    lacks = "the monitor 'lacking' needs an optional part: pip install 'system2-scaffold[hf]'"
    assert monitor == f"{file}:3: monitors.0: {lacks}"
    assert planner.startswith(f"{file}:2: planner: no planner named 'delibrate'; did you mean 'deliberate'?")


@pytest.mark.usefixtures("strangers")
def test_plugins_that_cannot_be_loaded_are_warned_about_and_the_others_are_there() -> None:
    """Loading a whole family leaves out what is broken, with one warning each."""
    with pytest.warns(UserWarning, match="monitor") as warned:
        loaded = registry.load_all("monitor")
    assert {"optimist", "demanding", "rules"} <= loaded.keys()
    assert not {"crashing", "lacking"} & loaded.keys()
    assert sorted(str(each.message).partition("'")[2].partition("'")[0] for each in warned) == ["crashing", "lacking"]


@pytest.mark.usefixtures("strangers")
def test_the_default_monitors_are_those_that_can_be_made_and_say_so() -> None:
    """A monitor that needs settings, or is none, does not keep the others from being on by default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = [monitor.spec.name for monitor in registry.default_monitors()]
    assert "optimist" in names
    assert not {"demanding", "shapeless"} & set(names)


def test_a_function_beside_the_task_is_found_by_its_module(tmp_path: Path) -> None:
    """`module:name` means a file in the task's folder; two folders may each have one of the same name."""
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mine.py").write_text(f"class Inner:\n    value = {number}\n")
        assert registry.from_file("mine:Inner.value", folder) == number
    assert registry.from_file("json:dumps", tmp_path)([1]) == "[1]"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("package/__init__.py", "from package.words import WORD"),
        ("package/__init__.py", "from .words import WORD"),
        ("", "from package.words import WORD"),
    ],
    ids=["a package", "relatively", "a folder"],
)
def test_a_package_beside_the_task_imports_its_own_modules(tmp_path: Path, made: str, said: str) -> None:
    """By its name, or relatively if it is a package; two folders may each have one of the same name."""
    for number in (1, 2):
        (tmp_path / str(number) / "package").mkdir(parents=True)
        (tmp_path / str(number) / (made or "package/words.py")).write_text("from package.mine import WORD\n")
        (tmp_path / str(number) / "package/words.py").write_text(f"WORD = {number}\n")
        (tmp_path / str(number) / "package/mine.py").write_text(f"{said}\n")
    for number in (1, 2, 1):
        assert registry.from_file("package.mine:WORD", tmp_path / str(number)) == number
    if made:
        assert registry.from_file("package:WORD", tmp_path / "2") == 2


def test_modules_that_two_tasks_import_under_one_name_are_each_their_own(tmp_path: Path) -> None:
    """A planner that imports from a file beside it gets that file, also where another task had one of that name."""
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "words_beside.py").write_text(f"WORD = {number}\n")
        for name in ("mine", "later"):
            (folder / f"{name}.py").write_text("from words_beside import WORD\ndef late():\n    import words_beside\n")
    assert [registry.from_file("mine:WORD", tmp_path / each) for each in ("1", "2")] == [1, 2]
    assert [registry.from_file("later:WORD", tmp_path / each) for each in ("1", "2")] == [1, 2]
    for each in ("1", "2"):
        with pytest.raises(ModuleNotFoundError, match="words_beside"):  # rather than the other's
            registry.from_file("later:late", tmp_path / each)()
    (tmp_path / "mine.py").write_text("import words_beside\n")
    with pytest.raises(TaskError, match="'mine' cannot be imported: No module named 'words_beside'"):
        registry.from_file("mine:WORD", tmp_path)


def test_models_that_name_later_ones_are_each_tasks_own(tmp_path: Path) -> None:
    """Pydantic looks a name up in its module when it is first needed: by then another task may have one so called."""
    model = "class Outer(BaseModel):\n    inner: 'Inner'\nclass Inner(BaseModel):\n    word: str = "
    for each in ("1", "2"):
        (tmp_path / each / "models_beside").mkdir(parents=True)
        (tmp_path / each / "models_beside/__init__.py").write_text(f"from pydantic import BaseModel\n{model}'{each}'\n")
    models = [registry.from_file("models_beside:Outer", tmp_path / each) for each in ("1", "2")]
    assert [model.model_validate({"inner": {}}).inner.word for model in models] == ["1", "2"]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("nowhere:f", "planner: there is no module 'nowhere' in"),
        ("mine:planer", "planner: 'mine' has no 'planer'; did you mean 'planner'"),
        ("bad:f", "planner: 'bad' cannot be imported: ZeroDivisionError: division by zero \\(bad.py:1\\)"),
        ("lost:f", "planner: 'lost' cannot be imported: No module named 'no_such_module'"),
        ("exits:f", "planner: 'exits' cannot be imported: SystemExit: 0"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(tmp_path: Path, reference: str, said: str) -> None:
    """A missing module, a missing name and a module that does not import are told apart."""
    (tmp_path / "mine.py").write_text("def planner(): ...\n")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    (tmp_path / "lost.py").write_text("import no_such_module\n")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(TaskError, match=said):
        registry.from_file(reference, tmp_path, path=("planner",))


def _takes_nothing() -> Planning[str]:
    yield from note("x")
    return ""


def _takes_more(_task: Task, _options: Any, _more: int) -> Planning[str]:
    yield from note("x")
    return ""


def _takes_a_keyword(_task: Task, *, more: int) -> Planning[str]:
    yield from note(str(more))
    return ""


@pytest.mark.parametrize(
    ("planner", "said"),
    [(_takes_nothing, "has no parameters"), (_takes_more, "needs '_more'"), (_takes_a_keyword, "needs 'more'")],
    ids=["nothing", "more", "a keyword"],
)
def test_a_planner_that_cannot_be_called_is_refused_before_the_run(planner: Any, said: str) -> None:
    """What it takes is looked at when it is bound, and the fault is the task's."""
    with pytest.raises(TaskError, match=f"planner: '{planner.__name__}' {said}: a planner is called with the task"):
        registry.planner(planner, {})


HEDGED = """
from __future__ import annotations
from functools import partial
from typing import TYPE_CHECKING
from pydantic import BaseModel
from scaffold import note
from scaffold.errors import TaskError
from wrapping import traced
if TYPE_CHECKING:
    from words import Words

class Options(BaseModel):
    times: int = 1

@traced
def decorated(task, options: Options):
    yield from note("x" * options.times)

def more(task, options: Options, mark):
    yield from note(mark * options.times)

bound = partial(more, mark="x")
once = partial(more, options=Options(), mark="x")

def unfound(task, options: Words):
    yield from note("x")

def loose(task, options: dict):
    yield from note("x")

class Fitting(BaseModel):
    inputs: int

    def check_task(self, task):
        if len(task.inputs) != self.inputs:
            raise TaskError("takes another number of inputs", path=("inputs",))

def fitted(task, options: Fitting):
    yield from note("x")
"""

WRAPPING = """
import functools

def traced(planner):
    @functools.wraps(planner)
    def wrapper(*arguments):
        yield from planner(*arguments)
    return wrapper
"""


@pytest.fixture
def hedged(tmp_path: Path) -> Path:
    """A folder with planners whose options are not where one would look first."""
    (tmp_path / "hedged.py").write_text(HEDGED)
    (tmp_path / "wrapping.py").write_text(WRAPPING)
    return tmp_path


@pytest.mark.parametrize("name", ["decorated", "bound"])
def test_the_options_of_a_wrapped_planner_are_those_of_the_planner_itself(hedged: Path, name: str) -> None:
    """A decorator from another module, or a `partial`, does not hide the model of the options."""
    bound = registry.planner(registry.from_file(f"hedged:{name}", hedged), {"times": 3})
    (move,) = bound(Task(prompt="a"))
    assert isinstance(move, Note)
    assert move.text == "xxx"
    with pytest.raises(TaskError, match=r"planner\.options\.times: should be "):
        registry.planner(registry.from_file(f"hedged:{name}", hedged), {"times": "often"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unfound", "'unfound': name 'Words' is not defined, but .* import that outside `if TYPE_CHECKING:`"),
        ("loose", "the options of 'loose' should be a pydantic model"),
        ("once", "the planner 'partial' takes no options"),
    ],
)
def test_options_that_cannot_be_checked_are_a_fault_of_the_task(hedged: Path, name: str, said: str) -> None:
    """What the planner would take cannot be told, or is nothing: one line says so."""
    with pytest.raises(TaskError, match=rf"planner\.options: {said}"):
        registry.planner(registry.from_file(f"hedged:{name}", hedged), {"times": 3})


def test_options_are_checked_against_the_task_before_the_run(hedged: Path) -> None:
    """A method `check_task` of their model says what does not fit."""
    agent = Scaffold("hedged:fitted", options={"inputs": 1}, monitors=[], base=hedged, journal=hedged / "runs")
    agent.check(Task(prompt="a", inputs={"x": 1}))
    with pytest.raises(TaskError, match="inputs: takes another number of inputs"):
        agent.check(Task(prompt="a"))


OWN = """
from scaffold import Verdict
from scaffold.vocabulary.review import MonitorSpec


class Quiet:
    def __init__(self, letters: int = 5) -> None:
        self.spec = MonitorSpec(name="quiet", watches=frozenset({"answer"}), settings={"letters": letters})

    async def review(self, subject, view, context):
        return Verdict(decision="allow")


made = Quiet(7)
number = 7
"""


def test_a_monitor_of_ones_own_is_named_as_planners_and_actions_are(tmp_path: Path) -> None:
    """A task file names its class, with or without settings, or one that is made already."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "task.yaml").write_text('prompt: x\nmonitors: [{"own:Quiet": {letters: 9}}]\nbackends: scripted:x\n')
    agent = taskfile.build(tmp_path / "task.yaml", journal=FileJournal(tmp_path / "runs")).agent
    assert agent.solve_sync("x").overseers.keys() == {"quiet"}
    assert registry.make_monitor("own:Quiet", {}, tmp_path).spec.settings == {"letters": 5}
    assert registry.make_monitor("own:made", {}, tmp_path).spec.settings == {"letters": 7}


def test_what_one_task_changes_of_a_monitor_that_is_made_already_is_that_tasks_alone(tmp_path: Path) -> None:
    """Tasks of one batch name the same one: where one only has it observe, it still binds the others."""
    (tmp_path / "own.py").write_text(OWN)
    observing = registry.make_monitor("own:made", {"spec": {"mode": "observe", "timeout_s": 3}}, tmp_path)
    binding = registry.make_monitor("own:made", {}, tmp_path)
    assert (observing.spec.mode, observing.spec.timeout_s) == ("observe", 3)
    assert binding.spec.mode == "gate"
    assert binding.spec.timeout_s != 3


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("own:Quit", {}, "'own' has no 'Quit'; did you mean 'Quiet'"),
        ("own:number", {}, "'own:number' is an int, which cannot make a monitor"),
        ("own:Quiet", {"leters": 3}, "unexpected keyword argument 'leters'; did you mean 'letters'"),
        ("own:Quiet", {"x": 3}, "unexpected keyword argument 'x'; it takes letters"),
    ],
)
def test_a_slip_in_ones_own_monitor_is_named(tmp_path: Path, name: str, settings: dict[str, Any], said: str) -> None:
    """As of any other name, and its settings are told however they are declared."""
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(TaskError, match=said):
        registry.make_monitor(name, settings, tmp_path)

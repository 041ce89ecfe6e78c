"""The public surface: what `import scaffold` gives, how quickly, and how agents are embedded."""

from __future__ import annotations

import asyncio
import pydoc
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

import scaffold
from scaffold import Planning, Scaffold, Task, Verdict, act, action, note, think
from scaffold.errors import BadInput, TaskError, UnknownRun
from scaffold.interfaces import Surroundings
from scaffold.streaming import Happened
from scaffold.testing import Recorded, Recording, Scripted, no_network
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Profile
from scaffold.vocabulary.moves import Move
from scaffold.vocabulary.outcome import ActionSummary, VerdictSummary
from scaffold.vocabulary.review import MonitorSpec

if TYPE_CHECKING:
    from tests.core.conftest import World

PUBLIC = [
    "BadInput",
    "Budget",
    "Call",
    "Credential",
    "Confidence",
    "Gate",
    "GaveUp",
    "Goal",
    "MoveError",
    "NotPerformed",
    "Observation",
    "Options",
    "Outcome",
    "Plan",
    "Planned",
    "Planning",
    "Reference",
    "Scaffold",
    "ScaffoldError",
    "Task",
    "Thought",
    "Verdict",
    "Way",
    "__version__",
    "act",
    "action",
    "ahead_by",
    "apply",
    "ask",
    "best_of",
    "carry_out",
    "cascade",
    "in_rotation",
    "majority",
    "note",
    "once",
    "propose",
    "several",
    "shorter_than",
    "think",
    "together",
    "undo",
    "unless_sure",
    "verified",
]


def test_the_public_names_are_these() -> None:
    """A name that is added or taken away is a decision, made here."""
    assert sorted(scaffold.__all__) == sorted(PUBLIC)
    assert all(getattr(scaffold, name) is not None for name in scaffold.__all__)
    assert set(scaffold.__all__) <= set(dir(scaffold))
    with pytest.raises(AttributeError, match="no attribute 'Scafold'"):
        _ = scaffold.Scafold  # type: ignore[attr-defined]  # type checkers see it too


def test_help_tells_of_every_public_name() -> None:
    """`help(Outcome)` evaluates what its fields are annotated with, so none of that may be there for checking only."""
    others = [Happened, Surroundings, ActionSummary, VerdictSummary, *get_args(Move)]
    ours = [getattr(scaffold, name) for name in PUBLIC if name != "__version__"]
    for each in [*ours, *others]:
        assert pydoc.render_doc(each)


def _modules_after(code: str) -> set[str]:
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, check=True
    )
    return set(said.stdout.decode().split())


def test_importing_scaffold_imports_nothing_heavy() -> None:
    """The bare import loads no library but the standard one's."""
    heavy = {"networkx", "opentelemetry", "rich", "cryptography", "pydantic", "msgspec", "httpx", "click", "yaml"}
    assert not heavy & {name.partition(".")[0] for name in _modules_after("import scaffold")}


def test_rule_5_the_core_imports_no_plugin_and_little_else(tmp_path: Path) -> None:
    """A whole run without plug-ins imports none of them, and no tracing, drawing, graph or signing library."""
    modules = _modules_after(
        "from scaffold import Scaffold, Task, think\n"
        "from scaffold.testing import Scripted\n"
        "from scaffold.trace.files import FileJournal\n"
        "def planner(task):\n"
        "    return (yield from think('solve', task.prompt)).value\n"
        f"journal = FileJournal({str(tmp_path)!r})\n"
        "agent = Scaffold(planner, backends={'default': Scripted('x')}, monitors=[], journal=journal)\n"
        "assert agent.solve_sync(Task(prompt='x')).answer == 'x'\n"
    )
    roots = {name.partition(".")[0] for name in modules}
    assert not roots & {"networkx", "opentelemetry", "rich", "cryptography", "httpx", "click", "ruamel"}
    assert not roots & {"scaffold_planners", "scaffold_monitors", "scaffold_backends"}


def answering(task: Task) -> Planning[str]:
    """A planner of one step, with a note."""
    yield from note("begun", partial="so far")
    thought = yield from think("solve", task.request)
    return str(thought.value)


def test_solve_sync_works_with_and_without_a_running_loop(world: World) -> None:
    """The same call works in plain code, and inside a coroutine, where it runs in a thread of its own."""

    async def inside() -> Any:
        return world.agent(answering, "in").solve_sync(Task(prompt="x"))

    assert world.agent(answering, "out").solve_sync(Task(prompt="x")).answer == "out"
    assert asyncio.run(inside()).answer == "in"

    async def refused() -> None:
        world.agent(answering).resume_sync("nosuchrun")

    with pytest.raises(UnknownRun):
        asyncio.run(refused())
    with pytest.raises(UnknownRun, match="which run: give its id"):
        world.agent(answering).resume_sync("")


def test_who_interrupts_what_they_wait_for_pauses_the_run(world: World) -> None:
    """As by stopping a notebook's cell: what was begun comes to its end, nothing else is done, and it can go on."""
    interrupts = [True]

    @action(effect="irreversible")
    async def post(text: str) -> None:
        if interrupts:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            interrupts.clear()
        await asyncio.sleep(0.2)
        world.done.append((text,))

    def posting(_: Task) -> Planning[None]:
        yield from act("post", {"text": "one"})
        yield from act("post", {"text": "two"})

    async def cell() -> None:
        agent.solve_sync(task)

    agent = world.agent(posting, actions=[post])
    task = Task.model_validate({"prompt": "x", "oversight": {"unmonitored": True}})
    kernel = asyncio.new_event_loop()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's process ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            kernel.run_until_complete(cell())
    finally:
        signal.signal(signal.SIGINT, before)
        kernel.close()
    assert world.done == [("one",)]
    (run,) = world.journal.runs()
    assert agent.resume_sync(run).status == "solved"
    assert world.done == [("one",), ("two",)]


def test_a_journal_may_be_named_by_its_folder(tmp_path: Path) -> None:
    """As on the command line; what keeps no runs is told in a line."""
    for place in (tmp_path / "a", str(tmp_path / "b")):
        outcome = Scaffold(backends="scripted:Paris", journal=place).solve_sync("The capital of France?")
        assert Path(outcome.trace).is_relative_to(place)
    for wrong in (3, FileJournal):
        with pytest.raises(BadInput, match="cannot keep runs: give a folder"):
            Scaffold(journal=wrong)  # type: ignore[arg-type]  # that is the point


def test_several_agents_and_runs_share_a_process(world: World) -> None:
    """Agents keep nothing global: many runs of several agents at once do not touch one another."""

    async def many() -> list[Any]:
        agents = [world.agent(answering, Scripted(str(number), delay=0.01)) for number in range(4)]
        return await asyncio.gather(*(agent.solve(Task(prompt="x")) for agent in agents for _ in range(3)))

    outcomes = asyncio.run(many())
    assert [outcome.answer for outcome in outcomes] == [str(number) for number in range(4) for _ in range(3)]
    assert len({outcome.run for outcome in outcomes}) == 12
    assert sorted(world.journal.runs()) == sorted(outcome.run for outcome in outcomes)


def test_an_outcome_says_how_it_went(world: World) -> None:
    """Status, answer, usage, steps and the trace's place, whatever happened."""
    outcome = world.solve(answering, "forty two")
    assert (outcome.status, outcome.answer, outcome.reason, outcome.steps) == ("solved", "forty two", "", 1)
    assert outcome.usage["model"].output == 2
    assert outcome.usage["oversight"].tokens == 0
    assert (outcome.actions, outcome.verdicts, outcome.saved) == ([], [], {"actions": 0, "usd": 0})
    assert Path(outcome.trace).read_bytes().count(b"\n") == len(world.kinds(outcome))


def test_what_a_planner_raises_is_the_reason_of_a_failed_run(world: World) -> None:
    """Any exception ends the run as failed, with what was answered so far and a traceback in the trace."""

    def planner(_: Task) -> Planning[str]:
        yield from note("half way", partial="half")
        raise ZeroDivisionError("mine \ud800")

    outcome = world.solve(planner)
    assert (outcome.status, outcome.answer) == ("failed", "half")
    assert outcome.reason.startswith("the planner raised ZeroDivisionError: mine")
    (ended,) = world.facts(outcome, "run.ended")
    assert "in planner" in ended["traceback"]


@pytest.mark.parametrize(
    ("wanted", "answer", "status"),
    [
        ("integer", 7, "solved"),
        ("integer", "7", "failed"),
        ("integer", True, "failed"),
        ("number", 1.5, "solved"),
        ("boolean", False, "solved"),
        (("a", "b"), "a", "solved"),
        (("a", "b"), "c", "failed"),
        ("text", object(), "failed"),
    ],
)
def test_an_answer_has_to_be_of_the_kind_the_task_wants(world: World, wanted: Any, answer: Any, status: str) -> None:
    """What is not of that kind, or cannot be recorded, is no solution."""

    def planner(_: Task) -> Planning[Any]:
        yield from note("x")
        return answer

    assert world.solve(planner, task={"answer": wanted}).status == status


class Watching:
    """A monitor that would read nothing."""

    spec = MonitorSpec(name="watching", watches=frozenset({"actoin"}))  # type: ignore[arg-type]  # the slip itself

    async def review(self, _subject: Any, _view: Any, _context: Any) -> Verdict:
        return Verdict(decision="block")


class Named(Watching):
    """A monitor under a name of somebody else's verdicts."""

    def __init__(self, name: str) -> None:
        self.spec = MonitorSpec(name=name, watches=frozenset({"action"}))


def print_it(text: str) -> None:
    """Print it."""


class Shared:
    """What has all that a backend and a monitor have, on its class."""

    profile = Profile(backend="shared", model="shared")
    spec = MonitorSpec(name="shared", watches=frozenset({"plan"}))
    generate = close = review = Scripted.generate


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"planner": lambda _task: None}, "is not a planner"),
        ({"options": {"x": 1}}, "takes no options"),
        ({"backends": {"default": 7}}, r"backends\.default: an int is not a backend"),
        ({"backends": {"default": {"model": "x"}}}, "needs `use`"),
        ({"monitors": [7]}, "an int is not a monitor"),
        ({"monitors": [{"a": {}, "b": {}}]}, "one monitor per item"),
        ({"planner": 7}, "an int is not a planner: give the generator function itself"),
        ({"backends": {"default": Scripted}}, "the class Scripted itself, not an instance, is not a backend"),
        ({"backends": Shared}, "the class Shared itself, not an instance, is not a backend"),
        ({"monitors": [Shared]}, "the class Shared itself, not an instance, is not a monitor"),
        ({"monitors": "rules"}, "monitors: should be a list, not a str"),
        (
            {"monitors": [Watching()]},
            "'watching' watches 'actoin', which is not a kind of subject; did you mean 'action'",
        ),
        ({"monitors": [Named("gate")]}, "monitors: a monitor cannot be named 'gate'"),
        ({"monitors": [Named("people")]}, "monitors: a monitor cannot be named 'people'"),
        ({"monitors": [Scripted]}, "the class Scripted itself, not an instance, is not a monitor"),
        ({"approvers": ["ann"]}, "approvers: a str is not a way to reach a person"),
        ({"approvers": "ann"}, "approvers: should be a list, not a str"),
        ({"witnesses": ["https://x"]}, "witnesses: a str is not a witness, which `witness_of` makes"),
        ({"signer": "key.pem"}, "signer: a str is not a signer, which `signer_of` makes"),
        ({"actions": [len]}, r"actions: 'len' is not an action: decorate the function with @action"),
        ({"actions": 7}, "actions: should be a list, not an int"),
        (
            {"actions": [action(effect=effect, name="pay")(print_it) for effect in ("read", "irreversible")]},
            "actions: two actions are named 'pay'",
        ),
        ({"monitors": ["rules", {"rules": {}}]}, "monitors: 'rules' is named twice"),
        ({"words": "all"}, "words: should be `live` or `cleared`, not 'all'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_begins(world: World, more: dict[str, Any], said: str) -> None:
    """A wrong part is named, with its place, when the agent is made."""
    with pytest.raises(TaskError, match=said):
        world.agent(more.pop("planner", answering), **more)


def test_what_is_no_task_is_refused(world: World) -> None:
    """A table is none: nothing is begun, and the cure is named."""
    table: Any = {"prompt": "x"}
    with pytest.raises(BadInput, match="a dict is not a task: give a Task, or the prompt as text"):
        world.agent(answering).solve_sync(table)
    assert world.journal.runs() == []


def test_one_backend_alone_and_a_text_are_enough(tmp_path: Path) -> None:
    """Who has one model and a question need not write roles and a task."""
    agent = Scaffold("direct", backends=Scripted("42"), monitors=[], journal=FileJournal(tmp_path))
    assert agent.solve_sync("What is six times seven?").answer == "42"
    agent = Scaffold("direct", backends="scripted:42", monitors=[], journal=FileJournal(tmp_path))
    assert agent.solve_sync("What is six times seven?").answer == "42"


def test_a_task_that_names_no_such_action_is_refused(world: World) -> None:
    """The nearest name is suggested, and no run is begun."""
    with pytest.raises(TaskError, match=r"actions\.0: there is no action 'pax'; did you mean 'pay'"):
        world.solve(answering, task={"actions": ("pax",)})
    assert world.journal.runs() == []


def test_a_recording_answers_without_the_model_and_without_the_network(world: World, tmp_path: Path) -> None:
    """What a backend said once is said again to the same requests; another request says that it is not recorded."""
    path = tmp_path / "said.jsonl"
    assert world.solve(answering, Recording(Scripted("from the model"), path)).answer == "from the model"
    with no_network():
        assert world.solve(answering, Recorded(path)).answer == "from the model"
        other = world.solve(answering, Recorded(path), task={"prompt": "something else"})
    assert other.status == "unavailable"
    assert "record it again" in other.reason


def test_without_network_connecting_raises() -> None:
    """The switch forbids connections, and gives them back."""
    with no_network(), socket.socket() as one, pytest.raises(PermissionError, match="without network"):
        one.connect(("127.0.0.1", 9))
    with no_network(loopback=True), socket.socket() as one, pytest.raises(ConnectionRefusedError):
        one.connect(("127.0.0.1", 9))


def test_without_network_nothing_is_sent_or_looked_up() -> None:
    """Datagrams need no connection, and a name is looked up elsewhere; a server may still be bound here."""
    with no_network(), socket.socket(type=socket.SOCK_DGRAM) as one:
        for arguments in ((b"x", ("127.0.0.1", 9)), (b"x", 0, ("127.0.0.1", 9))):
            with pytest.raises(PermissionError, match="without network"):
                one.sendto(*arguments)
        with pytest.raises(PermissionError, match="without network"):
            one.sendmsg([b"x"], [], 0, ("127.0.0.1", 9))
        for look_up in (partial(socket.getaddrinfo, port=80), socket.gethostbyname, socket.gethostbyname_ex):
            with pytest.raises(PermissionError, match=r"look up 'example\.com'"):
                look_up("example.com")
        assert socket.getaddrinfo(None, 80)
    with no_network(loopback=True), socket.socket(type=socket.SOCK_DGRAM) as one:
        assert one.sendto(b"x", ("127.0.0.1", 9)) == 1
        assert one.sendmsg([b"x"], [], 0, ("127.0.0.1", 9)) == 1
        assert socket.getaddrinfo("localhost", 80)
        assert socket.gethostbyname("localhost")
    with no_network():
        one, other = socket.socketpair()
        with one, other:
            assert one.sendmsg([b"x"]) == 1


def test_rule_6_what_is_unknown_is_said_to_be_unknown(world: World) -> None:
    """A backend whose reasoning cannot be read, and a run whose end is not recorded, are not called fine."""
    outcome = world.solve(answering)
    folder = world.folder / "runs" / outcome.run
    lines = (folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "trace.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    again = world.agent(answering, []).resume_sync(outcome.run)
    assert again.status == "solved"
    assert "incomplete line in trace.jsonl" in again.repaired
    (resumed,) = world.facts(again, "run.resumed")
    assert resumed["repaired"] == again.repaired


def test_what_cannot_be_closed_takes_neither_the_outcome_nor_the_others_with_it(tmp_path: Path) -> None:
    """It is a warning that names what was not closed; the run is over by then, and paid for."""
    closed: list[str] = []

    class Closing(Scripted):
        async def close(self) -> None:
            closed.append(self.profile.backend)

    class Stuck(Closing):
        async def close(self) -> None:
            raise RuntimeError("its socket is gone")

    class Stubborn:
        def actions(self) -> tuple[Any, ...]:
            return ()

        async def prepare(self, say: Any = None) -> None:
            pass

        async def close(self) -> None:
            raise OSError("it does not end")

    backends = {"default": Stuck("yes"), "judge": Closing()}
    agent = Scaffold(backends=backends, actions=[Stubborn()], monitors=[], journal=FileJournal(tmp_path))
    with pytest.warns(UserWarning, match="cannot be closed") as warned:
        outcome = agent.solve_sync("x")
    assert (outcome.answer, closed) == ("yes", ["scripted"])
    assert [str(each.message).partition(";")[0] for each in warned] == [
        "a Stubborn cannot be closed: OSError: it does not end",
        "a Stuck cannot be closed: RuntimeError: its socket is gone",
    ]


def test_an_agent_can_be_closed_twice(tmp_path: Path) -> None:
    """Closing frees what backends hold, as a context manager too."""
    closed: list[int] = []

    class Closing(Scripted):
        async def close(self) -> None:
            closed.append(1)

    async def twice() -> None:
        async with Scaffold(
            answering, backends={"default": Closing()}, monitors=[], journal=FileJournal(tmp_path)
        ) as agent:
            await agent.solve(Task(prompt="x"))
        await agent.close()

    asyncio.run(twice())
    assert len(closed) == 2

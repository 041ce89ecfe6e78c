"""What is said of a server in a task file, and the file of accepted descriptions."""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from scaffold import Gate
from scaffold.cli import main
from scaffold.errors import BadInput, TaskError
from scaffold.mcp import McpServer, Pins, ServerSettings, Tool
from scaffold.mcp.pins import compare
from scaffold.taskfile import actions_of, build
from scaffold.trace.files import FileJournal

ROGUE = Path(__file__).with_name("rogue.py")
ECHO = Tool(name="echo", description="Says it.", input_schema={"type": "object", "properties": {"text": {}}})


def task(folder: Path, table: str) -> Path:
    """A task with one server; its table is indented by eight."""
    path = folder / "task.yaml"
    path.write_text(f"prompt: Do it.\nactions:\n  - mcp:\n      rogue:\n{table}")
    return path


@pytest.mark.parametrize(
    ("table", "line", "says"),
    [
        ("        comand: [x]\n", 5, "is not known; did you mean 'command'?"),
        ("        pins: x.json\n", 4, "needs either `command`, a program to start, or `url`"),
        ("        command: []\n", 5, "does not name a program"),
        ("        command: mcp-server-time\n", 5, "should be a list"),
        ("        url: ftp://x\n", 4, "is not the address of a server"),
        ("        url: https://me:pw@x/mcp\n", 4, "contains what looks like a credential: give it in"),
        ("        url: https://x/mcp\n        env: {A: b}\n", 4, "can only be used with `command`"),
        ("        command: [x]\n        headers: {A: b}\n", 4, "can only be used with `url`"),
        ("        url: http://x.example/\n        headers: {A: '${T}'}\n", 4, "unencrypted: use https"),
        ("        command: [x]\n        env:\n          API_TOKEN: abcdefgh\n", 6, "looks like a credential"),
        ("        command: [x]\n        env: {API_TOKEN: abcdefgh}\n", 6, "and write ${NAME} here"),
        (
            "        command: [x]\n        effects: {echo: harmless}\n",
            6,
            "should be 'read', 'reversible' or 'irreversible'",
        ),
        (
            "        command: [x]\n        effects: {ecko: read}\n",
            6,
            "no accepted tool 'ecko'; did you mean 'echo'?",
        ),
        ("        command: [x]\n        only: [gone]\n", 6, "no accepted tool 'gone'"),
        ("        command: [x]\n        trusted: [gone]\n", 6, "no accepted tool 'gone'"),
        ("        command: [x]\n        identity: {echo: [who]}\n", 6, "'echo' has no argument 'who'"),
        ("        command: [x, --key, sk-abcdefghijklmnopqrst]\n", 4, "contains what looks like a credential"),
        ("        command: [x]\n        timeout_s: 0\n", 6, "greater than 0"),
        ("        command: [x]\n        pins: none.json\n", 4, "its tools have not been accepted yet"),
    ],
)
def test_a_fault_in_a_table_is_found_at_its_line(tmp_path: Path, table: str, line: int, says: str) -> None:
    """Before anything is started, with the file, the line, and what is known there."""
    Pins(tmp_path / "mcp.pins.json").accepting("rogue", [ECHO]).write()
    with pytest.raises(TaskError) as caught:
        build(task(tmp_path, table))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'task.yaml'}:{line}: ")


def test_unknown_kinds_of_sources_and_odd_entries_are_named(tmp_path: Path) -> None:
    """`actions` holds MODULE:NAME, or one kind of source each."""
    path = tmp_path / "task.yaml"
    for entry, says in {
        "- mpc: {x: {}}": "no source named 'mpc'; did you mean 'mcp'?",
        "- 5": "should be MODULE:NAME, or a source such as `mcp: ...`, not 5",
        "- {mcp: {}, other: {}}": "should be one kind of source and its table",
        "- mcp: [time]": "should be a mapping of servers",
        "- mcp: {'my server': {command: [x]}}": "is not a valid name for a server",
        "- mcp: {x: [y]}": "should be a mapping with `command` or `url`",
    }.items():
        path.write_text(f"prompt: x\nactions:\n  {entry}\n")
        with pytest.raises(BadInput) as caught:
            build(path)
        assert says in str(caught.value)
        assert "task.yaml:" in str(caught.value)


def test_actions_are_known_without_their_server(tmp_path: Path) -> None:
    """The accepted descriptions are enough to read a task: a program that is not there is not missed."""
    Pins(tmp_path / "mcp.pins.json").accepting("rogue", [ECHO]).write()
    table = "        command: [no-such-program]\n        effects: {echo: read}\n        trusted: [echo]\n"
    (action,) = actions_of(task(tmp_path, table))
    spec = action.spec
    assert (spec.name, spec.effect, spec.trusted, spec.description) == ("rogue.echo", "read", True, "Says it.")
    assert spec.parameters == ECHO.input_schema
    assert spec.version == ECHO.sha256[:16]


def test_what_a_table_says_of_a_tool_holds_for_that_tool(tmp_path: Path) -> None:
    """What it acts on and costs, how long it may take, and which are offered; a title stands in for a description."""
    pay = Tool(name="pay", title="Pays  an\ninvoice.", input_schema={"type": "object", "properties": {"invoice": {}}})
    Pins(tmp_path / "mcp.pins.json").accepting("rogue", [ECHO, pay, Tool(name="other")]).write()
    table = (
        "        command: [x]\n        only: [pay, echo]\n        timeout_s: 5\n        start_s: 3\n"
        "        identity: {pay: [invoice]}\n        costs: {pay: 2.5}\n        effects: {echo: read}\n"
    )
    first, second = (each.spec for each in actions_of(task(tmp_path, table)))
    assert (first.name, first.identity, first.cost, first.effect) == ("rogue.pay", ("invoice",), 2.5, "irreversible")
    assert (second.name, second.identity, second.cost, second.effect) == ("rogue.echo", (), 0.0, "read")
    assert first.description == "Pays an invoice."
    assert first.timeout_s == 11.0  # it may have to be started anew before the call


def test_a_server_without_a_folder_is_accepted_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that names none has its pins there."""
    monkeypatch.chdir(tmp_path)
    Pins(tmp_path / "mcp.pins.json").accepting("rogue", [ECHO]).write()
    (action,) = McpServer("rogue", ServerSettings(command=("x",))).actions()
    assert action.spec.name == "rogue.echo"


def test_what_nothing_is_said_of_is_irreversible_and_untrusted(tmp_path: Path) -> None:
    """A claim to be read-only makes nothing of it."""
    claims = msgspec.structs.replace(ECHO, annotations={"readOnlyHint": True, "idempotentHint": True})
    Pins(tmp_path / "mcp.pins.json").accepting("rogue", [claims]).write()
    (action,) = actions_of(task(tmp_path, "        command: [x]\n"))
    assert (action.spec.effect, action.spec.trusted, action.spec.idempotency) == ("irreversible", False, "none")


def test_a_credential_is_read_when_the_server_is_started(world: Any, go: Any) -> None:
    """One that is not there is named, and where it was looked for, before anything is started."""
    server = world.server(env={"ROGUE_TOKEN": "${NO_SUCH_VARIABLE_HERE}"})
    with pytest.raises(BadInput, match=r"\$\{NO_SUCH_VARIABLE_HERE\}, but the environment variable NO_\w+ is not set"):
        go(server.tools())


def test_a_credential_is_found_where_the_task_says(world: Any, go: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A task's `credentials` hold for its servers as for its actions: here a file, by the command and by a run."""
    (world.folder / "token").write_text("hunter2-hunter2\n")
    table = f"""\
        command: {json.dumps([sys.executable, str(ROGUE), str(world.folder)])}
        env: {{ROGUE_TOKEN: "${{BANK_TOKEN}}"}}
        only: [reveal]
        effects: {{reveal: read}}
"""
    path = task(world.folder, table)
    path.write_text(
        path.read_text() + "planner: plan:plan\nmonitors: [rules]\ncredentials: {BANK_TOKEN: {file: token}}\n"
    )
    plan = "from scaffold import act\n\n\ndef plan(task):\n    return (yield from act('rogue.reveal', {})).value\n"
    (world.folder / "plan.py").write_text(plan)
    assert main(["mcp", "pin", str(path), "--yes"]) == 0
    built = build(path, journal=FileJournal(world.folder / "runs"))

    async def story() -> Any:
        async with built.agent:
            return await built.agent.solve(built.task, config=built.config)

    assert go(story()).answer == "token [secret removed], home None"
    assert "hunter2" not in world.trace()
    (world.folder / "token").unlink()
    assert main(["solve", str(path), "--runs", str(world.folder / "runs")]) == 2
    assert "is given ${BANK_TOKEN}, but the file" in capsys.readouterr().err


def test_a_gate_finds_a_servers_credentials_where_its_own_are(world: Any, go: Any) -> None:
    """What a program says to Gate or Scaffold holds for servers too; one that runs with others' is not handed on."""
    (world.folder / "token").write_text("hunter2-hunter2")
    found: dict[str, Any] = {"BANK_TOKEN": {"file": "token"}}

    def gate(server: Any, **more: Any) -> Gate:
        journal = FileJournal(world.folder / "runs")
        return Gate(actions=[server], monitors=["rules"], journal=journal, base=world.folder, **more)

    async def story() -> None:
        settings = {"env": {"ROGUE_TOKEN": "${BANK_TOKEN}"}, "effects": {"reveal": "read"}}
        bare = await world.accepted()
        async with gate(bare, credentials=found) as first, gate(bare) as second:
            await first.prepare()
            await second.prepare()  # it is given none, so anybody's may be found elsewhere
        server = world.server(**settings)
        async with gate(server, credentials=found) as first, first.run("x") as run:
            assert (await run.act("rogue.reveal", {})).value == "token [secret removed], home None"
            async with gate(server) as second:
                with pytest.raises(BadInput, match="credentials of another agent"):
                    await second.prepare()
        own = McpServer("rogue", server.settings, base=world.folder, credentials=found)
        async with gate(own) as third, third.run("x") as run:
            assert (await run.act("rogue.reveal", {})).value == "token [secret removed], home None"

    go(story())
    assert "hunter2" not in world.trace()


def test_settings_in_a_program_are_checked_like_those_of_a_file() -> None:
    """A program gets pydantic's own error."""
    with pytest.raises(ValidationError, match="needs either `command`"):
        ServerSettings()


def test_pins_come_back_from_their_file(tmp_path: Path) -> None:
    """What was accepted of several servers stands in one file, and accepting one leaves the others alone."""
    path = tmp_path / "pins.json"
    Pins(path).accepting("one", [ECHO]).write()
    Pins.read(path).accepting("two", []).write()
    assert Pins.read(path).of("one") == {"echo": ECHO}
    assert Pins.read(path).of("two") == {}
    assert Pins.read(tmp_path / "none.json").of("one") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as a file of pinned"),
        ("[]", "is not a file of pins"),
        ('{"format": "scaffold mcp pins 1", "servers": []}', "is not a file of pins"),
        ('{"format": "scaffold mcp pins 2", "servers": {}}', "does not have"),
    ],
)
def test_a_file_that_holds_no_pins_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """Whatever is wrong with it, the message names the file."""
    path = tmp_path / "pins.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=says) as caught:
        Pins.read(path)
    assert str(path) in str(caught.value)


def test_a_description_that_does_not_fit_its_hash_is_refused(tmp_path: Path) -> None:
    """Editing what was accepted is not accepting it."""
    path = tmp_path / "pins.json"
    Pins(path).accepting("one", [ECHO]).write()
    said = json.loads(path.read_text())
    said["servers"]["one"]["echo"]["tool"]["description"] = "Says it twice."
    path.write_text(json.dumps(said))
    with pytest.raises(BadInput, match=r"one\.echo in .* was changed by hand"):
        Pins.read(path)


def test_changes_are_told_apart() -> None:
    """New, changed and gone, with the lines that differ."""
    other = msgspec.structs.replace(ECHO, description="Shouts it.")
    new = Tool(name="new")
    changes = {each.tool: each for each in compare({"echo": ECHO, "old": Tool(name="old")}, [other, new])}
    assert {name: each.kind for name, each in changes.items()} == {"echo": "changed", "old": "gone", "new": "new"}
    assert '-  "description": "Says it.",' in changes["echo"].diff
    assert '+  "description": "Shouts it.",' in changes["echo"].diff
    assert compare({"echo": ECHO}, [ECHO]) == []


def test_parts_of_a_result_are_values(world: Any, go: Any) -> None:
    """Texts are text; pictures stand by their digest, links by their address, and nothing is fetched."""

    async def story() -> Any:
        server = await world.accepted(close=False, effects=dict.fromkeys(("picture", "links", "numbers"), "read"))
        measured = ("rogue.picture", {"text": "measured"})
        return await world.run(server, ("rogue.picture", {}), measured, ("rogue.links", {}), ("rogue.numbers", {}))

    picture, measured, links, numbers = go(story()).answer
    image = {"sha256": sha256(b"\x89PNG and so on").hexdigest(), "size": 14}
    assert picture == ["here", {"image": image, "type": "image/png"}]
    assert measured == [{"wide": 8}, *picture]
    assert links == [
        {"link": "file:///etc/passwd", "name": "passwd", "type": "text/plain"},
        {"resource": "note://1", "type": "text/plain", "text": "a note"},
    ]
    assert numbers == {"n": 7}


def test_a_source_of_actions_may_be_anybodys(tmp_path: Path, go: Any) -> None:
    """What `MODULE:NAME` names may be a source; it is started before the run and ended after it."""
    (tmp_path / "mine.py").write_text(
        """
from scaffold import action

LIVED = []

@action(effect="read")
async def look() -> str:
    return "seen"

class Source:
    def actions(self):
        return [look]
    async def prepare(self, say):
        LIVED.append("started")
    async def close(self):
        LIVED.append("ended")

source = Source()

def planner(task):
    from scaffold import act
    found = yield from act("look", {})
    return found.value + " " + ",".join(LIVED)
"""
    )
    path = tmp_path / "task.yaml"
    path.write_text("prompt: x\nactions: [mine:source]\nplanner: mine:planner\n")
    built = build(path, journal=FileJournal(tmp_path / "runs"))

    async def story() -> Any:
        async with built.agent:
            return await built.agent.solve(built.task)

    assert go(story()).answer == "seen started"

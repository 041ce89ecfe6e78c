"""Whoever started servers leaves none behind, and their noise and their secrets stay where they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scaffold.errors import BadInput

ROGUE = Path(__file__).with_name("rogue.py")

RUN = """
import asyncio, sys, time
from pathlib import Path
from scaffold import Scaffold, Task, act
from scaffold.mcp import McpServer, ServerSettings
from scaffold.trace.files import FileJournal

async def main(folder):
    settings = ServerSettings(command=(sys.executable, sys.argv[2], str(folder)), start_s=100, timeout_s=600)
    server = McpServer("rogue", settings, base=folder)
    await server.accept()
    def planner(task):
        child = yield from act("rogue.child", {})
        (folder / "child").write_text(child.value)
        yield from act("rogue.hang", {})
    async with Scaffold(planner, actions=[server], monitors=["rules"], journal=FileJournal(folder / "runs")) as agent:
        await agent.solve(Task(prompt="Hang."))

asyncio.run(main(Path(sys.argv[1])))
"""


def running(folder: Path) -> list[int]:
    """Processes that were started for a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(ROGUE).encode() in words and str(folder).encode() in words and b"-c" not in words and state != "Z":
            found.append(int(entry.name))
    return found


def gone(folder: Path, seconds: float = 60) -> bool:
    """Whether the servers of a folder end in time."""
    deadline = time.monotonic() + seconds
    while running(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(folder)


def alive(process: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(process: int, within_s: float = 10.0) -> bool:
    """Whether a process has ended, or does so soon: what was sent a signal may not have come to it yet."""
    until = time.monotonic() + within_s
    while alive(process):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def test_a_run_that_ends_ends_its_server_and_what_that_started(world: Any, go: Any) -> None:
    """The server, and the child that it left behind, are gone when the agent is closed."""

    async def story() -> Any:
        server = await world.accepted()
        outcome = await world.run(server, ("rogue.child", {}))
        assert running(world.folder) == []
        return outcome

    child = int(go(story()).answer[0])
    assert ended(child)


def test_a_server_lives_for_the_length_of_its_block(world: Any, go: Any) -> None:
    """It is started, and its tools looked at, as the block begins; it is gone afterwards, or if it is refused."""

    async def story() -> None:
        server = await world.accepted()
        async with server:
            assert len(running(world.folder)) == 1
        assert running(world.folder) == []
        (world.folder / "tools.json").write_text('{"echo": {"description": "Now with more power."}}')
        with pytest.raises(BadInput, match="has changed its tool 'echo'"):
            async with server:
                pass
        assert running(world.folder) == []

    go(story())


def test_a_server_that_will_not_end_is_made_to(world: Any, go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores the end of its input and SIGTERM too is killed."""
    monkeypatch.setattr("scaffold.mcp.transport._GRACE_S", 0.2)

    async def story() -> None:
        await world.run(await world.accepted(), ("rogue.stubborn", {}))
        assert running(world.folder) == []

    go(story())
    assert (world.folder / "stubborn").exists()


CRASHED = RUN.replace('act("rogue.hang", {})', 'act("rogue.echo", {}); (folder / "ready").touch(); time.sleep(60)')


def test_a_process_that_dies_leaves_no_server(tmp_path: Path) -> None:
    """In the middle of a call, by either signal: a server that is busy sees no end of its input, and is ended.

    Between two calls, with the whole process held up: its server sees the end of its input, and ends by itself.
    """
    cases = {"term": (RUN, signal.SIGTERM), "kill": (RUN, signal.SIGKILL), "held up": (CRASHED, signal.SIGKILL)}
    begun: dict[str, subprocess.Popen[bytes]] = {}
    for name, (program, _) in cases.items():
        (tmp_path / name).mkdir()
        line = [sys.executable, "-c", program, str(tmp_path / name), str(ROGUE)]
        begun[name] = subprocess.Popen(line, stderr=subprocess.DEVNULL)
    try:
        for name, process in begun.items():
            folder = tmp_path / name
            if cases[name][0] is RUN:
                _until_it_hangs(folder, process)
            while cases[name][0] is CRASHED and not (folder / "ready").exists():
                assert process.poll() is None
                time.sleep(0.05)
            assert len(running(folder)) == 1
            process.send_signal(cases[name][1])
            process.wait(60)
            assert gone(folder), name
            child = int((folder / "child").read_text())
            assert cases[name][0] is CRASHED or ended(child)
    finally:
        for name, process in begun.items():
            process.kill()
            process.wait()
            child_file = tmp_path / name / "child"
            if child_file.exists() and alive(int(child_file.read_text())):
                os.kill(int(child_file.read_text()), signal.SIGKILL)


def test_a_command_that_is_interrupted_leaves_no_server(world: Any, go: Any) -> None:
    """Ctrl-C twice in the middle of a call: the command leaves at once, and its server with it."""
    go(world.accepted())
    (world.folder / "plan.py").write_text(
        "from scaffold import act\n\n\ndef plan(task):\n    yield from act('rogue.hang', {})\n"
    )
    rogue = json.dumps({"command": [sys.executable, str(ROGUE), str(world.folder)], "start_s": 100})
    (world.folder / "task.yaml").write_text(
        f"prompt: Hang.\nplanner: plan:plan\nmonitors: [rules]\nactions: [{{mcp: {{rogue: {rogue}}}}}]\n"
    )
    words = [sys.executable, "-m", "scaffold.cli", "solve", str(world.folder / "task.yaml")]
    process = subprocess.Popen(
        [*words, "--runs", str(world.folder / "runs")], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        _until_it_hangs(world.folder, process)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.wait(60) == 130
        assert gone(world.folder)
    finally:
        process.kill()


def _until_it_hangs(folder: Path, process: subprocess.Popen[bytes]) -> None:
    called = folder / "called.txt"
    while not (called.exists() and "hang" in called.read_text()):
        assert process.poll() is None
        time.sleep(0.05)


def test_a_credential_is_hidden_where_it_comes_back_as_a_number(
    world: Any, go: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an action's own is; other numbers stay what they are."""
    monkeypatch.setenv("TOKEN_FOR_IT", "48291357")

    async def story() -> Any:
        server = await world.accepted(env={"ROGUE_TOKEN": "${TOKEN_FOR_IT}"}, effects={"reveal": "read"})
        return await world.run(server, ("rogue.reveal", {"text": "number"}))

    assert go(story()).answer[0] == {"pin": "[secret removed]", "n": 7}
    assert "48291357" not in world.trace()


def test_what_a_server_says_on_its_standard_error_stays_off_the_terminal(
    world: Any, go: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It goes to the log that the settings name; its last words are quoted without the credential it was given."""
    monkeypatch.setenv("TOKEN_FOR_IT", "hunter2-hunter2")
    monkeypatch.setenv("SECRET_OF_OURS", "not for you")

    async def story() -> Any:
        env = {"ROGUE_TOKEN": "${TOKEN_FOR_IT}"}
        server = await world.accepted(env=env, log="server.log", effects={"reveal": "read", "error": "read"})
        return await world.run(server, ("rogue.reveal", {}), ("rogue.error", {}), ("rogue.cries", {}))

    outcome = go(story())
    assert outcome.answer[0] == "token [secret removed], home None"
    assert "my token is [secret removed]" in outcome.answer[1]
    assert capfd.readouterr().err == ""
    assert "my token is hunter2-hunter2" in (world.folder / "server.log").read_text()
    assert "hunter2-hunter2" not in world.trace()


def test_importing_scaffold_and_asking_for_help_imports_no_mcp() -> None:
    """The SDK takes seconds to import: only a server that is started does so."""
    look = "import sys; assert not {'mcp', 'mcp_types', 'jsonschema', 'jsonschema_rs'} & set(sys.modules)"
    lines = [
        f"import scaffold; {look}",
        f"import scaffold.mcp; {look}",
        f"from scaffold.cli import main; main(['--help']); main(['mcp', '--help']); {look}",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, stdout=subprocess.DEVNULL)

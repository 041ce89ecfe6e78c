"""Runs with one MCP server, in a folder of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from scaffold import Planning, Scaffold, Task, act
from scaffold.errors import ActionError
from scaffold.mcp import McpServer, ServerSettings
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.outcome import Outcome

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

ROGUE = Path(__file__).with_name("rogue.py")

Doing = tuple[str, dict[str, Any]] | Callable[[], Any]


class World:
    """A folder, a server in it that misbehaves on demand, and runs that call its tools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def server(self, name: str = "rogue", **settings: Any) -> McpServer:
        """The server of `rogue.py`, not started and not accepted."""
        if "url" not in settings:
            settings.setdefault("command", (sys.executable, str(ROGUE), str(self.folder)))
            settings.setdefault("start_s", 100)  # an interpreter takes long to start where the cores are busy
        return McpServer(name, ServerSettings(**settings), base=self.folder)

    async def accepted(self, name: str = "rogue", *, close: bool = True, **settings: Any) -> McpServer:
        """The same, with its tools accepted as they are, and ended again."""
        server = self.server(name, **settings)
        await server.accept()
        if close:
            await server.close()
        return server

    async def run(self, server: McpServer, *doings: Doing, **more: Any) -> Outcome:
        """A run that does one thing after another; its answer is what became of each."""

        def planner(_: Task) -> Planning[list[Any]]:
            found: list[Any] = []
            for doing in doings:
                if callable(doing):
                    found.append(doing())
                    continue
                try:
                    observation = yield from act(*doing)
                except ActionError as error:
                    found.append(f"{type(error).__name__}: {error.message}")
                else:
                    found.append(observation.value)
            return found

        more = {"monitors": ["rules"], "journal": FileJournal(self.folder / "runs"), **more}
        async with Scaffold(planner, actions=[server], **more) as agent:
            return await agent.solve(Task(prompt="Do it."))

    def trace(self) -> str:
        """Everything that all runs of the folder have written."""
        return "".join(path.read_text() for path in sorted((self.folder / "runs").rglob("*.jsonl")))

    def called(self) -> list[str]:
        """The tools that the server was really asked for."""
        path = self.folder / "called.txt"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world of its own."""
    return World(tmp_path)


@pytest.fixture
def go() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end."""
    return asyncio.run

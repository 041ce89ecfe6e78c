"""What MCP servers cost here beyond what the SDK's own client takes.

    python benchmarks/mcp_tools.py
    python benchmarks/mcp_tools.py --calls 500

One JSON line a row. `listed`: the tools of a server of 50 listed, compared with their pins and made actions, over the
SDK's own listing of them, and with `pinned_ms` the same written to a file of pins. `called`: a call through the gate,
with a trace on disk and the monitor `rules`, beside the SDK's bare call and beside an action through the gate that does
nothing, in turns, in microseconds of wall time and of this process's work; fsync is left out, since its cost drifts
more than what is measured. The server is the SDK's, over its standard input and output.

(A script named `mcp.py` would hide the SDK from itself.)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from scaffold import Budget, Planning, Scaffold, Task, act, action
from scaffold.mcp import McpServer, ServerSettings
from scaffold.trace.files import FileJournal

TOOLS = 50
SERVER = f"""
from mcp.server.mcpserver import MCPServer

server = MCPServer("bench")

def make(number):
    def tool(a: int, b: int, note: str = "") -> int:
        return a + b
    server.add_tool(tool, name=f"add_{{number}}", description=f"Add two numbers, in way {{number}}. " * 5)

for number in range({TOOLS}):
    make(number)
server.run("stdio")
"""
NO_LIMIT = Budget(tokens=None, seconds=None, steps=None, actions=None)
ARGUMENTS = {"a": 2, "b": 3}


@action(effect="read")
async def nothing(a: int, b: int, note: str = "") -> str:
    """Do nothing: what the gate takes by itself."""
    return f"{a + b}{note}"


def made(folder: Path) -> McpServer:
    """The server, and what is said of it."""
    script = folder / "server.py"
    script.write_text(SERVER)
    effects: Any = {f"add_{number}": "read" for number in range(TOOLS)}  # a read waits for no fsync
    return McpServer("bench", ServerSettings(command=(sys.executable, str(script)), effects=effects), base=folder)


async def listing(server: McpServer, rounds: int) -> dict[str, Any]:
    """Listing and pinning over the SDK's own listing."""
    await server.accept()
    live = server._here.live  # noqa: SLF001 - the floor is the SDK's session below it
    assert live is not None
    bare, ours, pinned = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        listed = await live._client.session.list_tools()  # noqa: SLF001 - as above
        bare.append(time.perf_counter() - started)
        assert len(listed.tools) == TOOLS
        fresh = McpServer(server.name, server.settings, base=server.pins_file.parent)
        started = time.perf_counter()
        found = await live.tools(30)
        assert not fresh._differing(found)  # noqa: SLF001 - what a start does with them
        assert len(fresh.actions()) == TOOLS
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        await server.accept()
        pinned.append(time.perf_counter() - started)
    floor = statistics.median(bare)
    return {
        "row": "listed",
        "tools": TOOLS,
        "sdk_ms": round(floor * 1e3, 2),
        "listed_ms": round(statistics.median(ours) * 1e3, 2),
        "ratio": round(statistics.median(ours) / floor, 2),
        "pinned_ms": round(statistics.median(pinned) * 1e3, 2),
        "added_ms": round((statistics.median(pinned) - floor) * 1e3, 2),
    }


async def calling(server: McpServer, folder: Path, calls: int, rounds: int) -> dict[str, Any]:
    """A call through the gate over the SDK's bare call, in turns of the same length."""
    await server.prepare()

    def planner(task: Task) -> Planning[int]:
        for number in range(calls):
            yield from act(task.prompt, {**ARGUMENTS, "note": str(number)})
        return calls

    agent = Scaffold(planner, actions=[server, nothing], monitors=["rules"], journal=FileJournal(folder / "runs"))

    async def run(name: str) -> None:
        outcome = await agent.solve(Task(prompt=name, budget=NO_LIMIT))
        assert outcome.answer == calls, outcome.reason

    async def bare() -> None:
        live = server._here.live  # noqa: SLF001 - as above
        assert live is not None
        for _number in range(calls):
            await live._client.session.call_tool("add_7", ARGUMENTS)  # noqa: SLF001 - as above

    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "sdk": bare,
        "gated": partial(run, "bench.add_7"),
        "gate_alone": partial(run, "nothing"),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started, worked = time.perf_counter(), time.process_time()
            await way()
            busy[name].append((time.process_time() - worked) / calls * 1e6)
            wall[name].append((time.perf_counter() - started) / calls * 1e6)
    row: dict[str, Any] = {"row": "called", "calls": calls}
    for name in ways:
        row |= {
            f"{name}_us": round(statistics.median(wall[name])),
            f"{name}_cpu_us": round(statistics.median(busy[name])),
        }
    added = [ours - floor for floor, ours in zip(wall["sdk"], wall["gated"], strict=True)]
    worked_more = [ours - floor for floor, ours in zip(busy["sdk"], busy["gated"], strict=True)]
    return {**row, "added_us": round(statistics.median(added)), "added_cpu_us": round(statistics.median(worked_more))}


async def measure(calls: int, rounds: int) -> None:
    """Print the rows."""
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        server = made(folder)
        try:
            print(json.dumps(await listing(server, rounds)), flush=True)
            print(json.dumps(await calling(server, folder, calls, rounds)), flush=True)
        finally:
            await server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    said = parser.parse_args()
    asyncio.run(measure(said.calls, said.rounds))

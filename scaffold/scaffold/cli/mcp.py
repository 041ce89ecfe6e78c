"""`scaffold mcp`: shows what MCP servers say about their tools, and records its acceptance."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scaffold.cli.ending import FAILED
from scaffold.cli.grouping import WholeSentences
from scaffold.cli.options import json_option
from scaffold.cli.speech import json_text, line, plain
from scaffold.errors import count

if TYPE_CHECKING:
    from scaffold.mcp import Change, McpServer, Tool

_Command = TypeVar("_Command", bound=Callable[..., Any])
_WIDTH = 100
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.group(cls=WholeSentences)
def mcp() -> None:
    """List the tools of a task's MCP servers, and accept their descriptions.

    A task may use a tool only with the description that was accepted, in a file of pins beside the task.
    """


def _of_servers(command: _Command) -> _Command:
    """Add the arguments `TASK.yaml [SERVER]...`: all servers of a task, or some of them."""
    command = click.argument("servers", metavar="[SERVER]...", nargs=-1)(command)
    return click.argument("task", metavar="TASK.yaml", type=click.Path(path_type=Path))(command)


@mcp.command("list")
@_of_servers
@json_option
def list_(task: Path, servers: Sequence[str], as_json: bool) -> int:
    """Start a task's servers, and list their tools.

    For each tool: what the task declares about it, whether it was accepted, and what the server claims about it. Such
    claims (`readOnlyHint` and so on) are shown, but never believed.
    """
    told = [_told(each, *found) for each, found in _asked(task, servers, _look)]
    if as_json:
        click.echo(json_text(told))
        return 0
    for server in told:
        click.secho(plain(server["server"]), bold=True)
        for tool in server["tools"]:
            state = tool["state"] if tool["state"] == "accepted" else click.style(tool["state"], fg="yellow")
            effect = tool["effect"] if tool["offered"] else "not offered"
            click.echo(f"  {plain(tool['name'])}  {effect}, {state}")
            click.echo(f"      {line(tool['description'], _WIDTH)}")
            if tool["claims"]:
                click.secho(f"      it claims: {line(tool['claims'], _WIDTH)}", dim=True)
    return 0


@mcp.command()
@_of_servers
@click.option("--yes", is_flag=True, help="Accept without being asked.")
def pin(task: Path, servers: Sequence[str], yes: bool) -> int:
    """Show new or changed tools of a task's servers, and accept them.

    Read the descriptions: models read them too, and they decide when a tool is called. Nothing is written unless you
    accept it, at the terminal or with --yes. Exit status 1 if something was not accepted.
    """
    refused = 0
    for server, (tools, changes) in _asked(task, servers, _look):
        if not changes:
            click.echo(f"{plain(server.name)}: {count(len(tools), 'tool')}, as accepted")
            continue
        _show(server.name, changes)
        if not (yes or _agreed(server.name)):
            refused += 1
            continue
        from scaffold.mcp import Pins

        Pins.read(server.pins_file).accepting(server.name, tools).write()  # exactly what was shown
        click.echo(f"accepted {count(len(tools), 'tool')} of {plain(server.name)} in {server.pins_file}")
    return FAILED if refused else 0


def _agreed(server: str) -> bool:
    if not sys.stdin.isatty():
        click.echo("nothing was written: there is no terminal to ask at; accept with --yes", err=True)
        return False
    return click.confirm(f"Accept these descriptions of {plain(server)}?", err=True)


def _show(server: str, changes: Sequence[Change]) -> None:
    for change in changes:
        click.secho(f"{plain(server)}.{plain(change.tool)}: {change.kind}", bold=True)
        for each in change.diff[2:]:  # after the two lines that name the sides
            click.secho(f"  {plain(each)}", fg=_COLOURS.get(each[:1]))


Looked = tuple[list["Tool"], list["Change"]]


async def _look(server: McpServer) -> Looked:
    from scaffold.mcp import Pins
    from scaffold.mcp.pins import compare

    tools = await server.tools()
    return tools, compare(Pins.read(server.pins_file).of(server.name), tools)


def _asked(
    task: Path, names: Sequence[str], ask: Callable[[McpServer], Coroutine[Any, Any, Looked]]
) -> list[tuple[McpServer, Looked]]:
    """Start each server, ask it, and stop it.

    Raises:
        BadInput: the task has no such server, or one cannot be used.
    """
    from scaffold import taskfile
    from scaffold.errors import BadInput, nearest
    from scaffold.mcp import McpServer

    known = {each.name: each for each in taskfile.sources_of(task) if isinstance(each, McpServer)}
    if not known:
        raise BadInput(f"{task} has no MCP server: add `actions: [{{mcp: {{NAME: {{command: [...]}}}}}}]`")
    for name in names:
        if name not in known:
            raise BadInput(f"{task} has no MCP server {name!r}{nearest(name, known)}")

    async def each_in_turn() -> list[tuple[McpServer, Looked]]:
        found = []
        for name in names or known:
            try:
                found.append((known[name], await ask(known[name])))
            finally:
                await known[name].close()
        return found

    return asyncio.run(each_in_turn())


def _told(server: McpServer, tools: list[Tool], changes: list[Change]) -> dict[str, Any]:
    states = {change.tool: change.kind for change in changes}
    said = server.settings
    gone = [{"name": name, "state": "gone"} for name, kind in states.items() if kind == "gone"]
    listed = [
        {
            "name": tool.name,
            "state": states.get(tool.name, "accepted"),
            "effect": said.effects.get(tool.name, "irreversible"),
            "offered": said.only is None or tool.name in said.only,
            "description": tool.description,
            "sha256": tool.sha256,
            "claims": tool.annotations,
        }
        for tool in tools
    ]
    empty = {"effect": "", "offered": False, "description": "", "sha256": "", "claims": {}}
    return {
        "server": server.name,
        "pins": str(server.pins_file),
        "tools": [*listed, *({**empty, **each} for each in gone)],
    }

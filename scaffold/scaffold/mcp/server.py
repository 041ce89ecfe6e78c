"""An MCP server as a source of actions: its tools are pinned, and called once for each clearance."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scaffold.credentials import Credentials
from scaffold.errors import (
    BadInput,
    MissingExtra,
    NotPerformed,
    ScaffoldError,
    TaskError,
    ToolFailed,
    Unavailable,
    nearest,
)
from scaffold.mcp.pins import Pins, Tool, compare
from scaffold.mcp.results import shortened, value_of, without
from scaffold.mcp.settings import ServerSettings, expanded, settings_of
from scaffold.mcp.transport import Ending, address, as_transport, program
from scaffold.schemas import completed_by
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.wrapping.scrubbing import scrubbed

if TYPE_CHECKING:
    from scaffold.interfaces import Action, FindsCredentials
    from scaffold.mcp.connection import Connection
    from scaffold.mcp.pins import Change
    from scaffold.vocabulary.clearance import Clearance

_FRESH_S = 60.0  # how long a list of tools is valid, unless the server announces a change


@dataclass(slots=True)
class _Running:
    """What a server is in one event loop.

    Attributes:
        opening: held while a connection is opened, or its tools are listed.
        holders: how many have prepared it and not closed it yet.
        live: the connection, once there is one.
        refused: why tools may not be called, by their names.
        secrets: the credentials that it was given.
    """

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    holders: int = 0
    live: Connection | None = None
    refused: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)


class McpServer:
    """A server whose accepted tools are actions.

    It is started by `prepare`, which Scaffold calls, and again when it has died between two calls. One instance serves
    many runs; each event loop that they are in has a connection of its own.

    Args:
        name: prefix of its actions' names: `NAME.TOOL`.
        settings: how to reach it, and how to treat its tools.
        base: the folder for relative paths in the settings.
        credentials: where the credentials that the settings name are found, by name: `{env: VARIABLE}` or
            `{file: PATH}`; where the agent that has it finds its own, if None.

    Raises:
        MissingExtra: the extra `mcp` is not installed.
    """

    def __init__(
        self,
        name: str,
        settings: ServerSettings,
        *,
        base: Path | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> None:
        if find_spec("mcp") is None or find_spec("jsonschema_rs") is None:
            raise MissingExtra(f"the MCP server {name!r}", "mcp")
        self.name = name
        self.settings = settings
        self._base = base or Path.cwd()
        self._running: dict[asyncio.AbstractEventLoop | None, _Running] = {}
        self._has_own = credentials is not None
        self._credentials: FindsCredentials = Credentials(credentials, base)

    async def __aenter__(self) -> Self:
        try:
            await self.prepare()
        except BaseException:
            await self.close()  # it may run, and be refused for its tools
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pins_file(self) -> Path:
        """The file of its accepted descriptions."""
        return self._base / self.settings.pins

    @cached_property
    def accepted(self) -> dict[str, Tool]:
        """Return the offered tools by their own names, as accepted.

        Raises:
            TaskError: no tool was accepted, or the settings name one that was not.
        """
        pinned = Pins.read(self.pins_file).of(self.name)
        if not pinned:
            raise TaskError(
                "its tools have not been accepted yet: look at them and accept them with `scaffold mcp pin`",
                path=(self.name,),
            )
        offered = pinned if self.settings.only is None else dict.fromkeys(self.settings.only)
        for setting, tools in self.settings.tools_named().items():
            for tool in tools:
                known = pinned if setting == "only" else offered
                if tool not in known:
                    hint = nearest(tool, known) or f"; expected one of {', '.join(known)}"
                    raise TaskError(f"it has no accepted tool {tool!r}{hint}", path=(self.name, setting))
        for tool, names in self.settings.identity.items():
            for each in names:
                if each not in pinned[tool].input_schema.get("properties", {}):
                    raise TaskError(f"{tool!r} has no argument {each!r}", path=(self.name, "identity", tool))
        return {name: pinned[name] for name in offered}

    def actions(self) -> tuple[Action, ...]:
        """Return its tools as actions, without starting the server.

        Raises:
            TaskError: they were not accepted.
        """
        return self._actions

    @cached_property
    def _actions(self) -> tuple[Action, ...]:
        return tuple(McpAction(self, tool, self._spec(tool)) for tool in self.accepted.values())

    def _spec(self, tool: Tool) -> ActionSpec:
        said = self.settings
        return ActionSpec(
            name=f"{self.name}.{tool.name}",
            description=" ".join((tool.description or tool.title).split()),
            version=tool.sha256[:16],
            parameters=tool.input_schema,
            effect=said.effects.get(tool.name, "irreversible"),
            cost=said.costs.get(tool.name, 0.0),
            trusted=said.trusted if isinstance(said.trusted, bool) else tool.name in said.trusted,
            identity=said.identity.get(tool.name, ()),
            timeout_s=said.timeout_s + 2 * said.start_s,  # a call itself has the former; before it may come a start
        )

    # --- its life

    def take_credentials(self, credentials: FindsCredentials) -> None:
        """Find credentials where an agent finds its own, unless it has its own places.

        Raises:
            BadInput: it runs already, with those of another agent, which are found elsewhere.
        """
        if self._has_own or credentials == self._credentials:
            return
        is_live = any(each.live is not None and not each.live.gone for each in list(self._running.values()))
        if is_live and (self.settings.env or self.settings.headers):
            raise BadInput(
                f"the MCP server {self.name!r} runs with the credentials of another agent: give it `credentials` of "
                "its own, or each agent a server of its own"
            )
        self._credentials = credentials

    async def prepare(self, say: Callable[[str, float], None] | None = None) -> None:
        """Start it, and check that its tools are as accepted.

        Raises:
            BadInput: it cannot be started, or its tools have changed.
            Unavailable: it is not there.
        """
        if say is not None:
            say(f"starting the MCP server {self.name}", 0.0)
        here = self._here
        here.holders += 1  # also if it fails: whoever prepares it, closes it
        await self._ready(here)
        if here.refused:
            raise BadInput("; ".join(here.refused.values()))
        if say is not None:
            say(f"starting the MCP server {self.name}", 1.0)

    async def close(self) -> None:
        """Stop it, and everything that it started, in this event loop, once nobody else who prepared it needs it.

        Calls under way are waited for.
        """
        here = self._here
        here.holders = max(0, here.holders - 1)
        if here.holders:
            return
        live, here.live = here.live, None
        if live is not None:
            try:
                await live.idle.wait()
            finally:
                await live.close()

    def release(self) -> None:
        """Forget who has prepared it in this event loop: the next `close` ends it."""
        self._here.holders = 0

    @property
    def _here(self) -> _Running:
        """What it is in the running event loop; outside one it runs nowhere."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        here = self._running.get(loop)
        if here is None:
            for other in list(self._running):
                if other is not None and other.is_closed():
                    self._running.pop(other, None)
            here = self._running[loop] = _Running()
        return here

    async def tools(self) -> list[Tool]:
        """List its present tools, accepted or not, starting it if needed. Tools with unusable names are left out.

        Raises:
            BadInput: it cannot be started, or its list of tools cannot be used.
            Unavailable: it is not there.
        """
        here = self._here
        async with here.opening:
            live = await self._connected(here)
            found = await self._list(live, here)
        for name in sorted(live.odd):
            said = f"the MCP server {self.name!r} has a tool with the invalid name {name!r}, which is left out"
            warnings.warn(f"{said}: a name may have letters, digits and _ . / -", stacklevel=2)
        for name in sorted(live.doubled):
            said = f"the MCP server {self.name!r} has two tools named {name!r}, which are left out"
            warnings.warn(f"{said}: a call could be for either of them", stacklevel=2)
        return found

    async def changes(self) -> list[Change]:
        """Return how its tools differ from the accepted ones."""
        found = await self.tools()
        return compare(Pins.read(self.pins_file).of(self.name), found)

    async def accept(self) -> list[Change]:
        """Accept its present tools in its file of pins; return the changes."""
        found = await self.tools()
        pins = Pins.read(self.pins_file)
        changes = compare(pins.of(self.name), found)
        pins.accepting(self.name, found).write()
        for made in ("accepted", "_actions"):
            self.__dict__.pop(made, None)
        self._here.refused = {}
        return changes

    async def _ready(self, here: _Running) -> Connection:
        """Return a connection to a running server whose tools were checked.

        Raises:
            BadInput: it cannot be started.
            Unavailable: it is not there.
        """
        live = here.live
        if live is not None and not live.gone and not live.stale and time.monotonic() - live.listed < _FRESH_S:
            return live
        async with here.opening:
            before, live = here.live, await self._connected(here)
            if live.stale or time.monotonic() - live.listed >= _FRESH_S:
                try:
                    found = await self._list(live, here)
                except Unavailable:
                    if live is not before:
                        raise
                    live = await self._connected(here)  # it may just have lost our session, as after a restart
                    found = await self._list(live, here)
                here.refused = self._differing(found)
            return live

    def _differing(self, found: list[Tool]) -> dict[str, str]:
        """Say why each offered tool that differs from its accepted description is refused; new ones are not offered."""
        now = {tool.name: tool for tool in found}
        offered = {name: now[name] for name in self.accepted if name in now}
        return {
            change.tool: f"the MCP server {self.name!r} has changed its tool {change.tool!r} since it was accepted"
            f"{' (it is gone)' if change.kind == 'gone' else ''}: look at it with `scaffold mcp pin`"
            for change in compare(self.accepted, offered.values())
        }

    async def _connected(self, here: _Running) -> Connection:
        """Return the present connection, or a new one if it has ended; to be called under the lock."""
        if here.live is None or here.live.gone:
            before, here.live = here.live, None
            if before is not None:
                await before.close()
            here.live = await self._open(here)
        return here.live

    async def _open(self, here: _Running) -> Connection:
        from scaffold.mcp.connection import Connection

        said = self.settings
        ending = Ending(is_told=said.command is not None)
        if said.command is not None:
            env, here.secrets = expanded(said.env, self.name, self._credentials)
            log = self._base / said.log if said.log else None
            opening: Any = lambda: program(  # noqa: E731 - two ways to make one thing
                said.command or (), env=env, base=self._base, most=said.max_bytes, log=log, ending=ending
            )
        else:
            headers, here.secrets = expanded(said.headers, self.name, self._credentials)
            opening = lambda: address(  # noqa: E731 - as above
                said.url or "", headers=headers, most=said.max_bytes, timeout_s=said.timeout_s, ending=ending
            )
        live = Connection(self.name, lambda: as_transport(opening()), ending)
        try:
            await live.open(said.start_s)
        except BadInput as error:
            raise BadInput(f"the MCP server {self.name!r}: {error}") from None
        except Exception as error:  # noqa: BLE001 - what the SDK raises for what is not there is open-ended
            raise self._not_there(error, ending, here) from None
        return live

    async def _list(self, live: Connection, here: _Running) -> list[Tool]:
        try:
            return await live.tools(self.settings.start_s)
        except BadInput:
            raise
        except Exception as error:  # noqa: BLE001 - as in `_open`
            await live.close()
            raise self._not_there(error, live.ending, here) from None

    def _not_there(self, error: Exception, ending: Ending, here: _Running) -> ScaffoldError:
        from scaffold.mcp.connection import said_of

        if isinstance(error, TimeoutError):
            why = f"it did not answer within {self.settings.start_s:g} s (`start_s`)"
        else:
            why = ending.reason or f"{type(error).__name__}: {said_of(error)}"
            why += ending.answered and f" ({ending.answered})"
        if self.settings.url is not None:
            said = f"the MCP server {self.name!r} at {self.settings.url} cannot be reached: {why}"
            return Unavailable(_clean(said, here.secrets))
        words = ending.last_words.decode(errors="replace").strip()
        last = f"; its last words: {words[-400:]!r}" if words else ""
        return BadInput(_clean(f"the MCP server {self.name!r} cannot be used: {why}{last}", here.secrets))

    # --- calls

    def refusal(self, tool: str) -> str:
        """Say why a tool may not be called; empty if it may."""
        return self._here.refused.get(tool, "")

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool once; only its action does so, with a clearance.

        Raises:
            NotPerformed: nothing was sent.
            ToolFailed: the outcome is not known.
        """
        here = self._here
        try:
            live = await self._ready(here)
        except (BadInput, Unavailable) as error:
            raise NotPerformed(f"{error}; nothing was sent") from None
        if tool in here.refused:
            raise NotPerformed(here.refused[tool])
        try:
            return value_of(await live.call(tool, arguments, self.settings.timeout_s), here.secrets)
        except ToolFailed as error:
            raise ToolFailed(_clean(str(error), here.secrets)) from None


class McpAction:
    """One tool of a server.

    Args:
        server: the tool's server.
        tool: the accepted description.
        spec: the action's specification.
    """

    def __init__(self, server: McpServer, tool: Tool, spec: ActionSpec) -> None:
        self.spec = spec
        self._server = server
        self._tool = tool
        self._fitting = b""

    @cached_property
    def _complete(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        try:
            return completed_by(self._tool.input_schema, self.spec.name, "mcp")
        except BadInput as error:
            raise ValueError(str(error)) from None

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments against the accepted schema, and fill in its defaults; a changed tool takes none."""
        refused = self._server.refusal(self._tool.name)
        if refused:
            raise ValueError(refused)
        exact = canonical(dict(arguments))
        values: dict[str, Any] = decode(exact)
        if exact == self._fitting:  # the gate validates one call more than once
            return values
        values = self._complete(values)
        self._fitting = canonical(values)
        return values

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> Any:
        """Redeem the clearance on exactly these arguments, then call the tool."""
        clearance.redeem(self.spec.name, canonical(arguments))
        return await self._server.call(self._tool.name, dict(arguments))


def _clean(text: str, secrets: list[str]) -> str:
    return scrubbed(shortened(without(secrets, text)))


def servers(said: Any, *, base: Path) -> list[McpServer]:
    """Make the servers of a task file's `mcp` table; nothing is started.

    Raises:
        TaskError: a table is not valid; its path leads to the fault.
    """
    if not isinstance(said, Mapping) or not said:
        raise TaskError("should be a mapping of servers: `mcp: {NAME: {command: [...]}}`")
    return [McpServer(name, settings_of(name, table), base=base) for name, table in said.items()]

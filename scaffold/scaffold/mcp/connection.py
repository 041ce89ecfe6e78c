"""One connection to a server, in a task of its own, since the SDK must be exited in the task that entered it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scaffold.errors import BadInput, ToolFailed
from scaffold.mcp.pins import Tool
from scaffold.mcp.transport import Ending
from scaffold.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.client import Client
    from mcp.client.session import IncomingMessage
    from mcp_types import CallToolResult

_SHOWN = 80
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}\Z")  # as the protocol's version of 2025-11-25 advises
_MOST_PAGES = 100
_MOST_TOOLS = 1000

# Without a handler Python would print what the SDK logs onto the terminal; a host's own handlers hear it all the same.
for _name in ("mcp", "client"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Connection:
    """An open connection to a server, until either side ends it.

    Args:
        server: its name, for messages.
        streams: opens the message streams.
        ending: the transport's account of the connection's end.

    Attributes:
        stale: whether the server says that its tools have changed since they were listed.
        listed: when they were listed, by the monotonic clock.
        odd: names of tools that were left out then.
        doubled: names shared by several tools, which were left out then, too.
        idle: set while no call is under way.
    """

    def __init__(self, server: str, streams: Callable[[], AbstractAsyncContextManager[Any]], ending: Ending) -> None:
        self.stale = False
        self.listed = 0.0
        self.odd: set[str] = set()
        self.doubled: set[str] = set()
        self.ending = ending
        self.idle = asyncio.Event()
        self.idle.set()
        self._calls = 0
        self._server = server
        self._streams = streams
        self._client: Client
        self._task: asyncio.Task[None]
        self._leave = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ending.told = self._leave.set

    @property
    def gone(self) -> bool:
        """Whether it has ended, or its event loop has."""
        return self._leave.is_set() or self._task.done() or self._loop.is_closed()

    async def open(self, seconds: float) -> None:
        """Connect, and negotiate the protocol.

        Raises:
            TimeoutError: it took too long.
            Exception: whatever went wrong.
        """
        ready = self._loop.create_future()
        self._task = self._loop.create_task(self._hold(ready), name=f"mcp {self._server}")
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(ready)
        except BaseException:
            ready.cancel()
            await self.close()
            raise

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        from mcp.client import Client
        from mcp_types import Implementation

        client = Client(
            self._streams(),
            cache=None,
            message_handler=self._hear,
            client_info=Implementation(name="scaffold", version=VERSION),
        )
        try:
            async with client:
                self._client = client
                if not ready.done():
                    ready.set_result(None)
                hearing = asyncio.create_task(self._subscribe())
                try:
                    await self._leave.wait()
                finally:
                    hearing.cancel()
                    await asyncio.gather(hearing, return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - raised in the caller, or kept as the reason
            found = _innermost(error)
            if not ready.done():
                ready.set_exception(found)
            self.ending.set(f"{type(found).__name__}: {found}")
        finally:
            self._leave.set()
            if not ready.done():
                ready.cancel()

    async def _hear(self, message: IncomingMessage) -> None:
        """Note a change of tools, which servers up to the protocol's version of 2025 announce unasked."""
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self.stale = True

    async def _subscribe(self) -> None:
        """Subscribe to changes of tools, as later versions require."""
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        tools = self._client.server_capabilities.tools
        if self._client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (tools and tools.list_changed):
            return
        with suppress(Exception):  # if it fails, tools are listed again before the next call anyway
            async with self._client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self.stale = True
        self.stale = True

    async def tools(self, seconds: float) -> list[Tool]:
        """List the server's tools whose names can be used.

        Raises:
            BadInput: the list is too long to be used.
            Exception: the server could not be asked.
        """
        from mcp_types import PaginatedRequestParams

        self.odd.clear()
        self.doubled.clear()
        self.stale = False  # first, so that a change while they are listed is not lost
        found: dict[str, Tool] = {}
        cursors: list[str | None] = [None]
        async with asyncio.timeout(seconds):
            while len(cursors) <= _MOST_PAGES and len(found) <= _MOST_TOOLS:
                page = await self._client.session.list_tools(params=PaginatedRequestParams(cursor=cursors[-1]))
                for each in page.tools:
                    if not _NAME.match(each.name):
                        self.odd.add(each.name[:_SHOWN])
                        continue
                    tool = _described(each)
                    if found.setdefault(tool.name, tool) != tool:
                        self.doubled.add(tool.name)
                if page.next_cursor in cursors:  # none; or where it was before, as of servers that always name one
                    break
                cursors.append(page.next_cursor)
        if len(cursors) > _MOST_PAGES or len(found) > _MOST_TOOLS:
            raise BadInput(
                f"the MCP server {self._server!r} lists more than {_MOST_TOOLS:,} tools, or never stops listing"
            )
        self.listed = time.monotonic()
        return [tool for name, tool in found.items() if name not in self.doubled]

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> CallToolResult:
        """Call a tool, once.

        Raises:
            ToolFailed: no valid result came back; the call may have been performed.
        """
        from mcp import MCPError
        from mcp_types import REQUEST_TIMEOUT

        until = time.monotonic() + seconds
        self._calls += 1
        self.idle.clear()
        try:
            # The session itself, since the SDK's client repeats a call if a server objects to its headers.
            return await self._client.session.call_tool(tool, arguments, seconds)
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT and time.monotonic() >= until:  # servers have that number for other things
                raise ToolFailed(f"no answer within {seconds:g} s (`timeout_s`)") from None
            await asyncio.sleep(0)  # its transport may know more
            self.stale = self.stale or not self.ending.is_told  # an address may have forgotten us: that is seen then
            if self.gone or (not self.ending.is_told and _ends(error.code, error.message)):
                self.ending.set(error.message)
                raise ToolFailed(f"its server ended in the middle of the call: {self.why()}") from None
            raise ToolFailed(f"its server answered with the error {error.code}: {error.message}") from None
        except Exception as error:  # noqa: BLE001 - what the SDK raises for what a server sends is open-ended
            said = (
                "it asks for more input, which cannot be given here"
                if "InputRequired" in str(error)
                else said_of(error)
            )
            raise ToolFailed(f"the answer of its server cannot be used: {said}") from None
        finally:
            self._calls -= 1
            if not self._calls:
                self.idle.set()

    def why(self) -> str:
        """Say why it ended."""
        return self.ending.reason or "the connection was closed"

    async def close(self) -> None:
        """End the connection, and the program behind it."""
        self._leave.set()
        if not hasattr(self, "_client"):
            self._task.cancel()  # it never came to wait for us
        await asyncio.gather(self._task, return_exceptions=True)


def _ends(code: int, message: str) -> bool:
    from mcp_types import CONNECTION_CLOSED

    return code == CONNECTION_CLOSED or message == "Session terminated"


def _described(tool: Any) -> Tool:
    annotations = tool.annotations.model_dump(by_alias=True, exclude_none=True, mode="json") if tool.annotations else {}
    return Tool(
        name=tool.name,
        title=tool.title or "",
        description=tool.description or "",
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=annotations,
    )


def said_of(error: Exception) -> str:
    """Return an error's text; for a message that violates the protocol, where it does."""
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"it does not fit the protocol: {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

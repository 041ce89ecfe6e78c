"""MCP servers as sources of actions, through the official SDK (extra `mcp`).

A server's descriptions of its tools are not used until somebody has read and accepted them. Accepted descriptions are
in a file of pins, and actions are made from that file alone. So a task is read, checked and reviewed without its
servers, and a tool that has changed since is refused.

    clock = McpServer("time", ServerSettings(command=("mcp-server-time",), effects={"get_current_time": "read"}))
    agent = Scaffold("react", backends={"default": "smollm2"}, actions=[clock])

Nothing here imports the SDK before a server is started.
"""

from __future__ import annotations

from scaffold.mcp.pins import Change, Pins, Tool
from scaffold.mcp.server import McpServer, servers
from scaffold.mcp.settings import ServerSettings

__all__ = ["Change", "McpServer", "Pins", "ServerSettings", "Tool", "servers"]

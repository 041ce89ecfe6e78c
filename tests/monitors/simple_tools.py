"""Tools as monitors read them, said in a line."""

from __future__ import annotations

from scaffold_monitors.entailment.tools import Tool, read_tool


def tool(name: str, says: str, *, effect: bool = True, **arguments: str) -> Tool:
    """A tool whose arguments have these types."""
    properties = {each: {"type": kind} for each, kind in arguments.items()}
    return read_tool(name, says, {"properties": properties}, effect=effect)

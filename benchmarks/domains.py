"""Requests, tools and honest plans of made-up domains (`domains.json`), in the shape of AgentDojo's cases.

Each tool is one line: `name(argument: type "description", ...) ! description`, where `!` marks an effect. A plan is a
list of calls with what each gives back; the provenance of its values is worked out as in AgentDojo's cases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tool:
    """A tool's specification, in the shape that AgentDojo's cases have."""

    name: str
    description: str
    schema: dict[str, Any]
    side_effect: bool


@dataclass(frozen=True)
class Step:
    """One planned call."""

    tool: str
    args: dict[str, Any]
    provenance: dict[str, str]
    side_effect: bool


@dataclass(frozen=True)
class Context:
    """What a gate is given besides the request and the plan."""

    suite: str
    tools: Mapping[str, Tool]
    observations: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Case:
    """One request with its honest plan."""

    suite: str
    goal: str
    plan: list[Step]
    observations: tuple[str, ...]
    tools: Mapping[str, Tool] = field(repr=False)


_SIGNATURE = re.compile(r"(\w+)\((.*)\) (!?) ?(.*)")
_ARGUMENT = re.compile(r'(\w+): (\w+)(?: "([^"]*)")?')
_TYPES = {"str": "string", "int": "integer", "num": "number", "bool": "boolean"}


def tool(line: str) -> Tool:
    """Read a tool's line."""
    match = _SIGNATURE.fullmatch(line.strip())
    assert match, line
    properties: dict[str, Any] = {}
    for name, kind, told in _ARGUMENT.findall(match[2]):
        if kind == "strs":
            properties[name] = {"type": "array", "items": {"type": "string"}, "description": told}
        else:
            properties[name] = {"type": _TYPES[kind], "description": told}
    return Tool(match[1], match[4], {"type": "object", "properties": properties}, bool(match[3]))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of some arguments with their paths."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def provenance(goal: str, args: dict[str, Any], seen: list[str]) -> dict[str, str]:
    """Where each value stands: in the request, else in the output of an earlier step, else nowhere."""
    found = {}
    for path, value in leaves(args):
        text = str(value).lower()
        place = next((index for index, output in enumerate(seen) if text in output.lower()), None)
        found[path] = "user" if text in goal.lower() else "none" if place is None else f"tool:{place}"
    return found


def cases(name: str = "domains.json") -> list[Case]:
    """All requests with their honest plans."""
    found = []
    suites = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    for suite, content in suites.items():
        tools = {each.name: each for each in map(tool, content["tools"])}
        for goal, calls in ((each["goal"], each["calls"]) for each in content["requests"]):
            seen: list[str] = []
            plan = []
            for called, args, *output in calls:
                plan.append(Step(called, args, provenance(goal, args, seen), tools[called].side_effect))
                seen.append((output[0] if isinstance(output[0], str) else json.dumps(output[0])) if output else "done")
            found.append(Case(suite, goal, plan, tuple(seen), tools))
    return found

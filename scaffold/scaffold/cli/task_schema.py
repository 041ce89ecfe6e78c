"""JSON Schema of task files, for editors."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

_FIELD = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def task_schema() -> dict[str, Any]:
    """Return the JSON Schema of a task file: a task's fields, and those of the agent that solves it."""
    from scaffold.vocabulary import task

    made = task.Task.model_json_schema()
    _describe(made, task.Task)
    for name, schema in made["$defs"].items():
        _describe(schema, getattr(task, name))
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "Scaffold task"
    made["properties"] |= _agent()
    made["properties"]["inputs"] |= {"additionalProperties": {"anyOf": [_FILE, {}]}}
    made["$defs"]["Goal"] = _goal(made["$defs"]["Goal"])
    return made


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put a model's docstring into its schema: the summary, and the description of each field."""
    about, _, fields = inspect.cleandoc(model.__doc__ or "").partition("\n\nAttributes:\n")
    schema["description"] = " ".join(about.split())
    for name, said in _FIELD.findall(fields):
        schema["properties"][name]["description"] = " ".join(said.split())


_FILE = {
    "type": "object",
    "properties": {"file": {"type": "string"}, "untrusted": {"type": "boolean"}},
    "required": ["file"],
    "additionalProperties": False,
}


def _goal(full: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a goal, which may be just a statement, or have its kind as the key."""
    kinds = ("objective", "constraint", "principle")
    rest = {name: said for name, said in full["properties"].items() if name not in {"kind", "statement"}}
    short = [
        {
            "type": "object",
            "properties": {kind: {"type": "string"}, **rest},
            "required": [kind],
            "additionalProperties": False,
        }
        for kind in kinds
    ]
    return {"anyOf": [{"type": "string"}, *short, full], "description": full.get("description", "")}


def _sources() -> dict[str, Any]:
    """Return the schema of action sources: MCP servers in full, other kinds by name only."""
    from scaffold import entries
    from scaffold.mcp.settings import ServerSettings

    server = ServerSettings.model_json_schema()
    _describe(server, ServerSettings)
    kinds: dict[str, Any] = {kind: {} for kind in sorted(entries.installed("source"))}
    kinds["mcp"] = {"type": "object", "additionalProperties": server}
    return {
        "type": "object",
        "properties": kinds,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 1}
_SPEC = {"anyOf": [_TEXT, {"type": "object", "properties": {"use": _TEXT}, "required": ["use"]}]}
_VOTE = {"once": {"type": "null"}, **dict.fromkeys(("majority", "ahead_by", "cap", "shorter_than", "batch"), _COUNT)}
_WAY = {
    "type": "object",
    "properties": {"to": _TEXT, "prompt": _TEXT, "instruction": _TEXT, "temperature": {"type": "number"}},
    "additionalProperties": False,
}
_STRONGER = {
    "type": "object",
    "properties": {"to": _TEXT, **_VOTE},
    "required": ["to"],
    "additionalProperties": False,
}
_SAMPLING = {
    "type": "object",
    "properties": {
        **_VOTE,
        "rotate": {"type": "array", "items": _WAY, "minItems": 2},
        "cascade": {"anyOf": [_TEXT, _STRONGER]},
        "sure": {"type": "number", "exclusiveMinimum": 0.5, "maximum": 1},
        "calibration": _TEXT,
    },
    "additionalProperties": False,
}
_PLANNER = {
    "type": "object",
    "properties": {"use": _TEXT, "options": {"type": "object"}},
    "required": ["use"],
    "additionalProperties": False,
}
_MONITOR = {"anyOf": [_TEXT, {"type": "object", "minProperties": 1, "maxProperties": 1}]}
_CREDENTIAL = {
    "type": "object",
    "properties": {"env": _TEXT, "file": _TEXT},
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}


def _agent() -> dict[str, Any]:
    """Return the schema of the keys that define the agent, with the names installed here."""
    from scaffold import entries

    return {
        "planner": {
            "description": "An installed planner, or MODULE:FUNCTION beside this file.",
            "anyOf": [{"type": "string", "examples": sorted(entries.installed("planner"))}, _PLANNER],
        },
        "backends": {
            "description": "Who answers, by role; one spec alone is the default's.",
            "anyOf": [*_SPEC["anyOf"], {"type": "object", "additionalProperties": _SPEC}],
        },
        "monitors": {"description": "Who reads plans, reasoning and actions.", "type": "array", "items": _MONITOR},
        "policy": {"description": "A file of rules for the actions, shared by tasks.", "type": "string"},
        "actions": {
            "description": "MODULE:NAME of each action allowed, beside this file; or MCP servers, by name.",
            "type": "array",
            "items": {"anyOf": [{"type": "string", "pattern": ":"}, _sources()]},
        },
        "prompts": {"description": "A folder of templates that replace the built-in ones.", "type": "string"},
        "credentials": {
            "description": "Where what actions are told is found, by name; else the environment variable of that name.",
            "type": "object",
            "additionalProperties": _CREDENTIAL,
        },
        "monitorability": {
            "description": "What probes found of the reasoning elsewhere: a file that `audit monitorability` wrote.",
            "type": "string",
        },
        "sampling": {
            "description": "How samples become one answer, for steps that do not say.",
            "anyOf": [{"const": "once"}, _SAMPLING],
        },
    }

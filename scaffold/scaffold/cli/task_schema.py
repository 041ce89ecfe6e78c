"""What a task file may hold, as JSON Schema."""

from __future__ import annotations

from typing import Any


def task_schema() -> dict[str, Any]:
    """JSON Schema of a task file: a task's fields, and those of the agent that solves it."""
    from scaffold.vocabulary.task import Task

    made = Task.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "Scaffold task"
    made["properties"] |= _agent()
    made["properties"]["inputs"] |= {"additionalProperties": {"anyOf": [_FILE, {}]}}
    made["$defs"]["Goal"] = _goal(made["$defs"]["Goal"])
    return made


_FILE = {
    "type": "object",
    "properties": {"file": {"type": "string"}, "untrusted": {"type": "boolean"}},
    "required": ["file"],
    "additionalProperties": False,
}


def _goal(full: dict[str, Any]) -> dict[str, Any]:
    """A goal may be its statement alone, or have its kind as the key."""
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
    """Sources of actions: MCP servers in full, other kinds by their names."""
    from scaffold import entries
    from scaffold.mcp.settings import ServerSettings

    kinds: dict[str, Any] = {kind: {} for kind in sorted(entries.installed("source"))}
    kinds["mcp"] = {"type": "object", "additionalProperties": ServerSettings.model_json_schema()}
    return {
        "type": "object",
        "properties": kinds,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }


def _agent() -> dict[str, Any]:
    """The keys that say who solves the task, with the names that are installed here."""
    from scaffold import entries

    spec = {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "properties": {"use": {"type": "string"}}, "required": ["use"]},
        ]
    }
    number = {"type": "integer", "minimum": 1}
    vote = {"once": {"type": "null"}, **dict.fromkeys(("majority", "ahead_by", "cap", "shorter_than", "batch"), number)}
    text = {"type": "string"}
    way = {"to": text, "prompt": text, "instruction": text, "temperature": {"type": "number"}}
    policy = {
        "type": "object",
        "properties": {
            **vote,
            "rotate": {
                "type": "array",
                "items": {"type": "object", "properties": way, "additionalProperties": False},
                "minItems": 2,
            },
            "cascade": {
                "anyOf": [
                    text,
                    {
                        "type": "object",
                        "properties": {"to": text, **vote},
                        "required": ["to"],
                        "additionalProperties": False,
                    },
                ]
            },
            "sure": {"type": "number", "exclusiveMinimum": 0.5, "maximum": 1},
            "calibration": text,
        },
        "additionalProperties": False,
    }
    planner = {
        "type": "object",
        "properties": {"use": {"type": "string"}, "options": {"type": "object"}},
        "required": ["use"],
        "additionalProperties": False,
    }
    names = sorted(entries.installed("planner"))
    monitor = {"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1}]}
    return {
        "planner": {
            "description": "An installed planner, or MODULE:FUNCTION beside this file.",
            "anyOf": [{"type": "string", "examples": names}, planner],
        },
        "backends": {
            "description": "Who answers, by role; one spec alone is the default's.",
            "anyOf": [*spec["anyOf"], {"type": "object", "additionalProperties": spec}],
        },
        "monitors": {
            "description": "Who reads plans, reasoning and actions.",
            "type": "array",
            "items": monitor,
        },
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
            "additionalProperties": {
                "type": "object",
                "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        },
        "monitorability": {
            "description": "What probes found of the reasoning elsewhere: a file that `audit monitorability` wrote.",
            "type": "string",
        },
        "sampling": {
            "description": "How samples become one answer, for steps that do not say.",
            "anyOf": [{"const": "once"}, policy],
        },
    }

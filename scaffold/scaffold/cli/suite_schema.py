"""JSON Schema of suites, for editors."""

from __future__ import annotations

from typing import Any

from scaffold.cli.task_schema import task_schema


def suite_schema() -> dict[str, Any]:
    """Return the JSON Schema of a suite file; a task inside it has the schema of a task file."""
    from scaffold.evaluation.scoring import SCORERS

    task = task_schema()
    defs = task.pop("$defs")
    task.pop("$schema")
    task.pop("required", None)  # a case may bring the prompt
    options = {"type": ["object", "null"]}
    scorer = {
        "description": "How answers are held against `expected`; MODULE:FUNCTION for one of your own.",
        "anyOf": [
            {"enum": list(SCORERS)},
            {"type": "string", "pattern": ":"},
            {"type": "object", "properties": dict.fromkeys(SCORERS, options), "additionalProperties": False},
        ],
    }
    case = {
        "type": "object",
        "description": "Inputs by their names, and what is expected.",
        "properties": {
            "id": {"type": ["string", "integer"]},
            "prompt": {"type": "string"},
            "inputs": {"type": "object"},
            "expected": {},
            "scorer": scorer,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scaffold suite",
        "type": "object",
        "properties": {
            "task": {"anyOf": [{"type": "string", "description": "A task file."}, task]},
            "cases": {"anyOf": [{"type": "string", "description": "A JSONL file."}, {"type": "array", "items": case}]},
            "scorer": scorer,
            "matrix": {
                "type": "object",
                "properties": {
                    axis: _choices(task["properties"][axis]) for axis in ("planner", "backends", "monitors")
                },
                "additionalProperties": False,
            },
            "repeats": {"type": "integer", "minimum": 1, "maximum": 1000},
        },
        "required": ["task", "cases"],
        "additionalProperties": False,
        "$defs": defs,
    }


def _choices(said: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of choices: names, or labelled values of this key of a task file."""
    return {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "object", "additionalProperties": said}]}

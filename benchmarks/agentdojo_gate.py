"""A gate for AgentDojo's plans made of the monitors `scope` and `dataflow`, with no model."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scaffold_monitors.entailment import flows, licences, records, requests
from scaffold_monitors.entailment.calls import COMPOSED, Call, Leaf, Origin, Situation, leaves
from scaffold_monitors.entailment.tools import Tool, read_tool

_TOOLS: dict[int, tuple[Any, dict[str, Tool]]] = {}


def situation_of(goal: str, plan: Sequence[Any], context: Any) -> Situation:
    """The core's picture of a case."""
    tools = tools_of(context.tools)
    seen = context.observations or ()
    calls = []
    for place, step in enumerate(plan):
        origins = {path: _origin(where) for path, where in step.provenance.items()}
        calls.append(
            Call(
                id=str(place),
                tool=tools[step.tool],
                leaves=leaves(tools[step.tool], step.args, origins),
                seen=decode(seen[place]) if place < len(seen) else None,
            )
        )
    return Situation(request=goal, calls=calls, tools=tools)


def tools_of(specs: Mapping[str, Any]) -> dict[str, Tool]:
    """The tools of a suite, read once."""
    known = _TOOLS.get(id(specs))
    if known is None or known[0] is not specs:
        tools = {
            name: read_tool(name, spec.description, spec.schema, effect=spec.side_effect)
            for name, spec in specs.items()
        }
        known = _TOOLS[id(specs)] = (specs, tools)
    return known[1]


def _origin(where: str) -> Origin:
    if where == "user":
        return Origin(trusted=True)
    return Origin(reads=(where.partition(":")[2],)) if where.startswith("tool:") else COMPOSED


@lru_cache(maxsize=4096)
def decode(text: str) -> Any:
    """An observation as the value that it was printed from: JSON, Python or YAML; else the text itself."""
    for read in (json.loads, ast.literal_eval, _yaml):
        try:
            return read(text)
        except (ValueError, SyntaxError, YAMLError, MemoryError, RecursionError):
            continue
    return text


def _yaml(text: str) -> Any:
    if "\n" not in text and not text.startswith(("- ", "[")):
        raise ValueError("one line is a sentence rather than a record")
    value = YAML(typ="safe", pure=True).load(text)
    if not isinstance(value, (dict, list)):
        raise ValueError("no record")  # noqa: TRY004 - read as "not this format"
    return value


def gate(goal: str, plan: Sequence[Any], context: Any) -> str:
    """Allow or block."""
    situation = situation_of(goal, plan, context)
    return "block" if requests.judge(situation) or flows.judge(situation) else "allow"


def licensed(situation: Situation, call: Call) -> int:
    """How many effects the clauses that explain a call license; 0 when none does."""
    reading = licences.read(situation.request, situation.tools)
    return max((reading.clauses[number].most for number in licences.explained(reading, call)), default=0)


def alternatives(situation: Situation, place: int, leaf: Leaf) -> set[Any]:
    """What other records, read before a call, have in the column that a value of it was taken from."""
    found: set[Any] = set()
    for call in situation.calls[:place]:
        for table in records.tables_of(call) if call.seen is not None else ():
            columns = {name for record in table for name, cell in record.items() if cell == str(leaf.value)}
            found |= {record[name] for record in table for name in columns if name in record}
    return {type(leaf.value)(each) for each in found if each not in ("", "None") and each != str(leaf.value)}

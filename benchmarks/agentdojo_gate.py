"""AgentDojo's plans through the monitors `scope` and `dataflow`: the project's own gate, with no model.

    python benchmarks/agentdojo_gate.py DIR      DIR holds score.py and cases.jsonl.gz; one JSON line a suite and kind

Or as a gate of that scorer:  python DIR/score.py --gate agentdojo_gate:gate  (in this folder).
One policy serves all suites: what is known here is the request, the plan with the provenance of its arguments, the
tools' specifications, and with `--observations` what earlier steps returned.
"""

from __future__ import annotations

import argparse
import ast
import collections
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scaffold_monitors.entailment import flows, licences, requests
from scaffold_monitors.entailment.calls import COMPOSED, Call, Leaf, Origin, leaves
from scaffold_monitors.entailment.situation import Situation
from scaffold_monitors.entailment.tables import tables
from scaffold_monitors.entailment.tools import Tool, descriptions_apart, read_tool

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
        described = descriptions_apart({name: spec.description for name, spec in specs.items()})
        tools = {
            name: read_tool(name, described[name], spec.schema, effect=spec.side_effect) for name, spec in specs.items()
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
        for table in tables(call.seen):
            columns = {name for record in table.records for name, cell in record.items() if cell == str(leaf.value)}
            found |= {record[name] for record in table.records for name in columns if name in record}
    return {type(leaf.value)(each) for each in found if each not in ("", "None") and each != str(leaf.value)}


def main() -> None:
    """Print the table: per suite and kind, before any action and with what earlier steps returned."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of score.py and its cases")
    score = scorer(parser.parse_args().folder)
    cases, tools = score.load(parser.parse_args().folder / "cases.jsonl.gz")
    for observations in (False, True):
        cells: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0])
        for case in cases:
            seen = tuple(case.observations) if observations else None
            right = gate(case.goal, case.plan, score.Context(case.suite, tools[case.suite], seen)) == case.label
            for suite in (case.suite, "all"):
                for kind in (case.label, case.kind):
                    cells[suite, kind][0] += right
                    cells[suite, kind][1] += 1
        for (suite, kind), (right, total) in sorted(cells.items()):
            line = {"suite": suite, "kind": kind, "right": round(100 * right / total, 1), "of": total}
            print(json.dumps({"observations": observations, **line}))


def scorer(folder: Path) -> Any:
    """The scorer's module, from its folder."""
    spec = importlib.util.spec_from_file_location("agentdojo_score", folder / "score.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"there is no score.py in {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()

"""InjecAgent's plans through the core of `scope` and `dataflow`: a smoke test without a model or tool specifications.

    python benchmarks/injecagent.py DIR      DIR holds cases.jsonl.gz; one JSON line a kind

A case is a request and the calls that an agent made of it: the honest one alone, or with those that an injected text
asked for. No specifications come with them, so what a tool does is guessed from its name: one that is named after
reading only reads, any other has an effect. What a hijacked call was given is not known either. Floor: every
effect is allowed whose name shares a word with the request.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaffold_monitors.entailment import flows, requests
from scaffold_monitors.entailment.calls import COMPOSED, Call, leaves
from scaffold_monitors.entailment.situation import Situation
from scaffold_monitors.entailment.tools import Tool, read_tool, split
from scaffold_monitors.entailment.wording import stem, words

READING = frozenset(
    {"get", "view", "read", "search", "list", "find", "check", "download", "retrieve", "navigate", "access"}
)


def tool_of(name: str, arguments: list[str]) -> Tool:
    """A tool of which only the name and the names of its arguments are known."""
    parameters: dict[str, Any] = {"properties": {argument: {} for argument in arguments}}
    return read_tool(name, "", parameters, effect=not set(split(name)) & READING)


def situation_of(case: dict[str, Any], tools: dict[str, Tool], *, seen: bool) -> Situation:
    """The core's picture of a case; with `seen`, the first call's result is known."""
    calls = []
    for place, step in enumerate(case["plan"]):
        tool = tools[step["tool"]]
        given = step["args"] or {}
        told = case.get("observation") if seen and place == 0 else None
        calls.append(
            Call(id=str(place), tool=tool, leaves=leaves(tool, given, dict.fromkeys(given, COMPOSED)), seen=told)
        )
    return Situation(request=case["goal"], calls=calls, tools=tools)


def allowed(situation: Situation) -> bool:
    """Whether neither monitor objects."""
    return not (requests.judge(situation) or flows.judge(situation))


def floor(situation: Situation) -> bool:
    """Whether each effect's name shares a word with the request."""
    asked = {stem(word) for word in words(situation.request)}
    return all(asked & {stem(part) for part in split(call.tool.name)} for call in situation.calls if call.tool.effect)


def rows(cases: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The table: per label and kind of attack, how many are right."""
    known: dict[str, set[str]] = collections.defaultdict(set)
    for case in cases:
        for step in case["plan"]:
            known[step["tool"]] |= set(step["args"] or {})
    tools = {name: tool_of(name, sorted(arguments)) for name, arguments in known.items()}
    for by, judge, seen in (
        ("scope and dataflow", allowed, False),
        ("scope and dataflow", allowed, True),
        ("words shared", floor, False),
    ):
        cells: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0])
        for case in cases:
            right = judge(situation_of(case, tools, seen=seen)) == (case["label"] == "allow")
            for kind in ("all", *([case["type"]] if "type" in case else [])):
                cells[case["label"], kind][0] += right
                cells[case["label"], kind][1] += 1
        for (label, kind), (right, total) in sorted(cells.items()):
            yield {"by": by, "observations": seen, "label": label, "kind": kind, "right": right, "of": total}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of cases.jsonl.gz")
    with gzip.open(parser.parse_args().folder / "cases.jsonl.gz", "rt", encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    for row in rows(cases):
        print(json.dumps(row))


if __name__ == "__main__":
    main()

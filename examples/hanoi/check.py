"""Plays the moves of a run and says whether they solve the tower; shares no code with the planner or the model.

    python examples/hanoi/check.py .scaffold/runs/RUN
    python examples/hanoi/check.py last

It reads the moves from the trace itself: the value of each answered step, in the order of the trace.
A long run's content is in parts, of which all but the last are compressed.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path


def folder_of(said: str) -> Path:
    """The folder of a run; `last` is the newest where runs are kept."""
    if said != "last":
        return Path(said)
    kept = Path(os.environ.get("SCAFFOLD_RUNS") or ".scaffold/runs")
    return max((path.parent for path in kept.glob("*/trace.jsonl")), default=kept)


def moves_in(folder: Path) -> Iterator[list[str]]:
    """The moves, as `[disk, from, to]`, one after the other."""
    answered = set[int]()
    contents = contents_of(folder)
    with (folder / "trace.jsonl").open("rb") as spine:
        for line in spine:
            event = json.loads(line)
            if event["kind"] == "step.answered" and event.get("ok", True):
                answered.add(event["seq"])
            if len(answered) >= 1000:  # noqa: PLR2004 - so that memory does not grow with the run
                yield from taken(contents, answered)
        yield from taken(contents, answered)


def contents_of(folder: Path) -> Iterator[bytes]:
    """The lines of a run's content, part after part."""
    for part in sorted(folder.glob("content.*.jsonl.gz")):
        with gzip.open(part) as lines:
            yield from lines
    if (folder / "content.jsonl").is_file():
        with (folder / "content.jsonl").open("rb") as lines:
            yield from lines


def taken(contents: Iterator[bytes], answered: set[int]) -> Iterator[list[str]]:
    """Yield the moves of these events, and remove the events."""
    for line in contents:
        content = json.loads(line)
        if content["seq"] in answered:
            answered.remove(content["seq"])
            yield content["body"]["value"].split()
        if not answered:
            return


def disks_of(folder: Path) -> int:
    """The number of disks of a run's task."""
    first = next(contents_of(folder), b"")
    if not first:
        sys.exit(f"{folder} is not a run: name the folder that has its trace.jsonl and its content")
    disks = json.loads(first)["body"]["task"]["inputs"].get("disks")
    if disks is None:
        sys.exit(f"{folder} is a run of another task")
    return int(disks)


def play(folder: Path) -> str:
    """Play the moves by the rules; gives what went wrong, or nothing."""
    disks = disks_of(folder)
    pegs: dict[str, list[int]] = {"A": list(range(disks, 0, -1)), "B": [], "C": []}
    number = 0
    for number, (disk, source, target) in enumerate(moves_in(folder), 1):
        if not pegs[source] or pegs[source][-1] != int(disk):
            return f"move {number}: disk {disk} is not on top of {source}"
        if pegs[target] and pegs[target][-1] < int(disk):
            return f"move {number}: disk {disk} cannot be put on disk {pegs[target][-1]}"
        pegs[target].append(pegs[source].pop())
    if pegs["C"] != list(range(disks, 0, -1)):
        return f"after {number} moves the tower is not on peg C: {pegs}"
    if number != 2**disks - 1:
        return f"the tower is on peg C after {number} moves, not after {2**disks - 1}"
    print(f"{number:,} moves, the fewest possible with {disks} disks, all legal")
    return ""


if __name__ == "__main__":
    wrong = play(folder_of(sys.argv[1] if len(sys.argv) > 1 else "last"))
    sys.exit(wrong or 0)

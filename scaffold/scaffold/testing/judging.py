"""Judges a run by its stored lines and its effects outside, without sharing code with what wrote them.

Each check describes what is wrong in words; no words mean that nothing was found.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaffold.testing.effects import EffectLine
    from scaffold.vocabulary.task import Task

_ASKED = frozenset({"step.asked", "plan.proposed", "action.proposed", "question.asked"})
_ENDED = frozenset({"solved", "failed", "stopped"})


@dataclass(slots=True)
class Story:
    """A stored run, read line by line.

    Attributes:
        run: the run's id.
        events: the spine's lines as JSON objects.
        contents: the events' contents, by number.
        faults: what is wrong with the lines themselves.
        observers: names of monitors that only observe, which the spine does not say.
    """

    run: str
    events: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[int, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    observers: frozenset[str] = frozenset()

    def of(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """Yield events of some kinds, in order."""
        return (event for event in self.events if event["kind"] in kinds)

    def moves(self) -> dict[str, str]:
        """Return what the planner asked at each key, as canonical JSON, without monitors' steps.

        A host's moves have no place in a structure, and a step that was cut off is asked again as another: they are
        numbered, without such steps.
        """
        said = {}
        for event in self.of(*_ASKED, "noted"):
            content = self.contents.get(event["seq"], {})
            if "!" not in event.get("key", ""):
                asked = content.get("text") if event["kind"] == "noted" else content.get("asked")
                said[event["key"]] = json.dumps(asked, sort_keys=True)
        if not self.events or self.events[0].get("planner") != "host":
            return said
        cut_off = {event["key"] for event in self.of("step.asked")} - {
            event["key"] for event in self.of("step.answered")
        }
        made = [what for key, what in said.items() if key not in cut_off]
        return {str(number): what for number, what in enumerate(made)}


def read_story(folder: Path) -> Story:
    """Read a run's folder, and check the chain, the contents and the signed heads on the way."""
    story = Story(folder.name)
    salted: dict[int, str] = {}
    for line in _content_lines(folder):
        content = _parsed(line)
        body = line[line.index(b'"body":') + 7 : -1]
        salted[content["seq"]] = hashlib.sha256(bytes.fromhex(content["salt"]) + body).hexdigest()
        story.contents[content["seq"]] = content["body"]
    previous = bytes(32)
    hashes = []
    for number, line in enumerate(_whole_lines(folder / "trace.jsonl"), start=1):
        event = _parsed(line)
        cut = line.rindex(b',"hash":')
        previous = hashlib.sha256(previous + line[:cut] + b"}").digest()
        hashes.append(previous)
        if event["hash"] != previous.hex():
            story.faults.append(f"line {number} breaks the chain")
        if event["seq"] != number:
            story.faults.append(f"line {number} has the number {event['seq']}")
        if event.get("content", "") != salted.get(number, ""):
            story.faults.append(f"the content of line {number} does not match its digest")
        story.events.append(event)
    story.faults += _wrong_heads(folder, hashes)
    return story


@lru_cache(maxsize=4_096)
def _parsed(line: bytes) -> dict[str, Any]:
    """Parse a line's JSON object; cached, since a run is judged after each of its lives."""
    parsed: dict[str, Any] = json.loads(line.decode())
    return parsed


def _wrong_heads(folder: Path, hashes: Sequence[bytes]) -> Iterator[str]:
    lines = [line.decode() for line in _whole_lines(folder / "heads")]
    for place, line in enumerate(lines):
        if line.startswith("scaffold.trace/"):
            seq = int(lines[place + 1])
            if seq > len(hashes):
                yield f"a head of {seq} events was signed, but the trace has {len(hashes)}"
            elif b64decode(lines[place + 2]) != hashes[seq - 1]:
                yield f"the signed head of {seq} events is of another trace"


def _content_lines(folder: Path) -> list[bytes]:
    """Return the lines of all parts of a content; if a part exists in two forms, those of the plain one."""
    texts = {path.name: gzip.decompress(path.read_bytes()) for path in folder.glob("content.*.jsonl.gz")}
    plain = {f"{path.name}.gz": path.read_bytes() for path in folder.glob("content.*.jsonl")}
    parts = sorted((texts | plain).items())
    newest = folder / "content.jsonl"
    whole = b"".join(text for _, text in parts) + (newest.read_bytes() if newest.exists() else b"")
    return whole.split(b"\n")[:-1]


def _whole_lines(path: Path) -> list[bytes]:
    data = path.read_bytes() if path.exists() else b""
    return data.split(b"\n")[:-1]


def wrong_clearances(story: Story) -> Iterator[str]:
    """Find actions without an earlier, matching clearance that no earlier intent has used."""
    proposed: dict[str, dict[str, Any]] = {}
    cleared: dict[str, dict[str, Any]] = {}
    for event in story.events:
        key = event.get("key", "")
        match event["kind"]:
            case "action.proposed":
                proposed[key] = event
            case "action.cleared":
                cleared[key] = event
            case "action.intent":
                clearance = cleared.pop(key, None)
                if clearance is None:
                    yield f"the intent of line {event['seq']} has no unspent clearance before it"
                    continue
                call = proposed.get(key, {})
                for said, other in ((clearance, "clearance"), (call, "proposal")):
                    if said.get("digest") != event["digest"] or said.get("action") != event["action"]:
                        yield f"the intent of line {event['seq']} does not match its {other}"
            case _:
                pass


def wrong_effects(story: Story, effects: Iterable[EffectLine], opaque: Iterable[str] = ()) -> Iterator[str]:
    """Find effects outside that differ from the trace, happened twice, or were undone twice.

    Args:
        story: the trace.
        effects: the effects outside, without reads.
        opaque: names of the actions that must not even be attempted twice.
    """
    keys = {event["idempotency"]: event["key"] for event in story.of("action.intent")}
    arguments = {
        event["key"]: story.contents[event["seq"]]["call"]["arguments"] for event in story.of("action.proposed")
    }
    happened = [line for line in effects if line.run == story.run]
    for line in happened:
        key = keys.get(line.key)
        if key is None:
            yield f"{line.action} happened without an intent"
        elif line.arguments != arguments.get(key):
            yield f"{line.action} at {key} happened with other arguments than were reviewed"
    counts = Counter(line.key for line in happened)
    yield from (
        f"the effect of {keys.get(name, name)} happened {count} times" for name, count in counts.items() if count > 1
    )
    undoes = {event["key"]: event["compensates"] for event in story.of("action.proposed") if event.get("compensates")}
    undone = Counter(undoes.get(keys.get(line.key, ""), "") for line in happened)
    yield from (f"what was done at {of} was undone {count} times" for of, count in undone.items() if of and count > 1)
    intents = Counter(event["key"] for event in story.of("action.intent") if event["action"] in set(opaque))
    intents.subtract(event["key"] for event in story.of("action.withdrawn"))
    yield from (
        f"the opaque action at {key} was attempted {count} times" for key, count in intents.items() if count > 1
    )
    for event in story.of("action.outcome"):
        intent = next(each for each in story.of("action.intent") if each["key"] == event["key"])
        times = counts[intent["idempotency"]]
        if intent["effect"] != "read" and event["status"] == "performed" and not times:
            yield f"{event['action']} at {event['key']} is recorded as performed, but was not"
        if event["status"] == "failed" and times:
            yield f"{event['action']} at {event['key']} is recorded as failed, but happened"


def wrong_end(story: Story, status: str) -> Iterator[str]:
    """Check that a reported status is in the last line."""
    last = story.events[-1] if story.events else {"kind": "nothing"}
    wanted = "run.ended" if status in _ENDED else "run.paused"
    if (last["kind"], last.get("status")) != (wanted, status):
        yield f"the status is {status}, but the trace ends with {last['kind']} {last.get('status', '')}"
    if status == "waiting":
        asked = {event["id"] for event in story.of("approval.asked", "question.asked")}
        if asked <= {event["id"] for event in story.of("approval.given", "question.answered")}:
            yield "the run waits, but no person was asked"


def overspent(story: Story, task: Task) -> Iterator[str]:
    """Find ledgers over their budgets; reservations that were never settled count at their worst."""
    budget = task.budget
    tokens = sum(event["usage"].get("input", 0) + event["usage"].get("output", 0) for event in _settled(story))
    if budget.tokens is not None and tokens > budget.tokens:
        yield f"{tokens} tokens were used of {budget.tokens}"
    asked = {
        (event["key"], event["seq"]) for event in story.of("step.asked") if event.get("ledger", "model") == "model"
    }
    if budget.steps is not None and len(asked) > budget.steps:
        yield f"{len(asked)} steps were asked of {budget.steps}"
    acts = {event["key"] for event in story.of("action.intent")}
    if budget.actions is not None and len(acts) > budget.actions:
        yield f"{len(acts)} actions were begun of {budget.actions}"


def _settled(story: Story) -> Iterator[Mapping[str, Any]]:
    """Yield the usage of the work's own steps: as settled, or the worst case if a process died."""
    open_steps: dict[str, dict[str, Any]] = {}
    for event in story.events:
        if event.get("ledger", "model") != "model":
            continue
        match event["kind"]:
            case "step.asked":
                open_steps[event["key"]] = {"usage": {"input": event.get("tokens", 0)}}
            case "step.reserved":
                spent = event.get("spent", {})
                used = spent.get("input", 0) + spent.get("output", 0)
                open_steps[event["key"]] = {"usage": {"input": used + event.get("tokens", 0)}}
            case "step.answered" | "step.cut":
                open_steps.pop(event["key"], None)
                yield {"usage": event.get("usage", {})}
            case "run.resumed":
                yield from open_steps.values()
                open_steps.clear()
            case _:
                pass
    yield from open_steps.values()


def wrong_approvals(story: Story) -> Iterator[str]:  # noqa: C901, PLR0912 - one case for each kind of event
    """Find actions that oversight had finally refused, or that no person granted in time."""
    refused: dict[tuple[str, str], int] = {}
    escalated: dict[tuple[str, str], int] = {}
    asked: dict[str, dict[str, Any]] = {}
    granted: dict[tuple[str, str], float] = {}
    for event in story.events:
        call = (event.get("key", ""), event.get("digest", ""))
        match event["kind"]:
            case "reviewed" if event.get("waives"):
                if event["decision"] == "allow":
                    escalated.pop(call, None)
            case "reviewed" if event["subject"] in {"plan", "action"} and _is_firm(event, story.observers):
                if event["decision"] in {"block", "halt", "revise", "resample"}:
                    refused[call] = event["seq"]
                elif event["decision"] == "escalate":
                    escalated[call] = event["seq"]
            case "approval.asked" if event["subject"] in {"plan", "action"}:
                asked[event["id"]] = event
            case "approval.given" if event["id"] in asked and event["granted"]:
                granted[call] = asked[event["id"]]["expires"]
            case "approval.given" if event["id"] in asked:
                refused[call] = event["seq"]
            case "action.cleared":
                if call in refused:
                    yield f"line {event['seq']} clears what line {refused[call]} refuses"
                if call in escalated and granted.get(call, 0.0) < event["at"]:
                    yield f"line {event['seq']} clears what line {escalated[call]} left to a person"
            case _:
                pass


def _is_firm(event: Mapping[str, Any], observers: frozenset[str]) -> bool:
    """Whether a refusal is final: a failed check may be repeated, and then allow."""
    return any(
        fact["decision"] == event["decision"] and fact.get("status", "ok") == "ok" and fact["monitor"] not in observers
        for fact in event["verdicts"]
    )

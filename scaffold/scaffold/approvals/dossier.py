"""What a person should see before answering: what differs from before, and the thoughts and verdicts behind it."""

from __future__ import annotations

import difflib
import json
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.trace.chain import as_written, body_of
from scaffold.trace.reading import links
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.review import SEVERITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.interfaces import KeptRuns
    from scaffold.trace.chain import Link

_THOUGHTS = 6
_LONGEST = 20_000
_MOST_LINES = 1_000
_GRAVITY: dict[Any, int] = {**SEVERITY}
_CUT = "… (cut here: see all of it with `scaffold audit show`)"


class Thought(msgspec.Struct, kw_only=True):
    """A step that was answered before the question."""

    step: str
    key: str
    text: str = ""
    reasoning: str = ""


class Change(msgspec.Struct, kw_only=True):
    """A diff of the calls with earlier ones: lines that begin with a blank, `-` or `+`."""

    since: str
    lines: list[tuple[str, str]]


class Dossier(msgspec.Struct, kw_only=True):
    """The background of one question.

    Attributes:
        thoughts: the last steps before it, oldest first.
        verdicts: the verdicts on what is asked, as in the trace, the strictest first.
        change: the difference from before; None if nothing similar was asked or proposed before.
        reason: the planner's reason for its plan.
    """

    thoughts: list[Thought] = []
    verdicts: list[dict[str, Any]] = []
    change: Change | None = None
    reason: str = ""


def dossier(journal: KeptRuns, run: str, name: str) -> Dossier:
    """Read the background of one question of a run.

    Raises:
        TraceDamaged: the trace was altered.
    """
    reading = _Reading()
    for link in links(journal.folder(run)):
        with as_written(link.event):
            if isinstance(link.event, ev.ApprovalAsked | ev.QuestionAsked) and link.event.id == name:
                return reading.dossier(link)
            reading.follow(link)
    return Dossier()


class _Reading:
    """Follows a trace up to a question."""

    def __init__(self) -> None:
        self._steps: dict[str, str] = {}
        self._thoughts: deque[Thought] = deque(maxlen=_THOUGHTS)
        self._verdicts: dict[str, list[dict[str, Any]]] = {}
        self._plans: dict[str, dict[str, Any]] = {}
        self._actions: dict[str, ev.ActionProposed] = {}
        self._asked: list[tuple[str, list[Any]]] = []

    def follow(self, link: Link) -> None:
        """Process one event before the question."""
        match link.event:
            case ev.StepAsked() as event:
                self._steps[event.key] = event.step
            case ev.StepAnswered() as event if event.ledger == "model":
                self._thoughts.append(self._thought(event, body_of(link.content)))
            case ev.PlanProposed() as event:
                self._plans[event.key] = body_of(link.content)
            case ev.ActionProposed() as event:
                self._actions[event.key] = event
            case ev.Reviewed() as event:
                self._verdicts.setdefault(event.key, []).extend(body_of(link.content).get("verdicts", ()))
            case ev.ApprovalAsked() as event:
                self._asked.append((event.subject, body_of(link.content).get("calls", [])))
            case _:
                pass

    def _thought(self, event: ev.StepAnswered, content: dict[str, Any]) -> Thought:
        samples = content.get("samples") or []
        sample = samples[event.winner] if -len(samples) <= event.winner < len(samples) else {}
        return Thought(
            step=self._steps.pop(event.key, "step"),
            key=event.key,
            text=_cut(sample.get("text", "")),
            reasoning=_cut(sample.get("reasoning", "")),
        )

    def dossier(self, link: Link) -> Dossier:
        """Make the dossier of the question that an event asks."""
        event = link.event
        verdicts = sorted(self._verdicts.get(event.key, ()), key=lambda each: -_GRAVITY.get(each["decision"], 0))
        calls = body_of(link.content).get("calls", [])
        subject = event.subject if isinstance(event, ev.ApprovalAsked) else ""
        return Dossier(
            thoughts=list(self._thoughts),
            verdicts=verdicts,
            change=self._change(event.key, subject, calls) if calls else None,
            reason=_cut(self._plans.get(event.key, {}).get("reason", "")),
        )

    def _change(self, key: str, subject: str, calls: list[Any]) -> Change | None:
        """Compare with the same call in its plan, or else with the last similar one that was asked or proposed."""
        action = self._actions.get(key)
        if action is not None and action.plan in self._plans:
            planned = [each for each in self._plans[action.plan].get("calls", ()) if each.get("id") == action.node]
            if planned:
                return _compare("the planned call", planned, calls)
        for asked, before in reversed(self._asked):
            if asked == subject and (subject == "plan" or _names(before) == _names(calls)):
                return _compare("the previous question", before, calls)
        others = [plan.get("calls", []) for place, plan in self._plans.items() if place != key]
        if subject == "plan" and others:
            return _compare("the previous plan", others[-1], calls)
        return None


def _names(calls: Sequence[Any]) -> list[str]:
    return [each.get("action", "") for each in calls]


def _compare(since: str, before: Sequence[Any], now: Sequence[Any]) -> Change:
    gone, come = _lines(before), _lines(now)
    found: list[tuple[str, str]] = []
    for what, i, j, k, m in difflib.SequenceMatcher(None, gone, come, autojunk=False).get_opcodes():
        if what == "equal":
            found += [(" ", line) for line in gone[i:j]]
        else:
            found += [("-", line) for line in gone[i:j]] + [("+", line) for line in come[k:m]]
    return Change(since=since, lines=found)


def _lines(calls: Sequence[Any]) -> list[str]:
    """Render calls as lines: the action, then each argument."""
    found = []
    for each in calls:
        arguments = json.dumps(each.get("arguments", {}), ensure_ascii=False, indent=2, sort_keys=True)
        found += _cut(f"{each.get('action', '')} {arguments}").split("\n")
    return found if len(found) <= _MOST_LINES else [*found[:_MOST_LINES], _CUT]


def _cut(text: Any) -> str:
    said = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return said if len(said) <= _LONGEST else said[:_LONGEST] + _CUT

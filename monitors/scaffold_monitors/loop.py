"""The monitor `loop`: detects calls and questions that are repeated without progress.

No progress means that the same call with the same arguments gave the same result, or the same question got the same
answer. Polling is a loop only if it goes on for too long, so reads may be repeated more often.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from scaffold.errors import BadInput
from scaffold.interfaces import ReviewContext, TraceView
from scaffold.vocabulary import events
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.review import ALLOW, MonitorSpec, Subject, Verdict

_REMEMBERED = 4096  # different calls, and as many questions; loops are shorter than that
_FAR_TOO_OFTEN = 5  # times the limit


@dataclass(slots=True)
class Repeats:
    """Counts how often in a row each call or question had the same result, for the latest ones only.

    Attributes:
        times: for each call or question, a digest of its last result, and how often in a row it came.
    """

    times: OrderedDict[bytes, tuple[bytes, int]] = field(default_factory=OrderedDict)

    def add(self, what: bytes, result: bytes) -> None:
        """Record a result."""
        before = self.times.pop(what, None)
        self.times[what] = (result, before[1] + 1 if before is not None and before[0] == result else 1)
        if len(self.times) > _REMEMBERED:
            self.times.popitem(last=False)

    def of(self, what: bytes) -> int:
        """Return how often in a row the result was the same."""
        return self.times.get(what, (b"", 0))[1]


@dataclass(slots=True)
class Doings:
    """A fold over a run's trace that counts repetitions.

    Attributes:
        calls: repetitions of actions.
        questions: repetitions of steps.
        open: digests of calls and questions under way, by key.
    """

    calls: Repeats = field(default_factory=Repeats)
    questions: Repeats = field(default_factory=Repeats)
    open: dict[str, bytes] = field(default_factory=dict)

    def follow(self, event: events.Event, content: dict[str, Any]) -> None:
        """Process one more event. What was withheld, of a run that is read again, is compared with nothing."""
        if event.content and not content:
            self.open.pop(event.key, None)
            return
        match event:
            case events.StepAsked(ledger="model"):
                self.open[event.key] = _digest(content.get("asked"))
            case events.StepAnswered(ledger="model", ok=True) if event.key in self.open:
                what = self.open[event.key] if not event.final else self.open.pop(event.key)
                self.questions.add(what, _digest(content.get("value")))
            case events.ActionProposed():
                call = content["call"]
                self.open[event.key] = _digest([call["action"], call["arguments"]])
            case events.ActionOutcome() if event.key in self.open:
                what = self.open[event.key] if not event.final else self.open.pop(event.key)
                self.calls.add(what, _digest([event.status, content.get("value"), content.get("reason")]))
            case events.StepAnswered() | events.StepCut() | events.ActionRefused() | events.Released():
                self.open.pop(event.key, None)
            case _:
                pass


class Loop:
    """Objects to a call or thought that had the same result too often in a row.

    Args:
        effects: how often an effect may give the same result before it is refused.
        reads: the same for reads.
        steps: how often a question may get the same answer before it is flagged; five times as often stops the run.

    Raises:
        ValueError: a limit is less than 1.
    """

    folds = frozenset(
        {
            events.StepAsked,
            events.StepAnswered,
            events.StepCut,
            events.ActionProposed,
            events.ActionOutcome,
            events.ActionRefused,
            events.Released,
        }
    )

    def __init__(self, *, effects: int = 3, reads: int = 10, steps: int = 20) -> None:
        for name, limit in {"effects": effects, "reads": reads, "steps": steps}.items():
            if limit < 1:
                raise BadInput(f"the setting {name!r} of monitor 'loop' should be at least 1, not {limit}")
        self._effects = effects
        self._reads = reads
        self._steps = steps
        self.spec = MonitorSpec(
            name="loop",
            watches=frozenset({"action", "step"}),
            settings={"effects": effects, "reads": reads, "steps": steps},
        )

    def fold(self, state: Any, event: events.Event, content: dict[str, Any]) -> Doings:
        """Count repetitions."""
        doings = state if isinstance(state, Doings) else Doings()
        doings.follow(event, content)
        return doings

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check how often in a row this had the same result."""
        doings = view.state if isinstance(view.state, Doings) else Doings()
        if subject.call is not None:
            call = subject.call
            spec = view.actions.get(call.action)
            limit = self._reads if spec is not None and spec.effect == "read" else self._effects
            times = doings.calls.of(_digest([call.action, call.arguments]))
            if times < limit:
                return ALLOW
            said = f"{call.action} with the same arguments has given the same result {times} times in a row"
            return Verdict(decision="revise", rationale=said, feedback=f"{said}: do something else, or give up")
        times = doings.questions.of(doings.open.get(subject.key, b""))
        if times < self._steps:
            return ALLOW
        said = f"the same question has got the same answer {times} times in a row"
        if times >= self._steps * _FAR_TOO_OFTEN:
            return Verdict(decision="halt", rationale=said, feedback=said)
        return Verdict(decision="flag", rationale=said, feedback=said)


def _digest(value: Any) -> bytes:
    return blake2b(canonical(value), digest_size=16).digest()

"""Writes another agent's log as a trace: marked foreign, unsigned, and without clearances.

An imported action has an intent and an outcome but no clearance, since no gate cleared it. Its provenance is everything
before it. All results of tools are tainted; their effects on the world count as irreversible.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadInput
from scaffold.foreign.told import Deed, Turn
from scaffold.interfaces import Surroundings
from scaffold.machinery.recording.recorder import Recorder
from scaffold.trace.folders import first_event, last_event
from scaffold.trace.places import pruning_of
from scaffold.trace.sealing import from_environment
from scaffold.version import VERSION
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.models import Sample, Usage
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.references import Provenance
from scaffold.vocabulary.task import Budget, Task

if TYPE_CHECKING:
    from scaffold.foreign.told import Story
    from scaffold.interfaces import KeptRuns

_AT_ONCE = 256  # events that wait to be written
_NO_PROMPT = "(its log does not say what was asked)"


class _Then:
    """A clock that shows when each thing in the story happened."""

    def __init__(self, began: float) -> None:
        self._began = self.at = began

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return max(0.0, self.at - self._began)


def name_of(story: Story) -> str:
    """Return the id of the run made from a story, the same each time.

    Raises:
        BadInput: its start time is not valid.
    """
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    number = int.from_bytes(sha256(f"{story.source}/{story.id}".encode()).digest()[:8], "big")
    tail = "".join(letters[number // len(letters) ** place % len(letters)] for place in range(6))
    try:
        return f"{datetime.fromtimestamp(story.at, UTC):%Y%m%d-%H%M%S}-{tail}"
    except (ValueError, OverflowError, OSError) as error:
        raise BadInput(f"run {story.id} of {story.source} has an invalid start time: {error}") from error


async def write(journal: KeptRuns, story: Story, *, name: str = "") -> str:
    """Write a story as a run of a journal; return its id. One that cannot be written whole leaves nothing behind.

    Raises:
        JournalFailed: it cannot be written.
        BadInput: something in it cannot be recorded.
    """
    run = name or name_of(story)
    claim = await journal.claim(run, "import", create=True)
    whole = False
    try:
        clock = _Then(story.at)
        surroundings = Surroundings(clock=clock, random=random.SystemRandom())
        recorder = Recorder(journal, claim, surroundings, sealer=from_environment())
        try:
            for number, _ in enumerate(_Telling(story, recorder, clock).tell()):
                if number % _AT_ONCE == 0:
                    await recorder.flush()
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise BadInput(f"run {story.id} of {story.source} cannot be recorded: {error}") from error
        await recorder.flush(durable=True)
        whole = True
    finally:
        await journal.release(claim)
        if not whole:
            discard(journal, run)
    return run


def is_cut_off(journal: KeptRuns, run: str) -> bool:
    """Whether a run's import was cut off by the death of the importing process."""
    folder = journal.folder(run, brief=True)
    first, last = first_event(folder), last_event(folder)
    foreign = first is None or (isinstance(first, ev.RunStarted) and bool(first.foreign))
    return foreign and not isinstance(last, ev.Ended)


def discard(journal: KeptRuns, run: str) -> None:
    """Remove a partial import, if any; the source still has everything."""
    with contextlib.suppress(FileNotFoundError):
        pruning_of(journal).whole(run, dry=False)


class _Telling:
    """One story being written."""

    def __init__(self, story: Story, recorder: Recorder, clock: _Then) -> None:
        self._story = story
        self._clock = clock
        self.recorder = recorder

    def tell(self) -> Iterator[None]:
        """Write the whole story, in order of time, event by event."""
        story = self._story
        self._record(
            ev.RunStarted(
                format=ev.FORMAT,
                run=self.recorder.claim.run,
                scaffold=VERSION,
                planner=story.agent,
                foreign=story.source,
            ),
            {"task": self._task().model_dump(mode="json"), "config": {}, "foreign": {"id": story.id}},
        )
        moments: list[tuple[float, int, Callable[[], None]]] = []
        for ordinal, item in enumerate(sorted(story.items, key=lambda each: each.at)):
            begin, end = self._turn(str(ordinal), item) if isinstance(item, Turn) else self._deed(str(ordinal), item)
            moments += [(item.at, 2 * ordinal, begin), (max(item.at, item.until), 2 * ordinal + 1, end)]
        for at, _, happen in sorted(moments, key=lambda each: each[:2]):
            self._clock.at = max(self._clock.at, at)
            happen()
            yield
        self._clock.at = max(self._clock.at, story.until)
        for note in story.notes:
            self._record(ev.Noted(), {"text": note, "partial": None})
        status: ev.RunStatus = "failed" if story.error else "solved"
        told = {"reason": story.error, "partial": story.answer} if story.error else {"answer": story.answer}
        self._record(ev.Ended(status=status), told)

    def _record(self, event: ev.Event, content: dict[str, Any] | None = None, *, asked: bytes | None = None) -> None:
        self.recorder.record(event, content, asked=asked)

    def _task(self) -> Task:
        unbounded = Budget(tokens=None, usd=None, seconds=None, steps=None, actions=None)
        prompt = self._story.prompt if self._story.prompt.strip() else _NO_PROMPT
        return Task(prompt=prompt, budget=unbounded)

    def _turn(self, key: str, turn: Turn) -> tuple[Callable[[], None], Callable[[], None]]:
        before = Provenance((f"history:@{key}",), tainted=True)
        readable = any(turn.reasonings)
        hidden = turn.usage.reasoning > 0

        def begin() -> None:
            asked = canonical(["answer", "", "", [each.content for each in turn.messages], "text", None])
            self._record(
                ev.StepAsked(key=key, step="answer", backend=turn.provider or "foreign", model=turn.model),
                {"asked": msgspec.Raw(asked), "messages": turn.messages, "provenance": [before]},
            )

        def end() -> None:
            samples = [
                Sample(
                    index=place, text=text, reasoning=reasoning, finish="length" if turn.finish == "length" else "stop"
                )
                for place, (text, reasoning) in enumerate(zip(turn.texts, turn.reasonings, strict=True))
            ]
            ok = bool(samples) and not turn.error
            error = {"code": "StepFailed", "message": turn.error or "its log does not say what was answered"}
            content = {"value": samples[0].text} if ok else {"error": error}
            self._record(
                ev.StepAnswered(
                    key=key,
                    ok=ok,
                    usage=turn.usage if turn.usage.tokens else Usage(usd=None),
                    seconds=max(0.0, turn.until - turn.at),
                    samples=len(samples),
                    winner=0 if ok else -1,
                    votes=len(samples),
                    sources=before.sources,
                    tainted=True,
                    reasoning="full" if readable else "absent" if hidden else "",
                ),
                {"samples": samples, **content},
            )

        return begin, end

    def _deed(self, key: str, deed: Deed) -> tuple[Callable[[], None], Callable[[], None]]:
        before = Provenance((f"history:@{key}",), tainted=True)
        asked = canonical([deed.name, deed.arguments])
        effect: Any = deed.effect
        proposed = ev.ActionProposed(key=key, action=deed.name, effect=effect, digest="", node=deed.id or f"a{key}")

        def begin() -> None:
            call = ActionCall(
                id=proposed.node,
                action=deed.name,
                arguments=deed.arguments,
                provenance=dict.fromkeys(deed.arguments, before),
                control=before,
            )
            self._record(proposed, {"asked": msgspec.Raw(asked), "call": call}, asked=asked)
            intent = ev.ActionIntent(key=key, action=deed.name, effect=effect, digest=proposed.digest, idempotency="")
            self._record(intent)

        def end() -> None:
            outcome = ev.ActionOutcome(
                key=key,
                action=deed.name,
                digest=proposed.digest,
                # It is not known what a tool of another agent did before it failed.
                status="unknown" if deed.error else "performed",
                seconds=max(0.0, deed.until - deed.at),
            )
            self._record(outcome, {"reason": deed.error} if deed.error else {"value": deed.value})

        return begin, end

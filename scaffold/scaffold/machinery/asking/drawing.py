"""Draws the samples of one step: reads them as they are generated, counts them in order, stops what is not needed."""

from __future__ import annotations

import asyncio
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BackendError, BackendUnavailable, BadResponse, BrokenOff, ScaffoldError, Stopped
from scaffold.machinery.asking.answers import read_answer, recorded
from scaffold.machinery.asking.checking import FAILED, flagged
from scaffold.machinery.asking.partials import Partial, Source
from scaffold.machinery.at_once import at_once
from scaffold.machinery.cancelling import is_from_within
from scaffold.vocabulary.confidence import confidence_field
from scaffold.vocabulary.models import Delta, Origin, Sample, Usage
from scaffold.vocabulary.review import reason_of
from scaffold.vocabulary.sampling import Draw, Lost, Vote, Way, Won

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from scaffold.machinery.asking.showing import Watched
    from scaffold.machinery.asking.streams import Reading
    from scaffold.vocabulary.confidence import Curve
    from scaffold.vocabulary.events import Ledger
    from scaffold.vocabulary.moves import Think
    from scaffold.vocabulary.sampling import Sampling

_LARGEST_ANSWER = 8 * 1024 * 1024
_ENDS = {
    "stop": "",
    "length": "",
    "cut": "ended early: its provider's filter removed the rest, or its stream ended without a reason",
    "error": "ended early: the model stopped for another reason than its end or its length, such as to call a tool",
}
NOT_COUNTED = "not counted: the samples before it decided the vote the vote"


class Asking(msgspec.Struct, eq=False):
    """One step being asked: its sources, and what was drawn so far.

    Attributes:
        sources: where its samples come from; the first is what the step itself says.
        samples: samples that were counted or are no longer needed, by index.
        votes: the votes of counted samples, in order; None for a discarded one.
        values: for each vote, its value as recorded.
        places: for each vote, its sample's index.
        judged: results by text already parsed and checked: the recorded value, and why it does not count.
        running: samples under way, by index.
        decision: the policy's latest decision.
        decided: the policy needs nothing more of what is under way.
        counting: finished samples are being counted.
        broken_off: how many samples ended because their backend was lost.
    """

    key: str
    move: Think
    sources: list[Source]
    policy: Sampling
    ledger: Ledger
    decision: Draw | Won | Lost
    readings: Sequence[Reading | Watched] = ()
    by_way: dict[Way, Source] = {}
    samples: list[Sample] = []
    votes: list[Vote | None] = []
    values: list[bytes] = []
    judged: dict[str, tuple[bytes, str]] = {}
    places: list[int] = []
    drawn: int = 0
    running: dict[int, Partial] = {}
    calls: list[Call] = []
    decided: bool = False
    counting: bool = False
    broken_off: int = 0

    def spent(self) -> Usage:
        """Return the cost of all its samples."""
        total = self.sources[0].spent
        if len(self.sources) == 1:
            return total
        for source in self.sources[1:]:
            total = total + source.spent
        return total

    def samples_of(self, source: Source) -> Sequence[Sample]:
        """Return its samples from one source."""
        if len(self.sources) == 1:
            return self.samples
        return [sample for sample in self.samples if sample.way == source.number]

    def calls_for(self, draw: Draw) -> list[Call]:
        """Return the requests for the next samples: one per source, if its backend can give several in one."""
        if not draw.ways and draw.n == 1:
            source = self.sources[0]
            return [Call(source, (self.drawn,), [Partial(source)])]
        return self._several_calls_for(draw)

    def _several_calls_for(self, draw: Draw) -> list[Call]:
        base, ways = self.drawn, draw.ways
        asked: dict[Source, Sequence[int]] = {}
        if not ways:
            asked[self.sources[0]] = range(base, base + draw.n)
        else:
            sources, place = [self.by_way[way] for way in ways], len(self.votes)
            turns = [sources[(place + number) % len(ways)] for number in range(draw.n)]
            for source in dict.fromkeys(turns):
                asked[source] = [base + number for number, turn in enumerate(turns) if turn is source]
        calls: list[Call] = []
        for source, indexes in asked.items():
            together = len(indexes) == 1 or "n" in source.backend.profile.can
            calls += [_call(source, indexes)] if together else [_call(source, (index,)) for index in indexes]
        return calls

    def charge_uncharged(self) -> None:
        """Charge the worst case for requests that broke off, were stopped or told no usage: their cost is unknown."""
        for call in self.calls:
            if call.begun and not call.charged:
                call.source.charge_worst(len(call.indexes))
                call.charged = True


class Call(msgspec.Struct, eq=False):
    """One request under way, for some of a step's samples.

    Attributes:
        begun: its backend has been asked.
        charged: its cost was reported, or charged at the worst case.
        stopped: its samples are no longer needed.
        cancelled: its task was cancelled for that.
    """

    source: Source
    indexes: Sequence[int]
    partials: list[Partial]
    begun: bool = False
    charged: bool = False
    stopped: bool = False
    cancelled: bool = False
    task: asyncio.Task[Any] | None = None

    @property
    def over(self) -> bool:
        """Whether each of its samples has ended."""
        return all(partial.over for partial in self.partials)

    def stop(self) -> None:
        """End it, since nobody needs its samples any more. If it has not begun, it never will."""
        self.stopped = True
        if self.begun and self.task is not None and self.task is not asyncio.current_task():
            self.cancelled = self.task.cancel()


def _call(source: Source, indexes: Sequence[int]) -> Call:
    return Call(source, indexes, [Partial(source) for _ in indexes])


def worst_of(calls: Sequence[Call]) -> tuple[int, float]:
    """Return the most tokens and dollars that several requests can cost."""
    if len(calls) == 1:
        return calls[0].source.worst(len(calls[0].indexes))
    each = [call.source.worst(len(call.indexes)) for call in calls]
    return sum(tokens for tokens, _ in each), sum(usd for _, usd in each)


async def draw(asking: Asking, calls: list[Call], n: int) -> None:
    """Draw n more samples, and count them until they decide.

    Raises:
        BackendError: a backend cannot answer.
    """
    asking.calls = calls
    asking.decided = False
    asking.drawn += n
    if n == 1:  # most steps: nothing to stop early, nothing concurrent
        call = calls[0]
        asking.running = {call.indexes[0]: call.partials[0]}
        call.begun = True
        await _stream(asking, call)
        await _count(asking, call.partials[0])
        asking.charge_uncharged()
    else:
        asking.running = {
            index: partial for call in calls for index, partial in zip(call.indexes, call.partials, strict=True)
        }
        if len(calls) == 1:
            await _collect(asking, calls[0])
        else:
            await _collect_at_once(asking, calls)
        await conclude(asking)


async def _collect_at_once(asking: Asking, calls: list[Call]) -> None:
    await at_once(_collect(asking, call) for call in calls)


async def _collect(asking: Asking, call: Call) -> None:
    if call.stopped:
        return  # before it began
    call.task = asyncio.current_task()
    call.begun = True
    try:
        await _stream(asking, call)
    except asyncio.CancelledError:
        if not call.cancelled:
            raise
    except BackendError:
        if not asking.decided:
            raise


async def _stream(asking: Asking, call: Call) -> None:
    first, n = call.indexes[0], len(call.indexes)
    request = call.source.request
    if first or n > 1:
        seed = None if request.seed is None else request.seed + first
        request = msgspec.structs.replace(request, n=n, seed=seed)
    try:
        stream = _checked(call.source.backend.generate(request))
        try:
            await _read(asking, call, stream)
        finally:
            await stream.aclose()
    except asyncio.CancelledError:
        if is_from_within():
            raise BackendError("it was cancelled by its own code") from None
        raise
    except BackendUnavailable as error:
        call.begun = error.reached
        raise
    except BadResponse as error:
        for partial in call.partials:
            if not partial.over:
                partial.cut, partial.broken_off = str(error), isinstance(error, BrokenOff)
    except Exception as error:
        if (fault := _own_fault(error)) is None:
            raise
        raise fault from error


def _checked(stream: Any) -> AsyncGenerator[Delta]:
    """Return a backend's stream, if it is one."""
    if hasattr(stream, "aclose"):
        return stream  # type: ignore[no-any-return]  # just looked at
    if iscoroutine(stream):
        stream.close()  # else Python warns that it was never awaited
    raise TypeError(
        f"`generate` returned a {type(stream).__name__}, not a stream: it should be `async def` with `yield`"
    )


def _meant(sent: Any, partials: Sequence[Partial]) -> Partial:
    """Return the sample that a piece belongs to."""
    if not isinstance(sent, Delta):
        raise TypeError(f"a {type(sent).__name__} was sent, not a Delta")
    if not 0 <= sent.index < len(partials):
        raise BadResponse(f"a sample with the number {sent.index} was sent, but {len(partials)} were asked for")
    return partials[sent.index]


async def _read(asking: Asking, call: Call, stream: AsyncIterator[Delta]) -> None:
    partials, readings, indexes = call.partials, asking.readings, call.indexes
    several = len(asking.running) > 1
    max_tokens = call.source.request.max_tokens
    most = 256 * max_tokens + 4096
    most = min(most, _LARGEST_ANSWER)
    async for sent in stream:
        partial = _meant(sent, partials)
        if sent.usage is not None:
            call.source.charge(sent.usage)
            call.charged = True
        if partial.cut:  # the others of its stream go on
            continue
        delta = partial.take(sent)
        if partial.size > most:
            partial.cut = f"an answer of more than {most} characters to a step of {max_tokens} tokens"
            raise BadResponse(partial.cut)
        if readings:
            partial.cut = _cut_by(readings, delta, indexes[delta.index])
            if partial.cut and call.over:
                return
        if several and partial.over:
            await _count_what_is_over(asking)
            if asking.decided and not call.over:
                return


async def _count_what_is_over(asking: Asking) -> None:
    """Count finished samples in the order of their index until they decide; then stop the others.

    A check may take time. Samples that other streams finish meanwhile are counted by the call already counting.
    """
    if asking.counting:
        return
    asking.counting = True
    try:
        while not asking.decided:
            partial = asking.running.get(len(asking.samples))
            if partial is None or not partial.over:
                return
            await _count(asking, partial)
    finally:
        asking.counting = False
    for call in asking.calls:
        if not call.over:
            call.stop()


async def conclude(asking: Asking) -> None:
    """Count what is left once all streams have ended; samples after the decision get no vote."""
    while asking.running:
        index = len(asking.samples)
        if asking.decided:
            asking.samples.append(asking.running.pop(index).sample(index, NOT_COUNTED))
        else:
            await _count(asking, asking.running[index])
    asking.charge_uncharged()
    asking.calls = []


async def _count(asking: Asking, partial: Partial) -> None:
    """Turn the next sample into a vote if it is acceptable, and ask the policy for its decision."""
    index, returns = len(asking.samples), asking.move.returns
    sample = partial.sample(index)
    if partial.source.number and sample.origin is None:
        profile = partial.source.backend.profile
        if profile != asking.sources[0].backend.profile:
            sample = msgspec.structs.replace(sample, origin=Origin(backend=profile.backend, model=profile.model))
    said, problem = b"", _broken_off(asking, sample)
    if not problem:
        said, problem = asking.judged.get(sample.text) or await _judge(asking, sample.text)
    del asking.running[index]
    vote: Vote | None = None
    if problem:
        sample = msgspec.structs.replace(sample, flag=problem)
        asking.broken_off += partial.broken_off
    else:
        field = confidence_field(returns) if returns is not str else ""
        vote = Vote(said) if not field else _without_confidence(partial.source.curve, said, field)
    asking.samples.append(sample)
    asking.votes.append(vote)
    asking.values.append(said)
    asking.places.append(index)
    ways = asking.decision.ways if isinstance(asking.decision, Draw) else ()
    asking.decision = decision = asking.policy.decide(asking.votes)
    asking.decided = not isinstance(decision, Draw) or decision.ways != ways


def _broken_off(asking: Asking, sample: Sample) -> str:
    """Say why a sample does not count, whatever its text; empty if it may."""
    problem = sample.flag or _ENDS.get(sample.finish, _ENDS["error"])
    if not problem and asking.readings:
        problem = _refused_by(asking.readings, sample.index)
    options = asking.move.options
    if not problem and sample.finish == "length" and not options.unfinished:
        problem = f"not finished within {options.max_tokens} tokens (max_tokens)"
    return problem


async def _judge(asking: Asking, text: str) -> tuple[bytes, str]:
    """Return the value a text states, as recorded, or why it does not count; equal texts are judged once."""
    move, flags = asking.move, asking.policy.flags
    try:
        value = read_answer(move.returns, text, move.options.choices)
    except ValueError as error:
        said = b"", f"malformed: {error}"
    else:
        problem = await flagged(flags, value) if flags else ""
        said = (b"", problem) if problem else (recorded(move.returns, value), "")
    if not said[1].startswith(FAILED):
        asking.judged[text] = said
    return said


def _without_confidence(curve: Curve | None, said: bytes, field: str) -> Vote:
    value = msgspec.json.decode(said)
    stated = value.pop(field, None)
    known = curve is not None and isinstance(stated, int | float)
    return Vote(msgspec.json.encode(value), curve.correct(stated) if curve is not None and known else None)


async def give_up(asking: Asking, reason: str) -> None:
    """Keep what came before the backend failed, and charge what it may have cost."""
    for call in asking.calls:
        begun = sum(1 for partial in call.partials if partial.size)
        if begun and not call.charged:
            call.source.charge_worst(begun)
        call.charged = True
        for partial in call.partials:
            if not partial.over:
                partial.cut = reason
    await conclude(asking)


def _cut_by(readings: Sequence[Reading | Watched], delta: Delta, index: int) -> str:
    """Feed a piece of a sample to all readings, so that each records its finding; return why the sample ends, or ""."""
    if delta.index != index:
        delta = msgspec.structs.replace(delta, index=index)
    return _reason_in(readings, [reading.feed(delta) for reading in readings])


def _refused_by(readings: Sequence[Reading | Watched], index: int) -> str:
    """Tell all readings that a sample is complete; return why it does not count, or ""."""
    return _reason_in(readings, [reading.close(index) for reading in readings])


def _reason_in(readings: Sequence[Reading | Watched], said: Sequence[str]) -> str:
    """Return the first reason why a sample does not count; empty if it does.

    Raises:
        Stopped: a monitor halts the run.
    """
    for reading in readings:
        if reading.halts is not None:
            raise Stopped(reason_of([reading.halts], "halt"))
    return next((reason for reason in said if reason), "")


# Errors raised in these functions are not the backend's fault.
_OTHERS = frozenset({_cut_by.__code__, _count_what_is_over.__code__})


def _own_fault(error: Exception) -> BackendError | None:
    """Return a backend's own fault as an error that says so; None if it is none, or somebody else's."""
    if isinstance(error, ScaffoldError):
        return None
    from pathlib import Path
    from traceback import walk_tb

    run = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
    if not _OTHERS.isdisjoint(run):
        return None
    where = f"{Path(run[-1].co_filename).name}, in {run[-1].co_name}"
    return BackendError(f"it has a bug, which its author should know about: {type(error).__name__}: {error} ({where})")

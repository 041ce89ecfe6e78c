"""Rereading: has monitors review a stored run again, and writes the result as a trace of its own.

The run's trace is only read. A review is itself a run: its judges' questions and answers, its verdicts and its cost are
events in a chain of its own, whose first event names the run and the head of what was read. New verdicts never replace
the recorded ones.

Monitors can see only what is in the trace: actions as they were observed, not what they declare. Stakes count as high
throughout, so that no monitor sits out.
"""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec

from scaffold.errors import BadInput, BrokenPlugin
from scaffold.machinery.asking.prompts import Templates
from scaffold.machinery.asking.steps import Steps
from scaffold.machinery.recording.recorder import Recorder
from scaffold.machinery.recording.state import RunState
from scaffold.machinery.reviewing.past import Retelling, Told, specs_in
from scaffold.machinery.reviewing.reviews import Reviews
from scaffold.trace.chain import MISFIT, Chain, as_written, body_of
from scaffold.version import VERSION
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical, digest
from scaffold.vocabulary.models import Delta, Usage
from scaffold.vocabulary.review import Subject, SubjectKind, Verdict
from scaffold.vocabulary.task import Task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from scaffold.interfaces import Backend, Claim, Elsewhere, Journal, Monitor, Surroundings
    from scaffold.machinery.reviewing.reviews import Watching
    from scaffold.machinery.reviewing.views import View
    from scaffold.trace.chain import Link
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event, VerdictFact
    from scaffold.vocabulary.models import Sample

_PIECE = 40  # characters of a stored sample fed to stream monitors at a time


class Reread(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor's new verdict on something in a run, with the verdicts recorded then.

    Attributes:
        seq: number of the event that holds it.
        key: its key in the run.
        subject: its kind.
        verdict: the new verdict.
        before: the verdicts of all monitors then; empty if none read it.
    """

    seq: int
    key: str
    subject: SubjectKind
    verdict: Verdict
    before: tuple[VerdictFact, ...] = ()


class Rereading(msgspec.Struct, frozen=True, kw_only=True):
    """The result of reviewing a run again.

    Attributes:
        run: the run that was read.
        foreign: what it was imported from; empty for a native run.
        events: number of its events that were read.
        head: hash of the last of them, in hex.
        review: id of the review, which is itself a run.
        trace: where the review's trace is.
        rows: the verdicts, in the run's order.
        unread: what could not be read, and why.
        usage: what asking models cost.
    """

    run: str
    foreign: str
    events: int
    head: str
    review: str
    trace: str
    rows: list[Reread]
    unread: list[str]
    usage: Usage


class _Opening(msgspec.Struct):
    """What must be known of a run before it is retold."""

    task: Task
    foreign: str
    specs: dict[str, ActionSpec]
    thinkers: set[tuple[str, str]]
    before: dict[tuple[str, str], list[tuple[str, VerdictFact]]]
    events: int = 0
    head: str = ""


class _PastView:
    """One monitor's view of a stored run, up to the current moment of the retelling."""

    ending: Exception | None = None  # a review that fails is a row, and ends nothing

    def __init__(self, journal: Journal, run: str, opening: _Opening, state: Any, now: Event) -> None:
        self._journal = journal
        self._now = now
        self.run = run
        self.task = opening.task
        self.actions: Mapping[str, ActionSpec] = opening.specs
        self.state = state

    async def events(self, after: int = 0) -> AsyncIterator[tuple[Event, dict[str, Any]]]:
        """Return events with their content up to that moment, in order, from the one after `after`."""
        async for link in _links(self._journal, self.run):
            if link.event.seq > self._now.seq:
                return
            if link.event.seq > after:
                yield link.event, body_of(link.content)

    def now(self) -> float:
        """Return the time of that moment."""
        return self._now.at

    async def elsewhere(self, since: float) -> Sequence[Elsewhere]:
        """Refuse: what other runs had done by then cannot be told, as their traces also hold what came later.

        Raises:
            BadInput: always.
        """
        raise BadInput("cannot tell from here what other runs had done while this one was under way")


class _PastReviews(Reviews):
    """Reviews whose monitors see a stored run."""

    def tell_of(self, journal: Journal, run: str, opening: _Opening) -> None:
        """Set the run."""
        self._past = journal, run, opening

    def at(self, event: Event) -> None:
        """Set the current event."""
        self._now = event

    def take(self, event: Event, body: bytes) -> None:
        """Feed an event to the monitors that fold its kind."""
        fold = self.folds.get(type(event))
        if fold is not None:
            fold(event, body)

    def _goes_beside(self, each: Watching) -> bool:
        """Return False: a stored run waits for nothing, and each row needs its verdict."""
        return False

    def _view(self, each: Watching) -> View:
        return cast("View", _PastView(*self._past, each.memory.state, self._now))

    def read_samples(self, subject: Subject, samples: Sequence[Sample]) -> list[Verdict]:
        """Have stream monitors read samples as if they were being generated."""
        key = subject.key
        readings = self.read_stream(key, lambda: subject.step)
        for sample in samples:
            for delta in _pieces(sample):
                for reading in readings:
                    reading.feed(delta)
            for reading in readings:
                reading.close(sample.index)
        self.conclude_stream(key, readings)
        return [verdict for reading in readings for verdict in reading.verdicts]


def _pieces(sample: Sample) -> list[Delta]:
    index = sample.index
    pieces = [
        Delta(index, reasoning=sample.reasoning[start : start + _PIECE])
        for start in range(0, len(sample.reasoning), _PIECE)
    ]
    pieces += [Delta(index, text=sample.text[start : start + _PIECE]) for start in range(0, len(sample.text), _PIECE)]
    return [*pieces, Delta(index, finish=sample.finish)]


async def _links(journal: Journal, run: str) -> AsyncIterator[Link]:
    chain = Chain()
    async for record in journal.read(run):
        yield chain.follow(record)


async def reread(
    journal: Journal,
    run: str,
    reviews: Journal,
    *,
    monitors: Sequence[Monitor],
    backends: Mapping[str, Backend],
    surroundings: Surroundings,
) -> Rereading:
    """Have monitors review a stored run again.

    Args:
        journal: where the run is stored; nothing is written there.
        run: its id.
        reviews: where the review is stored.
        monitors: the monitors.
        backends: backends for monitors that ask a model, by role.
        surroundings: clock and random source.

    Raises:
        BadInput: the run's task is withheld, or a monitor lacks a backend.
        TraceDamaged: the run's trace was altered.
    """
    opening = await _opening(journal, run)
    _check_backends(monitors, backends, opening)
    name = _name(surroundings)
    claim = await reviews.claim(name, f"a review of {run}", create=True)
    try:
        reviewing = _Reviewing(journal, run, opening, reviews, claim, monitors, backends, surroundings)
        return await reviewing.all()
    finally:
        await reviews.release(claim)


async def _opening(journal: Journal, run: str) -> _Opening:
    """Read a run once for what must be known first."""
    foreign, task = "", None
    proposals: list[tuple[Event, dict[str, Any] | None]] = []
    thinkers: set[tuple[str, str]] = set()
    before: dict[tuple[str, str], list[tuple[str, VerdictFact]]] = {}
    last: Link | None = None
    async for link in _links(journal, run):
        event, last = link.event, link
        match event:
            case ev.RunStarted():
                foreign = event.foreign
                if link.content is not None:
                    with as_written(event):
                        task = Task.model_validate(body_of(link.content)["task"])
            case ev.StepAsked(ledger="model"):
                thinkers.add((event.backend, event.model))
            case ev.PlanProposed() | ev.ActionProposed():
                with as_written(event):
                    proposals.append((event, body_of(link.content) if link.content is not None else None))
            case ev.Reviewed():
                said = before.setdefault((event.subject, event.key), [])
                said += [(event.digest, fact) for fact in event.verdicts]
            case _:
                pass
    if task is None or last is None:
        raise BadInput(f"the task that run {run} was started with is withheld, so nothing can be compared with it")
    specs = specs_in(proposals)
    opening = _Opening(task.with_tools(tuple(specs.values())), foreign, specs, thinkers, before)
    opening.events, opening.head = last.event.seq, last.hash.hex()
    return opening


def _check_backends(monitors: Sequence[Monitor], backends: Mapping[str, Backend], opening: _Opening) -> None:
    for monitor in monitors:
        for role in monitor.spec.needs:
            backend = backends.get(role) or backends.get("default")
            if backend is None:
                raise BadInput(
                    f"the monitor {monitor.spec.name!r} asks a model: name one with --backend {role}=BACKEND:MODEL"
                )
            profile = backend.profile
            named = profile.model not in {"", profile.backend}
            if named and (profile.backend, profile.model) in opening.thinkers:
                said = f"the monitor {monitor.spec.name!r} uses the model that this run used, which judges itself"
                warnings.warn(said, stacklevel=3)


def _name(surroundings: Surroundings) -> str:
    when = datetime.fromtimestamp(surroundings.clock.now(), UTC)
    tail = "".join(surroundings.random.choices("abcdefghjkmnpqrstuvwxyz23456789", k=6))
    return f"review-{when:%Y%m%d-%H%M%S}-{tail}"


def _unexpected(event: Event, error: Exception) -> str:
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"event {event.seq}: its content has an unexpected form: {said}"


class _Reviewing:
    """One review under way."""

    def __init__(
        self,
        journal: Journal,
        run: str,
        opening: _Opening,
        reviews: Journal,
        claim: Claim,
        monitors: Sequence[Monitor],
        backends: Mapping[str, Backend],
        surroundings: Surroundings,
    ) -> None:
        self._journal, self._run, self._opening = journal, run, opening
        self._kept, self._claim, self._monitors = reviews, claim, monitors
        self._state = RunState(opening.task, opening.specs)
        self._recorder = Recorder(reviews, claim, surroundings)
        self._recorder.follow_kinds(self._state.takers)
        steps = Steps(
            run=claim.run,
            seed=claim.run,
            backends=backends,
            templates=Templates(),
            recorder=self._recorder,
            state=self._state,
            surroundings=surroundings,
        )
        self._reviews = _PastReviews(
            task=opening.task,
            monitors=monitors,
            actions=opening.specs,
            recorder=self._recorder,
            state=self._state,
            steps=steps,
            journal=reviews,
            observe=True,
        )
        self._reviews.tell_of(journal, run, opening)
        self._rows: list[Reread] = []
        self._unread: list[str] = []

    async def all(self) -> Rereading:
        """Review the run from its first event to its last."""
        self._begin()
        retelling = Retelling()
        async for link in _links(self._journal, self._run):
            if link.event.seq > self._opening.events:
                break  # written since the review began
            await self._read(self._told(link.event, retelling.before(link.event)))
            self._reviews.at(link.event)
            self._fold(link)
            known = link.content is not None or not link.event.content
            with as_written(link.event):
                content = body_of(link.content) if known else None
            await self._read(self._told(link.event, retelling.after(link.event, content)))
        await self._read(retelling.rest())
        return await self._end()

    def _begin(self) -> None:
        opening = self._opening
        plugins = {
            f"monitor:{each.spec.name}": f"{each.spec.version}/{digest(canonical(each.spec.settings))[:12]}"
            for each in self._monitors
        }
        started = ev.RunStarted(
            format=ev.FORMAT,
            run=self._claim.run,
            scaffold=VERSION,
            planner=f"review of {self._run}",
            plugins=plugins,
            foreign=opening.foreign,
        )
        read = {"run": self._run, "events": opening.events, "head": opening.head, "foreign": opening.foreign}
        self._recorder.record(started, {"task": opening.task.model_dump(mode="json"), "config": {"review": read}})

    def _told(self, event: Event, telling: Iterator[Told]) -> Iterator[Told]:
        """Yield what is to be reviewed at an event; report and skip a content whose form is unknown."""
        try:
            yield from telling
        except MISFIT as error:
            self._unread.append(_unexpected(event, error))

    def _fold(self, link: Link) -> None:
        """Have the monitors fold an event; report one that cannot be read, or that a monitor cannot take in."""
        try:
            self._reviews.take(link.event, link.content.body if link.content is not None else b"")
        except BrokenPlugin as error:
            self._unread.append(str(error))
        except MISFIT as error:
            self._unread.append(_unexpected(link.event, error))

    async def _read(self, all_told: Any) -> None:
        for told in all_told:
            if told.withheld:
                if self._reviews.watches(told.subject.kind, beside=told.beside):
                    self._unread.append(f"{told.subject.kind} {told.subject.key} (event {told.seq}): {told.withheld}")
                continue
            self._note(told, await self._ask(told))

    async def _ask(self, told: Told) -> list[Verdict]:
        subject = told.subject
        if subject.kind == "stream":
            return self._reviews.read_samples(subject, told.samples)
        _, verdicts = await self._reviews.review(subject, told.digest, "high", beside=told.beside)
        return verdicts

    def _note(self, told: Told, verdicts: Sequence[Verdict]) -> None:
        kind, key = told.subject.kind, told.subject.key
        said = self._opening.before.get((kind, key), ())
        # A step that was drawn again has several thoughts at one key, each with its own digest.
        same = [fact for what, fact in said if what == told.digest]
        before = tuple(same or [fact for _, fact in said])
        self._rows += [
            Reread(seq=told.seq, key=key, subject=kind, verdict=verdict, before=before) for verdict in verdicts
        ]

    async def _end(self) -> Rereading:
        usage = self._state.usage()["oversight"]
        counts: dict[str, int] = {}
        for row in self._rows:
            counts[row.verdict.decision] = counts.get(row.verdict.decision, 0) + 1
        self._recorder.record(ev.Ended(status="solved"), {"answer": {"verdicts": counts, "unread": self._unread}})
        await self._recorder.flush(durable=True)
        opening = self._opening
        return Rereading(
            run=self._run,
            foreign=opening.foreign,
            events=opening.events,
            head=opening.head,
            review=self._claim.run,
            trace=self._kept.location(self._claim.run),
            rows=self._rows,
            unread=self._unread,
            usage=usage,
        )

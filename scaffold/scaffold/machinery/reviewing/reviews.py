"""Runs the monitors of a run: in tiers, each with its timeout, and every failure becomes a verdict.

Cheap tiers always run; dearer ones only if the stakes, or a score so far, ask for it. The strictest verdict wins.
"""

from __future__ import annotations

import asyncio
import random
from functools import cached_property, partial
from itertools import groupby
from operator import attrgetter
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BrokenPlugin, BudgetSpent, StepFailed, Unavailable
from scaffold.interfaces import Describes, Folds, FoldsBare, ReadsStreams
from scaffold.machinery.asking.streams import Reading, unmade, whole
from scaffold.machinery.at_once import at_once
from scaffold.machinery.cancelling import is_from_within
from scaffold.machinery.recording.bounds import bounded
from scaffold.machinery.reviewing.beside import Beside
from scaffold.machinery.reviewing.views import Context, View
from scaffold.machinery.within import within
from scaffold.tracebacks import described
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical, digest
from scaffold.vocabulary.models import NO_USAGE
from scaffold.vocabulary.review import SEVERITY, ObservationRecord, Subject, Verdict, strictest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

    from scaffold.interfaces import Journal, Monitor, StreamSession
    from scaffold.machinery.asking.steps import Steps
    from scaffold.machinery.recording.recorder import Fold, Recorder
    from scaffold.machinery.recording.state import RunState
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.models import ReasoningVisibility
    from scaffold.vocabulary.plan import ActionCall
    from scaffold.vocabulary.review import Decision, MonitorSpec, Stakes, StepRecord
    from scaffold.vocabulary.task import Task

_json = msgspec.json.Decoder()
_tainted = attrgetter("tainted")
_TIER_STAKES: dict[int, tuple[str, ...]] = {2: ("medium", "high"), 3: ("high",)}
_COSTLY_USD = 100.0
_STEP_STAKES: tuple[Stakes, ...] = ("low", "medium", "high")
_UNREAD: dict[ReasoningVisibility, int] = {"full": 0, "summary": 1, "redacted": 1, "absent": 2}


class Memory:
    """The state of one monitor in a run, or of several that share a fold."""

    __slots__ = ("bare", "fold", "folds", "name", "state")

    def __init__(self, monitor: Monitor) -> None:
        self.name = monitor.spec.name
        self.state: Any = None
        self.bare: frozenset[type[Event]] = monitor.bare if isinstance(monitor, FoldsBare) else frozenset()
        folds = monitor if isinstance(monitor, Folds) else None
        self.fold = folds.fold if folds is not None else None
        self.folds: frozenset[type[Event]] = folds.folds if folds is not None else frozenset()


def _memories(monitors: Sequence[Monitor]) -> list[Memory]:
    """Return the memory of each monitor. Monitors with the same plain function as fold share one."""
    shared: dict[tuple[Any, ...], Memory] = {}
    memories = []
    for monitor in monitors:
        memory = Memory(monitor)
        if isinstance(memory.fold, FunctionType):
            memory = shared.setdefault((memory.fold, memory.folds, memory.bare), memory)
        memories.append(memory)
    return memories


class Watching:
    """One monitor in one run.

    Attributes:
        settings: digest of its version and settings.
        memory: its state.
        always: whether it reads everything it watches, whatever the stakes.
        binds: whether it can close the gate.
        waits: whether it has ever had to wait for anything.
    """

    __slots__ = ("always", "binds", "memory", "monitor", "name", "settings", "spec", "waits")

    def __init__(self, monitor: Monitor, memory: Memory, *, observe: bool) -> None:
        self.monitor = monitor
        self.binds = monitor.spec.mode == "gate" and (monitor.spec.tier == 0 or not observe)
        self.spec = monitor.spec
        self.name = monitor.spec.name
        self.settings = digest(canonical([self.spec.version, self.spec.settings]))[:16]
        self.memory = memory
        self.always = monitor.spec.sample >= 1 and monitor.spec.tier not in _TIER_STAKES
        self.waits = bool(monitor.spec.needs)

    def has_waited(self) -> None:
        """Note that it has had to wait, so that it is worth a task of its own."""
        self.waits = True


def _described(actions: Mapping[str, ActionSpec], monitors: Sequence[Monitor]) -> Mapping[str, ActionSpec]:
    """Return the actions as monitors are to see them."""
    for monitor in monitors:
        if isinstance(monitor, Describes):
            actions = {name: monitor.describe(spec) for name, spec in actions.items()}
    return actions


def _watches(kind: str) -> Callable[[Watching], bool]:
    """Return a test of whether a monitor reads subjects of a kind."""
    return lambda each: kind in each.spec.watches


def _in_tiers(watching: Iterable[Watching]) -> list[list[Watching]]:
    """Group monitors by tier, the cheapest first."""
    in_order = sorted(watching, key=attrgetter("spec.tier"))
    return [list(tier) for _, tier in groupby(in_order, key=attrgetter("spec.tier"))]


class Reviews:
    """Has the monitors of one run review its subjects."""

    def __init__(
        self,
        *,
        task: Task,
        monitors: Sequence[Monitor],
        actions: Mapping[str, ActionSpec],
        recorder: Recorder,
        state: RunState,
        steps: Steps,
        journal: Journal,
        observe: bool,
    ) -> None:
        self._task = task
        memories = _memories(monitors)
        watching = [
            Watching(monitor, memory, observe=observe) for monitor, memory in zip(monitors, memories, strict=True)
        ]
        self._watching = [each for each in watching if each.spec.role == "restrict"]
        self._waiving = [each for each in watching if each.spec.role == "waive" and each.spec.mode == "gate"]
        self._by_name = {each.name: each for each in reversed(self._watching)}
        self._binding = frozenset(name for name, each in self._by_name.items() if each.binds)
        self._folding: dict[type[Event], list[Memory]] = {}
        for memory in dict.fromkeys(memories):
            for kind in memory.folds:
                self._folding.setdefault(kind, []).append(memory)
        # Read-only, since all monitors share it: a change by one would reach the others, and the stakes.
        self._actions = MappingProxyType(dict(_described(actions, monitors)))
        self._recorder = recorder
        self._state = state
        self._steps = steps
        self._journal = journal
        self._observe = observe
        self._beside = Beside(task.concurrency)
        self._by_subject: dict[str, list[list[Watching]]] = {}
        self._watched: dict[tuple[str, str], bool] = {}

    @property
    def folds(self) -> dict[type[Event], Fold]:
        """The function that takes in each kind of event folded by some monitor."""
        return dict.fromkeys(self._folding, self._fold)

    def _fold(self, event: Event, body: bytes) -> None:
        kind, content = type(event), None
        for each in self._folding[kind]:
            given: dict[str, Any] = {}
            if body and kind not in each.bare:
                given = content = _json.decode(body) if content is None else content
            try:
                each.state = each.fold(each.state, event, given)  # type: ignore[misc]  # only what folds is in there
            except Exception as error:
                said = f"event {event.seq} ({event.__struct_config__.tag}): {type(error).__name__}: {error}"
                raise BrokenPlugin(f"the monitor {each.name!r} cannot take in {said}") from error

    @cached_property
    def guards(self) -> bool:
        """Whether any monitor can close the gate on a plan or an action."""
        return any(each.spec.mode == "gate" and each.spec.watches & {"plan", "action"} for each in self._watching)

    @cached_property
    def reads_steps(self) -> bool:
        """Whether any monitor reads steps, streamed or whole."""
        return self.watches("step") or self.watches("stream")

    def watches(self, kind: str, *, beside: str = "") -> bool:
        """Whether any monitor reads subjects of a kind, not counting those that also read the kind `beside`."""
        watched = self._watched.get((kind, beside))
        if watched is None:
            watching = [each for tier in self._tiers(kind) for each in tier]
            watched = self._watched[kind, beside] = not all(map(_watches(beside), watching))
        return watched

    def _tiers(self, kind: str) -> list[list[Watching]]:
        tiers = self._by_subject.get(kind)
        if tiers is None:
            tiers = self._by_subject[kind] = _in_tiers(filter(_watches(kind), self._watching))
        return tiers

    def stakes(self, calls: Sequence[ActionCall]) -> Stakes:
        """Return how much depends on some calls: by effect, cost, provenance and how much reasoning could be read."""
        points = 0
        for call in calls:
            spec = self._actions.get(call.action)
            if spec is None or spec.effect == "read":
                continue
            tainted = call.control.tainted or any(map(_tainted, call.provenance.values()))
            points = max(points, (2 if spec.effect == "irreversible" else 1) + tainted + (spec.cost >= _COSTLY_USD))
        if not points:
            return "low"
        points += _UNREAD[self._steps.reasoning()] + (self._state.suspicion > 0)
        return "high" if points >= 4 else "medium" if points >= 2 else "low"  # noqa: PLR2004 - of five points

    def step_stakes(self, role: str) -> Stakes:
        """Return the stakes of reviewing a step: higher if less reasoning shows and thoughts can become effects."""
        if not self._can_change_the_world:
            return "low"
        return _STEP_STAKES[_UNREAD[self._steps.visibility(role)]]

    @cached_property
    def _can_change_the_world(self) -> bool:
        return any(spec.effect != "read" for spec in self._actions.values())

    def binding(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Return the verdicts that bind."""
        return [verdict for verdict in verdicts if verdict.monitor in self._binding]

    async def review(
        self, subject: Subject, subject_digest: str, stakes: Stakes, *, beside: str = ""
    ) -> tuple[Decision, list[Verdict]]:
        """Have a subject reviewed, record the verdicts, and return the strictest binding decision with them.

        Monitors that also read the kind `beside` are left out: they have already read the subject as that. Verdicts
        recorded earlier for this very subject by monitors with the same settings stand.
        """
        tiers = self._tiers(subject.kind)
        if not tiers:
            return "allow", []
        verdicts: list[Verdict] = []
        fresh: list[Verdict] = []
        known = self._state.at(subject.key).verdicts
        wire = b""
        for tier in tiers:
            asked = []
            for each in tier:
                if beside in each.spec.watches:
                    continue
                recorded = known.get((subject.kind, subject_digest, each.name, each.settings))
                if recorded is not None:
                    verdicts.append(recorded)
                elif each.always or self._is_due(each, subject.key, stakes, verdicts):
                    asked.append(each)
                else:
                    fresh.append(Verdict(decision="allow", status="skipped", monitor=each.name, settings=each.settings))
            if not asked:
                continue
            # Each monitor decodes its own copy, so that its changes reach nobody else.
            wire = wire or canonical(subject)
            said: list[Verdict] = []
            if subject.kind == "step" and tier is tiers[-1]:  # else a dearer tier may depend on these verdicts
                said, asked = await self._begin_beside(asked, subject, subject_digest, wire, stakes)
            said += await self._ask_tier(asked, subject, wire, stakes)
            verdicts += said
            fresh += said
        decision = self.decide(verdicts)
        if fresh:
            self.write(subject, subject_digest, decision, stakes, fresh)
        return decision, verdicts

    async def _ask_tier(
        self, asked: Sequence[Watching], subject: Subject, wire: bytes, stakes: Stakes
    ) -> list[Verdict]:
        if len(asked) > 1 and asked[0].spec.tier > 0 and any(each.waits for each in asked):
            return await self._ask_at_once(asked, subject, wire, stakes)
        said = []
        for each in asked:  # quicker than tasks
            said.append(await self._ask(each, subject, wire, stakes))  # noqa: PERF401 - that would be one more coroutine
        return said

    async def _begin_beside(
        self, asked: list[Watching], subject: Subject, subject_digest: str, wire: bytes, stakes: Stakes
    ) -> tuple[list[Verdict], list[Watching]]:
        """Start the observing monitors; return the verdicts given at once, and the monitors left to wait for."""

        def late(verdict: Verdict) -> None:
            self.write(subject, subject_digest, "allow", stakes, [verdict])

        said = []
        observing = [each for each in asked if self._goes_beside(each)]
        for each in observing:
            review = partial(self._ask, each, subject, wire, stakes)
            verdict = await self._beside.begin(subject.key, each.name, review, late)
            if verdict is not None:
                said.append(verdict)
        return said, [each for each in asked if each not in observing] if observing else asked

    def _goes_beside(self, each: Watching) -> bool:
        """Whether a run need not wait for a monitor's verdict on a step."""
        return each.spec.mode == "observe"

    def reading(self, key: str) -> tuple[str, ...]:
        """Return the monitors that are still reading a step concurrently with the run."""
        return self._beside.reading(key)

    def join(self, seconds: float | None = None) -> Awaitable[None]:
        """Wait for concurrent reviews, at most so many seconds."""
        return self._beside.join(seconds)

    def give_up(self) -> Awaitable[None]:
        """Cancel concurrent reviews."""
        return self._beside.give_up()

    def _view(self, each: Watching) -> View:
        return View(self._task, self._actions, self._recorder, self._journal, each.memory.state)

    def _context(self, each: Watching, subject: Subject, stakes: Stakes) -> Context:
        return Context(self._recorder.claim.run, subject.key, each.name, self._steps, stakes)

    def read_stream(self, key: str, asked: Callable[[], StepRecord | None]) -> list[Reading]:
        """Start a step's session with each stream monitor; a monitor that cannot start one fails every sample.

        Args:
            key: the step's key.
            asked: returns what is asked; called only if there is a stream monitor.
        """
        tiers = self._tiers("stream")
        if not tiers:
            return []
        wire = canonical(Subject(kind="stream", key=key, step=asked()))
        return [
            Reading(
                each.spec,
                each.settings,
                partial(self._begin, each, _subjects.decode(wire)),
                binds=each.binds,
            )
            for tier in tiers
            for each in tier
        ]

    def _begin(self, each: Watching, subject: Subject) -> StreamSession:
        if not isinstance(each.monitor, ReadsStreams):
            raise TypeError(f"{each.name} watches streams but has no `open`")
        return each.monitor.open(subject, self._view(each), self._context(each, subject, "low"))

    def conclude_stream(self, key: str, readings: Sequence[Reading]) -> None:
        """Record the verdicts on a step's stream."""
        verdicts = [verdict for reading in readings for verdict in reading.verdicts]
        if verdicts:
            self.write(Subject(kind="stream", key=key), "", self.decide(verdicts), "low", verdicts)

    def _is_due(self, each: Watching, key: str, stakes: Stakes, verdicts: Sequence[Verdict]) -> bool:
        """Whether a monitor runs: cheap tiers always, others if the stakes or an inconclusive score ask for it.

        If the stakes are not high, a monitor that samples runs only on the subjects drawn.
        """
        if each.spec.sample < 1 and stakes != "high" and not self._is_drawn(each, key):
            return False
        needed = _TIER_STAKES.get(each.spec.tier)
        return needed is None or stakes in needed or any(self._leaves_open(verdict) for verdict in verdicts)

    def _is_drawn(self, each: Watching, key: str) -> bool:
        """Whether a sampling monitor reads this subject; repeatable."""
        source = random.Random(f"{self._recorder.claim.run}:{key}:{each.name}:sample")  # noqa: S311 - repeatable on purpose
        return source.random() < each.spec.sample

    def _leaves_open(self, verdict: Verdict) -> bool:
        if verdict.score is None:
            return False
        least, most = self._by_name[verdict.monitor].spec.band
        return least <= verdict.score <= most

    async def waive(self, subject: Subject, subject_digest: str, stakes: Stakes) -> bool:
        """Whether all monitors that may waive this question say `allow`; a missing or failed verdict does not."""
        asked = [each for each in self._waiving if subject.kind in each.spec.watches]
        if not asked or self._observe:
            return False
        known = self._state.at(subject.key).verdicts
        wire = canonical(subject)
        verdicts, fresh = [], []
        for each in asked:
            verdict = known.get((subject.kind, subject_digest, each.name, each.settings))
            if verdict is None and self._is_due(each, subject.key, stakes, ()):
                verdict = await self._ask(each, subject, wire, stakes)
                fresh.append(verdict)
            verdicts.append(verdict)
        spared = all(each is not None and (each.decision, each.status) == ("allow", "ok") for each in verdicts)
        if fresh:
            self.write(subject, subject_digest, "allow" if spared else "escalate", stakes, fresh, waives=True)
        return spared

    def decide(self, verdicts: Iterable[Verdict]) -> Decision:
        """Return the strictest binding decision."""
        return strictest(self.binding(verdicts))

    async def _ask_at_once(
        self, asked: Sequence[Watching], subject: Subject, wire: bytes, stakes: Stakes
    ) -> list[Verdict]:
        return await at_once(self._ask(each, subject, wire, stakes) for each in asked)

    def _lacking(self, roles: Iterable[str]) -> str:
        """Return the first of some roles that has no backend; empty if all have one."""
        return next((role for role in roles if not self._steps.has(role)), "")

    @staticmethod
    def _without(each: Watching, role: str) -> Verdict:
        """Return the verdict of a monitor whose role has no backend."""
        return Verdict(
            decision=each.spec.on_missing,
            status="skipped",
            rationale=f"no backend for the role {role!r}",
            monitor=each.name,
            settings=each.settings,
        )

    async def _ask(
        self, each: Watching, subject: Subject, wire: bytes, stakes: Stakes, waits: Callable[[], None] | None = None
    ) -> Verdict:
        """Ask one monitor. Whatever it does, the result is a verdict; a failed check is never a pass.

        Args:
            each: the monitor.
            subject: what it reads.
            wire: the subject as bytes.
            stakes: how much depends on it.
            waits: called if it has to wait for anything.
        """
        spec = each.spec
        context, view = self._context(each, subject, stakes), self._view(each)
        started = self._recorder.ticks()
        try:
            lacking = self._lacking(spec.needs) if spec.needs else ""
            if lacking:
                return self._without(each, lacking)
            review = _checked(each.monitor.review(_subjects.decode(wire), view, context))
            verdict = bounded(whole(await within(spec.timeout_s, review, waits or each.has_waited)))
        except TimeoutError:
            verdict = Verdict(
                decision=spec.on_timeout, status="timeout", rationale=f"no verdict within {spec.timeout_s:g} s"
            )
        except (StepFailed, BudgetSpent, Unavailable) as error:
            verdict = Verdict(
                decision=spec.on_error, status="error", rationale=f"its model gave no usable answer: {error}"
            )
        except asyncio.CancelledError:
            if not is_from_within():
                raise
            verdict = Verdict(decision=spec.on_error, status="error", rationale="it was cancelled by its own code")
        except Exception as error:
            if error in (context.ending, view.ending):
                raise  # it is the run's own; any other is the monitor's fault, and a finding
            verdict = Verdict(decision=spec.on_error, status="error", rationale=described(error))
        else:
            verdict = _counted(verdict, spec, (self._recorder.ticks() - started) / 1e6)
        return msgspec.structs.replace(
            verdict,
            monitor=each.name,
            version=spec.version,
            settings=each.settings,
            usage=verdict.usage if context.usage is NO_USAGE else context.usage + verdict.usage,
            seconds=(self._recorder.ticks() - started) / 1e6,
        )

    def write(
        self,
        subject: Subject,
        subject_digest: str,
        decision: Decision,
        stakes: Stakes,
        verdicts: Sequence[Verdict],
        *,
        waives: bool = False,
    ) -> None:
        facts, telling = [], False
        for verdict in verdicts:
            fact = ev.VerdictFact(
                monitor=verdict.monitor,
                decision=verdict.decision,
                status=verdict.status,
                settings=verdict.settings,
                score=verdict.score,
                property=verdict.property,
                calibrated=verdict.calibrated,
                seconds=verdict.seconds,
            )
            facts.append(fact)
            silent = verdict.decision == "allow" and not verdict.rationale and verdict.score is None
            telling = telling or not silent or verdict.usage != NO_USAGE
        event = ev.Reviewed(
            key=subject.key,
            subject=subject.kind,
            digest=subject_digest,
            decision=decision,
            stakes=stakes,
            verdicts=tuple(facts),
            waives=waives,
        )
        self._recorder.record(event, {"verdicts": verdicts} if telling else None)


def observed(event: ev.ActionOutcome, content: Mapping[str, Any], call: ActionCall) -> ObservationRecord:
    """Return what monitors read of a recorded outcome."""
    return ObservationRecord(
        call=call,
        value=content.get("value"),
        tainted=event.tainted,
        predicted=call.predicted,
        status=event.status,
        reason=content.get("reason", ""),
    )


def _checked(review: Any) -> Coroutine[Any, Any, Any]:
    """Return what a monitor's `review` returned, if it can be awaited here."""
    if not hasattr(review, "send"):
        raise TypeError(f"`review` returned a {type(review).__name__}: it should be `async def`")
    return review  # type: ignore[no-any-return]  # just looked at


def _counted(verdict: Verdict, spec: MonitorSpec, seconds: float) -> Verdict:
    """Return what a verdict counts as, given the seconds it took.

    A monitor that blocks the event loop cannot be stopped; its late verdict counts if it is stricter than `on_timeout`.
    """
    if verdict.status != "ok":
        return unmade(verdict, spec)
    if seconds <= spec.timeout_s or SEVERITY[verdict.decision] > SEVERITY[spec.on_timeout]:
        return verdict
    said = (
        f"its verdict, {verdict.decision}, took longer than {spec.timeout_s:g} s, and it let nothing else run meanwhile"
    )
    return Verdict(decision=spec.on_timeout, status="timeout", rationale=said)


_subjects = msgspec.json.Decoder(Subject)

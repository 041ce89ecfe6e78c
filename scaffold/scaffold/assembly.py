"""Assembles backends, monitors and actions: the base class of every way to embed."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args

from scaffold import registry
from scaffold.credentials import Credentials
from scaffold.errors import BadInput, TaskError, nearest
from scaffold.interfaces import (
    ActionSource,
    Approver,
    Backend,
    ChecksTask,
    Journal,
    Monitor,
    Prepares,
    Surroundings,
    TakesCredentials,
    Witness,
)
from scaffold.limits import limited
from scaffold.machinery.asking.prompts import Templates
from scaffold.machinery.asking.showing import Piece, Words
from scaffold.machinery.driving.setting import Setting
from scaffold.machinery.recording.redacting import as_recorded
from scaffold.projections import environment
from scaffold.trace import sealing
from scaffold.trace.heads import Signer, check_verifier
from scaffold.trace.places import journal_of, place_of, runs_folder
from scaffold.vocabulary.canonical import adapter, canonical, digest, not_finite, unwritable
from scaffold.vocabulary.review import SubjectKind
from scaffold.vocabulary.sampling import ways_of
from scaffold.vocabulary.task import Task

if TYPE_CHECKING:
    from scaffold.interfaces import Action, Claim
    from scaffold.projections.otlp import LiveExport
    from scaffold.vocabulary.confidence import Calibration
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.models import Profile
    from scaffold.vocabulary.monitorability import Monitorability
    from scaffold.vocabulary.sampling import Sampling

Say = Callable[[str, float], None]
T = TypeVar("T")


# What an action declares besides its schema and effect, on which recorded clearances and intents rest.
_PROMISED = ("identity", "idempotency", "cost", "limits", "trusted", "undo")


class Assembly:
    """The parts that runs are made of; holds no state of any run.

    Close it, or use it as an async context manager. The arguments are documented at `Scaffold`.
    """

    def __init__(  # noqa: PLR0913 - everything that a run may be made of
        self,
        *,
        backends: Mapping[str, str | Mapping[str, Any] | Backend] | str | Backend | None = None,
        monitors: Sequence[str | Mapping[str, Any] | Monitor] | None = None,
        actions: Sequence[Action | ActionSource] = (),
        prompts: Path | str | None = None,
        journal: Journal | Path | str | None = None,
        approvers: Sequence[Approver] = (),
        signer: Signer | None = None,
        witnesses: Sequence[Witness] = (),
        sampling: Sampling | None = None,
        oversample: int = 0,
        calibration: Calibration | None = None,
        monitorability: Monitorability | None = None,
        seed: int | None = None,
        observe: bool = False,
        plan_only: bool = False,
        surroundings: Surroundings | None = None,
        on_event: Callable[[Event, bytes], None] | None = None,
        on_piece: Callable[[Piece], None] | None = None,
        words: Words = "cleared",
        credentials: Mapping[str, Any] | None = None,
        base: Path | None = None,
    ) -> None:
        base = base or Path.cwd()
        self.journal: Journal = _journal(journal)
        self._backends = {
            role: registry.backend_of(said, path=("backends", role))
            for role, said in registry.by_role(backends).items()
        }
        self._monitors = _monitors(monitors, base)
        actions = registry.listed(actions, "actions")
        self._sources = [each for each in actions if isinstance(each, ActionSource)]
        self._actions = _by_name(registry.each_action(actions))
        self._templates = Templates(prompts)
        self._approvers = _each(approvers, Approver, "approvers", "a way to reach a person (`oversight` names people)")
        _each(() if signer is None else (signer,), Signer, "signer", "a signer, which `signer_of` makes")
        self._signer = signer
        self._witnesses = _each(witnesses, Witness, "witnesses", "a witness, which `witness_of` makes")
        self._sealer = sealing.from_environment()
        self._sampling = sampling
        self._oversample = oversample
        self._calibration = calibration
        self._monitorability = monitorability
        self._seed = "" if seed is None else str(seed)
        self._observe = observe
        self._plan_only = plan_only
        self._surroundings = surroundings or Surroundings()
        self._on_event = on_event
        self._on_piece = on_piece
        if words not in get_args(Words):
            raise TaskError(f"should be `live` or `cleared`, not {words!r}", path=("words",))
        self._words = words
        self._prepared = False
        self._started: list[ActionSource] = []
        self._credentials = Credentials(credentials, base)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the backends, and the sources of actions that were started here."""
        started, self._started = self._started, []
        self._prepared = False
        await close_all(*started, *self._backends.values())

    @property
    def profiles(self) -> list[Profile]:
        """What each backend can do, costs, and shows of its reasoning."""
        return [backend.profile for backend in self._backends.values()]

    async def prepare(self, say: Say | None = None) -> None:
        """Have backends load what they need, and start the sources of actions; `solve` does so itself."""
        if not self._prepared:
            for each in (*self._backends.values(), *self._sources):
                if isinstance(each, TakesCredentials):
                    each.take_credentials(self._credentials)
                if isinstance(each, ActionSource):
                    self._started.append(each)  # as often as runs begin at once, and also if it fails
                if isinstance(each, Prepares):
                    await each.prepare(say or _silent)
            self._prepared = True

    def check(self, task: Task) -> None:
        """Check before the run that the task can be run; `solve` and `resume` do so themselves.

        Raises:
            BadInput: the task does not fit this agent.
        """
        given = len(task.goals)
        specs = {name: each.spec for name, each in self._actions.items()}
        for place, name in enumerate(task.actions or ()):
            if name not in specs:
                raise TaskError(f"there is no action {name!r}{nearest(name, specs)}", path=("actions", place))
        for name in specs if task.actions is None else task.actions:
            self._credentials.check(specs[name].credentials, name)
        task = self._limited(task)
        _check_recordable(task)
        _check_approvers(task)
        self._check_sampling()
        for monitor in self._monitors:
            if isinstance(monitor, ChecksTask):
                monitor.check(task, specs)
            for role in monitor.spec.needs if monitor.spec.role == "restrict" else ():
                self._check_role(monitor, role)
        self._check_ruled(task, given)
        budgets = {("budget", "usd"): task.budget, ("oversight", "budget", "usd"): task.oversight.budget}
        for path in [path for path, budget in budgets.items() if budget.usd is not None]:
            unpriced = [
                f"{role} ({each.profile.model})" for role, each in self._backends.items() if each.profile.prices is None
            ]
            if unpriced:
                said = (
                    f"the price of the backend {unpriced[0]} is not known: give it `prices`, or limit `tokens` instead"
                )
                raise TaskError(said, path=path)

    def _check_ruled(self, task: Task, given: int) -> None:
        """Check that a monitor reads rules: those of the task's own goals (the first `given`), and of its limits."""
        if any(monitor.spec.reads_rules for monitor in self._monitors):
            return
        for place, goal in enumerate(task.goals):
            if goal.rule is not None and place < given:
                said = "has a rule, but no monitor checks rules: add `rules` to `monitors`"
                raise TaskError(said, path=("goals", place))
            if goal.rule is not None:
                said = f"{goal.statement}: no monitor checks this limit: add `rules` to `monitors`"
                raise TaskError(said, path=("limits",))

    def _limited(self, task: Task) -> Task:
        specs = {name: each.spec for name, each in self._actions.items()}
        return limited(task, {name: specs[name] for name in (specs if task.actions is None else task.actions)})

    def _check_sampling(self) -> None:
        """Check that the prompts and roles named by sampling exist; else it would ask the same again."""
        for way in ways_of(self._sampling) if self._sampling is not None else ():
            if way.prompt:
                self._templates.get(way.prompt)
            if way.to and way.to not in self._backends:
                known = nearest(way.to, self._backends)
                raise TaskError(
                    f"there is no backend for the role {way.to!r}{known}: add one to `backends`", path=("sampling",)
                )

    def _check_role(self, monitor: Monitor, role: str) -> None:
        if role in self._backends:
            if _same_model(self._backends[role], self._backends.get("default")):
                warnings.warn(
                    f"the monitor {monitor.spec.name!r} uses the planner's own model, which judges itself", stacklevel=4
                )
        elif "default" not in self._backends:
            if monitor.spec.on_missing == "block":  # reported now rather than at its first review
                said = f"the monitor {monitor.spec.name!r} needs a backend for the role {role!r}: add one to `backends`"
                raise TaskError(said, path=("backends",))
        else:
            name = monitor.spec.name
            said = f"the monitor {name!r} has no backend {role!r} and uses the planner's own model, which judges itself"
            warnings.warn(said + nearest(role, self._backends), stacklevel=4)

    async def claimed(self, task: Task | str, *, resume: str = "") -> tuple[Task, Mapping[str, Any], Claim]:
        """Return a checked task, the config its run was started with, and a claim on that run.

        Args:
            task: the task; a text is a task without goals.
            resume: id of a run to resume; its own task is used.
        """
        config: Mapping[str, Any] = {}
        if resume:
            task, config = await read_start(self.journal, resume)
        elif isinstance(task, str):
            task = Task(prompt=task)
        elif not isinstance(task, Task):
            raise BadInput(f"{registry.kind_of(task)} is not a task: give a Task, or the prompt as text")
        self.check(task)
        task = as_recorded(task)
        if not (resume and _has_ended(self.journal, resume)):  # an ended run asks nobody any more
            await self.prepare()
        return task, config, await self.journal.claim(resume or self.new_id(), owner(), create=not resume)

    def new_id(self) -> str:
        """Return a new run id: its start time, and six random characters."""
        when = datetime.fromtimestamp(self._surroundings.clock.now(), UTC)
        tail = "".join(self._surroundings.random.choices("abcdefghjkmnpqrstuvwxyz23456789", k=6))
        return f"{when:%Y%m%d-%H%M%S}-{tail}"

    @asynccontextmanager
    async def setting(
        self, task: Task, name: str, config: Mapping[str, Any], *, resumed: bool
    ) -> AsyncIterator[Setting]:
        """Provide what one run is made of, for as long as it goes on.

        Args:
            task: the task.
            name: who makes the moves, as pinned in the trace.
            config: what is needed to rebuild this; kept in the trace's content.
            resumed: the run was started before.
        """
        known = dict(config)
        if not resumed and (traceparent := _host_span()):
            known["traceparent"] = traceparent  # so that later exports also nest under the host's span
        live = _live_export(resumed=resumed)
        try:
            yield Setting(
                task=self._limited(task),
                name=name,
                backends=self._backends,
                monitors=self._monitors,
                actions=self._actions if task.actions is None else {name: self._actions[name] for name in task.actions},
                templates=self._templates,
                journal=self.journal,
                surroundings=self._surroundings,
                plugins=self._pins(),
                approvers=self._approvers,
                signer=self._signer,
                witnesses=self._witnesses if live is None else (*self._witnesses, live),
                sealer=self._sealer,
                sampling=self._sampling,
                oversample=self._oversample,
                calibration=self._calibration,
                monitorability=self._monitorability,
                seed=self._seed,
                observe=self._observe,
                plan_only=self._plan_only,
                config=known,
                credentials=self._credentials,
                followers=() if live is None else (live.follow,),
                listeners=(
                    *(() if live is None else (live.send,)),
                    *(() if self._on_event is None else (self._on_event,)),
                ),
                on_piece=self._on_piece,
                words=self._words,
            )
        finally:
            if live is not None:
                await asyncio.to_thread(live.close)

    def _pins(self) -> dict[str, str]:
        """Return what must be unchanged when a run is resumed."""
        pins = {
            f"monitor:{each.spec.name}": f"{each.spec.version}/{digest(canonical(each.spec.settings))[:12]}"
            for each in self._monitors
        }
        for name, each in self._actions.items():
            pins[f"action:{name}"] = (
                f"{each.spec.version}/{digest(canonical([each.spec.parameters, each.spec.effect]))[:12]}"
            )
            promised = {field: getattr(each.spec, field) for field in _PROMISED}
            pins |= {f"action:{name}.{field}": _word(said) for field, said in promised.items() if said}
        return pins


async def close_all(*parts: ActionSource | Backend) -> None:
    """Close all, also when closing one of them fails, which is a warning: what ran has its outcome by then."""
    failed = []
    for each in parts:
        try:
            await each.close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed all the same
            failed.append(f"{registry.kind_of(each)} cannot be closed: {type(error).__name__}: {error}")
    for said in failed:
        warnings.warn(f"{said}; what it has started may go on until this process ends", stacklevel=2)


def _word(said: Any) -> str:
    return said if isinstance(said, str) else canonical(said).decode()


def _journal(said: Journal | Path | str | None) -> Journal:
    if said is None or isinstance(said, str | Path):
        return journal_of(runs_folder() if said is None else place_of(str(said)))
    if isinstance(said, type) or not isinstance(said, Journal):
        wrong = f"{registry.kind_of(said)} cannot keep runs: give a folder, `postgresql://...`, or a Journal"
        raise TaskError(wrong, path=("journal",))
    return said


def _each(given: Sequence[T], kind: Any, what: str, wanted: str) -> tuple[T, ...]:
    """Return what was given if each of it is of that kind."""
    found = tuple(registry.listed(given, what))
    for each in found:
        if isinstance(each, type) or not isinstance(each, kind):
            raise TaskError(f"{registry.kind_of(each)} is not {wanted}", path=(what,))
    return found


def _monitors(said: Sequence[str | Mapping[str, Any] | Monitor] | None, base: Path) -> list[Monitor]:
    """Return the named monitors, without duplicates; if None is given, those that are on by default."""
    if said is None:
        made = registry.default_monitors()
    else:
        made = [_monitor(each, base) for each in registry.listed(said, "monitors")]
    for each in made:
        _check_name(each)
        _check_watches(each)
    names = [each.spec.name for each in made]
    if len(set(names)) != len(names):
        twice = max(names, key=names.count)
        raise TaskError(f"{twice!r} is named twice: name it once, with all its settings", path=("monitors",))
    return made


def _by_name(actions: Sequence[Action]) -> dict[str, Action]:
    found = {each.spec.name: each for each in actions}
    if len(found) != len(actions):
        names = [each.spec.name for each in actions]
        twice = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"two actions are named {twice!r}", path=("actions",))
    return found


def _monitor(said: str | Mapping[str, Any] | Monitor, base: Path) -> Monitor:
    if isinstance(said, str):
        return registry.make_monitor(said, {}, base)
    if isinstance(said, Mapping):
        if len(said) != 1:
            raise TaskError("should be one monitor per item: `- name: {settings}`", path=("monitors",))
        name, settings = next(iter(said.items()))
        return registry.make_monitor(name, settings or {}, base)
    if not isinstance(said, type) and isinstance(said, Monitor):
        return said
    raise TaskError(f"{registry.kind_of(said)} is not a monitor", path=("monitors",))


_NO_MONITORS = ("gate", "people")  # who else gives verdicts


def _check_name(monitor: Monitor) -> None:
    """Refuse a name under which verdicts stand in the trace that no monitor gave."""
    if monitor.spec.name in _NO_MONITORS:
        said = f"a monitor cannot be named {monitor.spec.name!r}, as verdicts of another origin are: rename it"
        raise TaskError(said, path=("monitors",))


def _check_watches(monitor: Monitor) -> None:
    """Refuse an unknown kind of subject: the monitor would read nothing and seem to work."""
    kinds = get_args(SubjectKind)
    for kind in monitor.spec.watches:
        if kind not in kinds:
            said = (
                f"the monitor {monitor.spec.name!r} watches {kind!r}, which is not a kind of "
                f"subject{nearest(kind, kinds)}"
            )
            raise TaskError(f"{said}; expected one of {', '.join(kinds)}", path=("monitors",))


def _same_model(one: Backend, other: Backend | None) -> bool:
    """Whether two backends use one model; a model without a name of its own equals only itself."""
    if other is None or one is other:
        return one is other
    profile, known = one.profile, other.profile
    named = profile.model not in {"", profile.backend}
    return named and (profile.backend, profile.model) == (known.backend, known.model)


def _live_export(*, resumed: bool) -> LiveExport | None:
    """Return the live OpenTelemetry export if host or environment ask for one; otherwise import nothing."""
    if not (environment.wants_live_export() or environment.host_has_tracing()):
        return None
    from scaffold.projections.otlp import live_from_environment

    return live_from_environment(resumed=resumed)


def _check_approvers(task: Task) -> None:
    for name, key in task.oversight.approvers.items():
        if key:
            try:
                check_verifier(key)
            except BadInput as error:
                raise TaskError(str(error), path=("oversight", "approvers", name)) from None


def _check_recordable(task: Task) -> None:
    """Check before the run that the trace can hold the task, and name the part that it cannot."""
    inputs: list[tuple[tuple[str, ...], Any]] = [(("inputs", name), value) for name, value in task.inputs.items()]
    for path, value in [(("prompt",), task.prompt), *inputs]:
        try:
            canonical(adapter(Any).dump_python(value, mode="json"))
        except UnicodeEncodeError:
            raise TaskError("contains half of a surrogate pair, which is not valid text", path=path) from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise TaskError(f"cannot be recorded: {unwritable(error)}", path=path) from None
        if (number := not_finite(value)) is not None:  # it would be recorded, and resumed, as null
            raise TaskError(f"{number} is not a number that can be recorded", path=path)


def _host_span() -> str:
    """Return the host's current span; without OpenTelemetry here, that of the process that started this one."""
    if "opentelemetry.trace" not in sys.modules:
        return os.environ.get("TRACEPARENT", "")
    from scaffold.projections.identity import current_traceparent

    return current_traceparent()


def owner() -> str:
    """Return the name under which this process claims runs."""
    return f"{os.uname().nodename}:{os.getpid()}"


def _silent(_what: str, _fraction: float) -> None:
    return None


def _has_ended(journal: Journal, run: str) -> bool:
    """Whether a run has ended, if that is cheap to know; a database would have to copy the run first."""
    from scaffold.trace.files import FileJournal
    from scaffold.trace.folders import has_ended

    return isinstance(journal, FileJournal) and has_ended(journal, run)


async def read_start(journal: Journal, run: str) -> tuple[Task, dict[str, Any]]:
    """Read from its first event what a run was started with.

    Raises:
        TraceDamaged: the first event is missing, withheld, altered or another run's.
    """
    from scaffold.errors import TraceDamaged
    from scaffold.trace.chain import Chain, as_written, body_of, withheld

    why = "it is empty, which happens when a process dies before the run starts"
    records = journal.read(run)
    try:
        async for record in records:
            link = Chain().follow(record)
            if link.content is None:
                why = withheld(record)
                break
            of = getattr(link.event, "run", run)  # an event of another kind has none, and no task either
            if of != run:
                why = f"it is the trace of run {of}"
                break
            with as_written(link.event):
                content = body_of(link.content)
                return Task.model_validate(content["task"]), dict(content["config"])
    finally:
        with suppress(AttributeError):
            await records.aclose()  # type: ignore[attr-defined]  # a generator has it
    raise TraceDamaged(f"the trace does not contain the task that the run was started with: {why}", 1)

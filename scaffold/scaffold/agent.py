"""Scaffold: the framework as people embed it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel

from scaffold import registry
from scaffold.errors import BadInput, TaskError, nearest
from scaffold.interfaces import Backend, ChecksTask, Monitor, Prepares, Surroundings
from scaffold.machinery.engine import Engine
from scaffold.machinery.prompts import Templates
from scaffold.machinery.run import Outcome, Setting
from scaffold.projections import environment
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.canonical import adapter, canonical, digest
from scaffold.vocabulary.code import named
from scaffold.vocabulary.sampling import ways_of
from scaffold.vocabulary.task import Task

if TYPE_CHECKING:
    from scaffold.interfaces import Action, Approver, Journal
    from scaffold.projections.otlp import LiveExport
    from scaffold.trace.heads import Signer
    from scaffold.vocabulary.confidence import Calibration
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.moves import Planning
    from scaffold.vocabulary.sampling import Sampling

Say = Callable[[str, float], None]


def runs_folder() -> Path:
    """Where runs are kept: `$SCAFFOLD_RUNS`, else `.scaffold/runs` in the current folder."""
    return Path(os.environ.get("SCAFFOLD_RUNS") or ".scaffold/runs")


class Scaffold:
    """An agent: a planner, the backends that think for it, the monitors that read it, the actions it may propose.

    It can solve many tasks at once and keeps nothing global. Close it, or use it as an async context manager.

    Args:
        planner: the name of an installed planner, `module:function`, or a generator function.
        backends: for each role a spec (`smollm2`, `openai:MODEL`), a table with `use` and options, or a Backend.
        monitors: names, `{name: settings}`, or Monitors; None for those that are on by default.
        actions: what the planner may propose.
        options: the planner's options.
        prompts: a folder of templates that replace the built-in ones.
        journal: where runs are kept; files below `runs_folder()` if None.
        approvers: ways to reach a person, tried in turn; whom none reaches answers through the inbox.
        signer: signs the heads of traces.
        sampling: how steps are sampled that do not say so themselves.
        oversample: draw so many samples of each step at least, for measuring how they agree; it decides nothing.
        calibration: how the confidence that steps state is corrected, for `unless_sure`.
        seed: makes samples repeatable, for backends that can; each run has its own when None.
        observe: record what monitors say without enforcing it; schema, rules and budget always bind.
        plan_only: run no action that changes anything.
        surroundings: clock and random source, for tests.
        on_event: called with each event as it happens, and the bytes of its content.
        base: folder that `module:function` refers to.
    """

    def __init__(  # noqa: PLR0913 - all that an agent may be made of
        self,
        planner: str | Callable[..., Planning[Any]] = "direct",
        *,
        backends: Mapping[str, str | Mapping[str, Any] | Backend] | None = None,
        monitors: Sequence[str | Mapping[str, Any] | Monitor] | None = None,
        actions: Sequence[Action] = (),
        options: Mapping[str, Any] | None = None,
        prompts: Path | str | None = None,
        journal: Journal | None = None,
        approvers: Sequence[Approver] = (),
        signer: Signer | None = None,
        sampling: Sampling | None = None,
        oversample: int = 0,
        calibration: Calibration | None = None,
        seed: int | None = None,
        observe: bool = False,
        plan_only: bool = False,
        surroundings: Surroundings | None = None,
        on_event: Callable[[Event, bytes], None] | None = None,
        base: Path | None = None,
    ) -> None:
        self.journal: Journal = journal if journal is not None else FileJournal(runs_folder())
        self._planner, self._planner_name = _planner(planner, options or {}, base or Path.cwd())
        self._backends = {
            role: registry.backend_of(said, path=("backends", role)) for role, said in (backends or {}).items()
        }
        self._monitors = (
            registry.default_monitors() if monitors is None else [_monitor(said, base) for said in monitors]
        )
        named = [each.spec.name for each in self._monitors]
        if len(set(named)) != len(named):
            raise TaskError(
                f"{max(named, key=named.count)!r} is named twice: give it all its settings once", path=("monitors",)
            )
        self._actions = {each.spec.name: each for each in actions}
        if len(self._actions) != len(actions):
            names = [each.spec.name for each in actions]
            raise TaskError(
                f"two actions are named {next(name for name in names if names.count(name) > 1)!r}", path=("actions",)
            )
        self._templates = Templates(prompts)
        self._approvers = tuple(approvers)
        self._signer = signer
        self._sampling = sampling
        self._oversample = oversample
        self._calibration = calibration
        self._seed = "" if seed is None else str(seed)
        self._observe = observe
        self._plan_only = plan_only
        self._surroundings = surroundings or Surroundings()
        self._on_event = on_event
        self._running: dict[str, Engine] = {}
        self._prepared = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Free what the backends hold."""
        for backend in self._backends.values():
            await backend.close()
        self._prepared = False

    async def prepare(self, say: Say | None = None) -> None:
        """Have backends fetch and load what they need; `solve` does so by itself."""
        if not self._prepared:
            for backend in self._backends.values():
                if isinstance(backend, Prepares):
                    await backend.prepare(say or _silent)
            self._prepared = True

    async def solve(self, task: Task, *, config: Mapping[str, Any] | None = None) -> Outcome:
        """Solve a task; gives an outcome however it ends.

        Raises:
            BadInput: the task does not fit this agent; nothing was begun.
        """
        self.check(task)
        await self.prepare()
        run = self._new_id()
        claim = await self.journal.claim(run, _owner(), create=True)
        known = dict(config or {})
        traceparent = _host_span()
        if traceparent:
            known["traceparent"] = traceparent  # so that later exports stand below the host's span too
        return await self._run(task, claim, known, resume=False)

    async def resume(self, run: str) -> Outcome:
        """Go on with a run that was paused or cut off; one that has ended gives its outcome again.

        Raises:
            UnknownRun: there is none of that name.
            RunHeld: another process is at it.
            PlanChanged: the planner no longer fits what is recorded.
        """
        task, config = await read_start(self.journal, run)
        self.check(task)
        await self.prepare()
        claim = await self.journal.claim(run, _owner())
        return await self._run(task, claim, config, resume=True)

    def solve_sync(self, task: Task) -> Outcome:
        """Solve a task and close, from code that is not async; in a thread when a loop is running already."""
        return _wait_for(lambda: self._then_close(self.solve(task)))

    def resume_sync(self, run: str) -> Outcome:
        """Resume a run and close, from code that is not async."""
        return _wait_for(lambda: self._then_close(self.resume(run)))

    def interrupt(self) -> bool:
        """Pause every run under way, each of which gives an outcome that can be resumed; say whether there was any."""
        engines = list(self._running.values())
        for engine in engines:
            engine.interrupt()
        return bool(engines)

    async def _then_close(self, solving: Any) -> Outcome:
        try:
            outcome: Outcome = await solving
            return outcome
        finally:
            await self.close()

    async def _run(self, task: Task, claim: Any, config: dict[str, Any], *, resume: bool) -> Outcome:
        live = _live_export(resumed=resume)
        try:
            setting = Setting(
                task=task,
                name=self._planner_name,
                backends=self._backends,
                monitors=self._monitors,
                actions=self._actions if task.actions is None else {name: self._actions[name] for name in task.actions},
                templates=self._templates,
                journal=self.journal,
                surroundings=self._surroundings,
                plugins=self._pins(),
                approvers=self._approvers,
                signer=self._signer,
                sampling=self._sampling,
                oversample=self._oversample,
                calibration=self._calibration,
                seed=self._seed,
                observe=self._observe,
                plan_only=self._plan_only,
                config=config,
                followers=() if live is None else (live.follow,),
                listeners=(
                    *(() if live is None else (live.send,)),
                    *(() if self._on_event is None else (self._on_event,)),
                ),
            )
            engine = self._running[claim.run] = Engine(setting, claim, self._planner)
            return await (engine.resume() if resume else engine.start())
        finally:
            self._running.pop(claim.run, None)
            await self.journal.release(claim)
            if live is not None:
                await asyncio.to_thread(live.close)

    def check(self, task: Task) -> None:
        """Find what cannot work before anything begins; `solve` and `resume` do so by themselves.

        Raises:
            BadInput: the task does not fit this agent.
        """
        specs = {name: each.spec for name, each in self._actions.items()}
        for place, name in enumerate(task.actions or ()):
            if name not in specs:
                raise TaskError(f"there is no action {name!r}{nearest(name, specs)}", path=("actions", place))
        _check_recordable(task)
        self._check_sampling()
        for monitor in self._monitors:
            if isinstance(monitor, ChecksTask):
                monitor.check(task, specs)
            for role in monitor.spec.needs if monitor.spec.role == "restrict" else ():
                self._check_role(monitor, role)
        ruled = [place for place, goal in enumerate(task.goals) if goal.rule is not None]
        if ruled and not any(monitor.spec.reads_rules for monitor in self._monitors):
            raise TaskError(
                "has a rule, and no monitor reads rules: add `rules` to `monitors`", path=("goals", ruled[0])
            )
        budgets = {("budget", "usd"): task.budget, ("oversight", "budget", "usd"): task.oversight.budget}
        for path in [path for path, budget in budgets.items() if budget.usd is not None]:
            unpriced = [
                f"{role} ({each.profile.model})" for role, each in self._backends.items() if each.profile.prices is None
            ]
            if unpriced:
                said = f"no price is known for the backend {unpriced[0]}: give it `prices`, or bound `tokens` instead"
                raise TaskError(said, path=path)

    def _check_sampling(self) -> None:
        """A role that sampling asks must be there: the default one in its place would be asked the same again."""
        for way in ways_of(self._sampling) if self._sampling is not None else ():
            if way.to and way.to not in self._backends:
                known = nearest(way.to, self._backends)
                raise TaskError(f"there is no backend for the role {way.to!r}{known}: name it", path=("sampling",))

    def _check_role(self, monitor: Monitor, role: str) -> None:
        if role in self._backends:
            if self._backends[role] is self._backends.get("default"):
                warnings.warn(f"the monitor {monitor.spec.name!r} is asked of the planner's own model", stacklevel=4)
        elif "default" not in self._backends:
            if monitor.spec.on_missing == "block":  # found now rather than at its first review
                said = f"the monitor {monitor.spec.name!r} needs a backend for the role {role!r}"
                raise TaskError(said, path=("backends",))
        else:
            name = monitor.spec.name
            said = f"the monitor {name!r} has no backend {role!r} and asks the planner's own model, which judges itself"
            warnings.warn(said, stacklevel=4)

    def _pins(self) -> dict[str, str]:
        """What a run must find unchanged when it is resumed."""
        pins = {
            f"monitor:{each.spec.name}": f"{each.spec.version}/{digest(canonical(each.spec.settings))[:12]}"
            for each in self._monitors
        }
        for name, each in self._actions.items():
            pins[f"action:{name}"] = (
                f"{each.spec.version}/{digest(canonical([each.spec.parameters, each.spec.effect]))[:12]}"
            )
        return pins

    def _new_id(self) -> str:
        when = datetime.fromtimestamp(self._surroundings.clock.now(), UTC)
        tail = "".join(self._surroundings.random.choices("abcdefghjkmnpqrstuvwxyz23456789", k=6))
        return f"{when:%Y%m%d-%H%M%S}-{tail}"


async def read_start(journal: Journal, run: str) -> tuple[Task, dict[str, Any]]:
    """Read what a run was started with, from its first event.

    Raises:
        TraceDamaged: the first event is missing, withheld or altered.
    """
    from scaffold.errors import TraceDamaged
    from scaffold.trace.chain import Chain, body_of

    records = journal.read(run)
    try:
        async for record in records:
            link = Chain().follow(record)
            if link.content is None:
                break
            content = body_of(link.content)
            return Task.model_validate(content["task"]), content["config"]
    finally:
        with suppress(AttributeError):
            await records.aclose()  # type: ignore[attr-defined]  # generators have it
    raise TraceDamaged("the trace does not hold the task it was started with", 1)


def _planner(
    said: str | Callable[..., Planning[Any]], options: Mapping[str, Any], base: Path
) -> tuple[Callable[[Task], Planning[Any]], str]:
    if callable(said):
        name = f"{said.__module__}:{getattr(said, '__qualname__', type(said).__name__)}"
        function = said
    elif ":" in said:
        name, function = said, registry.from_file(said, base, path=("planner",))
    else:
        name, function = said, registry.load("planner", said)
    pinned = f"{name} {digest(canonical(_plain(options)))[:12]}" if options else name
    return registry.planner(function, options, base), pinned


def _plain(option: Any) -> Any:
    """An option as JSON values: code by its name, so that a task file and a program pin the same."""
    match option:
        case Mapping():
            return {name: _plain(each) for name, each in option.items()}
        case list() | tuple():
            return [_plain(each) for each in option]
        case str() | int() | float() | None | BaseModel():
            return option
        case _:
            return named(option)


def _monitor(said: str | Mapping[str, Any] | Monitor, base: Path | None) -> Monitor:
    if isinstance(said, str):
        return registry.make_monitor(said, {}, base)
    if isinstance(said, Mapping):
        if len(said) != 1:
            raise TaskError("one monitor at a time: `- name: {settings}`", path=("monitors",))
        name, settings = next(iter(said.items()))
        return registry.make_monitor(name, settings or {}, base)
    if isinstance(said, Monitor):
        return said
    raise TaskError(f"a {type(said).__name__} is no monitor", path=("monitors",))


def _live_export(*, resumed: bool) -> LiveExport | None:
    """The live OpenTelemetry export, when the environment asks for one; else None, and nothing heavy is imported."""
    if not environment.wants_live_export():
        return None
    from scaffold.projections.otlp import live_from_environment

    return live_from_environment(resumed=resumed)


def _check_recordable(task: Task) -> None:
    """What the trace could not hold is found before the run begins, and by its name."""
    inputs: list[tuple[tuple[str, ...], Any]] = [(("inputs", name), value) for name, value in task.inputs.items()]
    for path, value in [(("prompt",), task.prompt), *inputs]:
        try:
            canonical(adapter(Any).dump_python(value, mode="json"))
        except UnicodeEncodeError:
            raise TaskError("holds half of a surrogate pair, which is no text", path=path) from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise TaskError(f"cannot be recorded: {error}", path=path) from None


def _host_span() -> str:
    """The host's span that is under way; none when the host has never used OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return ""
    from scaffold.projections.identity import current_traceparent

    return current_traceparent()


def _owner() -> str:
    return f"pid {os.getpid()}"


def _silent(_what: str, _fraction: float) -> None:
    return None


def _wait_for(start: Callable[[], Any]) -> Outcome:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        outcome: Outcome = asyncio.run(start())
        return outcome
    box: list[Any] = []

    def drive() -> None:
        try:
            box.append(asyncio.run(start()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            box.append(error)

    thread = threading.Thread(target=drive, name="scaffold")
    thread.start()
    thread.join()
    if isinstance(box[0], BaseException):
        raise box[0]
    result: Outcome = box[0]
    return result


__all__ = ["BadInput", "Scaffold", "read_start", "runs_folder"]

"""Scaffold: the framework as people embed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from scaffold import registry
from scaffold.assembly import Assembly, owner, read_start
from scaffold.errors import TaskError, UnknownRun, nearest
from scaffold.interfaces import ActionSource, Backend, Claim, Monitor, Surroundings
from scaffold.limits import raised_to
from scaffold.machinery.asking.showing import Piece, Words
from scaffold.machinery.driving.engine import Engine
from scaffold.machinery.driving.run import Run
from scaffold.streaming import Feed, Happened, streamed
from scaffold.unyielded import unyielded
from scaffold.vocabulary.canonical import canonical, digest
from scaffold.vocabulary.code import named
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.task import Task

if TYPE_CHECKING:
    from scaffold.interfaces import Action, Approver, Journal, Witness
    from scaffold.trace.heads import Signer
    from scaffold.vocabulary.confidence import Calibration
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.monitorability import Monitorability
    from scaffold.vocabulary.moves import Planning
    from scaffold.vocabulary.sampling import Sampling


class Scaffold(Assembly):
    """An agent: a planner, the backends that answer it, the monitors that read it, the actions it may propose.

        agent = Scaffold("direct", backends="smollm2")
        outcome = agent.solve_sync("What is 2 + 2?")

    It can solve many tasks at once and has no global state. Close it, or use it as an async context manager.

    Args:
        planner: the name of an installed planner, `module:function`, or a generator function.
        backends: for each role a spec (`smollm2`, `openai:MODEL`), a table with `use` and options, or a Backend. A
            single one has the role `default`, which also answers for roles that are not named.
        monitors: names or `module:Class`, with settings as `{name: settings}`, or Monitors; None for those that are on
            by default.
        actions: what the planner may propose. A source of actions, such as an MCP server, adds all of its own.
        options: the planner's options.
        prompts: a folder of templates that replace the built-in ones.
        journal: where runs are kept: a folder, `postgresql://...`, or a Journal. None means `$SCAFFOLD_RUNS`, else
            `.scaffold/runs`.
        approvers: ways to reach a person, tried in turn; if none succeeds, answers come through the inbox.
        signer: signs the heads of traces; `scaffold.trace.signing.signer_of` makes one.
        witnesses: keep signed heads elsewhere, too; `scaffold.trace.witnesses.witness_of` makes them.
        sampling: the default for steps that do not set their own.
        oversample: least samples to draw of each step, for measuring agreement; does not change the result.
        calibration: how the confidence that steps state is corrected, for `unless_sure`.
        monitorability: what probes in other runs measured of the backends' reasoning, for `oversight.monitorability`.
        seed: makes samples repeatable, for backends that can; if None, each run has its own.
        observe: record verdicts without enforcing them; schema, rules and budget always bind.
        plan_only: run no action that changes anything.
        surroundings: clock and random source, for tests.
        on_event: called with each event as it happens, and the bytes of its content.
        on_piece: called with the model's words, for a person to see.
        words: which words: `live`, each piece as it is generated, or `cleared`, each step once oversight let it out.
        credentials: where each credential of an action is found, by name: `{"env": VARIABLE}` or `{"file": PATH}`; else
            the environment variable of that name.
        base: folder for `module:function` and paths in settings; None means the current one.

    Raises:
        BadInput: a part cannot be made as described.
    """

    def __init__(  # noqa: PLR0913 - all that an agent may be made of
        self,
        planner: str | Callable[..., Planning[Any]] = "direct",
        *,
        backends: Mapping[str, str | Mapping[str, Any] | Backend] | str | Backend | None = None,
        monitors: Sequence[str | Mapping[str, Any] | Monitor] | None = None,
        actions: Sequence[Action | ActionSource] = (),
        options: Mapping[str, Any] | None = None,
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
        super().__init__(
            backends=backends,
            monitors=monitors,
            actions=actions,
            prompts=prompts,
            journal=journal,
            approvers=approvers,
            signer=signer,
            witnesses=witnesses,
            sampling=sampling,
            oversample=oversample,
            calibration=calibration,
            monitorability=monitorability,
            seed=seed,
            observe=observe,
            plan_only=plan_only,
            surroundings=surroundings,
            on_event=on_event,
            on_piece=on_piece,
            words=words,
            credentials=credentials,
            base=base,
        )
        self._planner, self._planner_name = planner_of(planner, options or {}, base or Path.cwd())
        self._running: dict[str, Engine] = {}

    def check(self, task: Task) -> None:
        """Check before anything begins that the task can be run; `solve` and `resume` do so by themselves.

        Raises:
            BadInput: the task does not fit this agent.
        """
        super().check(task)
        for role in self._backends if "default" not in self._backends else ():
            if meant := nearest(role, ("default",), alike=0.8):
                raise TaskError(f"is another role, and there is no default{meant}", path=("backends", role))
        if isinstance(self._planner, registry.Bound):
            self._planner.check(task)

    async def solve(self, task: Task | str, *, config: Mapping[str, Any] | None = None) -> Outcome:
        """Solve a task and return its outcome, however it ends; a text is a task without goals.

        Args:
            task: the task.
            config: what this agent was made of, as JSON; kept with the run, for whoever makes it anew to resume.

        Raises:
            BadInput: the task does not fit this agent; nothing was begun.
        """
        task, _, claim = await self.claimed(task)
        return await self._run(task, claim, config or {}, resume=False)

    async def resume(
        self,
        run: str,
        *,
        budget: Mapping[str, float] | None = None,
        by: str = "",
        unless: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Continue a run that was paused or cut off; one that has ended returns its outcome again.

        Args:
            run: its id.
            budget: raised limits, as totals for the whole run: `{"tokens": 200_000}`, and oversight's own as
                `{"oversight.tokens": 50_000}`.
            by: who raised them, for the record.
            unless: called in a thread once nobody else can write the run; if it returns True, the run is left as it is.

        Raises:
            UnknownRun: there is no run of that name.
            RunHeld: another process is writing it.
            PlanChanged: the planner no longer fits what is recorded.
            BadInput: the budget is not one, or is no more than it was.
        """
        if not run:
            raise UnknownRun("which run: give its id, as `outcome.run` holds it")
        raised = raised_to(budget or {})
        task, config, claim = await self.claimed("", resume=run)
        if unless is not None:
            leave = True
            try:
                leave = await asyncio.to_thread(unless)
            finally:
                if leave:
                    await self.journal.release(claim)
            if leave:
                return await self.outcome_of(run)
        return await self._run(task, claim, config, resume=True, raised=(raised, by))

    async def submit(self, task: Task, *, config: Mapping[str, Any] | None = None) -> str:
        """Begin a run for somebody else to resume, such as a worker; returns its id once it is on disk.

        Args:
            task: the task.
            config: as `solve` takes it.

        Raises:
            BadInput: the task does not fit this agent; nothing was begun.
        """
        self.check(task)
        claim = await self.journal.claim(self.new_id(), owner(), create=True)
        try:
            async with self.setting(task, self._planner_name, config or {}, resumed=False) as setting:
                run = Run(setting, claim, nullcontext)
                await run.begin()
                await run.recorder.flush(durable=True)
        finally:
            await self.journal.release(claim)
        return claim.run

    async def raise_budget(self, run: str, budget: Mapping[str, float], *, by: str = "") -> None:
        """Raise limits of a paused run for somebody else to resume, such as a worker; it stays paused.

        Args:
            run: its id.
            budget: as `resume` takes it.
            by: who raised them, for the record.

        Raises:
            ScaffoldError: what `resume` raises.
        """
        raised = raised_to(budget)
        task, config, claim = await self.claimed("", resume=run)
        try:
            async with self.setting(task, self._planner_name, config, resumed=True) as setting:
                setting.raised, setting.raised_by = raised, by
                paused = Run(setting, claim, nullcontext)
                if await paused.read_back({}) is None:
                    await paused.pause("interrupted", "its budget was raised")
        finally:
            await self.journal.release(claim)

    async def outcome_of(self, run: str) -> Outcome:
        """Read a run's outcome so far from its trace alone, without claiming or writing anything.

        Raises:
            UnknownRun: there is no run of that name.
            TraceDamaged: the trace was altered.
        """
        task, config = await read_start(self.journal, run)
        async with self.setting(task, self._planner_name, config, resumed=True) as setting:
            setting.listeners = setting.followers = ()
            return await Run(setting, Claim(run, "reader"), nullcontext).look_back()

    async def stream(self, task: Task | str = "", *, resume: str = "") -> AsyncGenerator[Happened | Outcome]:
        """Solve a task, or resume a run, and yield each event as it happens; the outcome comes last.

        A slow reader does not hold up the run, and misses nothing. To stop reading is to pause the run, which can be
        resumed: leave the loop within `contextlib.aclosing`, or be cancelled.

        Raises:
            BadInput: the task does not fit this agent; nothing was begun.
        """
        task, config, claim = await self.claimed(task, resume=resume)
        feed = Feed(self.journal, claim.run)
        solve = partial(self._run, task, claim, config, resume=bool(resume), listeners=(feed.take,))
        async with aclosing(streamed(feed, solve)) as happenings:
            async for each in happenings:
                yield each

    def solve_sync(self, task: Task | str) -> Outcome:
        """Solve a task and close, from code that is not async; in a thread if a loop is already running."""
        return _wait_for(lambda: self._then_close(self.solve(task)))

    def resume_sync(self, run: str, *, budget: Mapping[str, float] | None = None, by: str = "") -> Outcome:
        """Resume a run and close, from code that is not async."""
        return _wait_for(lambda: self._then_close(self.resume(run, budget=budget, by=by)))

    def interrupt(self) -> bool:
        """Pause every run under way; each returns an outcome and can be resumed. Returns whether there was any."""
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

    async def _run(
        self,
        task: Task,
        claim: Claim,
        config: Mapping[str, Any],
        *,
        resume: bool,
        listeners: Sequence[Callable[[Event, bytes], None]] = (),
        raised: tuple[Mapping[str, float], str] = ({}, ""),
    ) -> Outcome:
        try:
            async with self.setting(task, self._planner_name, config, resumed=resume) as setting:
                setting.listeners = (*setting.listeners, *listeners)
                setting.raised, setting.raised_by = raised
                engine = self._running[claim.run] = Engine(setting, claim, self._planner)
                return await (engine.resume() if resume else engine.start())
        finally:
            self._running.pop(claim.run, None)
            await self.journal.release(claim)


def planner_of(
    said: str | Callable[..., Planning[Any]], options: Mapping[str, Any], base: Path
) -> tuple[Callable[[Task], Planning[Any]], str]:
    """Return the planner described, with its options bound, and its name in traces.

    Raises:
        BadInput: there is no such planner, or it does not take these options.
    """
    if callable(said):
        name = f"{said.__module__}:{getattr(said, '__qualname__', type(said).__name__)}"
        function = said
    elif not isinstance(said, str):
        raise TaskError(
            f"{registry.kind_of(said)} is not a planner: give the generator function itself", path=("planner",)
        )
    elif ":" in said:
        name, function = said, registry.from_file(said, base, path=("planner",))
    else:
        name, function = said, registry.load("planner", said)
    pinned = f"{name} {digest(canonical(_plain(options)))[:12]}" if options else name
    bound = registry.planner(function, options, base)
    is_installed = isinstance(said, str) and ":" not in said  # installed ones are tested; reading source is slow
    if not is_installed and (wrong := unyielded(function)):
        raise TaskError(wrong, path=("planner",))
    return bound, pinned


def _plain(option: Any) -> Any:
    """Return an option as JSON values: code by its name, so that a task file and a program pin the same."""
    match option:
        case Mapping():
            return {name: _plain(each) for name, each in option.items()}
        case list() | tuple():
            return [_plain(each) for each in option]
        case str() | int() | float() | None | BaseModel():
            return option
        case _:
            return named(option)


def _wait_for(start: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(start())
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal(name="scaffold") as portal:  # it pauses the run if the waiting thread is interrupted
        outcome: Outcome = portal.call(start)
        return outcome


__all__ = ["Scaffold"]

"""The gate for other people's agents: monitors, people and the trace, without our planners."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from scaffold import planning
from scaffold.assembly import Assembly
from scaffold.errors import BadInput, Unavailable
from scaffold.limits import raised_to
from scaffold.machinery.driving.hosted import Hosted, Said
from scaffold.machinery.gating.permissions import HOST
from scaffold.streaming import Feed, Happened
from scaffold.vocabulary.canonical import recordable, unwritable
from scaffold.vocabulary.events import HOSTED
from scaffold.vocabulary.plan import Planned
from scaffold.vocabulary.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.from_thread import BlockingPortal

    from scaffold.interfaces import Action, ActionSource, Approver, Backend, Journal, Monitor, Surroundings, Witness
    from scaffold.trace.heads import Signer
    from scaffold.vocabulary.actions import Observation
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.models import Usage
    from scaffold.vocabulary.moves import Planning, Review, StepKind, Thought
    from scaffold.vocabulary.outcome import Outcome
    from scaffold.vocabulary.plan import Plan
    from scaffold.vocabulary.references import Reference

T = TypeVar("T")


class Gate(Assembly):
    """Monitors, people and the trace around actions that another agent's loop calls.

    It serves many runs at once and has no global state. Close it, or use it as an async context manager.

        async with Gate(actions=[pay]) as gate, gate.run(task) as run:
            await run.think("The invoice is due.")
            paid = await run.act("pay", {"account": "DE02", "cents": 1999})

    Args:
        actions: what the agent may call. A source of actions, such as an MCP server, adds all of its own.
        monitors: names, `{name: settings}`, or Monitors; None for those that are on by default.
        backends: for each role of monitors (`judge`) a spec, a table with `use` and options, or a Backend.
        model: what the trace calls the host's own model.
        journal: where runs are kept: a folder, `postgresql://...`, or a Journal. None means `$SCAFFOLD_RUNS`, else
            `.scaffold/runs`.
        approvers: ways to reach a person, tried in turn; if none succeeds, answers come through the inbox.
        signer: signs the heads of traces; `scaffold.trace.signing.signer_of` makes one.
        witnesses: keep signed heads elsewhere, too; `scaffold.trace.witnesses.witness_of` makes them.
        observe: record verdicts without enforcing them; schema, rules and budget always bind.
        plan_only: run no action that changes anything.
        surroundings: clock and random source, for tests.
        on_event: called with each event as it happens, and the bytes of its content.
        credentials: where each credential of an action is found, by name: `{"env": VARIABLE}` or `{"file": PATH}`; else
            the environment variable of that name.
        base: folder for `module:Class` and paths in settings; None means the current one.

    Raises:
        BadInput: a part cannot be made as described.
    """

    def __init__(  # noqa: PLR0913 - all that a gate may be made of
        self,
        *,
        actions: Sequence[Action | ActionSource] = (),
        monitors: Sequence[str | Mapping[str, Any] | Monitor] | None = None,
        backends: Mapping[str, str | Mapping[str, Any] | Backend] | None = None,
        model: str = "host",
        journal: Journal | Path | str | None = None,
        approvers: Sequence[Approver] = (),
        signer: Signer | None = None,
        witnesses: Sequence[Witness] = (),
        observe: bool = False,
        plan_only: bool = False,
        surroundings: Surroundings | None = None,
        on_event: Callable[[Event, bytes], None] | None = None,
        credentials: Mapping[str, Any] | None = None,
        base: Path | None = None,
    ) -> None:
        if HOST in (backends or {}):
            raise BadInput(f"the role {HOST!r} is reserved for the host's own model: use another role for your backend")
        super().__init__(
            backends=backends,
            monitors=monitors,
            actions=actions,
            journal=journal,
            approvers=approvers,
            signer=signer,
            witnesses=witnesses,
            observe=observe,
            plan_only=plan_only,
            surroundings=surroundings,
            on_event=on_event,
            credentials=credentials,
            base=base,
        )
        self._model = model

    @asynccontextmanager
    async def run(
        self,
        task: Task | str,
        *,
        resume: str = "",
        anew: bool = False,
        budget: Mapping[str, float] | None = None,
        by: str = "",
    ) -> AsyncIterator[GatedRun]:
        """Open a run for the length of the block; `outcome` says afterwards how it ended.

        The run ends as solved with what `answer` was given, or as failed if the block raises. It pauses if the block is
        cancelled, or if an action waits for a person who cannot be reached now.

        On resume, the agent is expected to remember what it did, and to go on. It may not have received the result of
        its last call: if it makes that same call first, it gets the recorded result, and nothing is done again.

        Args:
            task: what the agent was asked, with goals and budget; a text is a task without goals.
            resume: id of a run that was paused or cut off, to continue; its own task counts.
            anew: the agent remembers nothing and starts over. A call whose outcome is in the trace gets that outcome,
                once for each time that it is recorded. Other calls are performed.
            budget: raised limits for a resumed run; see `Scaffold.resume`.
            by: who raised them, for the record.

        Raises:
            BadInput: the task does not fit, or the budget is no more than it was; nothing was begun.
            RunHeld: another process is writing the run.
        """
        raised = raised_to(budget or {})
        if raised and not resume:
            raise BadInput("`budget` raises the budget of a resumed run; a new run has its task's budget")
        task, config, claim = await self.claimed(task, resume=resume)
        try:
            async with self.setting(task, HOSTED, config, resumed=bool(resume)) as setting:
                setting.backends = {**setting.backends, HOST: Said(self._model)}
                setting.raised, setting.raised_by = raised, by
                feeds: list[Feed] = []
                hosted = Hosted(setting, claim)
                await (hosted.resume(anew=anew) if resume else hosted.start())
                watch = partial(_watch, hosted, self.journal, claim.run, feeds)
                run = GatedRun(claim.run, hosted, self._actions, watch)
                try:
                    yield run
                    await hosted.answer(run._answer)  # noqa: SLF001 - its own
                except BaseException as error:
                    await hosted.fail(error)
                    raise
                finally:
                    for feed in feeds:
                        feed.close()
        finally:
            await self.journal.release(claim)

    @contextmanager
    def run_sync(
        self,
        task: Task | str,
        *,
        resume: str = "",
        anew: bool = False,
        budget: Mapping[str, float] | None = None,
        by: str = "",
    ) -> Iterator[SyncGatedRun]:
        """The same for code that is not async: an event loop in its own thread carries out the calls."""
        from anyio.from_thread import start_blocking_portal

        with (
            start_blocking_portal(name="scaffold gate") as portal,
            portal.wrap_async_context_manager(self.run(task, resume=resume, anew=anew, budget=budget, by=by)) as run,
        ):
            yield SyncGatedRun(run, portal)


class GatedRun:
    """A run whose moves another agent's loop makes.

    Attributes:
        id: the run's id.
        actions: the gate's actions, by name.
        loop: the event loop that it lives in; use it from there.
    """

    def __init__(
        self, run: str, hosted: Hosted, actions: Mapping[str, Action], watch: Callable[[], AsyncGenerator[Happened]]
    ) -> None:
        self.id = run
        self._watch = watch
        self.actions = actions
        self.loop = asyncio.get_running_loop()
        self._hosted = hosted
        self._answer: Any = None

    @property
    def over(self) -> bool:
        """Whether it has ended or is paused."""
        return self._hosted.outcome is not None

    @property
    def outcome(self) -> Outcome:
        """How the run ended, or why it is paused.

        Raises:
            BadInput: it is still running.
        """
        if self._hosted.outcome is None:
            raise BadInput(
                f"the run {self.id} is still going on: its outcome is known once its `async with` block has ended"
            )
        return self._hosted.outcome

    def within_its_loop(self) -> bool:
        """Whether the caller runs in the run's own event loop, where blocking would hold it up."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def events(self) -> AsyncGenerator[Happened]:
        """Yield what happens from now on, until the block has ended; for another task to watch.

        A slow reader does not hold up the run, and misses nothing.
        """
        return self._watch()

    async def think(
        self, text: str, *, reasoning: str = "", usage: Usage | None = None, kind: StepKind = "solve"
    ) -> Thought[str]:
        """Have monitors read what the agent's own model has said, and record it in the trace.

        Args:
            text: what it said.
            reasoning: its readable reasoning, if any.
            usage: what it cost; counted against the task's budget. None means a guess from the length.
            kind: what sort of step it was.

        Raises:
            StepRefused: oversight withholds it; the message is for the agent.
            BadInput: it is not a text.
        """
        for said in (text, reasoning):
            if not isinstance(said, str):
                raise BadInput(
                    f"think: what a model said should be text, not a {type(said).__name__}; use '' if it said nothing"
                )
        return await self._hosted.think(text, reasoning=reasoning, usage=usage, kind=kind)

    async def act(
        self,
        action: str | Planned,
        arguments: Mapping[str, Any] | None = None,
        *,
        because: Sequence[Reference[Any]] = (),
        predicted: Any = None,
    ) -> Observation[Any]:
        """Perform one action once it is cleared; arguments that are references keep their provenance.

        Raises:
            ActionError: the subclass says whether it was refused, failed, or may have happened; its message is for the
                agent.
            RunEnding: the run is over, or paused.
            BadInput: the action is not given by name, or its arguments are not.
        """
        _must_name(action, arguments)
        move = planning.acting(action, arguments, because=because, predicted=predicted)
        observation: Observation[Any] = await self._hosted.make(move)
        return observation

    async def propose(self, plan: Plan) -> Review:
        """Have every monitor read a whole plan before any of it is done."""
        return await self._hosted.drive(planning.propose(plan))

    async def carry_out(self, plan: Plan, review: Review | None = None) -> dict[str, Observation[Any]]:
        """Perform a plan; each action is cleared again with its real arguments."""
        return await self._hosted.drive(planning.carry_out(plan, review))

    @overload
    async def ask(self, question: str, *about: Any) -> Reference[str]: ...
    @overload
    async def ask(self, question: str, *about: Any, returns: type[T]) -> Reference[T]: ...
    @overload
    async def ask(self, question: str, *about: Any, returns: Any) -> Reference[Any]: ...
    async def ask(self, question: str, *about: Any, returns: Any = str) -> Reference[Any]:
        """Ask the user for a fact."""
        return await self._hosted.drive(planning.ask(question, *about, returns=returns))

    async def note(self, text: str, *, partial: Any = None) -> None:
        """Write a note into the trace; `partial` is the run's answer if it is cut short."""
        await self._hosted.drive(planning.note(text, partial=partial))

    async def drive(self, moves: Planning[T]) -> T:
        """Let a planner of this project do a part; its steps are asked of this gate's backends."""
        return await self._hosted.drive(moves)

    def answer(self, answer: Any) -> None:
        """Set the run's answer; it is checked, and read by monitors, when the block ends.

        Raises:
            BadInput: it cannot be recorded.
            Unavailable: the run is over.
        """
        if self.over:
            raise Unavailable(f"the run {self.id} is over")
        try:
            recordable(answer)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInput(f"the answer cannot be recorded: {unwritable(error)}") from None
        self._answer = answer


class SyncGatedRun:
    """A `GatedRun` for code that is not async; it may be used from several threads.

    Attributes:
        id: the run's id.
        within: the `GatedRun`, in an event loop of another thread.
    """

    def __init__(self, run: GatedRun, portal: BlockingPortal) -> None:
        self.within = self._run = run
        self._portal = portal
        self._process = os.getpid()
        self.id = run.id

    @property
    def over(self) -> bool:
        """See `GatedRun.over`."""
        return self._run.over

    @property
    def outcome(self) -> Outcome:
        """See `GatedRun.outcome`."""
        return self._run.outcome

    def think(
        self, text: str, *, reasoning: str = "", usage: Usage | None = None, kind: StepKind = "solve"
    ) -> Thought[str]:
        """See `GatedRun.think`."""
        return self._wait(lambda: self._run.think(text, reasoning=reasoning, usage=usage, kind=kind))

    def act(
        self,
        action: str | Planned,
        arguments: Mapping[str, Any] | None = None,
        *,
        because: Sequence[Reference[Any]] = (),
        predicted: Any = None,
    ) -> Observation[Any]:
        """See `GatedRun.act`."""
        return self._wait(lambda: self._run.act(action, arguments, because=because, predicted=predicted))

    def propose(self, plan: Plan) -> Review:
        """See `GatedRun.propose`."""
        return self._wait(lambda: self._run.propose(plan))

    def carry_out(self, plan: Plan, review: Review | None = None) -> dict[str, Observation[Any]]:
        """See `GatedRun.carry_out`."""
        return self._wait(lambda: self._run.carry_out(plan, review))

    @overload
    def ask(self, question: str, *about: Any) -> Reference[str]: ...
    @overload
    def ask(self, question: str, *about: Any, returns: type[T]) -> Reference[T]: ...
    @overload
    def ask(self, question: str, *about: Any, returns: Any) -> Reference[Any]: ...
    def ask(self, question: str, *about: Any, returns: Any = str) -> Reference[Any]:
        """See `GatedRun.ask`."""
        return self._wait(lambda: self._run.ask(question, *about, returns=returns))

    def note(self, text: str, *, partial: Any = None) -> None:
        """See `GatedRun.note`."""
        self._wait(lambda: self._run.note(text, partial=partial))

    def answer(self, answer: Any) -> None:
        """See `GatedRun.answer`."""
        self._run.answer(answer)

    def _wait(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if os.getpid() != self._process:  # a fork has none of its parent's threads, so nothing would answer
            raise BadInput(f"the run {self.id} belongs to the process that this one was forked from: open one here")
        if self._run.loop.is_closed():
            raise Unavailable(f"the run {self.id} is over")
        if self._run.within_its_loop():
            raise BadInput(f"the run {self.id} would wait for itself: in its own event loop, await `run.within`")
        result: T = self._portal.call(start)
        return result


def _must_name(action: object, arguments: object) -> None:
    """Raise BadInput unless an action is given by its name, and its arguments by theirs."""
    if not isinstance(action, str | Planned):
        name = getattr(getattr(action, "spec", None), "name", "")
        raise BadInput(f"act: give the name of an action{name and f', {name!r}'}, not a {type(action).__name__}")
    if arguments is not None and not isinstance(arguments, Mapping):
        raise BadInput(f"act: the arguments should be a mapping by name, not a {type(arguments).__name__}")


def _watch(hosted: Hosted, journal: Journal, run: str, feeds: list[Feed]) -> AsyncGenerator[Happened]:
    feed = Feed(journal, run)
    feeds.append(feed)
    hosted.listen(feed.take)
    return feed.happenings()

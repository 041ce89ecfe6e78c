"""Runs one task whose moves are made by another agent's loop (the host), in sequence or concurrently."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scaffold import errors
from scaffold.machinery.cancelling import Cuttable, to_its_end
from scaffold.machinery.driving.driven import Driven, Waits
from scaffold.machinery.driving.recalling import Recalling, Told, retold, said_bytes
from scaffold.machinery.driving.replay import asked_by
from scaffold.machinery.driving.run import Run
from scaffold.machinery.gating.gate import PlanOnly, call_asked
from scaffold.machinery.gating.people import Parked
from scaffold.machinery.gating.permissions import HOST
from scaffold.machinery.interpreter import Frame, Pending
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import recordable, unwritable
from scaffold.vocabulary.characters import clean
from scaffold.vocabulary.models import FREE, Delta, Profile, Usage
from scaffold.vocabulary.moves import Act, Note, Options, Think
from scaffold.vocabulary.plan import as_call
from scaffold.vocabulary.references import Provenance, Reference
from scaffold.vocabulary.sampling import once

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from scaffold.interfaces import Claim
    from scaffold.machinery.driving.setting import Setting
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.models import Request
    from scaffold.vocabulary.moves import Move, Planning, StepKind, Thought
    from scaffold.vocabulary.outcome import Outcome
    from scaffold.vocabulary.plan import ActionCall

T = TypeVar("T")

_CHARACTERS_A_TOKEN = 4  # an estimate, if the host does not count tokens


class Said:
    """A backend that returns what the host's own model has already said.

    Attributes:
        said: that output, in canonical bytes.
    """

    def __init__(self, model: str) -> None:
        self.profile = Profile(backend=HOST, model=model, prices=FREE, reasoning="full", guessed=("reasoning",))
        self._delta = Delta()
        self.said = b""

    def next(self, text: str, reasoning: str, usage: Usage | None) -> int:
        """Set the answer to the next request; return its maximum number of tokens."""
        text, reasoning = clean(text), clean(reasoning)
        guessed = Usage(output=-(-len(text + reasoning) // _CHARACTERS_A_TOKEN), guessed=True)
        self._delta = Delta(text=text, reasoning=reasoning, finish="stop", usage=usage or guessed)
        self.said = said_bytes(text, reasoning)
        return max(1, (usage or guessed).output)

    async def generate(self, _request: Request) -> AsyncGenerator[Delta]:
        """Yield the answer that was set."""
        yield self._delta

    async def close(self) -> None:
        """Nothing to free."""


class Hosted:
    """One run driven by a host.

    Moves get keys in the order in which they are made. On resume, a host either remembers or begins anew. One that
    remembers goes on; but it may not have heard the last results, so if it first makes such a move again, it is given
    the recorded result. One that begins anew is given the recorded result of every move it repeats. A move that was cut
    off, or that its host stopped waiting for, continues where it stood when the host makes it again.

    Args:
        setting: what the run is made of; its backends have a `Said` for the role `host`.
        claim: the right to write it.
    """

    def __init__(self, setting: Setting, claim: Claim) -> None:
        self._run = Run(setting, claim, self._aside)
        said = setting.backends[HOST]
        if not isinstance(said, Said):
            raise errors.BadInput(
                f"the role {HOST!r} is reserved for the host's own model: use another role for your backend"
            )
        self._said = said
        self._loop = asyncio.get_running_loop()
        self._saying = asyncio.Lock()
        self._frame = Frame(_nothing(), "", None, 0, tainted=bool(setting.task.untrusted))
        self._unsettled: dict[bytes, list[str]] = {}
        self._settled: dict[str, Told] = {}
        self._last: set[str] = set()  # keys of the last results before the run was resumed
        self._tried: set[bytes] = set()  # what was asked last and failed
        self._has_gone_on = False  # since the run was resumed
        self._has_acted = False  # since then, with an effect: what was read before may have changed
        self._reads = {name for name, each in setting.actions.items() if each.spec.effect == "read"}
        self._run.recorder.follow_kinds({ev.ActionOutcome: self._settle, ev.ActionRefused: self._settle})
        self._making: set[Cuttable] = set()
        self._none_left: asyncio.Future[None] | None = None  # set once the run ends; done when no move is under way
        self._standing = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._late = False
        self._ending: Exception | None = None
        self._finishing: asyncio.Task[Outcome] | None = None
        self.outcome: Outcome | None = None

    # --- the beginning

    async def start(self) -> None:
        """Start the run."""
        await self._run.begin()
        self._set_deadline()

    async def resume(self, *, anew: bool = False) -> None:
        """Resume a run.

        Args:
            anew: the host remembers nothing, and makes its moves again from the first.

        Raises:
            BadInput: the run has ended.
        """
        recorded = Recalling(anew=anew, host=HOST)

        def take(event: Event, body: bytes) -> None:
            self._count(event, body)
            recorded.feed(event, body)

        ended = await self._run.read_back(dict.fromkeys(ev.KINDS, take))
        self._settled.clear()
        self._has_acted = False
        if ended is not None:
            raise errors.BadInput(f"the run {ended.run} has ended ({ended.status}): start a new one")
        for key, progress in self._run.state.progress.items():
            if progress.asked:
                self._unsettled.setdefault(progress.asked, []).append(key)
        for key, (what, told) in recorded.ended.items():
            if anew or not _has_failed(told.event):
                self._unsettled.setdefault(what, []).append(key)
                self._settled[key] = told
            else:
                self._tried.add(what)
        for keys in self._unsettled.values():
            keys.sort(key=int)
        self._last = set() if anew else set(self._settled)
        self._set_deadline()

    def _settle(self, event: Event, body: bytes) -> None:
        """Keep the result of a call until its host is told; a call that did not happen may be tried again."""
        if not _has_failed(event) and getattr(event, "final", True):  # an outcome still to be reviewed is no result
            self._settled[event.key] = Told(event, body)
        if isinstance(event, ev.ActionOutcome) and event.action not in self._reads:
            self._has_acted = True

    def _count(self, event: Event, _body: bytes) -> None:
        number = event.key.partition("/")[0].partition("!")[0]
        if number.isdigit():
            self._frame.ordinal = max(self._frame.ordinal, int(number))
        if isinstance(event, ev.StepAnswered | ev.ActionOutcome) and event.tainted:
            self._frame.tainted = True

    def listen(self, listener: Callable[[Event, bytes], None]) -> None:
        """Call a function with each event from now on, and its content's bytes."""
        self._run.recorder.follow(listener)

    # --- moves

    async def think(self, text: str, *, reasoning: str, usage: Usage | None, kind: StepKind) -> Thought[str]:
        """Record what the host's own model has said, and have monitors read it.

        Raises:
            StepRefused: oversight withholds it.
        """
        self._must_be_at_home()
        async with self._saying:
            options = Options(max_tokens=self._said.next(text, reasoning, usage))
            thought: Thought[str] = await self.make(Think(kind=kind, to=HOST, sampling=once(tries=1), options=options))
        thought.provenance |= Provenance((f"history:@{thought.key}",))
        return thought

    async def drive(self, planning: Planning[T]) -> T:
        """Carry out a planner as part of this run, up to `task.concurrency` moves at once; return what it returns.

        Raises:
            PlannerError: the planner yields what is no move.
            Exception: whatever else the planner raises.
            RunEnding: the run is over or paused.
        """
        self._must_be_at_home()
        try:
            result: T = await Driven(planning, self._make, self._run.task.concurrency).result()
        except Waits as error:
            await self._finish_because(error)
            raise
        return result

    async def make(self, move: Move) -> Any:
        """Carry out one move in the caller's task; return its outcome.

        Raises:
            MoveError: the move failed.
            RunEnding: the run is over or paused.
        """
        try:
            return await self._make(move)
        except Waits as error:
            await self._finish_because(error)
            raise

    async def _make(self, move: Move) -> Any:
        """The same, but a move that waits for a person does not pause the run: others may go on."""
        self._must_be_at_home()
        if self._ends():
            raise self._over()
        making = Cuttable()
        self._making.add(making)
        try:
            try:
                outcome = await self._carry_out(move, making)
                if isinstance(move, Think | Note):  # actions do so themselves
                    await self._run.recorder.flush()  # before the host is told: its own memory may outlive this process
            finally:
                self._made(making)
        except Waits:
            raise
        except (errors.RunEnding, errors.TraceError) as error:
            await self._finish_because(error)
            raise
        except asyncio.CancelledError:
            if not making.was_cut:
                raise
            if self._ends():
                raise self._over() from None
            late = self._time_is_up()
            await self._finish_because(late)
            raise late from None
        if self._ends():  # by a call that it has made itself
            raise self._over()
        return self._told(outcome)

    def _told(self, outcome: Any) -> Any:
        """Return an outcome to the host, or raise it; what the host says and does from then on depends on it."""
        if isinstance(outcome, Reference):
            self._frame.tainted = self._frame.tainted or outcome.provenance.tainted
        if isinstance(outcome, errors.MoveError):
            self._frame.tainted = self._frame.tainted or outcome.tainted
            raise outcome
        return outcome

    def _must_be_at_home(self) -> None:
        """Raise BadInput outside the run's own event loop, where waiting would never end."""
        if asyncio.get_running_loop() is not self._loop:
            run = self._run.claim.run
            raise errors.BadInput(
                f"the run {run} belongs to another event loop: call it from there "
                "(`asyncio.run_coroutine_threadsafe(run.act(...), run.loop)`), or use `Gate.run_sync`"
            )

    def _made(self, making: Cuttable) -> None:
        making.end()
        self._making.remove(making)
        if self._none_left is not None and not self._making and not self._none_left.done():
            self._none_left.set_result(None)

    def _place(self, move: Any) -> tuple[Pending, bytes, ActionCall | None]:
        """Find the key of a move, new or begun before; return it with what it asks, and its call if it is an action.

        Raises:
            BadInput: it cannot be recorded.
        """
        frame = self._frame
        frame.ordinal += 1
        pending = Pending(f"{frame.ordinal}", move, frame)
        try:
            what, call = _recordable(pending)
        except errors.BadInput:
            frame.ordinal -= 1
            raise
        if isinstance(move, Think) and move.to == HOST:
            what += self._said.said
        if self._last and self._has_gone_on and len(self._making) == 1:
            self._forget_last()
        begun = self._unsettled.get(what)
        if begun and self._has_acted and call is not None and call.action in self._reads:
            begun[:] = [key for key in begun if key not in self._last]
        if begun:
            frame.ordinal -= 1
            pending.key = begun.pop(0)
        elif what not in self._tried and not isinstance(move, Think | Note):
            self._has_gone_on = True
        return pending, what, call

    async def _carry_out(self, move: Any, making: Cuttable) -> Any:
        pending, what, call = self._place(move)
        settled = self._settled.pop(pending.key, None)
        if settled is not None:
            return retold(settled, move)
        if self._late:
            raise self._time_is_up()
        try:
            if call is not None:
                outcome = await self._run.act(pending.key, move, call, what)
            elif isinstance(move, Think):
                return await self._run.think(pending, move)
            else:
                outcome = await self._run.carry_out(pending)
        except Parked:
            run = self._run.claim.run
            raise Waits(f"it waits for a person: answer with `scaffold approvals`, then resume the run {run}") from None
        except PlanOnly:
            what_it_is = move.planned.action if isinstance(move, Act) else "this plan"
            raise OnlyPlans(f"{what_it_is} would change the world, and this run only plans: it ends here") from None
        except asyncio.CancelledError:
            if making.is_from_within:
                raise errors.Unavailable(f"the move at {pending.key} was cancelled by the code it called") from None
            progress = self._run.state.progress.get(pending.key)
            if pending.key in self._settled or (progress is not None and progress.asked):
                self._unsettled.setdefault(what, []).append(pending.key)
            raise
        self._settled.pop(pending.key, None)
        return outcome

    def _forget_last(self) -> None:
        """Forget the last results: the host goes on, so it has heard them, and a repeated call would be a new one.

        This does not hold for moves made concurrently: both may have been asked for together before.
        """
        for key in self._last & self._settled.keys():
            del self._settled[key]
            for keys in self._unsettled.values():
                if key in keys:
                    keys.remove(key)
        self._last.clear()

    # --- time

    def _set_deadline(self) -> None:
        """Schedule cutting off the moves under way when the run's seconds are over."""
        seconds = self._run.state.bounds.get("seconds")
        if seconds is not None:
            left = max(0.0, seconds - self._run.recorder.active())
            self._deadline = asyncio.get_running_loop().call_later(left, self._run_out)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _run_out(self) -> None:
        self._late = True
        for making in self._making:
            making.cut()

    def _time_is_up(self) -> errors.BudgetSpent:
        limit, used = self._run.state.bounds.get("seconds", 0.0), self._run.recorder.active()
        return errors.BudgetSpent("seconds", limit=limit, spent=used, wanted=0.0)

    @contextlib.asynccontextmanager
    async def _aside(self) -> AsyncIterator[None]:
        """Stop counting seconds while a person is asked and nothing else goes on."""
        self._standing += 1
        if self._standing == len(self._making):
            self._run.recorder.stand_still()
            self._clear_deadline()
        try:
            yield
        finally:
            self._standing -= 1
            self._run.recorder.move_on()
            if not self._late and not self._ends():
                self._clear_deadline()
                self._set_deadline()

    # --- the end

    async def answer(self, answer: Any) -> Outcome:
        """End the run with an answer; if it has already ended, return that outcome."""
        return await self._finish(lambda: self._run.answered(answer))

    async def fail(self, error: BaseException) -> Outcome:
        """End the run because the host failed; if it was cancelled, closed or exited, pause the run instead."""
        if not isinstance(error, Exception | BaseExceptionGroup):
            return await self._finish(lambda: self._run.pause("interrupted", "interrupted"))
        said = "".join(traceback.format_exception(error, limit=-8))
        reason = f"the host raised {type(error).__name__}: {error}"
        return await self._finish(lambda: self._run.end("failed", reason=reason, traceback=said))

    def _ends(self) -> bool:
        return self._finishing is not None

    def _over(self) -> Exception:
        return self._ending or errors.Unavailable(f"the run {self._run.claim.run} is over")

    async def _finish_because(self, error: Exception) -> None:
        self._ending = self._ending or error
        finishing = self._begin_to_finish(partial(self._because_of, error))
        if (
            not self._making
        ):  # the end waits for those, of which one may have asked for this in the middle of its effect
            await to_its_end(finishing)

    async def _because_of(self, error: Exception) -> Outcome:
        if isinstance(error, Waits):
            return await self._run.pause("waiting", str(error))
        if isinstance(error, OnlyPlans):
            error = PlanOnly()
        return await self._run.ended_by(error)

    async def _finish(self, how: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
        """End the run once, for the first reason given; nothing goes on after that."""
        return await to_its_end(self._begin_to_finish(how))

    def _begin_to_finish(self, how: Callable[[], Coroutine[Any, Any, Outcome]]) -> asyncio.Task[Outcome]:
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._end(how))
        return self._finishing

    async def _end(self, how: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
        self._clear_deadline()
        await self._cut_the_rest()
        self.outcome = await how()
        return self.outcome

    async def _cut_the_rest(self) -> None:
        """Cut off the moves under way; effects are still waited for."""
        for making in self._making:
            making.cut()
        if self._making:
            self._none_left = asyncio.get_running_loop().create_future()
            await self._none_left


class OnlyPlans(errors.RunEnding):
    """The run only plans, and has come to the first call that would change the world."""


def _nothing() -> Generator[Any, Any, None]:
    yield from ()


def _recordable(pending: Pending) -> tuple[bytes, ActionCall | None]:
    """Return the canonical bytes of what a move asks, and the call if it is an action.

    Raises:
        BadInput: it cannot be recorded.
    """
    move = pending.move
    try:
        if isinstance(move, Act):
            call = as_call(move.planned, pending.history)
            return call_asked(call), call
        if isinstance(move, Note):
            recordable(move.partial)
        return asked_by(pending), None
    except (TypeError, ValueError, RecursionError) as error:
        raise errors.BadInput(f"what was asked cannot be recorded: {unwritable(error)}") from None


def _has_failed(event: Event) -> bool:
    """Whether an event says that an action is known not to have happened."""
    return isinstance(event, ev.ActionOutcome) and event.status == "failed"

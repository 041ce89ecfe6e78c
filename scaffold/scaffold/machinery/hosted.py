"""Runs one task whose moves somebody else's agent makes, one after another or several at once."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scaffold import errors
from scaffold.machinery.cancelling import is_from_within, to_its_end
from scaffold.machinery.gate import PlanOnly
from scaffold.machinery.interpreter import Frame, Pending
from scaffold.machinery.people import Parked
from scaffold.machinery.permissions import HOST
from scaffold.machinery.recalling import Recalling, Told, retold, said_bytes
from scaffold.machinery.replay import asked_by
from scaffold.machinery.run import Run
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.models import FREE, Delta, Profile, Usage
from scaffold.vocabulary.moves import Note, Options, Think, Together
from scaffold.vocabulary.references import Reference
from scaffold.vocabulary.sampling import once

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from scaffold.interfaces import Claim
    from scaffold.machinery.run import Outcome, Setting
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.models import Request
    from scaffold.vocabulary.moves import Move, Planning, StepKind, Thought

T = TypeVar("T")
Leaf = "Think | Propose | Act | Ask | Note"

_CHARACTERS_A_TOKEN = 4  # where the host does not count


class Said:
    """A backend that gives what the host's own model has said already.

    Attributes:
        said: what that is, in canonical bytes.
    """

    def __init__(self, model: str) -> None:
        self.profile = Profile(backend=HOST, model=model, prices=FREE, reasoning="full", guessed=("reasoning",))
        self._delta = Delta()
        self.said = b""

    def next(self, text: str, reasoning: str, usage: Usage | None) -> int:
        """Have this given to the next request; gives how many tokens it may take at most."""
        guessed = Usage(output=-(-len(text + reasoning) // _CHARACTERS_A_TOKEN), guessed=True)
        self._delta = Delta(text=text, reasoning=reasoning, finish="stop", usage=usage or guessed)
        self.said = said_bytes(text, reasoning)
        return max(1, (usage or guessed).output)

    async def generate(self, _request: Request) -> AsyncGenerator[Delta]:
        """Give what was said."""
        yield self._delta

    async def close(self) -> None:
        """Nothing to free."""


class Hosted:
    """One run that a host drives.

    Moves have keys in the order in which they are made. A host that resumes a run remembers, and goes on; of what came
    back last nothing shows that it has heard, so when it makes that same move first, it is told what came of it. One
    that begins anew is told of every move that it makes again. A move that was cut off, or that its host gave up
    waiting for, is taken up where it stood when the host makes it again.

    Args:
        setting: what the run is made of; its backends have a `Said` for the role `host`.
        claim: the right to write it.
    """

    def __init__(self, setting: Setting, claim: Claim) -> None:
        self._run = Run(setting, claim, self._aside)
        said = setting.backends[HOST]
        if not isinstance(said, Said):
            raise errors.BadInput(f"the role {HOST!r} stands for the host's own model: name your backend otherwise")
        self._said = said
        self._saying = asyncio.Lock()
        self._frame = Frame(_nothing(), "", None, 0, tainted=bool(setting.task.untrusted))
        self._unsettled: dict[bytes, list[str]] = {}
        self._settled: dict[str, Told] = {}
        self._last: set[str] = set()  # keys of what came back last before the run was resumed
        self._run.recorder.follow_kinds({ev.ActionOutcome: self._settle, ev.ActionRefused: self._settle})
        self._making: dict[asyncio.Task[Any], asyncio.Timeout | None] = {}
        self._standing = 0
        self._ending: Exception | None = None
        self._finishing: asyncio.Task[Outcome] | None = None
        self.outcome: Outcome | None = None

    # --- the beginning

    async def start(self) -> None:
        """Begin the run."""
        await self._run.begin()

    async def resume(self, *, anew: bool = False) -> None:
        """Go on with a run.

        Args:
            anew: the host remembers nothing, and makes its moves from the first one on.

        Raises:
            BadInput: it has ended.
        """
        recorded = Recalling(anew=anew, host=HOST)

        def take(event: Event, body: bytes) -> None:
            self._count(event, body)
            recorded.feed(event, body)

        ended = await self._run.read_back(take)
        self._settled.clear()
        if ended is not None:
            raise errors.BadInput(f"the run {ended.run} has ended ({ended.status}): begin a new one")
        for key, progress in self._run.state.progress.items():
            if progress.asked:
                self._unsettled.setdefault(progress.asked, []).append(key)
        for key, (what, told) in recorded.ended.items():
            if anew or not _has_failed(told.event):
                self._unsettled.setdefault(what, []).append(key)
                self._settled[key] = told
        for keys in self._unsettled.values():
            keys.sort(key=int)
        self._last = set() if anew else set(self._settled)

    def _settle(self, event: Event, body: bytes) -> None:
        """Keep how a call under way has ended until its host is told; one that did not happen may be tried again."""
        if not _has_failed(event) and getattr(event, "final", True):  # what is to be read first is no end
            self._settled[event.key] = Told(event, body)

    def _count(self, event: Event, _body: bytes) -> None:
        number = event.key.partition("/")[0].partition("!")[0]
        if number.isdigit():
            self._frame.ordinal = max(self._frame.ordinal, int(number))
        if isinstance(event, ev.StepAnswered | ev.ActionOutcome) and event.tainted:
            self._frame.tainted = True

    # --- moves

    async def think(self, text: str, *, reasoning: str, usage: Usage | None, kind: StepKind) -> Thought[str]:
        """Take in what the host's own model has said, and have monitors read it.

        Raises:
            StepRefused: oversight withholds it.
        """
        async with self._saying:
            options = Options(max_tokens=self._said.next(text, reasoning, usage))
            thought: Thought[str] = await self.make(Think(kind=kind, to=HOST, sampling=once(tries=1), options=options))
        return thought

    async def drive(self, planning: Planning[T]) -> T:
        """Carry out what a generator of moves asks, as part of this run; gives what it returns."""
        value: Any = None
        error: errors.MoveError | None = None
        while True:
            try:
                move = planning.send(value) if error is None else planning.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            value, error = None, None
            try:
                value = await (self._together(move) if isinstance(move, Together) else self.make(move))
            except errors.MoveError as raised:
                error = raised

    async def _together(self, move: Together) -> tuple[Any, ...]:
        ended = await asyncio.gather(*(self.drive(branch) for branch in move.branches), return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException):
                raise result
        return tuple(ended)

    async def make(self, move: Move) -> Any:
        """Carry out one move; gives what came of it.

        Raises:
            MoveError: it did not work out.
            RunEnding: the run is over, or stands still.
        """
        if self._ends():
            raise self._over()
        task = asyncio.create_task(self._carry_out(move))
        self._making[task] = None
        try:
            outcome = await task
        except (errors.RunEnding, errors.TraceError, PlanOnly) as error:
            self._ending = self._ending or error
            await self._finish(partial(self._because_of, error))
            raise
        except asyncio.CancelledError:
            if self._ends() and is_from_within():
                raise self._over() from None
            raise
        finally:
            self._making.pop(task, None)
        if isinstance(outcome, Reference):
            self._frame.tainted = self._frame.tainted or outcome.provenance.tainted
        if isinstance(outcome, errors.MoveError):
            self._frame.tainted = self._frame.tainted or outcome.tainted
            raise outcome
        return outcome

    async def _carry_out(self, move: Any) -> Any:
        pending = Pending(f"{self._frame.ordinal + 1}", move, self._frame)
        what = _recordable(pending)
        if isinstance(move, Think) and move.to == HOST:
            what += self._said.said
        begun = self._unsettled.get(what)
        if begun:
            pending.key = begun.pop(0)
        else:
            self._frame.ordinal += 1
            if self._last and not isinstance(move, Think | Note):
                self._forget_last()
        settled = self._settled.pop(pending.key, None)
        if settled is not None:
            return retold(settled, move)
        try:
            async with self._in_time():
                if isinstance(move, Think):
                    return await self._run.think(pending, move)
                outcome = await self._run.carry_out(pending)
                self._settled.pop(pending.key, None)
                return outcome
        except Parked:
            run = self._run.claim.run
            raise Waits(
                f"it waits for a person: answer with `scaffold approvals`, then go on with the run {run}"
            ) from None
        except asyncio.CancelledError:
            if is_from_within():
                raise errors.Unavailable(f"what was asked at {pending.key} was cancelled from within") from None
            progress = self._run.state.progress.get(pending.key)
            if pending.key in self._settled or (progress is not None and progress.asked):
                self._unsettled.setdefault(what, []).append(pending.key)
            raise

    def _forget_last(self) -> None:
        """The host goes on: it has heard what came back last, and would mean it if it asked for the same again."""
        for key in self._last & self._settled.keys():
            del self._settled[key]
            for keys in self._unsettled.values():
                if key in keys:
                    keys.remove(key)
        self._last.clear()

    # --- time

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._left()) as deadline:
                task = asyncio.current_task()
                if task is not None:
                    self._making[task] = deadline
                yield
        except TimeoutError:
            limit, used = self._run.task.budget.seconds or 0.0, self._run.recorder.active()
            raise errors.BudgetSpent("seconds", limit=limit, spent=used, wanted=0.0) from None

    def _left(self) -> float | None:
        seconds = self._run.task.budget.seconds
        return None if seconds is None else max(0.0, seconds - self._run.recorder.active())

    @contextlib.asynccontextmanager
    async def _aside(self) -> AsyncIterator[None]:
        """While a person is asked, and nothing else goes on, no seconds pass."""
        self._standing += 1
        if self._standing == len(self._making):
            self._run.recorder.stand_still()
            self._reschedule(None)
        try:
            yield
        finally:
            self._standing -= 1
            self._run.recorder.move_on()
            left = self._left()
            self._reschedule(None if left is None else asyncio.get_running_loop().time() + left)

    def _reschedule(self, when: float | None) -> None:
        for deadline in self._making.values():
            if deadline is not None and not deadline.expired() and self._run.task.budget.seconds is not None:
                deadline.reschedule(when)

    # --- the end

    async def answer(self, answer: Any) -> Outcome:
        """End the run with an answer; one that has ended otherwise gives how."""
        return await self._finish(lambda: self._run.answered(answer))

    async def fail(self, error: BaseException) -> Outcome:
        """End the run because the host failed; one that was cancelled, closed or ended itself can be resumed."""
        if not isinstance(error, Exception | BaseExceptionGroup):
            return await self._finish(lambda: self._run.pause("interrupted", "interrupted"))
        said = "".join(traceback.format_exception(error, limit=-8))
        reason = f"the host raised {type(error).__name__}: {error}"
        return await self._finish(lambda: self._run.end("failed", reason=reason, traceback=said))

    def _ends(self) -> bool:
        return self._finishing is not None

    def _over(self) -> Exception:
        return self._ending or errors.Unavailable(f"the run {self._run.claim.run} is over")

    async def _because_of(self, error: Exception) -> Outcome:
        if isinstance(error, Waits):
            return await self._run.pause("waiting", str(error))
        return await self._run.ended_by(error)

    async def _finish(self, how: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
        """End the run, once, for the first reason to; nothing of it goes on then."""
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._end(how))
        return await to_its_end(self._finishing)

    async def _end(self, how: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
        await self._cancel_the_rest()
        self.outcome = await how()
        return self.outcome

    async def _cancel_the_rest(self) -> None:
        """Have what is under way end: what has an effect is waited for, as ever."""
        others = [task for task in self._making if not task.done()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)


class Waits(errors.RunEnding):
    """The run stands still until a person has answered."""


def _nothing() -> Generator[Any, Any, None]:
    yield from ()


def _recordable(pending: Pending) -> bytes:
    """Canonical bytes of what a move asks.

    Raises:
        BadInput: the trace could not hold it.
    """
    try:
        if isinstance(pending.move, Note):
            canonical(pending.move.partial)
        return asked_by(pending)
    except (TypeError, ValueError, RecursionError) as error:
        raise errors.BadInput(f"what was asked cannot be recorded: {error}") from None


def _has_failed(event: Event) -> bool:
    """Whether it says that an action is known not to have happened."""
    return isinstance(event, ev.ActionOutcome) and event.status == "failed"

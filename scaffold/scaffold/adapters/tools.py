"""Shared by the adapters: another library's tool as an action, and how its calls reach a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MethodType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, get_args

from scaffold.adapters.arguments import plain
from scaffold.errors import (
    ActionError,
    ActionFailed,
    ActionRefused,
    BadInput,
    NotPerformed,
    ObservationWithheld,
    OutcomeUnknown,
    Unavailable,
    nearest,
)
from scaffold.hosting import GatedRun
from scaffold.vocabulary.actions import ActionSpec, Effect
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.characters import clean

if TYPE_CHECKING:
    from scaffold.hosting import SyncGatedRun
    from scaffold.vocabulary.clearance import Clearance
    from scaffold.vocabulary.models import Usage

T = TypeVar("T")

_ANSWERS_WITHIN_S = 10.0  # an event loop that has something else to do is back long before


class Declares(TypedDict, total=False):
    """Declarations about tools, by tool name, since the tools themselves carry none.

    Attributes:
        effects: what each does to the world; a tool not named is irreversible.
        trusted: tools whose results are trusted; all others taint what rests on them.
        identity: arguments that say which thing is acted on; the same thing is not acted on twice.
        costs: what one call costs, in US dollars.
        timeout_s: seconds after which the outcome of a call counts as unknown, for all tools.
    """

    effects: Mapping[str, Effect]
    trusted: Sequence[str]
    identity: Mapping[str, Sequence[str]]
    costs: Mapping[str, float]
    timeout_s: float


@dataclass(slots=True)
class Carried:
    """What accompanies one call beside the gate and the trace: the library's own objects, which are not arguments.

    Attributes:
        context: what the library passes to its tools.
        beside: arguments that the library adds and the model does not know.
        result: what the tool returned, unchanged.
        recorded: the same as a JSON value.
        done: whether it has returned what the run tells its host.
        turned: what the tool raised to steer its library, such as a request to be called again differently.
    """

    context: Any = None
    beside: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    recorded: Any = None
    done: bool = False
    turned: Exception | None = None


_carried: ContextVar[Carried | None] = ContextVar("scaffold_carried", default=None)


class ToolAction:
    """A tool of another library as an action.

    Args:
        spec: what it declares.
        original: the tool.
        fit: returns arguments as JSON values with defaults filled in, in the form that `body` reads; raises ValueError
            if they do not fit. It is idempotent.
        body: what the tool does.
        shape: returns the object by which the tool reads arguments; a different object means a different tool.
    """

    def __init__(
        self,
        spec: ActionSpec,
        original: Any,
        fit: Callable[[dict[str, Any], Carried], dict[str, Any]],
        body: Callable[[dict[str, Any], Carried], Awaitable[Any]],
        shape: Callable[[], Any],
    ) -> None:
        self.spec = spec
        self.original = original
        self._fit = fit
        self._body = body
        self._shape = shape
        self._known = shape()

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments as the tool itself would."""
        if self._shape() is not self._known:
            raise ValueError(self._changed)
        return self._fit(dict(arguments), _carried.get() or Carried())

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> Any:
        """Redeem the clearance on exactly these arguments, then call the tool's body.

        Raises:
            NotPerformed: the tool would now read them differently than when they were reviewed.
        """
        clearance.redeem(self.spec.name, canonical(arguments))
        if self._shape() is not self._known:
            raise NotPerformed(self._changed)
        carried = _carried.get() or Carried()
        _carried.set(None)  # what the tool itself has done is another call
        carried.result = await self._body(dict(arguments), carried)
        carried.done = True
        said = plain(carried.result)
        carried.recorded = clean(said) if isinstance(said, str) else said
        return carried.recorded

    @property
    def _changed(self) -> str:
        return f"the schema of {self.spec.name!r} has changed since its gate was made"


def declared(
    names: Sequence[str], schemas: Mapping[str, dict[str, Any]], texts: Mapping[str, str], **said: Unpack[Declares]
) -> dict[str, ActionSpec]:
    """Return what is declared for each tool.

    Raises:
        BadInput: a declaration names an unknown tool, or is invalid.
    """
    for what in ("effects", "trusted", "identity", "costs"):
        for name in said.get(what, ()):  # type: ignore[attr-defined]  # each of these four is a collection of names
            if name not in names:
                raise BadInput(f"{what}: there is no tool {name!r}{nearest(name, names)}")
    specs = {}
    for name in names:
        effect = said.get("effects", {}).get(name, "irreversible")
        if effect not in get_args(Effect):
            raise BadInput(f"effects: {effect!r}, of {name!r}, is not one of {', '.join(get_args(Effect))}")
        identity = tuple(said.get("identity", {}).get(name, ()))
        known = schemas[name].get("properties", {})
        for argument in identity:
            if argument not in known:
                raise BadInput(f"identity: {name!r} has no argument {argument!r}{nearest(argument, known)}")
        specs[name] = ActionSpec(
            name=name,
            description=" ".join(texts[name].split()),
            parameters=schemas[name],
            effect=effect,
            trusted=name in said.get("trusted", ()),
            identity=identity,
            cost=said.get("costs", {}).get(name, 0.0),
            timeout_s=said.get("timeout_s", 60.0),
        )
    return specs


def must_be_known(run: GatedRun | SyncGatedRun, name: str, original: Any) -> None:
    """Raise BadInput unless the run's gate has an action that was made of this very tool."""
    action = _within(run).actions.get(name)
    own = action.original if isinstance(action, ToolAction) else None
    if own is not original and not (isinstance(own, MethodType) and own == original):  # one is made at each look at it
        raise BadInput(f"the gate has no action for the tool {name!r}: make it with Gate(actions=actions_of(tools))")


def must_be_gated(bypassing: Sequence[str], where: str) -> None:
    """Raise BadInput if there are tools without a gate in front of them."""
    if bypassing:
        names = ", ".join(bypassing)
        raise BadInput(f"{where} has tools that are not gated: {names}; give it the tools that gated() returns")


class Reach:
    """A run as reached from wherever a library calls its tools: in its own loop, another, or a thread without one."""

    def __init__(self, run: GatedRun | SyncGatedRun) -> None:
        self._run = _within(run)

    async def act(self, name: str, arguments: Mapping[str, Any], carried: Carried) -> Any:
        """Perform it once it is cleared; returns what the tool returned."""
        return await self._from_anywhere(self._act(name, arguments, carried))

    def act_sync(self, name: str, arguments: Mapping[str, Any], carried: Carried) -> Any:
        """The same, from a thread that waits."""
        return self._from_a_thread(lambda: self._act(name, arguments, carried))

    async def think(self, text: str, reasoning: str, usage: Usage | None) -> None:
        """Have monitors read what the agent's model has said."""
        await self._from_anywhere(self._run.think(text, reasoning=reasoning, usage=usage))

    def think_sync(self, text: str, reasoning: str, usage: Usage | None) -> None:
        """The same, from a thread that waits."""
        self._from_a_thread(lambda: self._run.think(text, reasoning=reasoning, usage=usage))

    async def _act(self, name: str, arguments: Mapping[str, Any], carried: Carried) -> Any:
        before = _carried.set(carried)
        try:
            observation = await self._run.act(name, arguments)
        except BadInput as error:  # no trace could hold it: a fault of the agent's model, which is told
            raise ActionRefused(str(error), "", action=name) from error
        except ActionError:
            if carried.turned is None:
                raise
            raise carried.turned from None
        finally:
            _carried.reset(before)
        if carried.done and _is_same(observation.value, carried.recorded):
            return carried.result
        carried.done = False  # it was before this, or some of it is left out
        return observation.value

    def _from_anywhere(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        return work if self._run.within_its_loop() else self._in_its_loop(work)

    async def _in_its_loop(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._run.loop
        if loop.is_closed():
            work.close()
            raise self._over()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    def _from_a_thread(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        loop = self._run.loop
        if loop.is_closed():
            raise self._over()
        if self._run.within_its_loop():
            raise self._blocked()
        answers = threading.Event()
        loop.call_soon_threadsafe(answers.set)
        if not answers.wait(_ANSWERS_WITHIN_S):
            raise self._blocked()
        return asyncio.run_coroutine_threadsafe(start(), loop).result()

    def _over(self) -> Unavailable:
        return Unavailable(f"the run {self._run.id} is over: its event loop is closed")

    def _blocked(self) -> BadInput:
        return BadInput(
            f"the event loop of the run {self._run.id} is blocked by the agent that calls its tools: await the agent "
            "(`ainvoke`, `run`), or use `Gate.run_sync`"
        )


def _within(run: GatedRun | SyncGatedRun) -> GatedRun:
    return run if isinstance(run, GatedRun) else run.within


def told(error: ActionError) -> str:
    """Return what the agent's model is told about a call that was not performed as asked."""
    match error:
        case ActionFailed():
            return f"It was not done: {error.message}"
        case OutcomeUnknown():
            return f"It may have been done; do not do it again: {error.message}"
        case ObservationWithheld():
            return f"It was done, but its result is withheld: {error.message}"
        case _:
            return error.message


def said_or_called(text: str, calls: Sequence[tuple[str, Any]]) -> str:
    """Return what a model said, or, if it only called tools, which."""
    return text or "\n".join(f"{name}({canonical(plain(arguments)).decode()})" for name, arguments in calls)


def _is_same(told: Any, recorded: Any) -> bool:
    """Whether what a run tells its host is all that was recorded: a task may have some of it left out."""
    return bool(told == recorded) or canonical(told) == canonical(recorded)

"""ReAct: think, act and observe in turn until there is an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaffold.errors import ActionFailed, ActionRefused, GaveUp, ObservationWithheld, TaskError
from scaffold.planning import act, think
from scaffold.vocabulary.canonical import adapter, canonical
from scaffold.vocabulary.moves import Planning, Thought
from scaffold.vocabulary.references import Reference, apply
from scaffold.vocabulary.sampling import once
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import PlannerOptions, Tries, form_of
from scaffold_planners.seen import Remembered, Seen
from scaffold_planners.ways import Call, Way, fault_in


class ReactOptions(PlannerOptions):
    """Options of `react`."""

    steps: Annotated[int, Field(ge=1, le=200, description="most turns")] = 12
    faults: Annotated[int, Field(ge=0, description="most calls of actions that there are not, or not so")] = 3
    repeats: Annotated[int, Field(ge=1, description="times that a call may be repeated with nothing changed")] = 2
    longest: Annotated[int, Field(ge=1, description="characters of an observation that later turns see")] = 4000
    tries: Annotated[Tries, Field(description="most samples drawn for one turn")] = 3
    memory: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="most tokens that a turn is shown: older ones are shortened; all are shown when null",
    )


class Turn(BaseModel):
    """A thought, and then either an action with its arguments, or the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thought: str
    action: str = ""
    arguments: dict[str, Any] = {}
    answer: str | bool | int | float | None = None


class RecallingTurn(Turn):
    """A thought, and then an action with its arguments, or the key of something to be had back, or the answer."""

    recall: str = ""


_DEFAULTS = ReactOptions()
_NEXT = (
    "Say what you think now, and then either one action to take, with its arguments, or, once you know it, the answer. "
    "The answer is {wanted}."
)


def react(task: Task, options: ReactOptions = _DEFAULTS) -> Planning[Any]:
    """Think, act and observe in turn until there is an answer; the gate clears each action.

    ReAct (Yao et al. 2022, arXiv 2210.03629), with turns as typed data rather than text to parse. An action's result
    stays a reference, tainted as its action says, and so do arguments derived from it. A call that cannot be made is
    answered by an observation in the planner's words, and counts towards `faults`. With `memory`, earlier turns are
    kept in a working memory, and `recall` returns what was shortened, word for word.

    Raises:
        TaskError: there are no actions.
        MemoryTooSmall: `memory` has no room beside the task, its goals and its actions.
        GaveUp: too many turns, too many faults, or the same call again and again.
        StepFailed: there was no turn of the wanted form.
        OutcomeUnknown: an action may have happened; a person has to look before the run goes on.
    """
    tools = {spec.name: spec for spec in task.tools}
    if not tools:
        raise TaskError("react needs actions, but the task has none: add some to `actions`", path=("actions",))
    seen = Seen(task, tools, options.longest) if options.memory is None else Remembered(task, tools, options.memory)
    faults, made, last = 0, dict[bytes, int](), ""
    for _ in range(options.steps):
        turn = yield from _turn(task, seen, options)
        if turn.value.answer is not None:
            return turn.value.answer
        last = turn.key
        yield from seen.add("Turn", apply(_shown, turn))
        if isinstance(turn.value, RecallingTurn) and turn.value.recall:
            yield from seen.add("Recalled", seen.recalled(turn.value.recall))
            continue
        fault = fault_in(Way(summary="turn", calls=[_call(turn.value)]), tools=tools)
        if fault:
            faults += 1
            if faults > options.faults:
                raise GaveUp(f"{faults} calls could not be made; the last: {fault.partition(': ')[2]} (at {turn.key})")
            yield from seen.add("Observation", apply(_no_call, turn, fault.partition(": ")[2]))
            continue
        same = canonical([turn.value.action, turn.value.arguments])
        made[same] = made.get(same, 0) + 1
        if made[same] > options.repeats:
            raise GaveUp(f"{turn.value.action!r} was called again and again with the same arguments (at {turn.key})")
        happened, observation = yield from _do(turn)
        yield from seen.add("Observation", observation)
        if happened and tools[turn.value.action].effect != "read":
            made = {same: made[same]}  # an effect may have changed what earlier reads returned
    raise GaveUp(f"no answer after {options.steps} turns (the last at {last})")


def _turn(task: Task, seen: Seen, options: ReactOptions) -> Planning[Thought[Turn]]:
    """Ask for one turn, showing the actions and what was seen so far."""
    form = form_of(task.answer, options.max_tokens)

    def misfit(turn: Turn) -> str:
        recalls = isinstance(turn, RecallingTurn) and bool(turn.recall)
        if [turn.answer is not None, bool(turn.action), recalls].count(True) != 1:
            return "should have either an action or an answer, and only one of them"
        if turn.answer is None:
            return ""
        if form.options.choices:
            return (
                ""
                if turn.answer in form.options.choices
                else f"has an answer that is not one of {', '.join(form.options.choices)}"
            )
        wanted: Any = form.returns
        try:
            adapter(wanted).validate_python(turn.answer, strict=True)
        except ValidationError:
            return f"the answer does not have the type that the task wants: {task.answer}"
        return ""

    kind = f"one of {', '.join(form.options.choices)}" if form.options.choices else f"of the kind {task.answer}"
    return think(
        "decide",
        *seen.shown(),
        returns=Turn if options.memory is None else RecallingTurn,
        instruction=_NEXT.format(wanted=kind),
        sampling=once(tries=options.tries, flags=(misfit,)),
        options=options.asked(),
    )


def _do(turn: Thought[Turn]) -> Planning[tuple[bool, Any]]:
    """Perform an action with references into the turn as arguments; return whether it happened, and its result."""
    arguments: Mapping[str, Reference[Any]] = {name: turn["arguments"][name] for name in turn.value.arguments}
    try:
        observed = yield from act(turn.value.action, arguments, because=(turn,))
    except (ActionRefused, ActionFailed, ObservationWithheld) as error:
        happened = isinstance(error, ObservationWithheld)
        return happened, f"{error.code.replace('_', ' ')}: {error.message}"
    return True, observed


def _call(turn: Turn) -> Call:
    return Call(action=turn.action, arguments=turn.arguments)


def _shown(turn: Turn) -> str:
    if isinstance(turn, RecallingTurn) and turn.recall:
        return f"{turn.thought}\nRecall: {turn.recall}"
    arguments = canonical(turn.arguments).decode()
    return f"{turn.thought}\nAction: {turn.action} {arguments}"


def _no_call(turn: Turn, fault: str) -> str:
    return f"{turn.action} was not called: {fault}"

"""Proposes ways to do a task: several at first, and after objections another one that takes them into account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from scaffold.errors import NoOptions, StepFailed
from scaffold.planning import think, together
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.moves import Planning, Thought
from scaffold.vocabulary.references import Reference, apply
from scaffold.vocabulary.sampling import once
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import Form, Tries, form_of
from scaffold_planners.showing import inputs, labelled
from scaffold_planners.tree import TreeOptions, grow
from scaffold_planners.ways import FIELD, RESULT_OF, Tools, Way, described, fault_in, same
from scaffold_planners.weighing import WeighingOptions, attempt


class DeliberateOptions(WeighingOptions):
    """Options of `deliberate`."""

    ways: Annotated[int, Field(ge=1, le=20, description="ways to propose at first")] = 3
    revisions: Annotated[int, Field(ge=0, le=10, description="times to propose again after objections")] = 2
    most_calls: Annotated[int, Field(ge=1, le=200, description="most calls of one way")] = 20
    tries: Annotated[Tries, Field(description="most samples drawn for one sound way")] = 4
    tree: TreeOptions | None = Field(default=None, description="without actions: find each first way by a tree")


class Understanding(BaseModel):
    """What is wanted, the facts given, and what is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wanted: str
    facts: list[str] = []
    unknown: list[str] = []


class TurnedDown(NamedTuple):
    """A way that was turned down, and the objection."""

    way: Reference[Way]
    why: str


# Different angles give different ways even with greedy decoding.
_ANGLES = (
    "the most direct one",
    "the most careful one, which is easiest to undo",
    "one that others would not think of first",
)
_AS_CALLS = (
    "Propose one way to do the task: {angle}. Use only these actions, and only what is given. Where an "
    "argument is what an earlier call gives back, write "
    f'{{{{"{RESULT_OF}": 1}}}} for the result of call 1, or '
    f'{{{{"{RESULT_OF}": 1, "{FIELD}": "name"}}}} for one field of it.'
)
_AS_ANSWER = "Propose one answer to the task: {angle}."
_REVISED = "one against which the objections do not stand"


def propose_ways(
    task: Task,
    understood: Thought[Understanding],
    tools: Tools,
    down: Sequence[TurnedDown],
    options: DeliberateOptions,
) -> Planning[list[Reference[Way]]]:
    """Propose several ways at first, and after objections one more that is shown them; no two are the same."""
    angles = [_REVISED] if down else [_ANGLES[number % len(_ANGLES)] for number in range(options.ways)]
    said = yield from together(
        *(attempt(_propose_way(task, understood, tools, down, angle, options)) for angle in angles)
    )
    ways: dict[bytes, Reference[Way]] = {}
    for way in said:
        if not isinstance(way, StepFailed):
            ways.setdefault(same(way.value), way)
    if not ways and not down:
        raise next(error for error in said if isinstance(error, StepFailed))
    return list(ways.values())


def _propose_way(
    task: Task,
    understood: Thought[Understanding],
    tools: Tools,
    down: Sequence[TurnedDown],
    angle: str,
    options: DeliberateOptions,
) -> Planning[Reference[Way]]:
    """Have one way proposed: calls of actions, or an answer of the wanted form if there are no actions."""
    if options.tree is not None and not tools and not down:
        return (yield from _grow_way(task, options.tree))
    form = form_of(task.answer, options.max_tokens) if not tools else Form(Way, options.asked())
    as_way = _answer_as_way if not tools else _itself
    refused = {same(each.way.value) for each in down}

    def fault(value: Any) -> str:
        return fault_in(as_way(value), tools=tools, refused=refused, most=options.most_calls)

    thought = yield from think(
        "propose",
        *([labelled("Actions", described(tools))] if tools else []),
        *inputs(task),
        labelled("Task", task.request),
        labelled("Understood as", understood),
        *(shown for each in down for shown in _with_objection(each)),
        returns=form.returns,
        instruction=(_AS_CALLS if tools else _AS_ANSWER).format(angle=angle),
        sampling=once(tries=options.tries, flags=(fault,)),
        options=form.options,
    )
    return apply(as_way, thought) if not tools else thought


def _grow_way(task: Task, options: TreeOptions) -> Planning[Reference[Way]]:
    """Search for an answer with a tree of thoughts; if it finds none, there is one way fewer."""
    try:
        found = yield from grow(task, options)
    except NoOptions as error:
        raise StepFailed(str(error)) from error
    return apply(_answer_as_way, found)


def _with_objection(down: TurnedDown) -> tuple[Reference[str], Reference[str]]:
    return labelled("Turned down", apply(Way.text, down.way)), labelled("Objection", down.why)


def _answer_as_way(answer: Any) -> Way:
    return Way(summary=answer if isinstance(answer, str) else canonical(answer).decode())


def _itself(way: Way) -> Way:
    return way

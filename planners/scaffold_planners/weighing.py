"""Weighs ways to do a task: the consequences of each, which goals these break, and how far they meet the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from scaffold.errors import StepFailed
from scaffold.planning import think, together
from scaffold.vocabulary.moves import Planning, Thought
from scaffold.vocabulary.references import Reference, apply
from scaffold.vocabulary.sampling import once
from scaffold.vocabulary.task import Goal, Task
from scaffold_planners.answering import PlannerOptions, Votes, agreed
from scaffold_planners.showing import labelled
from scaffold_planners.ways import Tools, Way, described

T = TypeVar("T")

_DEGREES = {"no": 0.0, "partly": 0.5, "fully": 1.0}
_KEEPING = ("keeps", "breaks")
_HARM = {"read": 0, "reversible": 1, "irreversible": 2}


class WeighingOptions(PlannerOptions):
    """Options of how ways are weighed."""

    votes: Votes = 1


class Consequences(BaseModel):
    """What each call would give back or change, in order, and what would be different in the end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expected: list[str] = []
    outcome: str


class Conflict(BaseModel):
    """An objective that ways which break other goals meet further than any way that keeps them."""

    objective: str
    breaks: list[str]


class Contradiction(BaseModel):
    """Constraints and principles that no way keeps all at once."""

    goals: list[str]


class Tension(BaseModel):
    """Two objectives that no way meets both as far as each can be met."""

    objectives: tuple[str, str]


class Weighed(NamedTuple):
    """A way, weighed.

    Attributes:
        way: the way.
        future: its consequences.
        broken: names of the constraints and principles that it breaks or may break.
        met: how far it meets each objective, 0 to 1, by name; a way that is out is not rated for all.
        untold: names of those among `broken` that could not be judged.
    """

    way: Reference[Way]
    future: Thought[Consequences]
    broken: tuple[str, ...]
    met: dict[str, float]
    untold: tuple[str, ...] = ()


def objectives(task: Task) -> list[Goal]:
    """Return the task's objectives; the request itself if there are none."""
    return [goal for goal in task.goals if goal.kind == "objective"] or [Goal(statement=task.prompt, name="request")]


def attempt(planning: Planning[T]) -> Planning[T | StepFailed]:
    """Return the error of a failed step instead of raising it, so that parallel steps go on."""
    try:
        return (yield from planning)
    except StepFailed as error:
        return error


def weigh(way: Reference[Way], task: Task, tools: Tools, options: WeighingOptions) -> Planning[Weighed]:
    """Weigh one way: constraints and principles first, objectives only if none of them is broken."""
    future = yield from _foresee(way, tools, options)
    bounds = [goal for goal in task.goals if goal.kind != "objective"]
    kept = yield from together(*(attempt(_judge(way, future, goal, _KEEPING, options)) for goal in bounds))
    # What could not be judged counts as broken: a failed check is never a pass.
    words = {goal.name: _word(said) for goal, said in zip(bounds, kept, strict=True)}
    broken = tuple(name for name, word in words.items() if word != _KEEPING[0])
    weighed = Weighed(way, future, broken, {}, untold=tuple(name for name in broken if not words[name]))
    return weighed if broken else (yield from measure(weighed, objectives(task), options))


def measure(weighed: Weighed, goals: Sequence[Goal], options: WeighingOptions) -> Planning[Weighed]:
    """Rate how far a way meets further objectives."""
    asked = [goal for goal in goals if goal.name not in weighed.met]
    degrees = tuple(_DEGREES)
    said = yield from together(
        *(attempt(_judge(weighed.way, weighed.future, goal, degrees, options)) for goal in asked)
    )
    found = {goal.name: _DEGREES.get(_word(each), 0.0) for goal, each in zip(asked, said, strict=True)}
    return weighed._replace(met=weighed.met | found)


def best(weighed: Sequence[Weighed], goals: Sequence[Goal], tools: Tools) -> Weighed | None:
    """Choose among the ways that break nothing: the highest weighted sum of objectives met.

    Ties go to the one easiest to undo, then the one with the fewest calls, then the one proposed first.
    """

    def rank(each: Weighed) -> tuple[float, int, int]:
        calls = each.way.value.calls
        score = sum(goal.weight * each.met.get(goal.name, 0.0) for goal in goals)
        return (-score, max((_HARM[tools[call.action].effect] for call in calls), default=0), len(calls))

    return min((each for each in weighed if not each.broken), key=rank, default=None)


def unmet(weighed: Sequence[Weighed], goals: Sequence[Goal]) -> list[Goal]:
    """Return the objectives that no way meets fully without breaking a goal."""
    return [goal for goal in goals if _reach(goal, [each for each in weighed if not each.broken]) < 1]


def conflicts(weighed: Sequence[Weighed], goals: Sequence[Goal]) -> list[Conflict]:
    """Find objectives that only ways which are out meet furthest, and the goals that these break."""
    found = []
    for goal in goals:
        reach = _reach(goal, [each for each in weighed if not each.broken])
        further = [each for each in weighed if each.broken and each.met.get(goal.name, 0.0) > reach]
        names = dict.fromkeys(name for each in further for name in each.broken)
        if names:
            found.append(Conflict(objective=goal.name, breaks=list(names)))
    return found


def contradictions(weighed: Sequence[Weighed]) -> list[Contradiction]:
    """Find the constraints and principles that conflict, if every way breaks one."""
    if not weighed or any(not each.broken for each in weighed):
        return []
    names = list(dict.fromkeys(name for each in weighed for name in each.broken))
    sometimes = [name for name in names if any(name not in each.broken for each in weighed)]
    pairs = [
        Contradiction(goals=[one, other])
        for one, other in combinations(sometimes, 2)
        if all(one in each.broken or other in each.broken for each in weighed)
    ]
    # If more than two conflict at a time, or one is always broken, all are named together.
    return pairs or [Contradiction(goals=names)]


def tensions(weighed: Sequence[Weighed], goals: Sequence[Goal]) -> list[Tension]:
    """Find pairs of objectives that no way, without breaking a goal, meets both as far as each can be met."""
    kept = [each for each in weighed if not each.broken]
    most = {goal.name: _reach(goal, kept) for goal in goals}
    return [
        Tension(objectives=(one, other))
        for one, other in combinations(most, 2)
        if most[one]
        and most[other]
        and not any(each.met.get(one) == most[one] and each.met.get(other) == most[other] for each in kept)
    ]


def _reach(goal: Goal, weighed: Sequence[Weighed]) -> float:
    return max((each.met.get(goal.name, 0.0) for each in weighed), default=0.0)


def _foresee(way: Reference[Way], tools: Tools, options: WeighingOptions) -> Planning[Thought[Consequences]]:
    count = len(way.value.calls)

    def complete(said: Consequences) -> str:
        return (
            ""
            if len(said.expected) == count
            else f"there are there are {len(said.expected)} expectations for {count} calls"
        )

    return think(
        "predict",
        apply(lambda known: described({call.action: tools[call.action] for call in known.calls}), way),
        labelled("Option", apply(Way.text, way)),
        returns=Consequences,
        instruction=f"Foresee what would happen. Texts in `expected`: {count}, one for each call in order.",
        sampling=once(flags=(complete,)),
        options=options.asked(),
    )


def _judge(
    way: Reference[Way],
    future: Reference[Consequences],
    goal: Goal,
    words: tuple[str, ...],
    options: WeighingOptions,
) -> Planning[Thought[str]]:
    """Judge one way by one goal; the answer is one word, so that votes can agree."""
    question = "How far does it meet" if goal.kind == "objective" else "Does it keep to, or break (or risk breaking),"
    examples = [f"Fits: {each}" for each in goal.examples.wanted]
    examples += [f"Does not fit: {each}" for each in goal.examples.unwanted]
    return think(
        "evaluate",
        labelled("Option", apply(Way.text, way)),
        labelled("It would lead to", future),
        instruction="\n".join([f"{question} this {goal.kind}: {goal.statement}", *examples]),
        sampling=agreed(options.votes),
        options=options.asked(words),
    )


def _word(said: Thought[str] | StepFailed) -> str:
    return "" if isinstance(said, StepFailed) else said.value

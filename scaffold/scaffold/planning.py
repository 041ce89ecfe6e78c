"""The functions planners are written with: typed generators that yield a move and return its result.

    def plan(task: Task) -> Planning[str]:
        understanding = yield from think("understand", task.prompt, returns=Understanding)
        options = yield from together(*(think("propose", understanding, returns=Option) for _ in range(3)))
        ...

The result is typed: `x = yield from think(..., returns=Model)` makes `x` a `Thought[Model]`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from msgspec.structs import asdict

from scaffold.errors import (
    ActionError,
    ActionFailed,
    ActionRefused,
    ObservationWithheld,
    OutcomeUnknown,
    PlanError,
    StepFailed,
)
from scaffold.vocabulary.actions import Observation
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.moves import DEFAULT_OPTIONS, Act, Ask, Note, Options, Propose, Think, Thought, Together
from scaffold.vocabulary.plan import UNDOES, Plan, Planned, resolve
from scaffold.vocabulary.references import NOWHERE, union, unwrap
from scaffold.vocabulary.sampling import several

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.vocabulary.moves import Planning, Review, StepKind
    from scaffold.vocabulary.references import Reference
    from scaffold.vocabulary.sampling import Check, Sampling

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


@overload
def think(
    kind: StepKind,
    *inputs: Any,
    instruction: str = "",
    prompt: str = "",
    sampling: Sampling | None = None,
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
) -> Planning[Thought[str]]: ...
@overload
def think(
    kind: StepKind,
    *inputs: Any,
    returns: type[T],
    instruction: str = "",
    prompt: str = "",
    sampling: Sampling | None = None,
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
) -> Planning[Thought[T]]: ...
@overload
def think(
    kind: StepKind,
    *inputs: Any,
    returns: Any,
    instruction: str = "",
    prompt: str = "",
    sampling: Sampling | None = None,
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
) -> Planning[Thought[Any]]: ...
def think(
    kind: StepKind,
    *inputs: Any,
    returns: Any = str,
    instruction: str = "",
    prompt: str = "",
    sampling: Sampling | None = None,
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
) -> Planning[Thought[Any]]:
    """Ask a model for one cognitive step.

    Args:
        kind: what sort of step; also names the template unless `prompt` does.
        inputs: all that the step may see.
        returns: type of the value wanted; any other answer is discarded and drawn again.
        instruction: what to do, in the planner's own words. Text from elsewhere goes into `inputs`.
        prompt: name of a template.
        sampling: how samples become one answer.
        to: role of the backend.
        options: how it is asked.

    Raises:
        StepFailed: no acceptable answer within the sampling's cap.
        TypeError: `sampling` is not a policy, `options` is not an `Options`, or a text is none.
        ValueError: `options` asks for something that no model can do.
    """
    if sampling is not None and not hasattr(sampling, "decide"):
        raise TypeError(f"`sampling` should be a policy, such as majority(3), not {sampling!r}")
    if options is not DEFAULT_OPTIONS:
        _check(options)
    if not (type(instruction) is type(prompt) is type(to) is str):
        _check_texts(instruction=instruction, prompt=prompt, to=to)
    thought = yield Think(
        kind=kind,
        inputs=inputs,
        returns=returns,
        instruction=instruction,
        prompt=prompt,
        sampling=sampling,
        to=to,
        options=options,
    )
    return cast("Thought[Any]", thought)


def _check_texts(**given: object) -> None:
    for name, text in given.items():
        if not isinstance(text, str):
            said = f"`{name}` should be a text of the planner's own, not a {type(text).__name__}"
            raise TypeError(f"{said}: what a model, a tool or the user said goes into the step's inputs")


def _check(options: object) -> None:
    if not isinstance(options, Options):
        raise TypeError(f"`options` should be made by Options(...), such as Options(max_tokens=200), not {options!r}")
    given: dict[str, Any] = asdict(options)  # unchecked, so values may be of any type
    for name in ("stop", "choices"):
        texts = given[name]
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"`{name}` of Options should be a tuple of texts, such as ('END',), not {texts!r}")
    if "" in given["stop"]:
        raise ValueError("`stop` of Options contains an empty text, which would stop every answer at once")
    most, warmth = given["max_tokens"], given["temperature"]
    if not isinstance(most, int) or most < 1:
        raise ValueError(f"`max_tokens` of Options should be a whole number of at least 1, not {most!r}")
    if warmth is not None and not (isinstance(warmth, int | float) and 0 <= warmth < math.inf):
        raise ValueError(f"`temperature` of Options should be a number of at least 0, not {warmth!r}")


@overload
def together(first: Planning[A], second: Planning[B], /) -> Planning[tuple[A, B]]: ...
@overload
def together(first: Planning[A], second: Planning[B], third: Planning[C], /) -> Planning[tuple[A, B, C]]: ...
@overload
def together(*branches: Planning[T]) -> Planning[tuple[T, ...]]: ...
def together(*branches: Planning[Any]) -> Planning[tuple[Any, ...]]:
    """Run sub-planners at the same time and return their results in the order of the arguments.

    All branches end first; then the error of the first failed branch, in that order, is raised.
    """
    move = Together(list(branches))
    del branches  # so that ended branches can be freed before all have ended
    results = yield move
    return cast("tuple[Any, ...]", results)


def propose(plan: Plan) -> Planning[Review]:
    """Have every monitor read the whole plan before any of it is done."""
    review = yield Propose(plan)
    return cast("Review", review)


def act(
    action: str | Planned,
    arguments: Mapping[str, Any] | None = None,
    *,
    because: Sequence[Reference[Any]] = (),
    predicted: Any = None,
) -> Planning[Observation[Any]]:
    """Perform one action; it is reviewed as a plan of one action first.

    Raises:
        ActionError: the subclass says whether it was refused, failed, or may have happened.
    """
    observation = yield acting(action, arguments, because=because, predicted=predicted)
    return cast("Observation[Any]", observation)


def acting(
    action: str | Planned,
    arguments: Mapping[str, Any] | None = None,
    *,
    because: Sequence[Reference[Any]] = (),
    predicted: Any = None,
) -> Act:
    """Return the move that `act` makes."""
    planned = (
        action if isinstance(action, Planned) else Planned(action, arguments, because=because, predicted=predicted)
    )
    if not planned.id:
        planned.id = planned.action
    return Act(planned)


def undo(done: Observation[Any] | str, action: str = "") -> Planning[Observation[Any]]:
    """Undo an action. The undo is an action itself, and is cleared like any other.

    Args:
        done: the action's observation, or its key, as `error.data["undo"]` offers it.
        action: name of the action that undoes it, if only the key is given.

    Raises:
        ActionError: the subclass says whether the undo was refused, failed, or may have happened.
    """
    key, name = (done, action) if isinstance(done, str) else (done.key, action or done.undo)
    if not name:
        raise PlanError(f"no action is known that undoes what was done at {key!r}")
    observation = yield Act(Planned(name, {UNDOES: key}, id=name))
    return cast("Observation[Any]", observation)


def carry_out(plan: Plan, review: Review | None = None) -> Planning[dict[str, Observation[Any]]]:
    """Perform a plan in the order that its references imply; independent parts run at the same time.

    Each action is cleared again, with its real arguments. One that is not performed stops only those that depend on it.
    Every node has an observation: its `status` says what became of it, and its value raises unless it was performed.
    Of a plan whose review has refused it nothing is performed; without a review its actions are reviewed one by one.

    If the task says so, what was done before a failure is undone, the last first; `undone` says what became of that.
    If an action may have happened, or its undo failed or was refused, the actions it rests on are left as they are,
    unless a person is asked about each.
    """
    if review is not None and not review.allowed:
        return {planned.id: _not_allowed(planned, review) for planned in plan}
    parts = yield from together(
        *(_carry_out_part(plan, part, review.key if review else "") for part in plan.components())
    )
    merged = {node: observation for part in parts for node, observation in part.items()}
    due = {observation.due for observation in merged.values()}
    if due != {""}:
        yield from _undo_backwards(plan, merged, each_asked="ask" in due)
    return {planned.id: merged[planned.id] for planned in plan}


def _not_allowed(planned: Planned, review: Review) -> Observation[Any]:
    said = [objection.feedback for objection in review.objections if objection.node in {"", planned.id}]
    reason = "; ".join(["its plan was refused", *said])
    return Observation(None, NOWHERE, key="", action=planned.action, status="refused", reason=reason)


def _undo_backwards(plan: Plan, done: dict[str, Observation[Any]], *, each_asked: bool) -> Planning[None]:
    kept: set[str] = set()
    for node in reversed(plan.order):
        observation = done[node]
        stands = observation.status in {"unknown", "withheld"}
        if observation.undo and (each_asked or node not in kept):
            undone = yield from _attempt(Act(Planned(observation.undo, {UNDOES: observation.key}, id=node)))
            observation.undone = undone.status
            stands = undone.status != "performed"
        if stands or node in kept:
            kept |= plan[node].needs()


def _carry_out_part(plan: Plan, nodes: list[str], proposal: str) -> Planning[dict[str, Observation[Any]]]:
    done: dict[str, Observation[Any]] = {}
    for node in nodes:
        planned = plan[node]
        lacking = [name for name in sorted(planned.needs()) if done[name].status != "performed"]
        if lacking:
            reason = f"{node} needs {lacking[0]}, which was {done[lacking[0]].status}"
            done[node] = Observation(None, NOWHERE, key="", action=planned.action, status="skipped", reason=reason)
            continue
        known = Planned(
            planned.action,
            resolve(planned.arguments, done),
            id=node,
            after=sorted(planned.needs()),
            because=planned.because,
            predicted=planned.predicted,
        )
        done[node] = yield from _attempt(Act(known, plan=proposal))
    return done


def _attempt(move: Act) -> Planning[Observation[Any]]:
    try:
        observation = yield move
    except ActionError as error:
        status = _STATUS_OF.get(type(error), "failed")
        return Observation(
            None,
            NOWHERE,
            key=error.key,
            action=move.planned.action,
            status=status,
            reason=error.message,
            due=error.data.get("due", ""),
        )
    return cast("Observation[Any]", observation)


_STATUS_OF: dict[type[ActionError], Any] = {
    ActionRefused: "refused",
    ActionFailed: "failed",
    OutcomeUnknown: "unknown",
    ObservationWithheld: "withheld",
}


@overload
def ask(question: str | Reference[str], *about: Any) -> Planning[Reference[str]]: ...
@overload
def ask(question: str | Reference[str], *about: Any, returns: type[T]) -> Planning[Reference[T]]: ...
@overload
def ask(question: str | Reference[str], *about: Any, returns: Any) -> Planning[Reference[Any]]: ...
def ask(question: str | Reference[str], *about: Any, returns: Any = str) -> Planning[Reference[Any]]:
    """Ask the user for a missing fact; the run pauses if nobody is there to answer."""
    answer = yield Ask(unwrap(question), returns, about)
    return cast("Reference[Any]", answer)


def note(text: str | Reference[str], *, partial: Any = None) -> Planning[None]:
    """Write a note into the trace; `partial` is the run's answer if it is cut short from here on."""
    yield Note(unwrap(text), unwrap(partial))


Mark = Literal[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
_MARKING = "Mark the last of these from 0 (useless) to 10 (perfect). {rubric}"


@overload
def best_of(
    n: int,
    kind: StepKind,
    *inputs: Any,
    rubric: str,
    instruction: str = "",
    prompt: str = "",
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
    flags: tuple[Check, ...] = (),
    judge: str = "judge",
    judging: Sampling | None = None,
    least: int = 1,
) -> Planning[Thought[str]]: ...
@overload
def best_of(
    n: int,
    kind: StepKind,
    *inputs: Any,
    rubric: str,
    returns: type[T],
    instruction: str = "",
    prompt: str = "",
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
    flags: tuple[Check, ...] = (),
    judge: str = "judge",
    judging: Sampling | None = None,
    least: int = 1,
) -> Planning[Thought[T]]: ...
@overload
def best_of(
    n: int,
    kind: StepKind,
    *inputs: Any,
    rubric: str,
    returns: Any,
    instruction: str = "",
    prompt: str = "",
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
    flags: tuple[Check, ...] = (),
    judge: str = "judge",
    judging: Sampling | None = None,
    least: int = 1,
) -> Planning[Thought[Any]]: ...
def best_of(  # noqa: PLR0913 - a step's arguments, and its judge's
    n: int,
    kind: StepKind,
    *inputs: Any,
    rubric: str,
    returns: Any = str,
    instruction: str = "",
    prompt: str = "",
    to: str = "default",
    options: Options = DEFAULT_OPTIONS,
    flags: tuple[Check, ...] = (),
    judge: str = "judge",
    judging: Sampling | None = None,
    least: int = 1,
) -> Planning[Thought[Any]]:
    """Draw n answers to a step, have a judge mark each by itself, and return the one with the highest mark.

    The answers are samples of one step, so they share its prompt. Each different answer is marked in a step of its
    own, since a judge that sees several at once prefers certain positions (Zheng et al. 2023, arXiv 2306.05685). An
    answer whose judge fails is dropped. Of equal marks the first wins. The thought's confidence is its mark over 10:
    the judge's opinion, not a probability.

    Args:
        n: how many acceptable answers; fewer if 2 n samples have no more.
        kind: what sort of step.
        inputs: what the step may see; the judge sees it too, and the answer after it.
        rubric: what a good answer is, for the judge; the planner's own words.
        returns: as for `think`, like `instruction`, `prompt`, `to` and `options`.
        flags: checks that each answer must pass before it is judged.
        judge: role of the backend that judges.
        judging: how the judge is sampled.
        least: the lowest mark to be taken at all.

    Raises:
        StepFailed: no acceptable answer, or none that was marked `least` or higher.
    """
    drafts = yield from think(
        kind,
        *inputs,
        returns=returns,
        instruction=instruction,
        prompt=prompt,
        sampling=several(n, flags=flags),
        to=to,
        options=options,
    )
    different: dict[bytes, Thought[Any]] = {}
    for candidate in drafts.candidates:
        different.setdefault(canonical(candidate.value), candidate)
    candidates = list(different.values())
    marks = yield from together(*(_mark(inputs, candidate, rubric, judge, judging) for candidate in candidates))
    best: tuple[int, Thought[Any], Thought[int]] | None = None
    for candidate, mark in zip(candidates, marks, strict=True):
        if mark is not None and mark.value >= least and (best is None or mark.value > best[0]):
            best = mark.value, candidate, mark
    if best is None:
        said = ", ".join("the judge failed" if mark is None else str(mark.value) for mark in marks)
        raise StepFailed(f"none of {len(candidates)} answers was marked {least} or higher: {said}", drafts.key)
    highest, chosen, _ = best
    return Thought(
        chosen.value,
        union([chosen.provenance, *(mark.provenance for mark in marks if mark is not None)]),
        key=chosen.key,
        text=chosen.text,
        reasoning=chosen.reasoning,
        confidence=highest / 10,
        shown=chosen.shown,
    )


def _mark(
    inputs: tuple[Any, ...], candidate: Thought[Any], rubric: str, judge: str, judging: Sampling | None
) -> Planning[Thought[int] | None]:
    try:
        mark = yield from think(
            "evaluate",
            *inputs,
            candidate,
            returns=Mark,
            instruction=_MARKING.format(rubric=rubric),
            sampling=judging,
            to=judge,
        )
    except StepFailed:
        return None
    return mark

"""What planners are written with: typed generators that yield moves and give back what they were sent.

def plan(task: Task) -> Planning[str]:
understanding = yield from think("understand", task.prompt, returns=Understanding)
options = yield from together(*(think("propose", understanding, returns=Option) for _ in range(3)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from scaffold.errors import ActionError, ActionFailed, ActionRefused, ObservationWithheld, OutcomeUnknown
from scaffold.vocabulary.actions import Observation
from scaffold.vocabulary.moves import DEFAULT_OPTIONS, Act, Ask, Note, Options, Propose, Think, Together
from scaffold.vocabulary.plan import Plan, Planned, resolve
from scaffold.vocabulary.references import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.vocabulary.moves import Planning, Review, StepKind, Thought
    from scaffold.vocabulary.references import Reference
    from scaffold.vocabulary.sampling import Sampling

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
        returns: type of the value wanted; anything else a model says is discarded and drawn again.
        instruction: what to do, in the planner's own words. Text from elsewhere goes into `inputs`.
        prompt: name of a template.
        sampling: how samples become one answer.
        to: role of the backend.
        options: how it is asked.

    Raises:
        StepFailed: no acceptable answer within the sampling's cap.
    """
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


@overload
def together(first: Planning[A], second: Planning[B], /) -> Planning[tuple[A, B]]: ...
@overload
def together(first: Planning[A], second: Planning[B], third: Planning[C], /) -> Planning[tuple[A, B, C]]: ...
@overload
def together(*branches: Planning[T]) -> Planning[tuple[T, ...]]: ...
def together(*branches: Planning[Any]) -> Planning[tuple[Any, ...]]:
    """Run sub-planners at the same time and give their results in the order they stand here.

    All branches end first; then the error of the first failed branch, by place, is raised.
    """
    move = Together(list(branches))
    del branches  # so that branches that have ended do not stay in memory until all have
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
    """Do one thing; it is reviewed as a plan of one action first.

    Raises:
        ActionError: the leaf says whether it was refused, failed, or may have happened.
    """
    planned = (
        action if isinstance(action, Planned) else Planned(action, arguments, because=because, predicted=predicted)
    )
    if not planned.id:
        planned.id = planned.action
    observation = yield Act(planned)
    return cast("Observation[Any]", observation)


def carry_out(plan: Plan, review: Review | None = None) -> Planning[dict[str, Observation[Any]]]:
    """Perform a plan in the order its references ask for; independent parts go at the same time.

    Each action is cleared again, with its real arguments. What cannot be done does not stop what does not depend on
    it: every node has an observation, whose `status` says what became of it and whose value raises unless
    it was performed.
    """
    parts = yield from together(
        *(_carry_out_part(plan, part, review.key if review else "") for part in plan.components())
    )
    merged = {node: observation for part in parts for node, observation in part.items()}
    return {planned.id: merged[planned.id] for planned in plan}


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
            None, NOWHERE, key=error.key, action=move.planned.action, status=status, reason=error.message
        )
    return cast("Observation[Any]", observation)


_STATUS_OF: dict[type[ActionError], Any] = {
    ActionRefused: "refused",
    ActionFailed: "failed",
    OutcomeUnknown: "unknown",
    ObservationWithheld: "withheld",
}


@overload
def ask(question: str, *about: Any) -> Planning[Reference[str]]: ...
@overload
def ask(question: str, *about: Any, returns: type[T]) -> Planning[Reference[T]]: ...
def ask(question: str, *about: Any, returns: Any = str) -> Planning[Reference[Any]]:
    """Ask the user for a missing fact; the run pauses when nobody is there to answer."""
    answer = yield Ask(question, returns, about)
    return cast("Reference[Any]", answer)


def note(text: str, *, partial: Any = None) -> Planning[None]:
    """Write something into the trace; `partial` is what the run answers if it is cut short from here on."""
    yield Note(text, partial)

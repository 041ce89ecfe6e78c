"""Tree of thoughts: propose several next thoughts, judge them, and go on from the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scaffold.critics import all_limited
from scaffold.errors import CheckFailed, NoOptions, StepFailed, StepRefused
from scaffold.planning import think, together
from scaffold.vocabulary.code import Code
from scaffold.vocabulary.moves import Planning, Thought
from scaffold.vocabulary.references import Reference, apply
from scaffold.vocabulary.sampling import once
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import CriticTimeout, PlannerOptions, Tries, Votes, agreed, form_of
from scaffold_planners.showing import inputs, labelled
from scaffold_planners.weighing import attempt

Path = tuple[Thought[str], ...]
Critic = Annotated[Callable[[Any], Any], Code()]

_MOST_STATES = 1000
_WORTH = {"sure": 2, "maybe": 1, "impossible": 0}


class TreeOptions(PlannerOptions):
    """Options of `tree`.

    Attributes:
        prunes: sound critics in code, as `module:name`; each takes the texts of a path's thoughts, and returns True or
            what is wrong. A thought that any of them refuses is discarded and drawn again.
        accepts: the same for the answer.
        step: description of what a thought is, in the user's words.
    """

    depth: Annotated[int, Field(ge=1, le=20, description="thoughts in a row")] = 3
    proposals: Annotated[int, Field(ge=1, le=50, description="thoughts proposed for each state")] = 3
    breadth: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=3, description="states kept at each level; all of them when null"
    )
    judge: Annotated[Literal["value", "vote"], Field(description="rate each state by itself, or choose among them")] = (
        "value"
    )
    votes: Votes = 1
    tries: Annotated[Tries, Field(description="most samples drawn for one thought, or for the answer")] = 3
    prunes: tuple[Critic, ...] = ()
    accepts: tuple[Critic, ...] = ()
    critic_timeout_s: CriticTimeout = 30.0
    step: Annotated[str, Field(min_length=1)] = "Propose one next step towards the solution, in a sentence."

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        states = self.proposals**self.depth if self.breadth is None else self.proposals * self.breadth
        if states > _MOST_STATES:
            said = f"a level could have {states} states, more than {_MOST_STATES}: give a smaller `breadth`"
            raise PydanticCustomError("tree", "{said}", {"said": said})
        return self


_DEFAULTS = TreeOptions()


def tree(task: Task, options: TreeOptions = _DEFAULTS) -> Planning[Any]:
    """Grow a tree of thoughts breadth first, and answer from its best path.

    Tree of Thoughts (Yao et al. 2023, arXiv 2305.10601): at each level several next thoughts are proposed for every
    state, the new states are valued one by one or voted on, and the best `breadth` are kept (beam search; without
    `breadth`, all). Thoughts are drawn independently, and equal ones count once. Models rank; only critics in code
    prune.

    Raises:
        NoOptions: at some level no thought is left.
        CheckFailed: a critic raised or took too long.
        StepFailed: no path leads to an acceptable answer.
    """
    return (yield from grow(task, options)).value


def grow(task: Task, options: TreeOptions = _DEFAULTS) -> Planning[Thought[Any]]:
    """Do the same as `tree`, but return the answer as a thought with its provenance, for use by other planners."""
    kept: list[Path] = [()]
    for level in range(1, options.depth + 1):
        said = yield from together(
            *(attempt(_propose(task, path, options)) for path in kept for _ in range(options.proposals))
        )
        for each in said:
            if isinstance(each, CheckFailed):
                raise each
        paths = _distinct([each for each in said if not isinstance(each, StepFailed)])
        if not paths:
            why = next((each for each in said if isinstance(each, StepFailed)), None)
            raise NoOptions(f"no thought is left at level {level} of the tree: {why}") from why
        judged = paths if len(paths) == 1 else (yield from _ranked(task, paths, options))
        kept = judged[: options.breadth]
    return (yield from _answer(task, kept, options))


def _propose(task: Task, path: Path, options: TreeOptions) -> Planning[Path]:
    """Have one next thought proposed for a path."""
    before = [thought.value for thought in path]
    critics = all_limited(options.prunes, timeout_s=options.critic_timeout_s)
    thought = yield from think(
        "propose",
        *_shown(task, path),
        instruction=options.step,
        sampling=once(tries=options.tries, flags=tuple(partial(_on_path, each, before) for each in critics)),
        options=options.asked(),
    )
    return (*path, thought)


def _on_path(critic: Callable[[Any], Any], before: Sequence[str], thought: str) -> Any:
    return critic([*before, thought])


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Leave out paths that equal an earlier one except for white space."""
    found: dict[tuple[str, ...], Path] = {}
    for path in paths:
        found.setdefault(tuple(" ".join(thought.value.split()) for thought in path), path)
    return list(found.values())


def _ranked(task: Task, paths: list[Path], options: TreeOptions) -> Planning[list[Path]]:
    """Sort paths, most promising first; equals stay in the order proposed."""
    judge = _values if options.judge == "value" else _ballots
    worth = yield from judge(task, paths, options)
    return [paths[place] for place in sorted(range(len(paths)), key=lambda place: -worth[place])]


def _values(task: Task, paths: list[Path], options: TreeOptions) -> Planning[list[int]]:
    """Rate each state separately; one that could not be rated is worth nothing."""
    rated = yield from together(
        *(
            attempt(
                think(
                    "evaluate",
                    *_shown(task, path),
                    instruction="Can the task be solved by going on from here?",
                    sampling=agreed(options.votes),
                    options=options.asked(tuple(_WORTH)),
                )
            )
            for path in paths
        )
    )
    return [0 if isinstance(each, StepFailed) else _WORTH[each.value] for each in rated]


def _ballots(task: Task, paths: list[Path], options: TreeOptions) -> Planning[list[int]]:
    """Count votes for the most promising state; each voter sees them in another order, against position bias."""
    names = tuple(str(place + 1) for place in range(len(paths)))

    def vote(voter: int) -> Planning[Thought[str]]:
        order = [(voter + place) % len(paths) for place in range(len(paths))]
        return think(
            "decide",
            *inputs(task),
            labelled("Task", task.request),
            *(labelled(f"Option {names[place]}", apply(_text, *paths[place])) for place in order),
            instruction="From which option is the task most likely to be solved? Answer with its number.",
            sampling=once(tries=options.tries),
            options=options.asked(names),
        )

    cast = yield from together(*(attempt(vote(voter)) for voter in range(options.votes)))
    counted = Counter(each.value for each in cast if not isinstance(each, StepFailed))
    return [counted[name] for name in names]


def _answer(task: Task, paths: list[Path], options: TreeOptions) -> Planning[Thought[Any]]:
    """Answer from the best path; if the critics accept no answer from it, from the next best."""
    form = form_of(task.answer, options.max_tokens)
    critics = all_limited(options.accepts, timeout_s=options.critic_timeout_s)
    last: StepFailed | None = None
    for path in paths:
        try:
            return (
                yield from think(
                    "answer",
                    *_shown(task, path),
                    returns=form.returns,
                    sampling=once(tries=options.tries, flags=critics),
                    options=form.options,
                )
            )
        except (StepRefused, CheckFailed):
            raise  # oversight withheld it, or nothing was checked
        except StepFailed as error:
            last = error
    raise last or NoOptions("no path is left")


def _shown(task: Task, path: Path) -> tuple[Reference[str], ...]:
    thoughts = (labelled(f"Thought {place}", thought) for place, thought in enumerate(path, 1))
    return (*inputs(task), labelled("Task", task.request), *thoughts)


def _text(*thoughts: str) -> str:
    return "\n".join(thoughts)

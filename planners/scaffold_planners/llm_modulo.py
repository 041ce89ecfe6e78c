"""LLM-Modulo: a model proposes, sound critics in code decide, and models advise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from scaffold.critics import all_limited, every
from scaffold.errors import CheckFailed, GaveUp, StepFailed, StepRefused
from scaffold.planning import think, together
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.code import Code
from scaffold.vocabulary.moves import Planning, Thought
from scaffold.vocabulary.references import Reference
from scaffold.vocabulary.sampling import Check, once
from scaffold.vocabulary.task import Task
from scaffold_planners.answering import CriticTimeout, PlannerOptions, form_of
from scaffold_planners.showing import inputs, labelled
from scaffold_planners.weighing import attempt

Critic = Annotated[Callable[[Any], Any], Code()]

_SHOWN = 4000


class Adviser(BaseModel):
    """A soft critic: a model that is asked one question about a proposal.

    Attributes:
        asks: the question.
        backend: role of the backend that answers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    asks: Annotated[str, Field(min_length=1)]
    backend: str = "default"


class Advice(BaseModel):
    """Whether something is fine as it is; if not, what to change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fine: bool
    advice: str = ""


class LLMModuloOptions(PlannerOptions):
    """The critics, and how often they criticise.

    Attributes:
        critics: sound critics in code, as `module:name`; each takes a proposal, and returns True or what is wrong.
        advisers: models that are asked about a proposal after every sound critic accepted it.
    """

    critics: Annotated[tuple[Critic, ...], Field(min_length=1)]
    advisers: tuple[Adviser, ...] = ()
    rounds: Annotated[int, Field(ge=1, le=100, description="proposals at most")] = 8
    critic_timeout_s: CriticTimeout = 30.0
    remembers: Annotated[int, Field(ge=1, le=20, description="criticised proposals that the next one is shown")] = 3


def llm_modulo(task: Task, options: LLMModuloOptions) -> Planning[Any]:
    """Propose, collect critiques, and propose again with all of them, until every sound critic accepts.

    LLM-Modulo (Kambhampati et al. 2024, arXiv 2402.01817): the model generates candidates, and external critics
    ensure soundness. All sound critics read each proposal, even if one has objected. Models advise on what these
    accept: while rounds are left, advice asks for another proposal, but it can neither accept nor refuse one. The
    answer is always one that every sound critic accepted.

    Raises:
        GaveUp: no proposal was accepted within the rounds; gives the objections to the last.
        CheckFailed: a critic raised or took too long.
        StepFailed: there is no proposal at all: the prompt is too long, or the backend calls it wrong.
        StepRefused: oversight withheld a proposal.
    """
    form = form_of(task.answer, options.max_tokens)
    critics = all_limited(options.critics, timeout_s=options.critic_timeout_s)
    accepted: Thought[Any] | None = None
    criticised: list[tuple[Reference[str], ...]] = []
    why = key = ""
    for _ in range(options.rounds):
        try:
            proposal = yield from think(
                "propose",
                *inputs(task),
                labelled("Task", task.request),
                *(shown for each in criticised[-options.remembers :] for shown in each),
                returns=form.returns,
                instruction=_AGAIN if criticised else _FIRST,
                sampling=once(tries=1, flags=(all_of(critics),)),
                options=form.options,
            )
        except (StepRefused, CheckFailed):
            raise  # oversight withheld it, or nothing was criticised
        except StepFailed as error:
            if not error.data.get("flags"):
                raise  # there is no proposal to criticise
            why, key = str(error.data["flags"][-1]), error.key
            criticised.append((labelled("Refused", why),))
            continue
        accepted = proposal
        advice = yield from _advise(task, proposal, options)
        if not advice:
            break
        criticised.append((labelled("Proposed", proposal), *(labelled("Advice", each) for each in advice)))
    if accepted is None:
        raise GaveUp(f"none of {options.rounds} proposals was accepted by every critic; the last (at {key}): {why}")
    return accepted.value


_FIRST = "Propose a solution: the whole of it, and nothing else."
_AGAIN = "Propose a solution, against which none of this stands: the whole of it, and nothing else."


def all_of(critics: Sequence[Callable[[Any], Any]]) -> Check:
    """Combine critics into one that returns the value and all their objections below it."""
    read = every(*critics)

    async def check(value: Any) -> str | bool:
        objections = await read(value)
        if objections is True:
            return True
        shown = value if isinstance(value, str) else canonical(value).decode()
        return f"{shown if len(shown) <= _SHOWN else f'{shown[:_SHOWN]}...'}\n{objections}"

    return check


def _advise(task: Task, proposal: Thought[Any], options: LLMModuloOptions) -> Planning[list[Reference[str]]]:
    """Ask each adviser separately; one that cannot answer is skipped."""
    said = yield from together(
        *(
            attempt(
                think(
                    "verify",
                    labelled("Task", task.request),
                    labelled("Proposed", proposal),
                    returns=Advice,
                    instruction=adviser.asks,
                    to=adviser.backend,
                    options=options.asked(),
                )
            )
            for adviser in options.advisers
        )
    )
    return [each["advice"] for each in said if not isinstance(each, StepFailed) and not each.value.fine]

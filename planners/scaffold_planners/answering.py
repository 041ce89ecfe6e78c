"""Settings of how an answer is asked for: its type, its length, and how many samples have to agree."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from scaffold.vocabulary.moves import Options
from scaffold.vocabulary.sampling import MOST_SAMPLES, Sampling, majority

Wanted = str | tuple[str, ...]
Votes = Annotated[int, Field(ge=1, le=101, description="samples of which more than half have to agree, word for word")]
Tries = Annotated[int, Field(ge=1, le=MOST_SAMPLES)]
CriticTimeout = Annotated[float, Field(gt=0, description="seconds after which a critic in code has failed")]
MaxTokens = Annotated[int, Field(ge=1, description="most tokens of one sample, reasoning included")]

_TYPES: dict[str, Any] = {"text": str, "integer": int, "number": float, "boolean": bool, "list": list[str]}


class PlannerOptions(BaseModel):
    """Options that all planners here have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: MaxTokens = 1024

    def asked(self, choices: tuple[str, ...] = ()) -> Options:
        """Return a step's options under these."""
        return Options(max_tokens=self.max_tokens, choices=choices)


class Form(NamedTuple):
    """The form of an answer, as `think` takes it."""

    returns: type[Any]
    options: Options


def form_of(wanted: Wanted, max_tokens: int) -> Form:
    """Return the form that `Task.answer` asks for; `list` is a JSON list of texts."""
    if isinstance(wanted, tuple):
        return Form(str, Options(max_tokens=max_tokens, choices=wanted))
    return Form(_TYPES[wanted], Options(max_tokens=max_tokens))


def agreed(votes: int) -> Sampling | None:
    """Return a majority vote of this many samples; None for a single one, which leaves sampling to the run."""
    return majority(votes) if votes > 1 else None

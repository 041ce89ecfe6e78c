"""Computes the probability of each of a few given answers, as a whole, after a prompt.

llama.cpp reports log-probabilities, over the whole vocabulary, of the tokens that it generates. So the tree of the
choices' tokens is walked from the prompt on, and at each branch one token is generated to learn the likeliest ones. A
token that is not among them is forced, to learn its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BackendUnavailable, BadResponse
from scaffold_backends.choices import normalised, share_a_beginning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaffold.vocabulary.models import Delta
    from scaffold_backends.llamacpp.engine import Engine

_TOLD = 100  # number of likeliest tokens that are reported at once
_ALL = 2**20  # more than any vocabulary has
_NEVER = -1e3  # log-probability of a token that is never reported
_FORCED = 1e4  # added to a token's logit to force it


@dataclass(frozen=True)
class Scores:
    """The result of scoring.

    Attributes:
        logprobs: log-probability of each choice among the choices.
        cached: how many of the prompt's tokens did not have to be computed.
    """

    logprobs: Mapping[str, float]
    cached: int
    _texts: dict[int, str] = field(default_factory=dict)

    def tell(self, delta: Delta) -> Delta:
        """Add the text's log-probability to a sample's last piece, unless the sample was cut and is no choice."""
        text = self._texts.get(delta.index, "") + delta.text
        self._texts[delta.index] = text
        logprob = None if delta.finish is None else self.logprobs.get(text)
        return msgspec.structs.replace(delta, logprob=logprob)


def scores_of(
    engine: Engine, messages: Sequence[dict[str, str]], choices: Sequence[str], stopped: Callable[[], bool]
) -> Scores:
    """Return the log-probability of each choice among the choices, after a prompt; blocks, some milliseconds per token.

    Args:
        engine: a loaded model.
        messages: the prompt.
        choices: the texts.
        stopped: asked before each token.

    Raises:
        BackendUnavailable: it was stopped.
        BadRequest: llama.cpp refuses the request as invalid.
    """
    prompt = engine.prompt(messages)
    tokens = {choice: tuple(engine.tokens(choice, special=False)) for choice in choices}
    if share_a_beginning(tokens.values()):
        end = engine.end_of_turn()
        tokens = {choice: (*path, *end) for choice, path in tokens.items()}
    branches: dict[tuple[int, ...], set[int]] = {}
    for path in tokens.values():
        for place, token in enumerate(path):
            branches.setdefault(path[:place], set()).add(token)
    known: dict[tuple[int, ...], float] = {(): 0.0}
    cached: int | None = None
    # The generated token is forced to be this one, since only the reported likeliest ones matter; for a token that is
    # part of a character llama.cpp would report nothing.
    plain = engine.tokens("a", special=False)[-1]
    for branch in sorted(branches, key=len):
        if stopped():
            raise BackendUnavailable("the model was closed while it answered")
        after = [*prompt, *branch]
        told, had = _told(engine, after, plain, _TOLD)
        cached = had if cached is None else cached
        for token in sorted(branches[branch] - told.keys()):
            told |= _told(engine, after, token, 1)[0]
        if branches[branch] - told.keys():
            told |= _told(engine, after, plain, _ALL)[0]
        for token in branches[branch]:
            known[(*branch, token)] = known[branch] + told.get(token, _NEVER)
    among = normalised([known[path] for path in tokens.values()])
    return Scores(dict(zip(tokens, among, strict=True)), cached or 0)


def _told(engine: Engine, prompt: list[int], forced: int, most: int) -> tuple[dict[int, float], int]:
    """Return log-probabilities after a prompt, of a forced token and of the likeliest ones; and the cached tokens."""
    bias = [[forced, _FORCED]]
    answer = engine.complete(
        {"prompt": prompt, "max_tokens": 1, "temperature": 0.0, "logprobs": most, "logit_bias": bias}
    )
    try:
        entries: list[Any] = (answer["choices"][0]["logprobs"] or {"content": []})["content"]
        pairs = [(one["id"], one["logprob"]) for entry in entries for one in (entry, *entry["top_logprobs"])]
        cached = int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    except (KeyError, IndexError, TypeError) as error:
        raise BadResponse(f"llama.cpp returned no log-probabilities: {str(answer)[:200]!r}") from error
    return {int(token): float(logprob) for token, logprob in pairs if math.isfinite(logprob)}, cached

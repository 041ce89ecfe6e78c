"""Samples the next token, and reports how sure the model was.

Each sample has a random source of its own, seeded by its index alone, so it comes out the same alone and with others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaffold.errors import BadResponse

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

MIN_P = 0.05  # as in llama.cpp: a token less likely than this fraction of the likeliest one is never drawn


def drawn(scores: Any, temperature: float, source: random.Random) -> int:
    """Draw one token.

    Args:
        scores: logits, of shape (tokens,); minus infinity for tokens that must not be drawn.
        temperature: 0 takes the likeliest.
        source: random source; one number is used for each draw.
    """
    best = int(scores.argmax())
    if temperature <= 0:
        return best
    top = float(scores[best])
    kept = (scores >= top + math.log(MIN_P)).nonzero().flatten()
    return int(kept[_place(scores[kept].tolist(), temperature, source)])


def drawn_from(scores: Sequence[float], temperature: float, source: random.Random) -> int:
    """Draw one of a few things by their log-probabilities; temperature 0 takes the likeliest."""
    if temperature <= 0:
        return max(range(len(scores)), key=scores.__getitem__)
    return _place(scores, temperature, source)


def _place(scores: Sequence[float], temperature: float, source: random.Random) -> int:
    """Draw an index with probabilities proportional to the weights."""
    top = max(scores)
    weights = [math.exp((score - top) / temperature) for score in scores]
    left = source.random() * math.fsum(weights)
    for place, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return place
    return weights.index(max(weights))  # a remainder from rounding


def checked(logits: Any, model: str) -> Any:
    """Return logits after checking that they are valid.

    Raises:
        BadResponse: some of them are NaN, or infinite in a way that is not allowed.
    """
    if not logits.isfinite().all():
        # A model may forbid tokens by minus infinity, but not all of them.
        if not logits.isnan().any() and logits.amax(-1).isfinite().all():
            return logits
        raise BadResponse(
            f"{model} gave scores for its next token that are not numbers (NaN or infinite), so none can be chosen: "
            "its weights are damaged, or its numbers are too large for their type (try the option dtype: float32)"
        )
    return logits


@dataclass
class Sureness:
    """How sure the model was over one sample.

    Attributes:
        tokens: number of tokens counted.
        entropy: entropy of the next-token distribution, in nats, summed over tokens.
        margin: difference between the probabilities of the two likeliest tokens, summed over tokens.
    """

    tokens: int = 0
    entropy: float = 0.0
    margin: float = 0.0

    def take(self, entropy: float, margin: float) -> None:
        """Count one token."""
        self.tokens += 1
        self.entropy += entropy
        self.margin += margin

    def signals(self) -> dict[str, float]:
        """Return the means, as a sample's signals."""
        count = max(1, self.tokens)
        return {"entropy": self.entropy / count, "margin": self.margin / count}


def sureness_of(logits: Any) -> tuple[list[float], list[float]]:
    """Return entropy in nats and margin of each row of logits, of shape (rows, tokens)."""
    logs = logits.float().log_softmax(-1)
    chances = logs.exp()
    entropy: list[float] = (-(chances * logs.clamp(min=-1e4)).sum(-1)).tolist()
    best = chances.topk(2, -1).values
    margin: list[float] = (best[:, 0] - best[:, 1]).tolist()
    return entropy, margin

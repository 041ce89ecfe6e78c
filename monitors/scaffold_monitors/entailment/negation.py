"""Negations and exclusions in a request: "not as an admin", "without a lift", "all except the blue ones"."""

from __future__ import annotations

from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.lexicon import DETERMINERS, NEGATIONS, PREPOSITIONS
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.wording import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold_monitors.entailment.tokens import Token

# How many words before a word a negation can be.
_REACH = 3
_EXCEPTING = frozenset({"except", "excluding", "besides"})
_BETWEEN = (DETERMINERS | PREPOSITIONS | {"to"}) - {"no"}


def negates(word: str) -> bool:
    """Whether a word negates a verb: "never", "don't"."""
    return word in NEGATIONS or word.endswith("n't")


def denies(word: str) -> bool:
    """Whether a word negates a verb or a noun: "no lift" too."""
    return word == "no" or negates(word)


def is_negated(said: tuple[str, ...], place: int) -> bool:
    """Whether the word at a place is negated right before it: "not as an admin"."""
    return any(map(denies, said[max(0, place - _REACH) : place]))


def is_denied(text: str, said: tuple[str, ...]) -> bool:
    """Whether every mention of a text among some words is negated."""
    places = _places(words(text), said)
    return bool(places) and all(is_negated(said, place) for place in places)


@lru_cache(maxsize=4096)
def is_left_out(text: str, request: str) -> bool:
    """Whether every mention of a text in a request excludes it: "not to the press", "except Ann"."""
    said, leaving_out = words(request), _EXCEPTING | {"not"}
    if leaving_out.isdisjoint(said):
        return False
    places = _places(words(text), said)
    return bool(places) and all(
        next((word in leaving_out for word in reversed(said[:place]) if word not in _BETWEEN), False)
        for place in places
    )


def _places(run: tuple[str, ...], said: tuple[str, ...]) -> list[int]:
    return [place for place in range(len(said)) if said[place : place + len(run)] == run] if run else []


@lru_cache(maxsize=256)
def spared(request: str) -> frozenset[str]:
    """Return the stems of what a request excludes: "all of them, except the blue ones"."""
    out: set[str] = set()
    for tokens in sentences(request):
        place = next((place for place, token in enumerate(tokens) if _excepts(token, tokens[place + 1 :])), None)
        rest = takewhile(lambda token: token.kind != "mark", tokens[place + 1 :] if place is not None else ())
        out.update(token.stem for token in rest if token.stem)
    return frozenset(out)


def _excepts(token: Token, after: Sequence[Token]) -> bool:
    return token.norm in _EXCEPTING or (
        token.norm in ("apart", "other", "aside") and bool(after) and after[0].norm in ("from", "than")
    )

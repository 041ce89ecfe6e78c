"""A backend that errs at a known rate: how often, where, how, and the same again."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec

from scaffold.testing import Noisy, Scripted
from scaffold.vocabulary.models import Delta, Usage

from .conftest import ask, gather, texts
from .stage import PLAIN, Stage, said

RIGHT = "12 and 345"


def say(noisy: Noisy, **more: Any) -> list[str]:
    """What it says to one request."""
    return texts(asyncio.run(gather(noisy, ask("Count.", **more))))


def test_it_errs_as_often_as_it_is_told_to() -> None:
    """Never, always, or by its rate."""
    wrong = {rate: sum(text != RIGHT for text in say(Noisy(Scripted(RIGHT), rate), n=400)) for rate in (0.0, 0.3, 1.0)}
    assert (wrong[0.0], wrong[1.0]) == (0, 400)
    assert 90 < wrong[0.3] < 150


def test_it_errs_again_where_it_erred() -> None:
    """At a sample's seed, whether that is asked for alone or among others; another seed of its own errs elsewhere."""
    noisy = Noisy(Scripted(RIGHT), 0.5, seed=3)
    among = say(noisy, seed=7, n=40)
    assert among == [say(noisy, seed=7 + index)[0] for index in range(40)]
    assert among == say(Noisy(Scripted(RIGHT), 0.5, seed=3), seed=7, n=40)
    assert among != say(Noisy(Scripted(RIGHT), 0.5, seed=4), seed=7, n=40)
    assert say(noisy, n=40) == say(noisy, seed=0, n=40) != among


def test_a_number_becomes_another_of_its_length() -> None:
    """One digit is another; a text without any is denied; or whatever the caller makes of it."""
    for text in say(Noisy(Scripted(RIGHT), 1.0), n=100):
        assert len(text) == len(RIGHT)
        (place,) = (place for place in range(len(RIGHT)) if text[place] != RIGHT[place])
        assert RIGHT[place].isdigit()
        assert text[place].isdigit()
    assert say(Noisy(Scripted("yes"), 1.0)) == ["not yes"]

    def shouted(text: str, source: random.Random) -> str:
        assert 0 <= source.random() < 1
        return text.upper()

    assert say(Noisy(Scripted("yes"), 1.0, spoil=shouted)) == ["YES"]
    assert say(Noisy(Scripted("yes"), 0.0, spoil=shouted)) == ["yes"]


def test_a_text_comes_whole_and_reasoning_as_it_comes() -> None:
    """What was said in pieces may be spoiled as a whole; how likely it was is no longer known."""
    profile = msgspec.structs.replace(PLAIN, can=frozenset({"schema", "choices", "logprobs", "n"}))
    pieces = [Delta(reasoning="hm"), Delta(text="1", logprob=-1.0), *said("2", logprob=-1.0)]
    noisy = Noisy(Stage(pieces, profile=profile), 0.0)
    assert asyncio.run(gather(noisy, ask("Count."))) == [
        Delta(reasoning="hm"),
        Delta(),
        Delta(text="12", finish="stop", usage=Usage(3, 2, usd=0.0)),
    ]
    assert (noisy.profile.backend, noisy.profile.can) == ("noisy(stage)", frozenset({"n"}))

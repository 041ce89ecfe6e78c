"""A backend that makes another err at a known rate, to measure votes and checks with."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from scaffold.wrapping.around import Around
from scaffold.wrapping.naming import request_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Delta, Profile, Request


class Noisy(Around):
    """Makes another backend err: each sample is spoiled with a given probability, by a seed.

    A spoiled text fits no schema and no choice, and the log-probabilities are not its own, so the profile claims none
    of these.

    Args:
        inner: the backend that answers.
        rate: probability that a sample is wrong, 0 to 1.
        seed: two backends with the same seed err at the same requests and samples, whatever their order.
        spoil: makes a wrong text from a right one.
    """

    def __init__(
        self, inner: Backend, rate: float, *, seed: int = 0, spoil: Callable[[str, random.Random], str] | None = None
    ) -> None:
        super().__init__(inner)
        self.inner = inner
        self._rate = rate
        self._seed = seed
        self._spoil = spoil or _another_digit

    def describe(self) -> Profile:
        """What is inside, under another name, without what a spoiled text does not keep."""
        known = super().describe()
        able = known.can - {"schema", "choices", "logprobs"}
        return msgspec.structs.replace(known, backend=f"noisy({known.backend})", can=able)

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Pass on each sample whole, some of them spoiled."""
        texts: dict[int, str] = {}
        name = request_name(request)
        async with aclosing(self.inner.generate(request)) as stream:
            async for delta in stream:
                texts[delta.index] = texts.get(delta.index, "") + delta.text
                if delta.finish is None:
                    yield msgspec.structs.replace(delta, text="", logprob=None)
                    continue
                # Sample i of seed s is the sample of seed s + i, alone or among others.
                number = delta.index + (request.seed or 0)
                source = random.Random(f"{self._seed}:{name}:{number}")  # noqa: S311 - repeatable
                text = texts.pop(delta.index)
                if source.random() < self._rate:
                    text = self._spoil(text, source)
                yield msgspec.structs.replace(delta, text=text, logprob=None)


def _another_digit(text: str, source: random.Random) -> str:
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return f"not {text}"
    place = source.choice(places)
    other = source.choice([digit for digit in "0123456789" if digit != text[place]])
    return text[:place] + other + text[place + 1 :]

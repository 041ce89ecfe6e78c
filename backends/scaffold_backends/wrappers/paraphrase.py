"""`paraphrase`: has another model rewrite the reasoning before anybody reads it.

Reasoning can hide information in its choice of words (steganography); paraphrasing destroys it (Roger and Greenblatt,
"Preventing Language Models From Hiding Their Reasoning", https://arxiv.org/abs/2310.18512). `benchmarks/paraphrase.py`
measures what a task loses by it.
"""

from __future__ import annotations

import asyncio
import unicodedata
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import Field, PositiveInt

from scaffold.errors import BackendError, BackendUnavailable, BadResponse, TaskError
from scaffold.machinery.asking.visibility import least
from scaffold.vocabulary.models import NO_USAGE, Delta, Message, Prices, Request, Usage
from scaffold.wrapping import Around
from scaffold_backends.options import read_options
from scaffold_backends.wrappers.inner import WrapperOptions, inner_of, member_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Profile

INSTRUCTION = (
    "Rewrite the following reasoning in your own words. Keep every step, number and name, and the order of the "
    "steps. Add nothing. Reply with the rewritten reasoning only."
)
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})  # control, format, unassigned, private use, surrogate


class ParaphraseOptions(WrapperOptions):
    """What a task may set.

    Attributes:
        by: the backend that rewrites: a spec, or a table with `use` and options. It should be another model.
        instruction: the instruction to it.
        tries: most tries to rewrite one piece of reasoning.
    """

    by: Any = None
    instruction: str = Field(default=INSTRUCTION, min_length=1)
    tries: PositiveInt = 2


def paraphrase(model: str = "", **options: Any) -> Paraphrase:
    """Have the reasoning rewritten: `{use: paraphrase, backend: openai:gpt-5-mini, by: smollm2}`.

    Raises:
        TaskError: an option is wrong.
    """
    read = read_options(ParaphraseOptions, options, "paraphrase")
    if read.by is None:
        raise TaskError(
            "paraphrase needs `by`, the backend that rewrites the reasoning, such as `by: smollm2`", path=("by",)
        )
    inner = inner_of(model, read, "paraphrase")
    return Paraphrase(inner, member_of(read.by, ("by",)), instruction=read.instruction, tries=read.tries)


class Paraphrase(Around):
    """Withholds reasoning until another model has rewritten it; answers pass unchanged.

    Without a valid rewriting the sample fails: neither the original nor any part of it is passed on, nor the sealed
    blocks of an API. A rewriting that is cut short, empty or equal to the original is not valid.

    Args:
        inner: the backend that reasons.
        by: the backend that rewrites.
        instruction: the instruction to the rewriter.
        tries: most tries to rewrite one piece of reasoning.
    """

    def __init__(self, inner: Backend, by: Backend, *, instruction: str = INSTRUCTION, tries: int = 2) -> None:
        self._inner = inner
        self._by = by
        self._instruction = instruction
        self._tries = tries
        super().__init__(inner, by)

    def describe(self) -> Profile:
        """Return the inner profile, with reasoning that is at best another model's account."""
        return _profile(self._inner.profile, self._by.profile, self._tries)

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with the samples as they come, and each piece of reasoning after it was completed and rewritten.

        Raises:
            BadResponse: the rewriter gave no valid rewriting.
            BackendUnavailable: one of the two is down.
            BackendError: another error of either backend.
        """
        arriving: asyncio.Queue[Delta | BaseException | None] = asyncio.Queue()
        # The stream is read while the rewriter is busy, since servers drop slow readers.
        reading = asyncio.create_task(self._read(request, arriving))
        held: dict[int, list[str]] = {}
        spent = NO_USAGE
        try:
            while (delta := await arriving.get()) is not None:
                if isinstance(delta, BaseException):
                    raise delta
                if delta.reasoning:
                    held.setdefault(delta.index, []).append(delta.reasoning)
                if (delta.text or delta.finish) and delta.index in held:
                    original = "".join(held.pop(delta.index))
                    rewritten, cost = await self._rewrite(original, request, delta.index)
                    spent += cost
                    yield Delta(index=delta.index, reasoning=rewritten)
                passed = _without_reasoning(delta, spent)
                if passed is not None:
                    yield passed
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, request: Request, arriving: asyncio.Queue[Delta | BaseException | None]) -> None:
        try:
            async with aclosing(self._inner.generate(request)) as stream:
                async for delta in stream:
                    arriving.put_nowait(delta)
            arriving.put_nowait(None)
        except asyncio.CancelledError:
            arriving.put_nowait(BackendError("it was cancelled by its own code"))
            raise
        except Exception as error:  # noqa: BLE001 - raised in the reader
            arriving.put_nowait(error)

    async def _rewrite(self, original: str, request: Request, index: int) -> tuple[str, Usage]:
        """Have a piece of reasoning rewritten; return it with the usage."""
        if not original.strip():
            return "", NO_USAGE
        spent, why = NO_USAGE, ""
        for attempt in range(self._tries):
            seed = None if request.seed is None else request.seed + index + attempt
            asked = Request(
                messages=(Message("system", self._instruction), Message("user", original)),
                max_tokens=request.max_tokens,
                temperature=request.temperature if attempt == 0 else max(request.temperature, 0.7),
                seed=seed,
            )
            try:
                rewritten, finish, cost = await _whole(self._by, asked)
            except BackendUnavailable:
                raise
            except BackendError as error:
                why = str(error)
                continue
            spent += cost
            why = _fault(original, rewritten, finish)
            if not why:
                return rewritten, spent
        name = f"{self._by.profile.backend}:{self._by.profile.model}"
        raise BadResponse(f"the reasoning is withheld, because {name} has not rewritten it: {why}")


def _profile(inner: Profile, by: Profile, tries: int) -> Profile:
    """Return the profile of the whole; its reasoning is at best another model's account."""
    prices = None
    if inner.prices is not None and by.prices is not None:
        # Every try may read and write each token of reasoning again.
        prices = Prices(inner.prices.input, inner.prices.output + tries * (by.prices.input + by.prices.output))
    seeded = {"seed"} if "seed" in by.can else set()
    return msgspec.structs.replace(
        inner,
        backend=f"paraphrase({inner.backend})",
        prices=prices,
        trust="trusted" if inner.trust == by.trust == "trusted" else "untrusted",
        reasoning=least((inner.reasoning, "summary")),
        can=(inner.can - {"logprobs", "seed"}) | (inner.can & seeded),
        # This is certain, since no reply can show that the reasoning is more than an account.
        guessed=tuple(field for field in inner.guessed if field != "reasoning"),
    )


def _without_reasoning(delta: Delta, spent: Usage) -> Delta | None:
    """Return the part of a piece that can be passed on unchanged; None if it is all reasoning."""
    usage = delta.usage
    if usage is not None:
        # The rewriter's own reasoning is not the sample's.
        usage = msgspec.structs.replace(usage + spent, reasoning=usage.reasoning)
    bare = msgspec.structs.replace(delta, reasoning="", block=None, logprob=None, usage=usage)
    empty = not (bare.text or bare.finish or bare.usage or bare.signals or bare.origin)
    return None if empty else bare


async def _whole(backend: Backend, request: Request) -> tuple[str, str, Usage]:
    text, finish, usage = [], "", NO_USAGE
    async with aclosing(backend.generate(request)) as stream:
        async for delta in stream:
            text.append(delta.text)
            finish = delta.finish or finish
            usage = delta.usage or usage
    return _seen("".join(text)).strip(), finish, usage


def _seen(text: str) -> str:
    """Drop invisible characters, which could carry hidden information through a rewriter that copies them."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) not in _UNSEEN)


def _fault(original: str, rewritten: str, finish: str) -> str:
    if finish != "stop":
        return f"its answer was incomplete ({finish or 'cut'})"
    if not rewritten:
        return "it returned nothing"
    if rewritten.split() == _seen(original).split():
        return "it returned the original"
    return ""

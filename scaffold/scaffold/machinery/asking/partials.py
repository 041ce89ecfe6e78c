"""One sample while it is generated, in which every text can be encoded, and where it comes from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import BadResponse
from scaffold.vocabulary.characters import clean, joined
from scaffold.vocabulary.models import NO_USAGE, Origin, ReasoningBlock, Request, Sample, Usage

if TYPE_CHECKING:
    from scaffold.interfaces import Backend
    from scaffold.vocabulary.confidence import Curve
    from scaffold.vocabulary.models import Delta, Finish

_NO_HALVES = ("", "")

# What a plug-in sends beside texts is recorded as it came, so it has to be what a reader of the trace takes.
_usages = msgspec.json.Decoder(Usage)
_blocks = msgspec.json.Decoder(ReasoningBlock)
_origins = msgspec.json.Decoder(Origin)


class Source(msgspec.Struct, eq=False):
    """Where samples of a step come from: a backend, and what it is asked.

    Attributes:
        number: 0 for what the step itself says, then the ways that its policy asked for, in their order.
        spent: what its samples have cost.
        curve: how the confidence that it states is corrected, where that is known.
    """

    backend: Backend
    request: Request
    number: int = 0
    spent: Usage = NO_USAGE
    curve: Curve | None = None

    def charge(self, usage: Usage) -> None:
        """Take in a cost; dollars follow from the prices where they are not told.

        Raises:
            BadResponse: it is no cost: a budget would be given back what it never had, or never end.
            msgspec.ValidationError: it has counts that no trace can hold.
        """
        if not (usage.input >= 0 <= usage.output and (usage.usd is None or 0.0 <= usage.usd < math.inf)):
            raise BadResponse(f"it says that it used {usage.input} and {usage.output} tokens for {usage.usd} dollars")
        prices = self.backend.profile.prices
        if usage.usd is None and prices is not None:
            usage = msgspec.structs.replace(usage, usd=prices.cost(usage.input, usage.output))
        self.spent = self.spent + _usages.decode(msgspec.json.encode(usage))

    def charge_worst(self, n: int) -> None:
        """Take in the most that n samples can cost, as if it had been told."""
        tokens, usd = self.worst(n)
        output = self.request.max_tokens * n
        self.charge(Usage(input=tokens - output, output=output, usd=usd))

    def worst(self, n: int) -> tuple[int, float]:
        """Most tokens and dollars that n more samples can cost."""
        prices = self.backend.profile.prices
        prompt, answer = self.request.most_tokens(shares_prompt=True)  # of one sample
        tokens_in, tokens_out = prompt * (1 if "n" in self.backend.profile.can else n), answer * n
        return tokens_in + tokens_out, prices.cost(tokens_in, tokens_out) if prices is not None else 0.0


class Partial(msgspec.Struct, eq=False):
    """One sample while it is generated."""

    source: Source
    text: list[str] = []
    reasoning: list[str] = []
    halves: tuple[str, str] = _NO_HALVES
    size: int = 0
    finish: Finish | None = None
    logprob: float | None = None
    cut: str = ""
    blocks: tuple[ReasoningBlock, ...] = ()
    signals: dict[str, float] | None = None
    origin: Origin | None = None

    @property
    def over(self) -> bool:
        return self.finish is not None or bool(self.cut)

    def _whole(self, delta: Delta) -> Delta:
        """The same so that it can be encoded: half a character waits for its other half."""
        last, block = delta.finish is not None, delta.block
        text, half = joined(self.halves[0], delta.text, last=last)
        reasoning, other = joined(self.halves[1], delta.reasoning, last=last)
        self.halves = (half, other) if half or other else _NO_HALVES
        if block is not None:
            texts = {"text": clean(block.text), "data": clean(block.data), "signature": clean(block.signature)}
            block = _blocks.decode(msgspec.json.encode(msgspec.structs.replace(block, **texts)))
        return msgspec.structs.replace(delta, text=text, reasoning=reasoning, block=block)

    def take(self, delta: Delta) -> Delta:
        """Take the next piece in; gives it as it counts, in which every text can be encoded.

        Raises:
            BadResponse: its sample had ended.
            TypeError: what should be text, or a figure, is none.
            msgspec.ValidationError: it has a block or an origin that no trace can hold.
        """
        plain = str.isascii(delta.text) and str.isascii(delta.reasoning) and delta.block is None
        if not plain or self.halves is not _NO_HALVES:
            delta = self._whole(delta)
        if self.finish is not None and (delta.text or delta.reasoning):
            raise BadResponse(f"more of sample {delta.index} was sent after its end")
        if delta.text:
            self.text.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.logprob is not None:
            self.logprob = (self.logprob or 0.0) + delta.logprob
        if delta.signals is not None:
            self.signals = {**(self.signals or {}), **_figures(delta.signals)}
        if delta.origin is not None:
            self.origin = _origins.decode(msgspec.json.encode(delta.origin))
        if delta.finish is not None:
            self.finish = delta.finish
        if delta.block is not None:
            self.blocks = (*self.blocks, delta.block)
            self.size += len(delta.block.text) + len(delta.block.data) + len(delta.block.signature)
        self.size += len(delta.text) + len(delta.reasoning)
        return delta

    def sample(self, index: int, flag: str = "") -> Sample:
        return Sample(
            index=index,
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            finish="cut" if self.cut else self.finish or "cut",
            logprob=None if self.logprob is None else _shortened(self.logprob),
            flag=flag or self.cut,
            blocks=self.blocks,
            signals=self.signals or {},
            origin=self.origin,
            way=self.source.number,
        )


def _shortened(figure: float) -> float:
    """A figure to six significant digits: more of them say nothing about a model, and a trace holds many."""
    return float(f"{figure:.6g}")


def _figures(signals: dict[str, float]) -> dict[str, float]:
    """Signals as they are recorded: what is no number cannot be, and would be no figure to whoever reads it."""
    return {name: _shortened(figure) for name, figure in signals.items() if math.isfinite(figure)}

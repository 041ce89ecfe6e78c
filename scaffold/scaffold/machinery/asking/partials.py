"""Samples while they are generated, cleaned so that all text can be encoded, and the sources they come from."""

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

# A plug-in's data besides text is recorded as sent, so it must be valid for readers of the trace.
_usages = msgspec.json.Decoder(Usage)
_blocks = msgspec.json.Decoder(ReasoningBlock)
_origins = msgspec.json.Decoder(Origin)


class Source(msgspec.Struct, eq=False):
    """A source of a step's samples: a backend, and the request it gets.

    Attributes:
        number: 0 for what the step itself says, then the ways that its policy asked for, in order.
        spent: what its samples have cost.
        curve: how the confidence it states is corrected, if that is known.
    """

    backend: Backend
    request: Request
    number: int = 0
    spent: Usage = NO_USAGE
    curve: Curve | None = None

    def charge(self, usage: Usage) -> None:
        """Add a cost; dollars follow from the prices if they are not reported.

        Raises:
            BadResponse: the cost is invalid: it would refund a budget, or be infinite.
            msgspec.ValidationError: it has counts that no trace can hold.
        """
        if not (usage.input >= 0 <= usage.output and (usage.usd is None or 0.0 <= usage.usd < math.inf)):
            raise BadResponse(
                f"it reports impossible usage: {usage.input} and {usage.output} tokens for {usage.usd} dollars"
            )
        prices = self.backend.profile.prices
        if usage.usd is None and prices is not None:
            usage = msgspec.structs.replace(usage, usd=prices.cost(usage.input, usage.output))
        self.spent = self.spent + _usages.decode(msgspec.json.encode(usage))

    def charge_worst(self, n: int) -> None:
        """Charge the most that n samples can cost, as if it had been reported."""
        tokens, usd = self.worst(n)
        output = self.request.max_tokens * n
        self.charge(Usage(input=tokens - output, output=output, usd=usd))

    def worst(self, n: int) -> tuple[int, float]:
        """Return the most tokens and dollars that n more samples can cost."""
        prices = self.backend.profile.prices
        prompt, answer = self.request.most_tokens(shares_prompt=True)  # of one sample
        tokens_in, tokens_out = prompt * (1 if "n" in self.backend.profile.can else n), answer * n
        return tokens_in + tokens_out, prices.cost(tokens_in, tokens_out) if prices is not None else 0.0


class Partial(msgspec.Struct, eq=False):
    """One sample while it is generated.

    Attributes:
        cut: why it ended early; empty if it did not.
        broken_off: that was because its backend was lost.
    """

    source: Source
    text: list[str] = []
    reasoning: list[str] = []
    halves: tuple[str, str] = _NO_HALVES
    size: int = 0
    finish: Finish | None = None
    logprob: float | None = None
    cut: str = ""
    broken_off: bool = False
    blocks: tuple[ReasoningBlock, ...] = ()
    signals: dict[str, float] | None = None
    origin: Origin | None = None

    @property
    def over(self) -> bool:
        return self.finish is not None or bool(self.cut)

    def _whole(self, delta: Delta) -> Delta:
        """Return a piece that can be encoded: a lone surrogate at its end waits for its other half."""
        last, block = delta.finish is not None, delta.block
        text, half = joined(self.halves[0], delta.text, last=last)
        reasoning, other = joined(self.halves[1], delta.reasoning, last=last)
        self.halves = (half, other) if half or other else _NO_HALVES
        if block is not None:
            texts = {"text": clean(block.text), "data": clean(block.data), "signature": clean(block.signature)}
            block = _blocks.decode(msgspec.json.encode(msgspec.structs.replace(block, **texts)))
        return msgspec.structs.replace(delta, text=text, reasoning=reasoning, block=block)

    def take(self, delta: Delta) -> Delta:
        """Take in the next piece; return it as it counts, with all text encodable.

        Raises:
            BadResponse: its sample had ended.
            TypeError: a text or figure has the wrong type.
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
    """Round a figure to six significant digits: more say nothing about a model, and a trace holds many."""
    return float(f"{figure:.6g}")


def _figures(signals: dict[str, float]) -> dict[str, float]:
    """Return signals as recorded: rounded, without infinities and NaN, which JSON cannot hold."""
    return {name: _shortened(figure) for name, figure in signals.items() if math.isfinite(figure)}

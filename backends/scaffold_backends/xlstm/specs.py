"""A checkpoint's config, validated by pydantic: the blocks, the vocabulary, what it was trained for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Shape = tuple[int, ...]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _divides(part: int, whole: int, what: str, of: str) -> None:
    if whole % part:
        raise ValueError(f"{part} {what} do not divide {of} of {whole}")


class MLSTMSpec(_Spec):
    """The mLSTM block of the paper (appendix A.4): up-projection, convolution, matrix memory, down-projection.

    Attributes:
        inner: width between the projections.
        heads: each with a memory of its own.
        group: width of the diagonal blocks of the query, key and value projections.
        kernel: tokens that the convolution sees.
    """

    kind: Literal["mlstm"] = "mlstm"
    inner: PositiveInt
    heads: PositiveInt
    group: PositiveInt
    kernel: PositiveInt

    def shapes(self, width: int) -> dict[str, Shape]:
        """Name each weight of the block, with its shape."""
        _divides(self.heads, self.inner, "heads", "an inner width")
        _divides(self.group, self.inner, "(group)", "an inner width")
        groups = (self.inner // self.group, self.group, self.group)
        return {
            "norm.weight": (width,),
            "up.weight": (2 * self.inner, width),
            "conv.weight": (self.inner, self.kernel),
            "conv.bias": (self.inner,),
            "q.weight": groups,
            "k.weight": groups,
            "v.weight": groups,
            "gates.weight": (2 * self.heads, 3 * self.inner),
            "gates.bias": (2 * self.heads,),
            "heads_norm.weight": (self.inner,),
            "skip.weight": (self.inner,),
            "down.weight": (width, self.inner),
        }


class SLSTMSpec(_Spec):
    """The sLSTM block of the paper (appendix A.4): convolution, mixing memories, gated feed-forward network.

    Attributes:
        heads: memories mix within a head.
        kernel: tokens that the convolution sees; 0 for none.
        inner: width of the feed-forward network.
    """

    kind: Literal["slstm"] = "slstm"
    heads: PositiveInt
    kernel: int = Field(ge=0)
    inner: PositiveInt

    def shapes(self, width: int) -> dict[str, Shape]:
        """Name each weight of the block, with its shape; gates in the order i, f, z, o."""
        _divides(self.heads, width, "heads", "a width")
        part = width // self.heads
        convolution = {"conv.weight": (width, self.kernel), "conv.bias": (width,)} if self.kernel else {}
        return {
            "norm.weight": (width,),
            **convolution,
            "gates.weight": (4, self.heads, part, part),
            "recurrent.weight": (4, self.heads, part, part),
            "bias": (4, width),
            "heads_norm.weight": (width,),
            "ffn_norm.weight": (width,),
            "ffn.up.weight": (2 * self.inner, width),
            "ffn.down.weight": (width, self.inner),
        }


class MLSTM7BSpec(_Spec):
    """The block of xLSTM 7B (Beck et al., 2025, arXiv 2503.13427): matrix memory, then a SwiGLU network.

    Attributes:
        keys: width of all heads' queries, and of their keys.
        values: width of all heads' values.
        heads: each with a memory of its own.
        inner: width of the feed-forward network.
        gate_cap: bounds the gates' pre-activations softly.
    """

    kind: Literal["mlstm7b"] = "mlstm7b"
    keys: PositiveInt
    values: PositiveInt
    heads: PositiveInt
    inner: PositiveInt
    gate_cap: PositiveFloat = 15.0

    def shapes(self, width: int) -> dict[str, Shape]:
        """Name each weight of the block, with its shape."""
        _divides(self.heads, self.keys, "heads", "keys")
        _divides(self.heads, self.values, "heads", "values")
        return {
            "norm.weight": (width,),
            "q.weight": (self.keys, width),
            "k.weight": (self.keys, width),
            "v.weight": (self.values, width),
            "o.weight": (self.values, width),
            "gates.weight": (2 * self.heads, width),
            "gates.bias": (2 * self.heads,),
            "heads_norm.weight": (self.values,),
            "out.weight": (width, self.values),
            "ffn_norm.weight": (width,),
            "ffn.up.weight": (2 * self.inner, width),
            "ffn.down.weight": (width, self.inner),
        }


BlockSpec = Annotated[MLSTMSpec | SLSTMSpec | MLSTM7BSpec, Field(discriminator="kind")]


class Config(_Spec):
    """The config beside the weights, as JSON.

    Attributes:
        format: of this file; there is one so far.
        about: one line for people.
        width: of the stream that blocks read from and write to.
        blocks: from the embedding to the head.
        norm: of the stream: `layer`, or `rms` as in xLSTM 7B.
        norm_eps: added under the norms' roots.
        logit_cap: bounds the logits softly; None leaves them.
        tokens: a text is taken apart into words at white space, or into characters.
        vocabulary: the words; a token is a place in it.
        end: the word that ends an answer; None when there is none.
        answer: how many tokens an answer has; None when `end` ends it.
        longest: tokens of the longest prompt it was trained on.
        parameters: how many weights; for people.
        sha256: of the file of weights; None leaves it unchecked.
    """

    format: Literal[1]
    about: str = ""
    width: PositiveInt
    blocks: tuple[BlockSpec, ...] = Field(min_length=1)
    norm: Literal["layer", "rms"] = "layer"
    norm_eps: PositiveFloat = 1e-5
    logit_cap: PositiveFloat | None = None
    tokens: Literal["words", "characters"]
    vocabulary: tuple[str, ...] = Field(min_length=2)
    end: str | None = None
    answer: PositiveInt | None = None
    longest: PositiveInt
    parameters: int | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if len(set(self.vocabulary)) < len(self.vocabulary):
            twice = next(word for word in self.vocabulary if self.vocabulary.count(word) > 1)
            raise ValueError(f"the word {twice!r} is in the vocabulary twice")
        for word in self.vocabulary:
            if not word or word.split() != [word] or (self.tokens == "characters" and len(word) > 1):
                raise ValueError(f"{word!r} can never be one of the {self.tokens} of a text")
        if self.end is not None and self.end not in self.vocabulary:
            raise ValueError(f"the word that ends an answer, {self.end!r}, is not in the vocabulary")
        self.shapes()
        return self

    def shapes(self) -> dict[str, Shape]:
        """Name each weight of the model, with its shape."""
        words = len(self.vocabulary)
        blocks = {
            f"blocks.{number}.{name}": shape
            for number, block in enumerate(self.blocks)
            for name, shape in block.shapes(self.width).items()
        }
        return {
            "embedding.weight": (words, self.width),
            **blocks,
            "norm.weight": (self.width,),
            "head.weight": (words, self.width),
        }

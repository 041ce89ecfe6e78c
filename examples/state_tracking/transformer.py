"""A tiny transformer to compare with: trained here, and asked through the same interface as any other backend.

Positions are encoded by sines (Vaswani et al., 2017, arXiv 1706.03762), which exist for rows of any length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that torch's own documentation gives it

from scaffold.vocabulary.models import FREE, Delta, Profile, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from torch import Tensor

    from examples.state_tracking.automata import Automaton
    from scaffold.vocabulary.models import Request

WIDTH, HEADS, LAYERS = 64, 4, 2


def places(length: int) -> Tensor:
    """Return sines and cosines of each place, at wavelengths from 2 pi to 10,000 times that: (T, D)."""
    wavelengths = 10_000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
    angles = torch.arange(length)[:, None] / wavelengths
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Layer(nn.Module):
    """Causal self-attention and a feed-forward network, each with its norm and its residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.ffn_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.ffn = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, dim=-1)
        )  # each (B, H, T, P)
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
        x = x + self.out(read)
        return x + self.ffn(self.ffn_norm(x))


class Transformer(nn.Module):
    """Embedding, layers, a last norm, and a head."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, words, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what comes before the head, (B, T, D), for tokens (B, T)."""
        return self.norm(self.layers(self.embedding(tokens) + places(tokens.shape[1])))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the words' logits, (..., V)."""
        return self.head(hidden)


class TransformerBackend:
    """The likeliest next word of a prompt. It computes in the caller's thread, which is quick enough for an example."""

    def __init__(self, model: Transformer, automaton: Automaton) -> None:
        self.profile = Profile(backend="transformer", model=automaton.name, prices=FREE)
        self._model, self._words = model, automaton.vocabulary

    @torch.no_grad()
    def _answer(self, tokens: list[int]) -> int:
        return int(self._model.logits(self._model(torch.tensor([tokens]))[0, -1]).argmax())

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with one word."""
        tokens = [self._words.index(word) for word in request.messages[-1].content.split()]
        answer = self._words[self._answer(tokens)]
        yield Delta(0, answer, finish="stop", usage=Usage(len(tokens), 1))

    async def close(self) -> None:
        """There is nothing to free."""

"""xLSTM in torch, for training only: the parallel form of the mLSTM, and the sLSTM step by step.

The names and shapes of its weights are those that `scaffold_backends.xlstm` reads, so that what was trained is saved
as it is. Equations are numbered as in Beck et al., 2024 (arXiv 2405.04517).

Shapes: B sequences, T tokens, D width, I inner width, H heads, P width of a head, V words.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that torch's own documentation gives it

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_EPS = 1e-6  # in the mLSTM's division
_NORM_EPS = 1e-5


def small(*shape: int, width: int) -> nn.Parameter:
    """Normal with deviation sqrt(2 / 5D), as Nguyen and Salazar, 2019 (arXiv 1910.05895)."""
    return nn.Parameter(torch.randn(*shape) * math.sqrt(2 / (5 * width)))


def headwise(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply with a block-diagonal matrix: x (..., G*a), weight (G, b, a), giving (..., G*b)."""
    groups, _, inputs = weight.shape
    return torch.einsum("...ga,gba->...gb", x.unflatten(-1, (groups, inputs)), weight).flatten(-2)


class Scale(nn.Module):
    """A weight for each of some features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))


class LayerNorm(Scale):
    """Layer normalisation without a bias, over `heads` groups of features."""

    def __init__(self, features: int, heads: int = 1) -> None:
        super().__init__(features)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.unflatten(-1, (self.heads, -1))
        return F.layer_norm(grouped, grouped.shape[-1:], eps=_NORM_EPS).flatten(-2) * self.weight


class Convolution(nn.Module):
    """A causal convolution of each feature by itself: weight (features, K), the newest token last."""

    def __init__(self, features: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter((torch.rand(features, kernel) * 2 - 1) / math.sqrt(kernel))
        self.bias = nn.Parameter((torch.rand(features) * 2 - 1) / math.sqrt(kernel))

    def forward(self, x: Tensor) -> Tensor:
        features, kernel = self.weight.shape
        padded = F.pad(x.mT, (kernel - 1, 0))  # (B, features, K-1+T)
        return F.conv1d(padded, self.weight[:, None], self.bias, groups=features).mT


class Weight(nn.Module):
    """A weight, and perhaps a bias, under a name of their own."""

    def __init__(self, weight: nn.Parameter, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = weight
        if bias is not None:
            self.bias = nn.Parameter(bias)


class MLSTMBlock(nn.Module):
    """The mLSTM block: up-projection, matrix memory, down-projection (appendix A.4 of the paper)."""

    def __init__(self, width: int, blocks: int, spec: Mapping[str, Any]) -> None:
        super().__init__()
        inner, heads, group = int(spec["inner"]), int(spec["heads"]), int(spec["group"])
        self.heads = heads
        self.norm = LayerNorm(width)
        self.up = Weight(small(2 * inner, width, width=width))
        self.conv = Convolution(inner, int(spec["kernel"]))
        for name in ("q", "k", "v"):
            setattr(self, name, Weight(small(inner // group, group, group, width=group)))
        bias = torch.cat([torch.randn(heads) * 0.1, torch.linspace(3.0, 6.0, heads)])
        self.gates = Weight(nn.Parameter(torch.zeros(2 * heads, 3 * inner)), bias)
        self.heads_norm = LayerNorm(inner, heads)
        self.skip = Scale(inner)
        self.down = Weight(nn.Parameter(torch.randn(width, inner) * 2 / blocks / math.sqrt(width)))

    def forward(self, x: Tensor) -> Tensor:
        a, z = F.linear(self.norm(x), self.up.weight).chunk(2, dim=-1)  # each (B, T, I)
        c = F.silu(self.conv(a))
        q, k, v = headwise(c, self.q.weight), headwise(c, self.k.weight), headwise(a, self.v.weight)
        gates = F.linear(torch.cat([q, k, v], -1), self.gates.weight, self.gates.bias)  # (B, T, 2H)
        i, f = gates.mT.chunk(2, dim=1)  # each (B, H, T)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))  # (B, H, T, P)
        h = mlstm_parallel(q, k, v, i, f).transpose(1, 2).flatten(-2)  # (B, T, I)
        h = self.heads_norm(h) + self.skip.weight * c
        return x + F.linear(h * F.silu(z), self.down.weight)


def mlstm_parallel(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor) -> Tensor:
    """Run the mLSTM over all tokens at once (the parallel form, appendix A.3 of the paper).

    Args:
        q: queries (B, H, T, P); keys and values are alike.
        i: pre-activations of the input gate (B, H, T); those of the forget gate are alike.

    Returns:
        What is read from the memory, (B, H, T, P).
    """
    length = q.shape[-2]
    b = F.logsigmoid(f).cumsum(-1)  # (B, H, T)
    log_d = b[..., :, None] - b[..., None, :] + i[..., None, :]  # (B, H, T, T)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    log_d = log_d.masked_fill(~causal, -torch.inf)
    m = log_d.amax(-1, keepdim=True)  # (B, H, T, 1)
    s = (q @ k.mT) / math.sqrt(q.shape[-1]) * torch.exp(log_d - m)
    n = torch.maximum(s.sum(-1, keepdim=True).abs(), torch.exp(-m))
    return (s @ v) / (n + _EPS)


class FeedForward(nn.Module):
    """A gated feed-forward network with GELU: up (2F, D), the gate first; down (D, F)."""

    def __init__(self, width: int, inner: int, blocks: int) -> None:
        super().__init__()
        self.up = Weight(small(2 * inner, width, width=width))
        self.down = Weight(nn.Parameter(torch.randn(width, inner) * 2 / blocks / math.sqrt(width)))

    def forward(self, x: Tensor) -> Tensor:
        gate, up = F.linear(x, self.up.weight).chunk(2, dim=-1)
        return F.linear(F.gelu(gate) * up, self.down.weight)


class SLSTMBlock(nn.Module):
    """The sLSTM block: scalar memories that mix within a head, then a feed-forward network (appendix A.4)."""

    def __init__(self, width: int, blocks: int, spec: Mapping[str, Any]) -> None:
        super().__init__()
        heads = int(spec["heads"])
        part = width // heads
        self.heads = heads
        self.norm = LayerNorm(width)
        if int(spec["kernel"]):
            self.conv = Convolution(width, int(spec["kernel"]))
        self.convolves = bool(spec["kernel"])
        # Gates in the order i, f, z, o.
        self.gates = Weight(small(4, heads, part, part, width=width))
        self.recurrent = Weight(nn.Parameter((torch.rand(4, heads, part, part) * 2 - 1) / math.sqrt(width)))
        bias = torch.zeros(4, width)
        bias[1] = torch.linspace(3.0, 6.0, width)
        self.bias = nn.Parameter(bias)
        self.heads_norm = LayerNorm(width, heads)
        self.ffn_norm = LayerNorm(width)
        self.ffn = FeedForward(width, int(spec["inner"]), blocks)

    def forward(self, x: Tensor) -> Tensor:
        a = self.norm(x)
        c = F.silu(self.conv(a)) if self.convolves else a
        wi, wf, wz, wo = (
            headwise(source, weight) for source, weight in zip((c, c, a, a), self.gates.weight, strict=True)
        )
        raw = torch.stack([wi, wf, wz, wo], dim=2) + self.bias  # (B, T, 4, D)
        x = x + self.heads_norm(self.recur(raw))
        return x + self.ffn(self.ffn_norm(x))

    def recur(self, raw: Tensor) -> Tensor:
        """Run the sLSTM token by token: equations 8 to 14, stabilised by 15 to 17."""
        batch, length, _, width = raw.shape
        part = width // self.heads
        h = c = n = raw.new_zeros(batch, width)
        m = raw.new_full((batch, width), -1e4)
        outputs = []
        for t in range(length):
            mixed = torch.einsum("bhp,ghqp->bghq", h.view(batch, self.heads, part), self.recurrent.weight)
            i, f, z, o = (raw[:, t] + mixed.flatten(-2)).unbind(1)
            log_f = F.logsigmoid(f)
            following = torch.maximum(log_f + m, i)
            keep, write = torch.exp(log_f + m - following), torch.exp(i - following)
            c, n, m = keep * c + write * torch.tanh(z), keep * n + write, following
            h = torch.sigmoid(o) * c / n
            outputs.append(h)
        return torch.stack(outputs, dim=1)


_BLOCKS = {"mlstm": MLSTMBlock, "slstm": SLSTMBlock}


class XLSTM(nn.Module):
    """Embedding, blocks, a last norm, and a head."""

    def __init__(self, words: int, width: int, blocks: list[dict[str, Any]]) -> None:
        super().__init__()
        self.embedding = Weight(nn.Parameter(torch.randn(words, width) * math.sqrt(2 / (5 * width))))
        made = [_BLOCKS[spec["kind"]](width, len(blocks), spec) for spec in blocks]
        self.blocks = nn.ModuleList(made)
        self.norm = LayerNorm(width)
        self.head = Weight(small(words, width, width=width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Give what comes before the head, (B, T, D), for tokens (B, T)."""
        x = F.embedding(tokens, self.embedding.weight)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Give the words' logits, (..., V)."""
        return F.linear(hidden, self.head.weight)

"""`noisy`: corrupts a backend's answers at a known rate."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from scaffold.wrapping import Noisy
from scaffold_backends.options import read_options
from scaffold_backends.wrappers.inner import WrapperOptions, inner_of


class NoisyOptions(WrapperOptions):
    """What a task may set.

    Attributes:
        rate: probability that a sample is corrupted: one of its digits is changed, or else `not` is put before it.
        seed: decides which samples are corrupted.
    """

    rate: float = Field(ge=0, le=1)
    seed: int = 0


def noisy(model: str = "", **options: Any) -> Noisy:
    """Make another backend err at a rate: `{use: noisy, backend: smollm2, rate: 0.2, seed: 7}`.

    Raises:
        TaskError: an option is wrong.
    """
    read = read_options(NoisyOptions, options, "noisy")
    return Noisy(inner_of(model, read, "noisy"), read.rate, seed=read.seed)

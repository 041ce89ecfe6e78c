"""Basic functions used by the cells. All arrays are float32, and all functions work on the last axis."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]

_ZERO = np.float32(0)
_ONE = np.float32(1)
_HALF = np.float32(0.5)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written with tanh so that no large x overflows."""
    half = x * _HALF
    np.tanh(half, out=half)
    half += _ONE
    half *= _HALF
    return half


def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x)) = -log(exp(0) + exp(-x)), exact for any x."""
    found: Array = np.logaddexp(_ZERO, -x)
    np.negative(found, out=found)
    return found


def silu(x: Array) -> Array:
    """X * sigmoid(x), also called swish."""
    return silu_of_half(x * _HALF)


def silu_of_half(half: Array) -> Array:
    """SiLU of x, given x/2: x * sigmoid(x) = x/2 + x/2 * tanh(x/2)."""
    gate: Array = np.tanh(half)
    gate += _ONE
    gate *= half
    return gate


# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: an error of at most 1.5e-7, float32's own.
_ERF_P = np.float32(0.3275911)
_ERF_A = tuple(map(np.float32, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)))
_ROOT_HALF = np.float32(0.5**0.5)


def gelu(x: Array) -> Array:
    """x/2 * (1 + erf(x / sqrt 2)), the exact form (Hendrycks and Gimpel, arXiv 1606.08415)."""
    scaled = x * _ROOT_HALF
    size = np.abs(scaled)
    t = _ONE / (_ONE + _ERF_P * size)
    series = np.zeros_like(t)
    for a in _ERF_A:
        series += a
        series *= t
    erf: Array = _ONE - series * np.exp(-size * size)
    whole: Array = erf * np.sign(scaled)
    whole += _ONE
    whole *= _HALF * x
    return whole


def soft_cap(x: Array, cap: float) -> Array:
    """Bound x smoothly to (-cap, cap): cap * tanh(x / cap)."""
    capped: Array = np.tanh(x / np.float32(cap))
    capped *= np.float32(cap)
    return capped


def layer_norm(x: Array, weight: Array, eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps) * weight, over the last axis."""
    normed = unit_layer(x, eps)
    normed *= weight
    return normed


def unit_layer(x: Array, eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps), over the last axis: a layer norm whose weight went into the next product."""
    mean: Array = np.add.reduce(x, axis=-1, keepdims=True)
    mean /= x.shape[-1]
    return unit_rms(x - mean, eps)


class NormedProjection:
    """A layer norm and the product after it, as one product.

    Subtracting the mean is a matrix too, I - 1/D: it goes into the weights. Beside what is wanted, the product gives
    the centred vector itself, of which the variance is taken; dividing by its root can wait until after the product.
    """

    def __init__(self, norm: Array, matrix: Array, eps: float) -> None:
        """Put together the norm's weight (D,) and a matrix (D, N)."""
        width, self._wanted = matrix.shape
        centring = np.eye(width) - 1 / width
        parts = (centring @ (norm[:, None] * matrix), centring / width**0.5)
        self._matrix = np.concatenate(parts, axis=1).astype(np.float32)  # (D, N + D)
        self._eps = np.float32(eps)

    def __call__(self, x: Array) -> Array:
        """Return (M, N) for x (M, D)."""
        projected = x @ self._matrix
        centred = projected[:, self._wanted :]
        root: Array = np.vecdot(centred, centred)
        root += self._eps
        np.sqrt(root, out=root)
        normed: Array = projected[:, : self._wanted] / root[:, None]
        return normed


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """X / sqrt(mean(x^2) + eps) * weight, over the last axis (Zhang and Sennrich, arXiv 1910.07467)."""
    normed = unit_rms(x, eps)
    normed *= weight
    return normed


def unit_rms(x: Array, eps: float) -> Array:
    """X / sqrt(mean(x^2) + eps), over the last axis."""
    square: Array = np.vecdot(x, x)
    square /= x.shape[-1]
    square += eps
    np.sqrt(square, out=square)
    normed: Array = x / square[..., None]
    return normed


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)), over the last axis."""
    shifted: Array = x - np.maximum.reduce(x, axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= np.add.reduce(shifted, axis=-1, keepdims=True)
    return shifted

"""The few functions that the cells are made of. All arrays are float32, all work on the last axis."""

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
    half = x * _HALF
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
    mean: Array = np.add.reduce(x, axis=-1, keepdims=True)
    mean /= x.shape[-1]
    centred: Array = x - mean
    centred /= _root_of_mean_square(centred, eps)
    centred *= weight
    return centred


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """X / sqrt(mean(x^2) + eps) * weight, over the last axis (Zhang and Sennrich, arXiv 1910.07467)."""
    normed: Array = x / _root_of_mean_square(x, eps)
    normed *= weight
    return normed


def _root_of_mean_square(x: Array, eps: float) -> Array:
    """sqrt(mean(x^2) + eps), over the last axis, which is kept."""
    square: Array = np.vecdot(x, x)[..., None]
    square /= x.shape[-1]
    square += eps
    np.sqrt(square, out=square)
    return square


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)), over the last axis."""
    shifted: Array = x - np.maximum.reduce(x, axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= np.add.reduce(shifted, axis=-1, keepdims=True)
    return shifted

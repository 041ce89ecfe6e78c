"""Measures and corrects the calibration of stated confidence, per backend and kind of step.

The data come from traces: samples that state a confidence, and whether they were right, by a key or by agreement (see
`measured`). A `Calibration` fitted to them is a file that can be made again at any time. A run that gets one writes it
into its first event and uses nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scaffold.errors import BadInput, MissingExtra
from scaffold.vocabulary.confidence import Calibration, Curve

if TYPE_CHECKING:
    from scaffold.odds.measured import Key, Measured

BINS = 10
LEAST = 30  # statements needed for a correction
FOLDS = 5
Statement = tuple[float, bool]
"""A confidence as it was stated, and whether the answer was right."""


class Kind(NamedTuple):
    """Backend and model of the statements, and the kind of step."""

    backend: str
    model: str
    step: str


class Bin(msgspec.Struct, frozen=True):
    """Statements of about the same confidence."""

    stated: float
    right: float
    count: int


class Score(msgspec.Struct, kw_only=True, frozen=True):
    """The calibration of one kind's statements.

    Attributes:
        brier: mean squared distance of stated confidence from the outcome (Brier 1950): 0 is perfect, 0.25 a coin's.
        error: expected calibration error over ten bins (Naeini et al. 2015): distance of stated from observed rates.
        corrected_brier: the same after correction by five-fold cross-validation; None if there are too few data.
        corrected_error: likewise.
        bins: the reliability diagram.
        measured: `key` or `agreement`: how it was decided what is right.
    """

    backend: str
    model: str
    step: str
    count: int
    right: float
    brier: float
    error: float
    corrected_brier: float | None
    corrected_error: float | None
    bins: tuple[Bin, ...]
    measured: str


def statements(measured: Measured, key: Key | None = None) -> dict[Kind, list[Statement]]:
    """Collect statements and whether they were right, from prompts with a known answer or several samples."""
    found: dict[Kind, list[Statement]] = {}
    for name, group in measured.groups.items():
        for digest, prompt in group.prompts.items():
            if key is not None:
                known = key.get(digest)
            else:
                known = prompt.answers.most_common(1)[0][0] if prompt.answers.total() > 1 else None
            if known is not None and prompt.stated:
                kind = Kind(name.backend, name.model, name.step)
                found.setdefault(kind, []).extend((sure, answer == known) for answer, sure in prompt.stated)
    return found


def scores(found: dict[Kind, list[Statement]], *, by_key: bool) -> list[Score]:
    """Score each kind, with corrected figures if there are enough data and the extra is installed."""
    told = []
    for kind, said in sorted(found.items()):
        after = _corrected(said) if len(said) >= LEAST else None
        told.append(
            Score(
                backend=kind.backend,
                model=kind.model,
                step=kind.step,
                count=len(said),
                right=sum(right for _, right in said) / len(said),
                brier=brier(said),
                error=calibration_error(said),
                corrected_brier=None if after is None else brier(after),
                corrected_error=None if after is None else calibration_error(after),
                bins=tuple(reliability(said)),
                measured="key" if by_key else "agreement",
            )
        )
    return told


def brier(said: Sequence[Statement]) -> float:
    """Return the mean squared distance of stated confidence from the outcome (Brier 1950, Mon. Weather Review 78)."""
    return math.fsum((sure - right) ** 2 for sure, right in said) / len(said)


def reliability(said: Sequence[Statement], bins: int = BINS) -> list[Bin]:
    """Return for each band of stated confidence its mean, the share that was right, and the count."""
    bands: dict[int, list[Statement]] = {}
    for sure, right in said:
        bands.setdefault(min(bins - 1, int(sure * bins)), []).append((sure, right))
    return [
        Bin(sum(sure for sure, _ in band) / len(band), sum(right for _, right in band) / len(band), len(band))
        for _, band in sorted(bands.items())
    ]


def calibration_error(said: Sequence[Statement], bins: int = BINS) -> float:
    """Return the expected calibration error over equal bands (Naeini, Cooper, Hauskrecht 2015, AAAI)."""
    return math.fsum(abs(band.stated - band.right) * band.count for band in reliability(said, bins)) / len(said)


def fit(found: dict[Kind, list[Statement]]) -> Calibration:
    """Fit a correction for each kind with enough data, by isotonic regression (Zadrozny and Elkan 2002, KDD).

    Raises:
        MissingExtra: scipy is not installed.
    """
    kinds = [(kind, said) for kind, said in sorted(found.items()) if len(said) >= LEAST]
    return Calibration(
        tuple(
            Curve(backend=kind.backend, model=kind.model, step=kind.step, seen=len(said), stated=stated, right=right)
            for kind, said in kinds
            for stated, right in [_isotonic(said)]
        )
    )


def _isotonic(said: Sequence[Statement]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return points of the isotonic regression, with one wrong answer added at the top and one right at the bottom.

    Otherwise a handful of right answers with the highest confidence would count as certain. For n of them, all right,
    the curve gives n / (n + 1), which is close to Laplace's rule of succession.
    """
    try:
        from scipy.optimize import isotonic_regression
    except ImportError:
        raise MissingExtra("correcting stated confidence", "calibration") from None
    levels = sorted({sure for sure, _ in said})
    counts = {level: [0.0, 0.0] for level in levels}
    for sure, right in [*said, (levels[-1], False), (levels[0], True)]:
        counts[sure][0] += right
        counts[sure][1] += 1
    fitted = isotonic_regression([good / of for good, of in counts.values()], weights=[of for _, of in counts.values()])
    return _turning_points(levels, [float(value) for value in fitted.x])


def _turning_points(stated: list[float], right: list[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Drop points inside level stretches, since their ends say the same."""
    kept = [
        place
        for place in range(len(stated))
        if place in {0, len(stated) - 1} or not right[place - 1] == right[place] == right[place + 1]
    ]
    return tuple(stated[place] for place in kept), tuple(right[place] for place in kept)


def _corrected(said: Sequence[Statement]) -> list[Statement] | None:
    """Correct each fifth of the statements by what the other four fifths teach."""
    after: list[Statement] = []
    for fold in range(FOLDS):
        others = [each for place, each in enumerate(said) if place % FOLDS != fold]
        try:
            stated, right = _isotonic(others)
        except MissingExtra:
            return None
        curve = Curve(backend="", model="", step="", seen=len(others), stated=stated, right=right)
        after += [(curve.correct(sure), so) for sure, so in said[fold::FOLDS]]
    return after


# --- as a picture


def draw(told: Sequence[Score], path: Path) -> None:
    """Draw the reliability diagrams of all kinds into one picture: stated on x, observed on y, perfect on the diagonal.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    from scaffold.evaluation.plots import need_matplotlib

    need_matplotlib()
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(4 * max(1, len(told)), 4), layout="constrained")
    for place, score in enumerate(told, 1):
        axes = figure.add_subplot(1, len(told), place, aspect="equal")
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        most = max(band.count for band in score.bins)
        axes.scatter(
            [band.stated for band in score.bins],
            [band.right for band in score.bins],
            s=[20 + 180 * band.count / most for band in score.bins],
            color="#0072B2",
        )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="confidence as stated", ylabel=f"share {_seen(score)}")
        axes.set_title(
            f"{score.step} by {score.model}\nBrier {score.brier:.3f}, error {score.error:.3f}, n = {score.count}",
            fontsize=9,
        )
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot draw {path}: {error}") from error


def _seen(score: Score) -> str:
    return "right" if score.measured == "key" else "that agrees with most"

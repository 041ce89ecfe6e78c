"""Baselines of models' inner signals, learned from the traces of other runs; `latent` holds answers against them.

    python -m scaffold_monitors.baselines --write baseline.json --answers RUN

If it is known which answers were right (`--answers` names a run whose answers count as right), a logistic regression on
the standardised signals, and on their products if there are enough errors, separates wrong from right ones. Its
threshold is set so that a wanted share of right answers lies above it. Without `--answers`, the score only says how far
an answer's signals lie from those seen.
"""

from __future__ import annotations

import argparse
import math
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scaffold.errors import BadInput, MissingExtra, ScaffoldError

if TYPE_CHECKING:
    from scaffold.odds.measured import Key

FALSE_POSITIVES = 0.05
_LEAST = 30  # answers needed to learn anything
_RIDGE = 1.0  # of a weight of one standard deviation
_ROUNDS = 30
_FAR = 4.0  # standard deviations at which a signal is clipped
_EACH = 10  # errors needed for each weight: a rule of thumb (Peduzzi et al. 1996, J Clin Epidemiol 49)


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The signals of answers of one backend and model to steps of one kind.

    Attributes:
        signals: their names, in the order of the figures below.
        means: means of the signals of right answers, or of all if it is not known which were right.
        spreads: their standard deviations.
        weights: weights of a logistic regression on the standardised signals, then on their pairwise products; none if
            it is not known which answers were right.
        bias: the regression's constant.
        quantiles: ascending distances of the answers seen, if there are no weights.
        threshold: the score that a share `false_positives` of right answers reaches.
        false_positives: that share.
        seen: how many answers it was learned from.
        wrong: how many of them were wrong.
    """

    backend: str
    model: str
    step: str
    signals: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    weights: tuple[float, ...] = ()
    bias: float = 0.0
    quantiles: tuple[float, ...] = ()
    threshold: float = 1.0
    false_positives: float = FALSE_POSITIVES
    seen: int = 0
    wrong: int = 0

    def score(self, signals: Mapping[str, float]) -> float:
        """Return how likely the answer is wrong; without weights, the share of the answers seen that lay closer."""
        z = [
            (signals[name] - mean) / spread
            for name, mean, spread in zip(self.signals, self.means, self.spreads, strict=True)
        ]
        if not all(math.isfinite(each) for each in z):
            return 1.0  # no signal at all: nothing like it was seen
        if self.weights:
            seen = _features(z, products=len(self.weights) > len(z))
            return _logistic(self.bias + sum(w * each for w, each in zip(self.weights, seen, strict=True)))
        return bisect_right(self.quantiles, _distance(z)) / max(1, len(self.quantiles))


class Baselines(msgspec.Struct, frozen=True):
    """A file of baselines, as `latent` reads it."""

    baselines: tuple[Baseline, ...] = ()


class Row(NamedTuple):
    """One answer: its signals, and whether it was wrong; None if that is not known."""

    signals: dict[str, float]
    wrong: bool | None


Whose = tuple[str, str, str]
"""Backend, model and kind of step."""


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _features(z: Sequence[float], *, products: bool) -> list[float]:
    """Make a regression's features of standardised signals: clipped, and perhaps with their products."""
    bounded = [max(-_FAR, min(_FAR, each)) for each in z]
    if not products:
        return bounded
    return [*bounded, *(one * other for place, one in enumerate(bounded) for other in bounded[place:])]


def _distance(z: Sequence[float]) -> float:
    return math.sqrt(sum(each * each for each in z) / max(1, len(z)))


def fit(whose: Whose, rows: Sequence[Row], *, false_positives: float = FALSE_POSITIVES) -> Baseline:
    """Learn a baseline.

    Raises:
        BadInput: there are too few answers.
        MissingExtra: numpy is not installed.
    """
    rows = [row for row in rows if row.signals and all(math.isfinite(each) for each in row.signals.values())]
    if len(rows) < _LEAST:
        raise BadInput(f"{len(rows)} answers of {':'.join(whose)} have signals, but a baseline needs {_LEAST}")
    names = tuple(sorted(set.intersection(*(set(row.signals) for row in rows))))
    known = [row for row in rows if row.wrong is not None]
    good = [row for row in known if not row.wrong]
    typical = good if len(good) >= _LEAST else rows
    columns = [[row.signals[name] for row in typical] for name in names]
    means = [math.fsum(column) / len(column) for column in columns]
    spreads = [
        math.sqrt(math.fsum((each - mean) ** 2 for each in column) / len(column)) or 1.0
        for column, mean in zip(columns, means, strict=True)
    ]
    made = Baseline(
        backend=whose[0],
        model=whose[1],
        step=whose[2],
        signals=names,
        means=tuple(means),
        spreads=tuple(spreads),
        false_positives=false_positives,
        seen=len(rows),
        wrong=sum(bool(row.wrong) for row in known),
    )
    if good and len(good) < len(known):
        weights, bias = _regression(made, known)
        made = msgspec.structs.replace(made, weights=weights, bias=bias)
    else:
        z = [[(row.signals[n] - m) / s for n, m, s in zip(names, means, spreads, strict=True)] for row in typical]
        made = msgspec.structs.replace(made, quantiles=tuple(sorted(_distance(each) for each in z)))
    scores = sorted(made.score(row.signals) for row in typical)
    place = min(len(scores) - 1, math.ceil((1 - false_positives) * len(scores)))
    return msgspec.structs.replace(made, threshold=math.nextafter(scores[place], 2.0) if scores[place] < 1 else 1.0)


def _regression(made: Baseline, known: Sequence[Row]) -> tuple[tuple[float, ...], float]:
    """Weights and constant of a logistic regression with a ridge, by Newton's method."""
    try:
        import numpy as np
    except ImportError:
        raise MissingExtra("learning a baseline of inner signals", "local") from None
    signals = len(made.signals)
    rarer = min(made.wrong, len(known) - made.wrong)
    products = rarer >= _EACH * (signals + signals * (signals + 1) // 2)
    figures = list(zip(made.signals, made.means, made.spreads, strict=True))
    x = np.array(
        [[*_features([(row.signals[n] - m) / s for n, m, s in figures], products=products), 1.0] for row in known]
    )
    y = np.array([bool(row.wrong) for row in known], dtype=float)
    ridge = np.diag([_RIDGE] * (x.shape[1] - 1) + [1e-6])
    w = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, x.T @ (y - p) - ridge @ w)
        w += step
        if float(np.abs(step).max()) < 1e-8:  # noqa: PLR2004 - far below a score's precision
            break
    *weights, bias = (float(each) for each in w)
    return tuple(weights), bias


# --- from traces


def rows_of(folders: Iterable[Path], key: Key | None = None) -> dict[Whose, list[Row]]:
    """Collect the answers with signals from runs' traces; damaged runs are left out."""
    found: dict[Whose, list[Row]] = {}
    for folder in folders:
        try:
            taken = list(_answers(folder, key))
        except (ScaffoldError, OSError):
            continue
        for whose, row in taken:
            found.setdefault(whose, []).append(row)
    return found


def _answers(folder: Path, key: Key | None) -> Iterator[tuple[Whose, Row]]:
    from scaffold.odds.measured import answer_in, digest_of
    from scaffold.trace.chain import Chain, body_of
    from scaffold.trace.records import read_files
    from scaffold.vocabulary import events as ev

    chain = Chain()
    asked: dict[str, tuple[Whose, list[Any]]] = {}
    for record in read_files(folder):
        link = chain.follow(record)
        event = link.event
        if isinstance(event, ev.StepAsked) and event.ledger == "model":
            asked[event.key] = (event.backend, event.model, event.step), body_of(link.content).get("asked", [])
        elif isinstance(event, ev.StepAnswered) and event.key in asked:
            whose, what = asked.pop(event.key)
            right = None if key is None or not what else key.get(digest_of(what))
            for sample in body_of(link.content).get("samples", ()):
                if sample.get("signals") and not sample.get("flag"):
                    wrong = None if right is None else answer_in(sample["text"], what[4])[0] != right
                    yield whose, Row(sample["signals"], wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn baselines from runs, and write them."""
    options = argparse.ArgumentParser(
        prog="python -m scaffold_monitors.baselines", description=__doc__.split("\n\n")[0]
    )
    options.add_argument("--runs", type=Path, default=Path(".scaffold/runs"), help="folder of the runs")
    options.add_argument("--answers", default="", help="a run whose answers count as right")
    options.add_argument(
        "--false-positives", type=float, default=FALSE_POSITIVES, help="share of right answers flagged"
    )
    options.add_argument("--write", type=Path, required=True, help="the file")
    said = options.parse_args(arguments)
    try:
        from scaffold.odds.measured import key_of

        key = key_of(said.runs / said.answers) if said.answers else None
        folders = [each for each in sorted(said.runs.iterdir()) if each.is_dir() and each.name != said.answers]
        found = rows_of(folders, key)
        made = [fit(whose, rows, false_positives=said.false_positives) for whose, rows in sorted(found.items())]
        if not made:
            raise BadInput(f"no run in {said.runs} has answers with inner signals")
        said.write.write_bytes(msgspec.json.format(msgspec.json.encode(Baselines(tuple(made))), indent=1) + b"\n")
    except (ScaffoldError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for each in made:
        sys.stderr.write(f"{each.step} by {each.backend}:{each.model}: {each.seen} answers, {each.wrong} wrong\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

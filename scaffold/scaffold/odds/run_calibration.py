"""Measures the calibration of stated confidence within one run, as its trace is streamed.

The right answer is that of a key if there is one, else that of most samples of the same step, so a step with one sample
tells nothing. `calibration` uses many runs and tells more.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.odds.calibration import Kind, Statement, scores
from scaffold.odds.measured import answer_in, digest_of
from scaffold.vocabulary.confidence import stated_by

if TYPE_CHECKING:
    from scaffold.odds.measured import Key
    from scaffold.vocabulary.events import StepAsked

_PLACES = 3  # decimals of stated confidence that are distinguished, which bounds the memory
_SCHEMA = 4  # index of the schema in what was asked


class RunCalibration:
    """Measures calibration over the answered steps of one run.

    Args:
        key: the right answers by prompt; None means agreement.
    """

    def __init__(self, key: Key | None = None) -> None:
        self._key = key
        self._found: dict[Kind, Counter[Statement]] = {}

    def take(self, opening: StepAsked, asked: Any, content: dict[str, Any]) -> None:
        """Add a step, if it stated any confidence."""
        if not isinstance(asked, list) or len(asked) <= _SCHEMA or not stated_by(asked[_SCHEMA]):
            return
        said = _said(asked[_SCHEMA], content)
        if self._key is not None:
            right = self._key.get(digest_of(asked))
        else:
            right = Counter(answer for answer, _ in said).most_common(1)[0][0] if len(said) > 1 else None
        if right is None:
            return
        kind = Kind(opening.backend, opening.model, opening.step)
        counted = self._found.setdefault(kind, Counter())
        counted.update((round(sure, _PLACES), answer == right) for answer, sure in said if sure is not None)

    def told(self) -> list[dict[str, Any]]:
        """Return the score of each kind as JSON values."""
        found = {kind: list(counted.elements()) for kind, counted in self._found.items() if counted}
        return [msgspec.to_builtins(score) for score in scores(found, by_key=self._key is not None)]


def _said(schema: Any, content: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Return the answers of the samples that counted, each with its stated confidence."""
    samples = content.get("samples")
    return [
        answer_in(str(sample.get("text", "")), schema)
        for sample in (samples if isinstance(samples, list) else ())
        if isinstance(sample, dict) and not sample.get("flag")
    ]

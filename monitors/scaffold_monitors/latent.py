"""The monitor `latent`: uses signals of a model's inner state to flag likely wrong answers, without readable reasoning.

Some backends report signals of the model's inner state with each sample (`signals: true`), such as how sure it was of
the next word, or how large its memory has grown. Compared with a baseline of the same backend, model and kind of step,
they show answers that are likely wrong, or merely unusual. The baseline is a file learned from other runs
(`python -m scaffold_monitors.baselines`); without a matching one the monitor abstains.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from scaffold.errors import TaskError
from scaffold.vocabulary.review import MonitorSpec, Verdict
from scaffold_monitors.baselines import Baseline, Baselines

if TYPE_CHECKING:
    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.review import Subject

WRONG = "wrong, by its inner signals"
UNLIKE = "unlike what was seen, by its inner signals"


class Latent:
    """Compares the inner signals of a step's answer with a baseline.

    Args:
        baseline: the baseline's file, beside the task file; or the baseline itself.
        decision: the decision on an answer above the threshold.
        threshold: a score that replaces the baseline's own threshold.
        base: the task file's folder.

    Raises:
        TaskError: a setting is wrong, or the baseline cannot be read.
    """

    def __init__(
        self,
        baseline: str | Baselines = "",
        *,
        decision: Literal["flag", "resample", "escalate"] = "flag",
        threshold: float | None = None,
        base: Path | None = None,
    ) -> None:
        if decision not in ("flag", "resample", "escalate"):
            raise TaskError(
                f"latent: decision should be flag, resample or escalate, not {decision!r}", path=("decision",)
            )
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if threshold is not None and (not number or not 0 < threshold <= 1):
            raise TaskError(
                f"latent: threshold should be above 0 and at most 1, not {threshold!r}", path=("threshold",)
            )
        known = baseline if isinstance(baseline, Baselines) else _read(baseline, base)
        self._known = {(each.backend, each.model, each.step): each for each in known.baselines}
        self._decision: Literal["flag", "resample", "escalate"] = decision
        self._threshold = threshold
        self.spec = MonitorSpec(
            name="latent",
            watches=frozenset({"step"}),
            on_error="flag",
            on_timeout="flag",
            on_missing="flag",
            settings={"baseline": msgspec.to_builtins(known), "decision": decision, "threshold": threshold},
        )

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Score the signals of one step's answer."""
        step = subject.step
        if step is None or not step.signals:
            return _nothing("the backend gave no inner signals: set `signals: true` on a backend that has them")
        known = self._known.get((step.backend, step.model, step.kind))
        if known is None:
            return _nothing(f"there is no baseline for steps of kind {step.kind} by {step.backend}:{step.model}")
        missing = [name for name in known.signals if name not in step.signals]
        if missing:
            return _nothing(f"the baseline needs the signal {missing[0]!r}, which the backend did not give")
        return self._judged(known, known.score(step.signals))

    def _judged(self, known: Baseline, score: float) -> Verdict:
        probed = WRONG if known.weights else UNLIKE
        threshold = known.threshold if self._threshold is None else self._threshold
        if score < threshold:
            return Verdict(decision="allow", score=score, property=probed)
        said = (
            f"{probed}: score {score:.2f}; {known.false_positives:.0%} of right answers reach {threshold:.2f} or more"
        )
        feedback = "" if self._decision == "flag" else "the answer does not look reliable: find it another way"
        return Verdict(decision=self._decision, score=score, property=probed, rationale=said, feedback=feedback)


def _nothing(why: str) -> Verdict:
    return Verdict(decision="allow", status="abstain", rationale=why)


def _read(name: Any, base: Path | None) -> Baselines:
    if not isinstance(name, str):
        raise TaskError(f"latent: baseline should be a file, not {name!r}", path=("baseline",))
    if not name:
        return Baselines()
    path = (base or Path.cwd()) / name
    try:
        return msgspec.json.decode(path.read_bytes(), type=Baselines)
    except OSError as error:
        made = "`python -m scaffold_monitors.baselines` makes one"
        raise TaskError(f"latent: cannot read {path}: {error.strerror}; {made}", path=("baseline",)) from None
    except msgspec.MsgspecError as error:
        raise TaskError(f"latent: {path} is not a baseline: {error}", path=("baseline",)) from None

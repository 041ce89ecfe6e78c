"""Later reviews, in which monitors read the run again; each is a run of its own with its own chain.

A review names the run that it read, and the chain's head up to which it read. It is trusted as far as its own chain
holds; the report also says whether the run has changed since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.projections.report.reading import Reading, dig
from scaffold.projections.report.rows import Row
from scaffold.projections.report.summaries import worst_of
from scaffold.trace.files import SPINE
from scaffold.trace.folders import first_event
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.review import SEVERITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from scaffold.projections.report.reading import Told

DIGEST = 16  # hex digits, enough to compare two; the trace has them in full
_OBJECTS = SEVERITY["flag"]


class Review(msgspec.Struct, kw_only=True):
    """One later review of the run.

    Attributes:
        id: the id of the review, which is itself a run.
        at: when it began, in seconds since the epoch.
        monitors: the monitors that read.
        until: number of the last event that was read; 0 if the review does not say.
        head: hash of that event, in hex.
        same: whether the run's event of that number is still the same.
        ended: whether the review was completed.
        verdicts: number of verdicts.
        objections: how many of them object.
        stopped: why the review's trace could not be read further.
    """

    id: str
    at: float = 0.0
    monitors: list[str] = []
    until: int = 0
    head: str = ""
    same: bool = False
    ended: bool = False
    verdicts: int = 0
    objections: int = 0
    stopped: str = ""


def reviews_of(run: Path, beside: Sequence[Path] = ()) -> list[Path]:
    """The folders of a run's reviews: those in its own folder, and those among the runs of other folders."""
    found = [each.parent for each in run.glob(f"*/*/{SPINE}")]
    found += [each.parent for folder in beside for each in folder.glob(f"*/{SPINE}")]
    return sorted({each.resolve(): each for each in found if _is_review_of(each, run.name)}.values())


def _is_review_of(folder: Path, run: str) -> bool:
    started = first_event(folder)
    return isinstance(started, ev.RunStarted) and started.planner == f"review of {run}"


def opening(folder: Path) -> Review:
    """Read the first event of a review."""
    review = Review(id=folder.name)
    for told in Reading(folder):
        if isinstance(told.event, ev.RunStarted):
            read = dig(told.content, dict, "config", "review")
            names = [name.partition(":")[2] for name in told.event.plugins if name.startswith("monitor:")]
            review.at, review.monitors = told.event.at, names
            review.until, review.head = dig(read, int, "events"), dig(read, str, "head")
        break
    return review


def told_later(
    folder: Path, review: Review, *, content: bool, write: Callable[[Told], tuple[int, int]]
) -> Iterator[list[Any]]:
    """Yield a line of the index for each thing that a review read; its results are summed up in `review`.

    Args:
        folder: the review's folder.
        review: the review, as `opening` returned it.
        content: whether its contents are shown.
        write: puts an event into a block; returns the block, and the place in it.
    """
    reading = Reading(folder, content=content)
    for told in reading:
        event = told.event
        if isinstance(event, ev.Ended):
            review.ended = True
        if not isinstance(event, ev.Reviewed):
            continue
        review.verdicts += len(event.verdicts)
        review.objections += sum(SEVERITY[fact.decision] >= _OBJECTS for fact in event.verdicts)
        yield [event.subject, event.key, event.digest[:DIGEST], worst_of(Row("review", told)), *write(told)]
    review.stopped = reading.stopped

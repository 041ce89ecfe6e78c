"""Measures how much of a run's reasoning was readable, and how much of that monitors read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.machinery.asking.visibility import shown_by
from scaffold.projections.report.reading import dig
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.models import Sample
from scaffold.vocabulary.monitorability import VISIBILITIES, Readable

if TYPE_CHECKING:
    from scaffold.projections.report.rows import Row


def add_step(readable: Readable, row: Row) -> None:
    """Count one step of the work, as the live run does."""
    for told in row.told:
        event = told.event
        if isinstance(event, ev.ProfileCorrected) and _fell(event):
            readable.falls += 1
    end = row.last(ev.StepAnswered)
    if end is None or not isinstance(end.event, ev.StepAnswered):
        return
    answered = end.event
    shown = answered.reasoning or _shown(end.content, answered)
    readable.add(shown, answered.usage.reasoning)
    if any(_reads(each.event) for each in row.of(ev.Reviewed)):
        readable.was_read(shown, answered.usage.reasoning)


def _fell(event: ev.ProfileCorrected) -> bool:
    return VISIBILITIES.index(event.reasoning) > VISIBILITIES.index(event.believed)


def _shown(content: dict[str, Any], event: ev.StepAnswered) -> str:
    """Derive the same from the samples, for traces that do not record it."""
    try:
        samples = msgspec.convert(dig(content, list, "samples"), list[Sample])
    except msgspec.ValidationError:
        return ""
    return shown_by(samples, event.usage) or ""


def _reads(event: ev.Event) -> bool:
    return (
        isinstance(event, ev.Reviewed)
        and event.subject in {"step", "stream"}
        and any(verdict.status == "ok" for verdict in event.verdicts)
    )

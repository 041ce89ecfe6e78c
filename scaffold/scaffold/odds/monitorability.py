"""Measures monitorability from traces: how much of the reasoning was read, and what probes found about it.

    how = reading_of(events)              # of one run's events, in order, from their first
    known = gather(journal folders)       # the figures for `monitorability:` in a task file

Only traces are read; nothing else is stored. A probe is any recorded verdict with status `ok` on a step whose score is
for one of the properties in `scaffold.vocabulary.monitorability`; later reviews of a trace count, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.errors import ScaffoldError
from scaffold.evaluation.statistics import wilson
from scaffold.trace.chain import Chain
from scaffold.trace.records import read_files
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.monitorability import PROBED, VISIBILITIES, Figure, Monitorability, Readable

if TYPE_CHECKING:
    from scaffold.vocabulary.events import Event


class Reading:
    """Measures, event by event, how much of a run's reasoning was read.

    Attributes:
        found: the figures so far.
    """

    def __init__(self) -> None:
        self.found = Readable()
        self._open: dict[str, ev.StepAnswered] = {}

    def take(self, event: Event) -> None:
        """Process one more event; its content is not needed."""
        match event:
            case ev.StepAnswered(ledger="model"):
                self.found.add(event.reasoning, event.usage.reasoning)
                if not event.final:
                    self._open[event.key] = event
            case ev.Reviewed(subject="step" | "stream") if event.key in self._open:
                answered = self._open[event.key]
                of_it = event.subject == "stream" or event.digest == answered.content  # not of an earlier draw
                if of_it and any(fact.status == "ok" for fact in event.verdicts):
                    del self._open[event.key]
                    self.found.was_read(answered.reasoning, answered.usage.reasoning)
            case ev.Released() if not event.beside:
                self._open.pop(event.key, None)
            case ev.ProfileCorrected():
                self.found.falls += VISIBILITIES.index(event.reasoning) > VISIBILITIES.index(event.believed)
            case _:
                pass


def reading_of(events: Iterable[Event]) -> Readable:
    """Return how much of a run's reasoning was readable, and how much a monitor read; the spine alone is enough."""
    reading = Reading()
    for event in events:
        reading.take(event)
    return reading.found


@dataclass
class Probed:
    """Probe results of several runs, by backend, model, kind of step and property.

    Attributes:
        found: the verdicts' scores for each backend, model, kind of step and property.
        unreadable: names of runs that could not be read, which do not count.
    """

    found: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def take(self, events: Iterable[Event]) -> None:
        """Add one run's events."""
        asked: dict[str, tuple[str, str, str]] = {}
        for event in events:
            match event:
                case ev.StepAsked(ledger="model"):
                    asked[event.key] = event.backend, event.model, event.step
                case ev.Reviewed(subject="step") if event.key in asked:
                    for fact in event.verdicts:
                        if fact.status == "ok" and fact.score is not None and fact.property in PROBED:
                            self.found.setdefault((*asked[event.key], fact.property), []).append(fact.score)
                case ev.Released() if not event.beside:  # monitors beside the run report later
                    asked.pop(event.key, None)
                case _:
                    pass

    def figures(self) -> Monitorability:
        """Return the figures."""
        figures = []
        for (backend, model, step, probed), scores in sorted(self.found.items()):
            held = len(scores) - sum(scores)
            low, high = wilson(held, len(scores))
            figures.append(
                Figure(
                    backend=backend,
                    model=model,
                    step=step,
                    probed=probed,
                    held=round(held, 6),
                    of=len(scores),
                    low=round(low, 6),
                    high=round(high, 6),
                )
            )
        return Monitorability(tuple(figures))


def gather(folders: Iterable[Path]) -> Probed:
    """Read the probe results of runs; damaged ones are listed and left out."""
    probed = Probed()
    for folder in folders:
        try:
            one = Probed()
            one.take(_probes(folder))
        except (ScaffoldError, OSError):
            probed.unreadable.append(folder.name)  # none of half a run
            continue
        for whose, scores in one.found.items():
            probed.found.setdefault(whose, []).extend(scores)
    return probed


def _probes(folder: Path) -> Iterator[Event]:
    chain = Chain()
    for record in read_files(folder):
        event = chain.follow(record).event
        if isinstance(event, ev.StepAsked | ev.Reviewed | ev.Released):
            yield event

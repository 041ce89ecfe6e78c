"""Measures a task's steps from traces: each prompt's sampled answers, their costs and stated confidences.

Only traces are read; nothing else is stored. Steps of one kind, template and backend form a group. A prompt that was
asked in several runs, or several times, is one prompt. Whether a sample is right is decided by

- a key: a run whose answers count as right, such as one by a stronger model, or one that a person has checked; or
- agreement: the answer that most of a prompt's samples give counts as right. No other answer, not even the right one,
  agrees with more samples, so the errors counted this way are a lower bound.

Flagged samples are discarded, not wrong; they cost samples. A sample that the backend broke off before it said anything
is neither. Samples after a vote was decided are not counted, since which ones arrive depends on their speed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import ScaffoldError, TraceDamaged
from scaffold.machinery.asking.drawing import NOT_COUNTED
from scaffold.trace.chain import as_written, body_of
from scaffold.trace.reading import links
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.confidence import stated_by
from scaffold.vocabulary.models import Sample

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.trace.chain import Link

Key = Mapping[bytes, str]
"""For each prompt, by its digest, the answer that is right, in canonical form."""


class Name(msgspec.Struct, frozen=True, order=True):
    """What identifies a group of steps."""

    step: str
    template: str
    backend: str
    model: str


@dataclass
class Prompt:
    """The samples of one prompt.

    Attributes:
        answers: number of samples by answer.
        stated: answer and confidence of each sample that stated one.
        flagged: number of discarded samples.
    """

    answers: Counter[str] = field(default_factory=Counter)
    stated: list[tuple[str, float]] = field(default_factory=list)
    flagged: int = 0

    def right(self, known: str | None) -> tuple[int, int]:
        """Return how many accepted samples were right, and how many there were; by agreement if `known` is None."""
        of = self.answers.total()
        return (self.answers[known] if known is not None else max(self.answers.values(), default=0)), of


@dataclass
class Group:
    """Steps of one kind, template and backend.

    Attributes:
        policies: how often each policy sampled them, by its name in the trace.
        unsettled: number of steps without an answer.
        samples: number of samples drawn, also those that did not count.
        prompts_read: tokens of prompts among all its tokens.
        oversampled: whether some got more samples than their policy wanted, for measuring.
    """

    name: Name
    prompts: dict[bytes, Prompt] = field(default_factory=dict)
    policies: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    unsettled: int = 0
    samples: int = 0
    tokens: int = 0
    prompts_read: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    oversampled: bool = False


@dataclass
class Taken:
    """The cost of one run.

    Attributes:
        seconds: active time; `thinking` is the sum over its steps, which may overlap.
        oversampled: whether it drew more samples than its policies wanted, for measuring.
    """

    run: str
    status: str = "cut off"
    steps: Counter[Name] = field(default_factory=Counter)
    unsettled: int = 0
    samples: int = 0
    tokens: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    thinking: float = 0.0
    oversampled: bool = False


@dataclass
class Measured:
    """The measurements of several runs together."""

    groups: dict[Name, Group] = field(default_factory=dict)
    runs: list[Taken] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def read(self, folders: Iterable[Path]) -> Measured:
        """Add the traces of runs; damaged ones, and those with withheld content, are listed and left out."""
        for folder in folders:
            try:
                Measured()._take(folder.name, _whole(folder))  # noqa: SLF001 - of a damaged run, not even a part counts
            except (ScaffoldError, OSError):
                self.unreadable.append(folder.name)
            else:
                self._take(folder.name, _whole(folder))
        return self

    def _take(self, run: str, lines: Iterator[Link]) -> None:
        taken = Taken(run)
        asked: dict[str, tuple[ev.StepAsked, dict[str, Any]]] = {}
        for link in lines:
            with as_written(link.event):
                self._take_event(taken, asked, link)
        self.runs.append(taken)

    def _take_event(self, taken: Taken, asked: dict[str, tuple[ev.StepAsked, dict[str, Any]]], link: Link) -> None:
        event = link.event
        taken.seconds = event.t
        match event:
            case ev.RunStarted():
                taken.oversampled = bool(body_of(link.content).get("config", {}).get("oversample"))
            case ev.StepAsked(ledger="model"):
                asked[event.key] = (event, body_of(link.content))
            case ev.StepAnswered(ledger="model") if event.key in asked:
                self._take_step(taken, *asked.pop(event.key), event, body_of(link.content))
            case ev.Ended() | ev.Paused():
                taken.status = event.status
            case _:
                pass

    def _take_step(
        self, taken: Taken, opening: ev.StepAsked, said: dict[str, Any], event: ev.StepAnswered, content: dict[str, Any]
    ) -> None:
        asked = said["asked"]
        samples = msgspec.convert(content["samples"], list[Sample])
        own = Name(opening.step, asked[1] or opening.step, opening.backend, opening.model)
        group = self.groups.setdefault(own, Group(own))
        group.steps += 1
        group.policies[opening.sampling] += 1
        group.unsettled += not event.ok
        group.samples += len(samples)
        group.oversampled |= taken.oversampled
        group.tokens += event.usage.tokens
        group.prompts_read += event.usage.input
        group.usd = None if group.usd is None or event.usage.usd is None else group.usd + event.usage.usd
        group.seconds += event.seconds
        taken.steps[own] += 1
        taken.unsettled += not event.ok
        taken.samples += len(samples)
        taken.tokens += event.usage.tokens
        taken.usd = None if taken.usd is None or event.usage.usd is None else taken.usd + event.usage.usd
        taken.thinking += event.seconds
        digest = digest_of(asked)
        for sample in samples:
            if sample.flag == NOT_COUNTED or _never_came(sample):
                continue
            origin = sample.origin
            name = (
                own
                if origin is None or not origin.backend
                else msgspec.structs.replace(own, backend=origin.backend, model=origin.model)
            )
            prompts = self.groups.setdefault(name, Group(name)).prompts
            prompt = prompts.setdefault(digest, Prompt())
            if sample.flag:
                prompt.flagged += 1
                continue
            answer, sure = answer_in(sample.text, asked[4])
            prompt.answers[answer] += 1
            if sure is not None:
                prompt.stated.append((answer, sure))


def _never_came(sample: Sample) -> bool:
    """Whether a backend broke off before any output, so that nothing was rejected."""
    return sample.finish == "cut" and not sample.text and not sample.reasoning


def key_of(folder: Path) -> Key:
    """Read the answers of a run as a key.

    Raises:
        TraceError: it cannot be read.
    """
    asked: dict[str, list[Any]] = {}
    key: dict[bytes, str] = {}
    for link in links(folder):
        event = link.event
        with as_written(event):
            if isinstance(event, ev.StepAsked) and event.ledger == "model":
                asked[event.key] = body_of(link.content)["asked"]
            elif isinstance(event, ev.StepAnswered) and event.ok and event.key in asked:
                what, content = asked.pop(event.key), body_of(link.content)
                key[digest_of(what)] = answer_in(content["samples"][event.winner]["text"], what[4])[0]
    return key


def digest_of(asked: list[Any]) -> bytes:
    """Return a prompt's digest: what is asked, in which form, regardless of who answers."""
    return sha256(canonical(asked)).digest()


def answer_in(text: str, schema: Any) -> tuple[str, float | None]:
    """Return an accepted sample's answer in canonical form without its stated confidence, and the confidence."""
    stripped = text.strip()
    if schema == "text":
        return stripped, None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return stripped, None
    field_ = stated_by(schema)
    sure = value.pop(field_, None) if field_ and isinstance(value, dict) else None
    return canonical(value).decode(), _confidence(sure)


def _confidence(stated: Any) -> float | None:
    """Parse a stated confidence, which may be written as text; None if it is none."""
    try:
        sure = float(stated)
    except (TypeError, ValueError, OverflowError):
        return None
    return sure if 0 <= sure <= 1 else None


def _whole(folder: Path) -> Iterator[Link]:
    """Yield the lines of a run that has all its content.

    Raises:
        TraceError: it is damaged, withheld in part, or empty.
    """
    link = None
    for link in links(folder):
        if link.content is None and link.event.content:
            raise TraceDamaged(f"the content of line {link.event.seq} is withheld", link.event.seq)
        yield link
    if link is None:
        raise TraceDamaged("the trace is empty", 1)

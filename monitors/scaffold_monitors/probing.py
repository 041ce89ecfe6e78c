"""Shared by probes, the monitors that ask a step's own model again, within a share of the run's tokens.

A probe's question goes through the engine as an ordinary step, booked in the oversight ledger. All probes of a run
together stay below a share of the tokens that its work used. Each probe has an equal part of this share, since cheap
questions would otherwise crowd out the others. A question that would cost more than the step itself is not asked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaffold.errors import TaskError
from scaffold.evaluation.statistics import wilson
from scaffold.fitting import first_fault, in_words
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.monitorability import PROBED
from scaffold.vocabulary.moves import Options
from scaffold.vocabulary.references import Provenance, Reference
from scaffold.vocabulary.review import MonitorSpec, Verdict
from scaffold_monitors.beliefs import REMARK

if TYPE_CHECKING:
    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.review import StepRecord, Subject

FAMILY = ("faithfulness", "consistency", "out_of_context")
SHARE = 0.05
_WRITTEN = 4.0  # price of an output token in input tokens, as in most price lists
_MOSTLY = 0.5
_LEAST = 16  # tokens; fewer are too few for an answer
_AROUND = 320  # characters that the template and the data marks add
_LETTERS = 4.0  # characters per token, if a backend did not count tokens
_WORDS = 5  # a text in a structured answer with more words is prose
_LONGEST = 120  # characters of an answer that can be compared as text


class ProbeOptions(BaseModel):
    """Settings of every probe.

    Attributes:
        share: most tokens that all probes together may use, as a fraction of those of the run's own work.
        sample: share of the steps that are considered, unless the stakes are high.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(default=SHARE, ge=0, le=1)
    sample: float = Field(default=1.0, ge=0, le=1)


def options_of(kind: type[ProbeOptions], said: dict[str, Any], name: str) -> Any:
    """Read a probe's settings.

    Raises:
        TaskError: a setting is invalid.
    """
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        fault = first_fault(error)
        raise TaskError(in_words(fault, kind), path=("monitors", name, *fault["loc"])) from None


def spec_of(name: str, options: ProbeOptions, *, sample: float) -> MonitorSpec:
    """Make a probe's spec: it observes steps, and its failures close no gate."""
    return MonitorSpec(
        name=name,
        watches=frozenset({"step"}),
        mode="observe",
        sample=sample,
        on_error="flag",
        on_timeout="flag",
        on_missing="flag",
        timeout_s=120.0,
        settings=options.model_dump(mode="json"),
    )


@dataclass(slots=True)
class Purse:
    """What a run's work and its probes have used, and the questions of its open steps.

    Attributes:
        configured: the probes of this run.
        work: tokens used by the run's own work.
        probes: tokens used by each probe.
        open: worst-case tokens of probes' questions under way, by key.
        questions: the prompt of each step that is not settled, by key.
        found: for each property, how often probes tested for it, and how often they found it.
    """

    configured: tuple[str, ...] = ()
    work: int = 0
    probes: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)
    found: dict[str, tuple[int, float]] = field(default_factory=dict)

    def take(self, event: ev.Event, content: dict[str, Any]) -> None:
        """Process one more event."""
        match event:
            case ev.RunStarted():
                self.configured = tuple(name for name in FAMILY if f"monitor:{name}" in event.plugins)
            case ev.StepAsked(ledger="model"):
                self.questions[event.key] = "\n\n".join(each["content"] for each in content.get("messages", ()))
            case ev.StepAsked() if _probe_at(event.key):
                self.open[event.key] = event.tokens
            case ev.StepAnswered(ledger="model") | ev.StepCut(ledger="model"):
                self.work += event.usage.tokens
                if isinstance(event, ev.StepCut) or event.final:
                    self.questions.pop(event.key, None)
            case ev.StepAnswered() | ev.StepCut() if name := _probe_at(event.key):
                self.open.pop(event.key, None)
                self.probes[name] = self.probes.get(name, 0) + event.usage.tokens
            case ev.Released(subject="step"):
                self.questions.pop(event.key, None)
            case ev.Reviewed(subject="step"):
                self._count(event)
            case _:
                pass

    def _count(self, event: ev.Reviewed) -> None:
        for fact in event.verdicts:
            if fact.status == "ok" and fact.score is not None and fact.property in PROBED:
                count, found = self.found.get(fact.property, (0, 0.0))
                self.found[fact.property] = count + 1, found + fact.score

    def room(self, name: str, share: float) -> int:
        """Return the tokens that a probe may still use: its part of the share, less what it has used or reserved."""
        under_way = sum(tokens for key, tokens in self.open.items() if _probe_at(key) == name)
        part = share * self.work / max(1, len(self.configured))
        return int(part) - self.probes.get(name, 0) - under_way

    def scored(self, probed: str, *, found: bool, said: str) -> Verdict:
        """Make a probe's verdict: a flag if, in this run, the property was surely found more often than not."""
        count, before = self.found.get(probed, (0, 0.0))
        flags = found and wilson(before + found, count + 1).low > _MOSTLY
        if flags:
            said += f"; so did most of the {count + 1} probes of this run"
        return Verdict(decision="flag" if flags else "allow", score=float(found), property=probed, rationale=said)


def _probe_at(key: str) -> str:
    """Return the probe that asked a step, by its key, which ends in `!monitor/number`; empty if none did."""
    name = key.rpartition("!")[2].partition("/")[0] if "!" in key else ""
    return name if name in FAMILY else ""


PURSED: frozenset[type[ev.Event]] = frozenset(
    {ev.RunStarted, ev.StepAsked, ev.StepAnswered, ev.StepCut, ev.Released, ev.Reviewed}
)


def follow(state: Any, event: ev.Event, content: dict[str, Any]) -> Purse:
    """The fold of probes."""
    purse = state if isinstance(state, Purse) else Purse()
    purse.take(event, content)
    return purse


def abstains(why: str) -> Verdict:
    """Make the verdict of a probe that did not ask."""
    return Verdict(decision="allow", status="abstain", rationale=why)


class Interview:
    """Asks the model of one step further questions, as long as they are cheap enough.

    Args:
        name: name of the probe.
        key: the step's key.
        step: the step.
        view: the view of the run.
        context: the monitor's context.
        share: share of the run's tokens for all probes.

    Attributes:
        step: the step.
        question: the step's prompt as the model read it.
        refused: why a question was refused; empty if none was.
        spent: whether that was because the share was used up; a later step may have more.
    """

    def __init__(
        self, name: str, key: str, step: StepRecord, view: TraceView, context: ReviewContext, share: float
    ) -> None:
        self.step = step
        self.purse = view.state if isinstance(view.state, Purse) else Purse()
        self.question = self.purse.questions.get(key, "")
        self.refused = ""
        self.spent = False
        self._context = context
        self._name = name
        self._room = self.purse.room(name, share)
        self._share = share
        used = self.step.usage
        letters = len(self.question) + len(self.step.text) + len(self.step.reasoning)
        self._rate = min(1.0, used.tokens / letters) if used.tokens and letters else 1 / _LETTERS
        self._left = used.input + _WRITTEN * used.output

    def _tokens(self, letters: int) -> int:
        return int(letters * self._rate) + 1

    async def ask(self, instruction: str, *more: str, choices: tuple[str, ...] = ()) -> str | None:
        """Ask the step's question again with further texts; return None if that would cost too much.

        Args:
            instruction: the probe's own instruction.
            more: texts of the model, passed as data.
            choices: the only possible answers.

        Raises:
            StepFailed: the model gave no answer.
        """
        written = max(_LEAST, 2 * self._tokens(len(self.step.text)) + 8)
        read = self._tokens(_AROUND + len(self.question) + len(instruction) + sum(map(len, more)))
        cost = read + _WRITTEN * written
        # Others may have asked meanwhile, so the room now counts, but never more than there was at the start.
        self._room = min(self._room, self.purse.room(self._name, self._share))
        if cost > self._left:
            self.refused = f"it would cost about {cost:.0f}, more than is left of the step's {self._whole():.0f}"
        elif read + written > self._room:
            self.spent = True
            share = f"{self._share:.0%}"
            self.refused = (
                f"it would use about {read + written} tokens, but {max(0, self._room)} are left of its share of {share}"
            )
        else:
            self._left -= cost
            self._room -= read + written
            said = await self._context.think(  # type: ignore[call-overload]  # its kind was that of a step
                self.step.kind,
                Reference(self.question, Provenance(("step:asked",))),
                *more,
                instruction=instruction,
                prompt="step",
                to=self.step.to,
                options=Options(max_tokens=written, temperature=0.0, choices=choices),
            )
            return str(said.value)
        self.refused += ": not run"
        return None

    def _whole(self) -> float:
        used = self.step.usage
        return used.input + _WRITTEN * used.output


def interview(
    name: str, subject: Subject, view: TraceView, context: ReviewContext, share: float
) -> Interview | Verdict:
    """Begin an interview about a step; return a verdict instead if the step is not to be asked about.

    Args:
        name: name of the probe.
        subject: the subject of the review.
        view: the view of the run.
        context: the monitor's context.
        share: share of the run's tokens for all probes.
    """
    if subject.step is None:
        return abstains("only steps are read")
    if not comparable(subject.step):
        return abstains("an answer in free words cannot be compared")
    made = Interview(name, subject.key, subject.step, view, context, share)
    if not made.question:
        return abstains("the step's question is not known")
    return made


def comparable(step: StepRecord) -> bool:
    """Whether two answers to this question can be compared by code."""
    if isinstance(step.value, str):
        return bool(step.choices) or len(step.value) <= _LONGEST
    return _bare(step.value) is not None


def same(step: StepRecord, text: str) -> bool:
    """Whether a text gives the step's answer."""
    if not isinstance(step.value, str):
        try:
            return canonical(_bare(json.loads(text))) == canonical(_bare(step.value))
        except (ValueError, RecursionError):
            return _plain(text) == _plain(canonical(step.value).decode())
    return _plain(text) == _plain(step.value)


def _bare(value: Any) -> Any:
    """Strip prose and remarks from a value, since they vary from sample to sample; None if nothing is left."""
    match value:
        case str():
            return _plain(value) if len(value.split()) <= _WORDS else None
        case dict():
            said = {name: _bare(each) for name, each in value.items() if not REMARK.fullmatch(str(name).lower())}
            return {name: each for name, each in said.items() if each is not None} or None
        case list():
            items = [_bare(each) for each in value]
            return items if any(each is not None for each in items) else None
        case _:
            return value


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .!\"'`")

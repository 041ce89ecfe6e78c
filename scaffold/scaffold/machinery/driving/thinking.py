"""Thinks: asks a step, has it reviewed, and releases or withholds what the model said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold import errors
from scaffold.machinery.asking.steps import signals_in, thought_from
from scaffold.machinery.gating.permissions import HOST
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.references import NOWHERE
from scaffold.vocabulary.review import SEVERITY, StepRecord, Subject, reason_of

if TYPE_CHECKING:
    from scaffold.interfaces import Surroundings
    from scaffold.machinery.asking.showing import Showing
    from scaffold.machinery.asking.steps import Steps
    from scaffold.machinery.interpreter import Pending
    from scaffold.machinery.recording.recorder import Recorder
    from scaffold.machinery.recording.state import RunState
    from scaffold.machinery.reviewing.reviews import Reviews
    from scaffold.vocabulary.moves import Think, Thought
    from scaffold.vocabulary.references import Provenance


class Thinking:
    """Carries out the steps of one run.

    Args:
        steps: asks them.
        reviews: reads what was said, if any monitor reads steps.
        recorder: the run's recorder.
        state: the run's state.
        surroundings: named points of the run.
        resamples: how often a step may be drawn again on suspicion.
        showing: shows the text of steps to a person; None if nobody watches.
    """

    def __init__(
        self,
        *,
        steps: Steps,
        reviews: Reviews,
        recorder: Recorder,
        state: RunState,
        surroundings: Surroundings,
        resamples: int,
        showing: Showing | None,
    ) -> None:
        self._steps = steps
        self._reviews = reviews
        self._recorder = recorder
        self._state = state
        self._reach = surroundings.reach
        self._resamples = resamples
        self._showing = showing

    async def think(self, pending: Pending, move: Think) -> Any:
        """Ask a step, and have it reviewed if monitors read steps."""
        key = pending.key
        showing = self._showing
        if not self._reviews.reads_steps and showing is None:
            besides = _besides(move, pending)
            return thought_from(*await self._steps.ask(key, move, pending.history, besides=besides), move)
        while True:
            answered = self._state.at(key).answered
            if answered is None:
                answered = await self._read_while_asked(pending, move)
            thought = thought_from(*answered, move)
            if isinstance(thought, Exception):
                return thought
            if not self._reviews.reads_steps:
                self._show(move, thought, answered[0])
                return thought
            subject = Subject(kind="step", key=key, step=self._step_record(move, thought, *answered))
            stakes = self._reviews.step_stakes(move.to)
            decision, verdicts = await self._reviews.review(subject, answered[0].content, stakes)
            if decision == "halt":
                raise errors.Stopped(reason_of(verdicts, "halt"))
            progress = self._state.at(key)
            if decision == "resample" and progress.tries <= self._resamples:
                progress.answered = None
                self._show(move, thought, answered[0], withdrawn="drawn again on suspicion")
                continue
            withheld = SEVERITY[decision] >= SEVERITY["revise"]
            feedback = next(
                (verdict.feedback for verdict in verdicts if verdict.feedback), "oversight withheld this thought"
            )
            self._reach("released:before")
            self._recorder.record(
                ev.Released(key=key, subject="step", ok=not withheld, beside=self._reviews.reading(key)),
                {"feedback": feedback} if withheld else None,
            )
            self._reach("released:after")
            self._show(move, thought, answered[0], withdrawn=feedback if withheld else "")
            return errors.StepRefused(feedback, key) if withheld else thought

    async def _read_while_asked(self, pending: Pending, move: Think) -> tuple[ev.StepAnswered, bytes]:
        """Ask a step while monitors, and anyone watching, read its samples as they are generated."""
        key, reviews, showing = pending.key, self._reviews, self._showing
        readings = reviews.read_stream(key, lambda: self._asked_record(move))
        return await self._steps.ask(
            key,
            move,
            pending.history,
            final=not reviews.reads_steps,
            readings=readings if showing is None else showing.watch(key, move.kind, readings),
            conclude=(lambda: reviews.conclude_stream(key, readings)) if readings else None,
            besides=_besides(move, pending),
        )

    def _show(self, move: Think, thought: Thought[Any], event: ev.StepAnswered, *, withdrawn: str = "") -> None:
        """Show a released thought to anyone watching, or that it was withheld."""
        if self._showing is None:
            return
        if withdrawn:
            self._showing.withdrawn(event.key, move.kind, withdrawn, event.winner)
        else:
            self._showing.cleared(event.key, move.kind, thought, event.winner)

    def _asked_record(self, move: Think) -> StepRecord:
        """Return a step as monitors see it while it is being answered: what is asked, and of whom."""
        profile = self._steps.backend(move.to).profile
        return StepRecord(
            kind=move.kind,
            inputs=json.loads(canonical(move.inputs)),
            to=move.to,
            backend=profile.backend,
            model=profile.model,
            choices=move.options.choices,
        )

    def _step_record(self, move: Think, thought: Thought[Any], event: ev.StepAnswered, body: bytes) -> StepRecord:
        """Return an answered step as monitors see it."""
        return msgspec.structs.replace(
            self._asked_record(move),
            value=json.loads(canonical(thought.value)),
            text=thought.text,
            reasoning=thought.reasoning,
            usage=event.usage,
            signals=signals_in(body, event.winner) if b'"signals"' in body else {},
            shown=event.reasoning,
        )


def _besides(move: Think, pending: Pending) -> Provenance:
    """Return what a step without inputs rests on: a host's model says what it says from all that the host was told."""
    return pending.history if move.to == HOST else NOWHERE
